"""The stated model of simulated rows; `core.data.simulate` writes its rows to files.

A row has an activity g ~ N(0, 1) and belongs to a normal or an abnormal user, which column C9
shows: its first value means normal, the others abnormal.

**Columns.** Each column alone is as in Kaggle's train.txt: how often it is missing, and with which
others; the share of its most frequent value; about how many distinct values 100,000 rows have.

- Numeric field j: round(exp(m + s (0.6 g + 0.8 e)) - 1), e ~ N(0, 1), with m and s set by the
  field's median and 99th percentile.
- Categorical field: P(value of rank r) ~ (r + q)^-a (Zipf-Mandelbrot) over at most 100,000 values.
- Nested fields: as in the real file, a value of C3 has one of C12, that one of C21, C16, C4 and
  C24; C15 has one of C18 and C2; C7 has one of C11 and C13.

**Clicks.** The log-odds are a sum of the parts in `VARIANCES`, each scaled to its share of the
variance, the sum to a standard deviation of 1.4, and shifted to a click rate of 0.256 in either
domain. The log-odds themselves then have an AUC of about 0.82 there, a good model about 0.775 on
54,000 rows.

- *numerics*: for each numeric field a tanh and a step of its standardised log, and its absence;
- *values*: an effect for each categorical value, weaker in fields of many values;
- *popularity*: in eight fields the logarithm of the value's rank, so that frequent values are
  clicked more in some fields and less in others;
- *thresholds*: whether two numeric fields are both above a threshold, for several pairs;
- *contexts*: an effect of a categorical value only where a numeric field is above a threshold;
- *pairs*: an effect for each pair of values of two categorical fields.

Effects are drawn independently of each other, so no pair of values follows from other pairs. As on
real rows, a one-hot logistic regression misses the last three parts, and popularity where a value
is too rare for an effect of its own; trees that split on counts and thresholds find them.

**Recipes.** All have the same source domain; they say how the target domain differs from it.
*ordinary* is a week later: a little of everything has changed. *transfer* is a stated case where
adapting a backbone pays: 40 % of the target's rows belong to abnormal users, 10 % of the source's,
and in the target the effects of their numeric fields are reversed; the effects of six fields are
redrawn for half their variance; users are more active; 40 % of the values of several fields are
new.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy.optimize import brentq
from scipy.special import expit, ndtri

from core.data.schema import CATEGORICAL, LABEL, NUMERIC

CLICK_RATE = 0.256
VARIANCES = {
    "numerics": 0.30,
    "values": 0.36,
    "popularity": 0.12,
    "thresholds": 0.12,
    "contexts": 0.07,
    "pairs": 0.03,
}
"""Share of each part in the variance of the log-odds."""


@dataclass(frozen=True)
class Recipe:
    """How the target domain differs from the source domain.

    Attributes:
        mean_activity: of target rows; 0 in the source.
        abnormal_share: of the target's users; 0.1 in the source.
        new_values: share of the target's values that never occur in the source, in C10, C15 and
            C24 with the fields nested in them.
        new_effects: share of the variance of six fields' effects that is redrawn.
        reversed_numerics: whether numeric effects are reversed for the target's abnormal users.
    """

    mean_activity: float
    abnormal_share: float
    new_values: float
    new_effects: float
    reversed_numerics: bool


RECIPES = {
    "ordinary": Recipe(0.05, 0.12, 0.02, 0.03, False),
    "transfer": Recipe(0.5, 0.4, 0.4, 0.5, True),
}
_SOURCE = Recipe(0.0, 0.101, 0.0, 0.0, False)

_CALIBRATION_ROWS = 50_000
_LOGIT_STD = 1.4
_MAX_VALUES = 100_000
_FIRST_NEW_VALUE = 2**40
"""Above every value that the source domain has."""

# Facts about the real file, in the order of the fields.
_MEDIAN_P99 = (
    (1, 39), (3, 2234), (6, 216), (4, 41), (2796, 345908), (32, 1323), (3, 219), (7, 48),
    (39, 1003), (1, 3), (1, 26), (0, 19), (4, 49),
)  # fmt: skip
_CARDINALITIES = dict(zip(CATEGORICAL, (
    1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194, 27, 14992,
    5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572,
), strict=True))  # fmt: skip
TOP_VALUE_SHARES = dict(zip(CATEGORICAL, (
    0.502, 0.113, 0.025, 0.036, 0.674, 0.398, 0.020, 0.595, 0.899, 0.219, 0.031, 0.025, 0.031,
    0.353, 0.016, 0.025, 0.460, 0.033, 0.348, 0.193, 0.025, 0.134, 0.435, 0.052, 0.148, 0.041,
), strict=True))  # fmt: skip
"""Share of the most frequent value among all rows, those where the field is missing included."""
MISSING_SHARES = {
    ("I1", "I10"): 0.455,
    ("I3",): 0.21,
    ("I4", "I13"): 0.212,
    ("I5",): 0.026,
    ("I6",): 0.224,
    ("I7", "I9", "I11"): 0.043,
    ("I12",): 0.769,
    ("C3", "C4", "C12", "C16", "C21", "C24"): 0.035,
    ("C6",): 0.126,
    ("C19", "C20", "C25", "C26"): 0.437,
    ("C22",): 0.7635,
}
"""How often fields are missing, together."""
_MISSING_SHARE = {name: share for names, share in MISSING_SHARES.items() for name in names}
_EXPONENTS = {
    "C1": 1.9, "C2": 2.5, "C5": 2.5, "C6": 4, "C8": 2.2, "C10": 1.2, "C13": 1.6, "C14": 4,
    "C17": 1.5, "C19": 1.3, "C20": 1, "C22": 4, "C23": 2, "C24": 1.3, "C25": 4, "C26": 1.2,
}  # fmt: skip
"""Of the law of each field that is not nested in another, fitted to its number of values."""


@dataclass(frozen=True)
class _Nested:
    """A field whose value determines that of `parent`.

    Attributes:
        parent: the field with fewer values.
        first: probability of a parent's first value, where the parent is not the most frequent one.
        others: number of its other values, with probabilities ~ rank^-exponent.
        exponent: see there.
    """

    parent: str
    first: float
    others: int
    exponent: float


_NESTED = {
    "C4": _Nested("C24", 0.75, _MAX_VALUES, 1.0),
    "C16": _Nested("C4", 0.78, _MAX_VALUES, 0.8),
    "C21": _Nested("C16", 0.93, _MAX_VALUES, 0.8),
    "C12": _Nested("C21", 0.95, _MAX_VALUES, 0.8),
    "C3": _Nested("C12", 0.93, _MAX_VALUES, 0.8),
    "C18": _Nested("C2", 0.35, 20, 1.0),
    "C15": _Nested("C18", 0.5, 6, 1.0),
    "C11": _Nested("C13", 0.8, 3, 1.5),
    "C7": _Nested("C11", 0.7, 9, 1.2),
}
"""Parents before the fields nested in them."""
_FEW_VALUES = 1000
"""Fields of fewer values have stronger effects."""
_POPULARITY_FIELDS = ("C3", "C7", "C10", "C15", "C19", "C26", "C1", "C2")
_LOG_RANK_STDS = (6.4, 1.9, 3.0, 1.7, 1.7, 3.0, 1.1, 1.3)
"""Of those fields' logarithms of ranks in the source domain, so that all weigh the same."""
_CONTEXT_FIELDS = (
    "C1", "C2", "C5", "C6", "C8", "C14", "C17", "C20", "C22", "C23", "C25", "C9",
)  # fmt: skip
_THRESHOLD_PAIRS = 12
_VALUE_PAIRS = (
    ("C1", "C17"), ("C5", "C14"), ("C5", "C23"), ("C6", "C8"), ("C9", "C17"), ("C14", "C22"),
    ("C17", "C23"), ("C20", "C25"), ("C2", "C6"), ("C24", "C1"),
)  # fmt: skip
_FIELDS_WITH_NEW_VALUES = ("C10", "C24")
"""The fields nested in them have new values too; so has C15."""
_FIELDS_WITH_NEW_EFFECTS = ("C1", "C2", "C6", "C8", "C14", "C17")


@dataclass(frozen=True)
class _Rows:
    """Features of rows, by field; each array has the shape ``(n_rows,)``.

    Attributes:
        numbers: float64, NaN where missing.
        values: int64 that stand for categorical values, -1 where missing.
        log_ranks: of the values, 0 for the most frequent one, summed over the fields it is nested
            in.
    """

    numbers: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    log_ranks: dict[str, np.ndarray]


class GenerativeModel:
    """The generative model; all its constants are drawn from fixed seeds.

    Args:
        recipe: a key of `RECIPES`.
    """

    def __init__(self, recipe: str) -> None:
        self._domains = {"source": _SOURCE, "target": RECIPES[recipe]}
        self._cumulative = {name: _field_cdf(name) for name in _EXPONENTS}
        self._nested_cumulative = {
            name: _cdf(np.arange(1.0, one.others + 1) ** -one.exponent)
            for name, one in _NESTED.items()
        }
        rows = self._draw_features(np.random.default_rng(7), _CALIBRATION_ROWS, _SOURCE)
        parts = _log_odds_parts(rows, _SOURCE)
        self._means = {name: part.mean() for name, part in parts.items()}
        self._scales = {name: VARIANCES[name] ** 0.5 / part.std() for name, part in parts.items()}
        # The parts are correlated: their sum has to be scaled as well.
        total = np.sum([*self._scaled_parts(parts).values()], axis=0)
        factor = _LOGIT_STD / total.std()
        self._scales = {name: scale * factor for name, scale in self._scales.items()}
        self._shifts = {name: self._find_shift(recipe) for name, recipe in self._domains.items()}

    def sample_rows(self, generator: np.random.Generator, rows: int, domain: str) -> pa.Table:
        """Draw rows: a label int8, numerics int64, categories of 8 hex digits."""
        recipe = self._domains[domain]
        features = self._draw_features(generator, rows, recipe)
        odds = self._log_odds(features, recipe) + self._shifts[domain]
        labels = (generator.random(rows) < expit(odds)).astype(np.int8)
        columns = {LABEL: pa.array(labels)}
        for name in NUMERIC:
            numbers = features.numbers[name]
            present = ~np.isnan(numbers)
            columns[name] = pa.array(np.where(present, numbers, 0).astype(np.int64), mask=~present)
        for name in CATEGORICAL:
            columns[name] = _to_hex(name, features.values[name])
        return pa.table(columns)

    def _find_shift(self, recipe: Recipe) -> float:
        """Return what has to be added to the log-odds for the stated click rate."""
        rows = self._draw_features(np.random.default_rng(8), _CALIBRATION_ROWS, recipe)
        odds = self._log_odds(rows, recipe)
        return float(brentq(lambda shift: expit(odds + shift).mean() - CLICK_RATE, -20, 20))

    def _log_odds(self, rows: _Rows, recipe: Recipe) -> np.ndarray:
        parts = self._scaled_parts(_log_odds_parts(rows, recipe))
        if recipe.reversed_numerics:
            parts["numerics"][rows.values["C9"] != 0] *= -1
        return np.sum([*parts.values()], axis=0)

    def _scaled_parts(self, parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: (parts[name] - self._means[name]) * self._scales[name] for name in VARIANCES}

    def _draw_features(self, generator: np.random.Generator, rows: int, recipe: Recipe) -> _Rows:
        features = _Rows(_draw_numbers(generator, rows, recipe), {}, {})
        self._draw_values(generator, rows, recipe, features)
        for names, share in MISSING_SHARES.items():
            missing = generator.random(rows) < share
            for name in names:
                if name in features.numbers:
                    features.numbers[name][missing] = np.nan
                else:
                    features.values[name][missing] = -1
        return features

    def _draw_values(
        self, generator: np.random.Generator, rows: int, recipe: Recipe, features: _Rows
    ) -> None:
        """Draw every categorical field, complete, into `features`."""
        values, log_ranks = features.values, features.log_ranks
        for name, cumulative in self._cumulative.items():
            values[name] = np.searchsorted(cumulative, generator.random(rows)).astype(np.int64)
            log_ranks[name] = np.log1p(values[name])
        abnormal = generator.random(rows) < recipe.abnormal_share
        values["C9"] = np.where(abnormal, 1 + (generator.random(rows) < 0.001), 0).astype(np.int64)
        for name in _FIELDS_WITH_NEW_VALUES:
            _make_new(generator, values[name], recipe.new_values)
        for name, one in _NESTED.items():
            ratio = _share_where_present(name) / _share_where_present(one.parent)
            of_top = log_ranks[one.parent] == 0
            is_first = generator.random(rows) < np.where(of_top, min(ratio, 1.0), one.first)
            other = np.searchsorted(self._nested_cumulative[name], generator.random(rows)) + 1
            index = np.where(is_first, 0, other)
            values[name] = _nested_value(name, values[one.parent], index)
            log_ranks[name] = log_ranks[one.parent] + np.log1p(index)
        _make_new(generator, values["C15"], recipe.new_values)


def _draw_numbers(
    generator: np.random.Generator, rows: int, recipe: Recipe
) -> dict[str, np.ndarray]:
    """Draw every numeric field, complete."""
    activity = generator.normal(recipe.mean_activity, 1, rows)
    numbers = {}
    for name in NUMERIC:
        mean, spread = _log_normal_parameters(name)
        noise = 0.6 * activity + 0.8 * generator.normal(0, 1, rows)
        numbers[name] = np.maximum(np.round(np.exp(mean + spread * noise) - 1), 0)
    negative = generator.random(rows) < 0.1
    below = -generator.choice([1, 2, 3], rows, p=[0.8, 0.15, 0.05])
    numbers["I2"] = np.where(negative, below, numbers["I2"])
    return numbers


def _log_odds_parts(rows: _Rows, recipe: Recipe) -> dict[str, np.ndarray]:
    """Return the parts of the log-odds, before they are scaled, by the keys of `VARIANCES`."""
    standard = _standardised_logs(rows.numbers)
    # A missing number is above no threshold.
    filled = {name: np.nan_to_num(x, nan=-np.inf) for name, x in standard.items()}
    terms = {
        "numerics": _numeric_effects(standard),
        "values": _value_effects(rows.values, recipe.new_effects),
        "popularity": _popularity_effects(rows),
        "thresholds": _threshold_effects(filled),
        "contexts": _context_effects(rows.values, filled),
        "pairs": _pair_effects(rows.values),
    }
    return {name: np.sum([*one], axis=0) for name, one in terms.items()}


def _standardised_logs(numbers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = {}
    for name in NUMERIC:
        mean, spread = _log_normal_parameters(name)
        found[name] = (np.log1p(np.maximum(numbers[name], 0)) - mean) / spread
    return found


def _numeric_effects(standard: dict[str, np.ndarray]) -> Iterator[np.ndarray]:
    draws = np.random.default_rng(3)
    for x in standard.values():
        slope, step, absence = draws.normal(0, 1, 3)
        threshold = draws.normal(0, 0.7)
        present = np.nan_to_num(x)
        effect = slope * np.tanh(present) + step * (present > threshold)
        yield np.where(np.isnan(x), absence, effect)


def _value_effects(values: dict[str, np.ndarray], new_effects: float) -> Iterator[np.ndarray]:
    for name in CATEGORICAL:
        effect = _hashed_normal(name, values[name], 0)
        if name in _FIELDS_WITH_NEW_EFFECTS and new_effects:
            drawn_anew = _hashed_normal(name, values[name], 1)
            effect = (1 - new_effects) ** 0.5 * effect + new_effects**0.5 * drawn_anew
        weight = 0.8 if _CARDINALITIES[name] < _FEW_VALUES else 0.4
        yield weight * (0.5 if name in _NESTED else 1.0) * effect


def _popularity_effects(rows: _Rows) -> Iterator[np.ndarray]:
    for i, name in enumerate(_POPULARITY_FIELDS):
        present = rows.values[name] >= 0
        yield (-1) ** i * np.where(present, rows.log_ranks[name], 0) / _LOG_RANK_STDS[i]


def _threshold_effects(filled: dict[str, np.ndarray]) -> Iterator[np.ndarray]:
    draws = np.random.default_rng(4)
    for _ in range(_THRESHOLD_PAIRS):
        first, second = draws.choice(NUMERIC, 2, replace=False)
        low, high = draws.normal(0, 0.6, 2)
        sign = draws.choice([-1.0, 1.0])
        yield sign * ((filled[first] > low) & (filled[second] > high))


def _context_effects(
    values: dict[str, np.ndarray], filled: dict[str, np.ndarray]
) -> Iterator[np.ndarray]:
    draws = np.random.default_rng(5)
    for name in _CONTEXT_FIELDS:
        context, threshold = draws.choice(NUMERIC), draws.normal(0, 0.6)
        yield _hashed_normal(name, values[name], 2) * (filled[context] > threshold)


def _pair_effects(values: dict[str, np.ndarray]) -> Iterator[np.ndarray]:
    for left, right in _VALUE_PAIRS:
        both = (values[left] >= 0) & (values[right] >= 0)
        pair = np.where(both, _nested_value(right, values[left], values[right]), -1)
        yield _hashed_normal(left, pair, 3)


def _log_normal_parameters(name: str) -> tuple[float, float]:
    """Return mean and standard deviation of ln(1 + x) of a numeric field."""
    median, p99 = _MEDIAN_P99[NUMERIC.index(name)]
    mean = float(np.log1p(median))
    return mean, float((np.log1p(p99) - mean) / ndtri(0.99))


def _share_where_present(name: str) -> float:
    """Return the share of the most frequent value among the rows that have one."""
    return TOP_VALUE_SHARES[name] / (1 - _MISSING_SHARE.get(name, 0.0))


def _field_cdf(name: str) -> np.ndarray:
    """Return the cumulative distribution of the ranks of a field that is nested in no other."""
    ranks = np.arange(1, min(_CARDINALITIES[name], _MAX_VALUES) + 1)
    exponent, share = _EXPONENTS[name], _share_where_present(name)

    def excess(offset: float) -> float:
        weights = (ranks + offset) ** -float(exponent)
        return float(weights[0] / weights.sum() - share)

    offset = brentq(excess, -0.97, 500, xtol=1e-4)
    return _cdf((ranks + offset) ** -float(exponent))


def _cdf(weights: np.ndarray) -> np.ndarray:
    """Return the cumulative distribution without its last value, 1, for `np.searchsorted`."""
    return np.cumsum(weights / weights.sum())[:-1]


def _make_new(generator: np.random.Generator, values: np.ndarray, share: float) -> None:
    """Replace a share of the values, in place, by values that never occur in the source domain."""
    if share:
        values[generator.random(len(values)) < share] += _FIRST_NEW_VALUE


def _nested_value(name: str, parents: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return a number below 2^40 for each (parent, index)."""
    bits = _splitmix64(name, parents * np.int64(1_000_003) + index, 41) >> np.uint64(24)
    return bits.astype(np.int64)


def _splitmix64(name: str, values: np.ndarray, stream: int) -> np.ndarray:
    """Return 64 mixed bits per value (SplitMix64, Steele et al. 2014), the same anywhere."""
    start = (CATEGORICAL.index(name) * 64 + stream + 1) * 0x9E3779B97F4A7C15 % 2**64
    bits = values.astype(np.uint64) * np.uint64(0xBF58476D1CE4E5B9) + np.uint64(start)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    return bits ^ (bits >> np.uint64(31))


def _hashed_normal(name: str, values: np.ndarray, stream: int) -> np.ndarray:
    """Return a standard normal number per value, always the same; 0 for a missing value."""
    uniform = (_splitmix64(name, values, stream) >> np.uint64(11)).astype(np.float64) / 2**53
    return np.where(values < 0, 0.0, ndtri(np.clip(uniform, 1e-12, 1 - 1e-12)))


def _to_hex(name: str, values: np.ndarray) -> pa.Array:
    """Return 8 hex digits per value, null for a missing value."""
    distinct, indices = np.unique(values, return_inverse=True)
    texts = [format(int(bits) & 0xFFFFFFFF, "08x") for bits in _splitmix64(name, distinct, 40)]
    return pa.array(np.array(texts, dtype=object)[indices], pa.string(), mask=values < 0)
