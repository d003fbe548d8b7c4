"""Recalibration: monotone maps from a model's click probabilities to calibrated ones.

Three maps are fitted on validation rows, and one is chosen there by cross-validated log loss;
leaving the scores as they are is a candidate too:

- temperature: the logit divided by a temperature (Guo et al.: On calibration of modern neural
  networks, 2017);
- Platt: slope and intercept on the logit (Platt: Probabilistic outputs for support vector machines,
  1999), the logistic regression of the label on the logit;
- isotonic: a non-decreasing map (Zadrozny and Elkan: Transforming classifier scores into accurate
  multiclass probability estimates, 2002), fitted on bins of equally many rows and linear between
  the centres of its blocks (Oron and Flournoy: Centered isotonic regression, 2017). The plain step
  function would give equal scores to many rows, jump between scores that differ by rounding, and
  predict 0 and 1.

All maps are non-decreasing, so that the order of rows stays, and with it the AUC, up to rows that
the isotonic map ties.
"""

from dataclasses import dataclass

import numpy as np

from core.errors import BadInput
from core.evaluation.metric_functions import clip_probabilities, log_loss_per_row
from core.evaluation.validation import validate_scores

NONE = "none"
TITLES = {
    NONE: "as trained",
    "temperature": "temperature scaling",
    "platt": "Platt scaling",
    "isotonic": "isotonic regression",
}
"""Methods, the simplest first, and what pages call them."""
METHODS = tuple(TITLES)
FOLDS = 5
MIN_CLASS_ROWS = 10
"""Fewest validation rows of each class on which a map is fitted."""
MIN_BIN_ROWS = 50
MAX_BINS = 100
"""Least number of rows in a bin of the isotonic map, and largest number of bins."""
MAX_ROWS = 100_000
"""Rows that are used of more validation rows, evenly spread: more would change no digit that is
shown, and take seconds."""
_MAX_SLOPE = 20.0
"""A steeper logistic means that the classes are nearly separated, so that its slope is noise."""
_MAX_STEPS = 100


@dataclass(frozen=True)
class RecalibrationMap:
    """A fitted map, JSON-ready.

    Args:
        method: one of METHODS.
        slope, intercept: of the logit, for "temperature" (slope is 1 / temperature) and "platt".
        knots: ascending scores of the isotonic map, which is linear between and flat beyond them.
        values: click probabilities at the knots, non-decreasing.
    """

    method: str = NONE
    slope: float = 1.0
    intercept: float = 0.0
    knots: tuple[float, ...] = ()
    values: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        ascending = np.all(np.diff(self.knots) > 0) and np.all(np.diff(self.values) >= 0)
        if self.method not in METHODS or len(self.knots) != len(self.values) or not ascending:
            raise ValueError(f"it is no map from scores to probabilities: {str(self)[:120]}")

    def apply(self, y_score: np.ndarray) -> np.ndarray:
        """Return the calibrated probabilities, float32 of the shape of `y_score`.

        >>> RecalibrationMap("temperature", slope=0.5).apply(np.array([0.5, 0.9])).round(3).tolist()
        [0.5, 0.75]
        """
        if self.method == NONE:
            return np.asarray(y_score, np.float32)
        if self.method == "isotonic":
            found = np.interp(np.asarray(y_score, np.float64), self.knots, self.values)
            return np.asarray(found, np.float32)
        total = self.slope * _logits(y_score) + self.intercept
        return np.asarray(1 / (1 + np.exp(-total)), np.float32)

    def apply_to(self, threshold: float) -> float:
        """Return where a threshold goes, so that the same rows reach it (up to tied ones)."""
        return (
            threshold if self.method == NONE else float(self.apply(np.array(threshold, np.float32)))
        )

    @property
    def sentence(self) -> str:
        """The map in words.

        >>> RecalibrationMap("temperature", slope=0.8).sentence
        'temperature scaling, temperature 1.2500'
        """
        details = {
            "temperature": f", temperature {1 / self.slope:.4f}",
            "platt": f", slope {self.slope:.4f} and intercept {self.intercept:+.4f} of the logit",
            "isotonic": f", {len(self.knots)} knots",
        }
        return f"{TITLES[self.method]}{details.get(self.method, '')}"


@dataclass(frozen=True)
class MethodFit:
    """A map fitted on all validation rows, and how well such maps do on rows they have not seen.

    Args:
        map: fitted on all validation rows.
        loss: cross-validated log loss in nats; of "none" the log loss as it is.
        change: that loss minus the one of "none".
        standard_error: of `change`, over rows.
    """

    map: RecalibrationMap
    loss: float
    change: float
    standard_error: float


@dataclass(frozen=True)
class Recalibration:
    """What validation rows say about recalibrating a model, JSON-ready.

    Args:
        rows: number of validation rows that were used, at most MAX_ROWS.
        fits: of every method that the rows determine, in the order of METHODS.
        chosen: the method that the rows choose.
    """

    rows: int
    fits: tuple[MethodFit, ...]
    chosen: str

    def __post_init__(self) -> None:
        known = [fit.map.method for fit in self.fits]
        if NONE not in known or self.chosen not in known:
            raise ValueError(f"it has fits of {known} and chose {self.chosen[:40]!r}")

    def find(self, method: str) -> MethodFit | None:
        """Return the fit of a method; None where the rows determine none."""
        return next((fit for fit in self.fits if fit.map.method == method), None)


def fit_map(method: str, y_true: np.ndarray, y_score: np.ndarray) -> RecalibrationMap | None:
    """Return the map of a method with the lowest log loss on these rows.

    Args:
        method: one of METHODS.
        y_true: labels 0 or 1, shape ``(n_rows,)``.
        y_score: click probabilities, shape ``(n_rows,)``.

    Returns:
        None where the rows determine no such map: the classes are separated, the fitted map would
        turn the order of rows round, or there are too few rows for two bins.
    """
    y_true = np.asarray(y_true, np.float64)
    if method == NONE:
        return RecalibrationMap()
    if method == "isotonic":
        return _fit_isotonic(y_true, np.asarray(y_score, np.float64))
    logits = _logits(y_score)
    clicked = y_true == 1
    if logits[clicked].min(initial=np.inf) > logits[~clicked].max(initial=-np.inf):
        # Separated classes: the steeper the map, the lower the loss.
        return None
    columns = np.stack([logits, np.ones(len(y_true))], axis=1)
    if method == "temperature":
        found = _fit_logistic(columns[:, :1], y_true)
        return None if found is None else RecalibrationMap(method, float(found[0]))
    found = _fit_logistic(columns, y_true)
    return None if found is None else RecalibrationMap(method, float(found[0]), float(found[1]))


def recalibrate(y_true: np.ndarray, y_score: np.ndarray) -> Recalibration:
    """Fit every method on validation rows and choose one there by cross-validation.

    A more flexible method is chosen only where its cross-validated log loss is lower than that of
    the simpler one by more than a standard error of the difference, paired over rows. So a map that
    fits noise is not chosen, and a model that is calibrated already is mostly left as it is.

    The folds depend on the labels alone, so that the same rows give the same numbers.

    Args:
        y_true: labels 0 or 1 of validation rows, shape ``(n_rows,)``.
        y_score: their click probabilities, shape ``(n_rows,)``.

    Raises:
        BadInput: there are no rows; shapes differ, a label is not 0 or 1, or a score is not finite.
    """
    y_true, y_score = validate_scores(y_true, y_score)
    if not len(y_true):
        raise BadInput("There are no validation rows on which a calibration could be fitted.")
    if len(y_true) > MAX_ROWS:
        used = np.linspace(0, len(y_true) - 1, MAX_ROWS).round().astype(int)
        y_true, y_score = y_true[used], y_score[used]
    untouched = log_loss_per_row(y_true, y_score)
    fits = [MethodFit(RecalibrationMap(), float(untouched.mean()), 0.0, 0.0)]
    chosen, chosen_losses = NONE, untouched
    clicks = int(y_true.sum())
    enough = min(clicks, len(y_true) - clicks) >= MIN_CLASS_ROWS
    folds = _folds(y_true)
    for method in METHODS[1:] if enough else ():
        whole = fit_map(method, y_true, y_score)
        losses = _held_out_losses(method, y_true, y_score, folds)
        if whole is None or losses is None:
            continue
        fits.append(MethodFit(whole, float(losses.mean()), *_paired_change(losses, untouched)))
        change, error = _paired_change(losses, chosen_losses)
        if change + error < 0:
            chosen, chosen_losses = method, losses
    return Recalibration(len(y_true), tuple(fits), chosen)


def _paired_change(losses: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Return the mean difference of two losses of the same rows, and its standard error."""
    changes = losses - others
    return float(changes.mean()), float(changes.std(ddof=1) / len(changes) ** 0.5)


def pool_adjacent_violators(values: np.ndarray, weights: np.ndarray) -> list[tuple[float, int]]:
    """Return the blocks of the non-decreasing fit of least squares, ``(value, number of items)``.

    Args:
        values: to fit, shape ``(n,)``.
        weights: above 0, shape ``(n,)``.

    >>> pool_adjacent_violators(np.array([1.0, 3.0, 2.0]), np.ones(3))
    [(1.0, 1), (2.5, 2)]
    """
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        blocks.append((value, weight, 1))
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            value, weight, items = blocks.pop()
            before, weight_before, items_before = blocks.pop()
            total = weight + weight_before
            mean = (value * weight + before * weight_before) / total
            blocks.append((mean, total, items + items_before))
    return [(value, items) for value, _, items in blocks]


def _logits(y_score: np.ndarray) -> np.ndarray:
    clipped = clip_probabilities(y_score)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _fit_logistic(columns: np.ndarray, y_true: np.ndarray) -> np.ndarray | None:
    """Return the weights of a logistic regression without penalty, by Newton's method.

    Args:
        columns: the logit first, shape ``(n_rows, n_weights)``.
        y_true: labels, shape ``(n_rows,)``.

    Returns:
        None where there is no best one, or its first weight is not above 0.
    """

    def loss_at(weights: np.ndarray) -> float:
        total = columns @ weights
        return float(np.mean(np.logaddexp(0.0, total) - y_true * total))

    weights = np.eye(columns.shape[1])[0]
    loss = loss_at(weights)
    for _ in range(_MAX_STEPS):
        p = 1 / (1 + np.exp(-np.clip(columns @ weights, -500, 500)))
        gradient = columns.T @ (p - y_true) / len(y_true)
        curvature = (columns * (p * (1 - p))[:, None]).T @ columns / len(y_true)
        try:
            step = np.linalg.solve(curvature, gradient)
        except np.linalg.LinAlgError:
            return None
        # Newton's step overshoots where the loss is flat; a half of it may not.
        while (lower := loss_at(weights - step)) > loss and np.abs(step).max() > 1e-12:
            step = step / 2
        weights, loss = weights - step, lower
        if not np.isfinite(weights).all() or abs(weights[0]) > _MAX_SLOPE:
            return None
        if np.abs(step).max() < 1e-10:
            break
    return weights if weights[0] > 0 else None


def _fit_isotonic(y_true: np.ndarray, y_score: np.ndarray) -> RecalibrationMap | None:
    order = np.argsort(y_score, kind="stable")
    scores, labels = y_score[order], y_true[order]
    n_bins = min(MAX_BINS, len(scores) // MIN_BIN_ROWS)
    edges = np.linspace(0, len(scores), n_bins + 1).round().astype(int)[:-1]
    if not len(edges):
        return None
    # Rows with equal scores stay together.
    edges = np.unique(np.searchsorted(scores, scores[edges], side="left"))
    if len(edges) < 2:
        return None
    rows = np.diff(edges, append=len(scores))
    clicks, sums = np.add.reduceat(labels, edges), np.add.reduceat(scores, edges)
    # One further row at the overall click rate keeps every bin off 0 and 1.
    rates = (clicks + y_true.mean()) / (rows + 1)
    knots, values, first = [], [], 0
    for value, items in pool_adjacent_violators(rates, rows + 1.0):
        block = slice(first, first + items)
        knots.append(float(sums[block].sum() / rows[block].sum()))
        values.append(value)
        first += items
    return RecalibrationMap("isotonic", knots=tuple(knots), values=tuple(values))


def _folds(y_true: np.ndarray) -> np.ndarray:
    """Return the fold of every row, shape ``(n_rows,)``; each has its share of the clicks."""
    generator = np.random.default_rng(0)
    folds = np.empty(len(y_true), np.int64)
    for label in (0, 1):
        rows = np.flatnonzero(y_true == label)
        folds[generator.permutation(rows)] = np.arange(len(rows)) % FOLDS
    return folds


def _held_out_losses(
    method: str, y_true: np.ndarray, y_score: np.ndarray, folds: np.ndarray
) -> np.ndarray | None:
    """Return the log loss of every row by the map that was fitted on the other folds."""
    losses = np.empty(len(y_true))
    for fold in range(FOLDS):
        held_out = folds == fold
        fitted = fit_map(method, y_true[~held_out], y_score[~held_out])
        if fitted is None:
            return None
        losses[held_out] = log_loss_per_row(y_true[held_out], fitted.apply(y_score[held_out]))
    return losses
