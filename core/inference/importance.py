"""Permutation importance of fields, with intervals over test rows (Breiman 2001).

A field's raw values are permuted among the test rows, and everything derived from it moves along.
The increase in log loss and the decrease in AUC say how much the model relies on the field.

The interval is that of new test rows. A row enters twice: it receives a value, and it gives its
own to another row. With ``g_r(i)`` the loss of row i under permutation r, ``l(i)`` its loss as it
is, and R permutations,

    psi(i) = mean_r g_r(i) + mean_r g_r(inverse_r(i)) - l(i)
    variance of the importance = (var(psi) - var(g) / R) / n_rows

The variance of the increase per row alone would miss what the row gives: it is a two-sample
V-statistic, and psi its projection onto rows (Hoeffding 1948); var(g) / R removes what the partners
add to psi. The same holds for AUC with DeLong's placement values in place of losses, and for the
difference of two models with the differences of their losses under the same permutations.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from core.data.datasets import Dataset, find_dataset, load_labels, select_test_rows
from core.data.schema import FIELDS
from core.errors import BadInput
from core.evaluation.metric_functions import log_loss_per_row
from core.evaluation.roc_auc import placement_values
from core.files.typed_json import to_json
from core.inference.click_model import (
    ClickModel,
    FieldInputs,
    ModelMember,
    load_backbone_model,
    load_click_model,
    score_together,
)
from core.inference.importance_files import (
    BACKBONE,
    Estimate,
    FieldImportance,
    Importance,
    importance_path,
)
from core.inference.raw_rows import read_rows
from core.jobs.store import Run, RunStore
from core.read_only import require_writable
from core.workspace import Workspace, write_json

PERMUTATIONS = 2
"""Default: with many rows a permutation adds little noise, and two show how much."""
MAX_ROWS = 100_000
"""Target test rows at most, evenly spaced."""
_Z95 = 1.959963984540054


def compute_importance(
    workspace: Workspace,
    run: Run,
    against: str = "",
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    on_progress: Callable[[float], None] | None = None,
) -> Importance:
    """Compute the importance of every field on the target test rows, and store it with the run.

    Args:
        workspace: of the run.
        run: that is done and scores clicks.
        against: "" for the run alone, "backbone", or the id of another run on the same test rows.
        permutations: of every field, at least 1.
        seed: of the permutations; two runs with the same seed have the same ones.
        on_progress: called with the share of the work that is done, 0 to 1.

    Raises:
        BadInput: a run scores no clicks, the runs have different test rows, or `permutations` is
            below 1.
    """
    require_writable()
    if permutations < 1:
        raise BadInput(f"The number of permutations is {permutations}; it must be at least 1.")
    started = time.monotonic()
    dataset = find_dataset(workspace, run.dataset)
    models = [load_click_model(workspace, run)]
    if against:
        models.append(_other_model(workspace, run, dataset, against))
    rows = measured_rows(dataset)
    labels = np.asarray(load_labels(dataset)[rows], np.float64)
    table = read_rows(workspace, dataset, rows)
    fields = measure_fields(models, table, labels, permutations, seed, on_progress)
    found = Importance(
        run.id,
        against,
        tuple(fields),
        len(rows),
        permutations,
        seed,
        round(time.monotonic() - started, 3),
        str(models[0].members[0].device),
    )
    write_json(importance_path(workspace, run.id, against), to_json(found))
    return found


def measured_rows(dataset: Dataset) -> np.ndarray:
    """Return the numbers of the target test rows, MAX_ROWS at most, evenly spaced."""
    rows = select_test_rows(dataset, "target")
    if not len(rows):
        raise BadInput(f"The dataset {dataset.name!r} has no target test rows to measure on.")
    if len(rows) > MAX_ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, MAX_ROWS).astype(np.int64)]
    return rows


def _other_model(workspace: Workspace, run: Run, dataset: Dataset, against: str) -> ClickModel:
    if against == BACKBONE:
        model = load_backbone_model(workspace, run)
        if model is None:
            raise BadInput(
                f"Run {run.id} has no backbone that scores clicks; compare it with another run."
            )
        return model
    other = RunStore(workspace).get(against)
    if find_dataset(workspace, other.dataset).content_hash != dataset.content_hash:
        raise BadInput(
            f"Runs {run.id} and {other.id} have different datasets, so their importances have no"
            " test rows in common; choose a run on the same dataset."
        )
    return load_click_model(workspace, other)


def measure_fields(
    models: Sequence[ClickModel],
    table: pa.Table,
    labels: np.ndarray,
    permutations: int,
    seed: int,
    on_progress: Callable[[float], None] | None = None,
) -> list[FieldImportance]:
    """Return the importance of every field for a model, or for the first minus the second.

    Args:
        models: one or two.
        table: raw rows with the 39 fields.
        labels: 0 or 1, shape ``(n_rows,)``.
        permutations: of every field.
        seed: of the permutations.
        on_progress: called with 0 to 1.
    """
    scorer = _Scorer(models, table)
    base = scorer.base
    generator = np.random.default_rng(seed)
    signs = (1.0, -1.0)[: len(models)]
    found = []
    for place, field in enumerate(FIELDS):
        orders = [generator.permutation(len(labels)) for _ in range(permutations)]
        scores = []
        for number, order in enumerate(orders):
            scores.append(scorer.permuted(field, order))
            if on_progress:
                on_progress((place + (number + 1) / permutations) / len(FIELDS))
        found.append(_field_importance(field, labels, base, scores, orders, signs))
    return found


class _Scorer:
    """Scores of several models under a permutation; members with equal inputs run together."""

    def __init__(self, models: Sequence[ClickModel], table: pa.Table) -> None:
        self._models = models
        self._members: list[ModelMember] = [one for model in models for one in model.members]
        by_hash: dict[str, list[int]] = {}
        for index, member in enumerate(self._members):
            by_hash.setdefault(member.preprocessing.hash, []).append(index)
        self._groups = list(by_hash.values())
        everything = ClickModel(tuple(self._members), np.ones(len(self._members)))
        self._inputs: tuple[FieldInputs, ...] = everything.encode(table)
        self._member_base = [np.zeros(0, np.float32)] * len(self._members)
        for group in self._groups:
            scores = score_together([self._members[k] for k in group], self._inputs[group[0]])
            for k, one in zip(group, scores, strict=True):
                self._member_base[k] = one
        self.base = self._combine(self._member_base)

    def permuted(self, field: str, order: np.ndarray) -> list[np.ndarray]:
        """Return the scores of every model with the field's values permuted."""
        scores = [one.copy() for one in self._member_base]
        for group in self._groups:
            inputs, changed = self._inputs[group[0]].permuted(field, order)
            found = score_together([self._members[k] for k in group], inputs)
            for k, one in zip(group, found, strict=True):
                scores[k][changed] = one
        return self._combine(scores)

    def _combine(self, scores: Sequence[np.ndarray]) -> list[np.ndarray]:
        found, start = [], 0
        for model in self._models:
            stop = start + len(model.members)
            found.append(model.combine(scores[start:stop]))
            start = stop
        return found


def _field_importance(
    field: str,
    labels: np.ndarray,
    base: Sequence[np.ndarray],
    scores: Sequence[Sequence[np.ndarray]],
    orders: Sequence[np.ndarray],
    signs: Sequence[float],
) -> FieldImportance:
    """Return the estimates of a field; `scores` are by permutation, then by model."""

    def difference(parts: Sequence[np.ndarray]) -> np.ndarray:
        total: np.ndarray = sum(s * one for s, one in zip(signs, parts, strict=True))  # type: ignore[assignment]
        return total

    loss = difference([log_loss_per_row(labels, one) for one in base])
    permuted = np.stack([difference([log_loss_per_row(labels, s) for s in one]) for one in scores])
    log_loss = estimate(permuted.mean(axis=1) - loss.mean(), permuted, loss, orders)
    clicks = int(labels.sum())
    if not 0 < clicks < len(labels):
        return FieldImportance(field, log_loss, None)
    base_auc = [_auc_influence(labels, one) for one in base]
    auc = [[_auc_influence(labels, s) for s in one] for one in scores]
    # Negated, as importance is what the AUC loses.
    decreases = np.array(
        [
            sum(s * (b[0] - one[0]) for s, b, one in zip(signs, base_auc, each, strict=True))
            for each in auc
        ]
    )
    influence = np.stack([-difference([one[1] for one in each]) for each in auc])
    return FieldImportance(
        field,
        log_loss,
        estimate(decreases, influence, -difference([one[1] for one in base_auc]), orders),
    )


def _auc_influence(labels: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the AUC and every row's influence on it, which has mean 0."""
    auc, of_positives, of_negatives = placement_values(labels, np.asarray(scores, np.float64))
    influence = np.empty(len(labels))
    positive, n_rows = labels == 1, len(labels)
    influence[positive] = (of_positives - auc) * n_rows / len(of_positives)
    influence[~positive] = (of_negatives - auc) * n_rows / len(of_negatives)
    return auc, influence


def estimate(
    by_permutation: np.ndarray,
    permuted: np.ndarray,
    base: np.ndarray,
    orders: Sequence[np.ndarray],
) -> Estimate:
    """Return a mean with its interval over rows; see this module for the formula.

    Args:
        by_permutation: the importance under each permutation, ``(permutations,)``.
        permuted: what each row contributes under each, ``(permutations, n_rows)``.
        base: what it contributes as it is, ``(n_rows,)``.
        orders: of each permutation, which row gives its value to row i.
    """
    n_permutations, n_rows = permuted.shape
    given = np.empty_like(permuted)
    for one, values, order in zip(given, permuted, orders, strict=True):
        one[order] = values
    value = float(by_permutation.mean())
    noise = float(by_permutation.std(ddof=1) / n_permutations**0.5) if n_permutations > 1 else None
    if n_rows < 2:
        return Estimate(value, None, None, noise)
    psi = permuted.mean(axis=0) + given.mean(axis=0) - base
    partners = float(np.mean(permuted.var(axis=1, ddof=1))) / n_permutations
    # Not below the variance that the permutations alone show; rounding could make it negative.
    variance = max((float(psi.var(ddof=1)) - partners) / n_rows, (noise or 0.0) ** 2)
    half = _Z95 * variance**0.5
    return Estimate(value, value - half, value + half, noise)
