"""How far a dataset's target domain differs from its source domain, field by field."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri

from core.data.dataset_rows import load_encoded
from core.data.datasets import Dataset, select_training_rows
from core.data.preprocessing import MISSING, UNSEEN, load_preprocessing
from core.data.schema import FIELDS
from core.errors import BadInput
from core.workspace import Workspace

DRIFT_THRESHOLDS = {0.1: "some", 0.25: "strong"}
"""Names of drift by the least population stability index, as usual in credit scoring; a smaller
index is called "little"."""
FAMILYWISE_ERROR_RATE = 0.05
"""Probability that any of the 39 fields is called drifted although none has."""
_N_DRIFT_VALUES = 20
"""Number of frequent values of a field that have a bin of their own."""
_DEGREES_OF_FREEDOM = _N_DRIFT_VALUES + 2
"""Number of bins of a field minus one."""


@dataclass(frozen=True)
class FieldDrift:
    """How a field differs between source and target training rows.

    Attributes:
        field: the field.
        psi: population stability index over the bins of `drift_counts`.
        unseen_source, unseen_target: share of rows whose value is not in the dataset's vocabulary;
            in the source these values are too rare to be.
        missing_source, missing_target: share of rows without a value.
        noise: see `psi_noise_limit`; 0 makes no allowance for chance.
    """

    field: str
    psi: float
    unseen_source: float
    unseen_target: float
    missing_source: float
    missing_target: float
    noise: float = 0.0

    @property
    def level(self) -> str:
        """ "little", "some" or "strong"; see `drift_level`."""
        return drift_level(self.psi, self.noise)


def measure_drift(workspace: Workspace, dataset: Dataset) -> tuple[FieldDrift, ...]:
    """Compare the target with the source training rows; return the drift of each field.

    Raises:
        BadInput: the dataset has no source domain, or no labels and therefore no target domain.
    """
    if not dataset.labelled:
        raise BadInput(
            f"The dataset {dataset.name!r} has no labels and so no target domain: there is no"
            " drift."
        )
    if not dataset.has_source:
        raise BadInput(
            f"The dataset {dataset.name!r} has no source domain, so there is no drift to measure."
        )
    preprocessing = load_preprocessing(dataset.folder / "preprocessing")
    ids = load_encoded(workspace, dataset, preprocessing).ids
    source = ids[np.sort(select_training_rows(dataset, "source", None)[0])]
    target = ids[np.sort(select_training_rows(dataset, "target", None)[0])]
    expected, actual = drift_counts(source), drift_counts(target)
    return tuple(_field_drift(field, expected[i], actual[i]) for i, field in enumerate(FIELDS))


def drift_counts(ids: np.ndarray) -> np.ndarray:
    """Count the rows in each bin that drift is measured by.

    The bins of a field: missing, unseen, its _N_DRIFT_VALUES most frequent values where the
    vocabulary was fitted, all other values. Counts of parts of the rows add up to those of all
    rows.

    Args:
        ids: encoded rows, shape ``(n_rows, 39)``.

    Returns:
        int64, shape ``(39, n_bins)``.
    """
    # Vocabularies are sorted by falling count, so the lowest ids are the most frequent values.
    last = UNSEEN + _N_DRIFT_VALUES + 1
    return np.stack([np.bincount(column, minlength=last + 1) for column in np.minimum(ids, last).T])


def population_stability_index(expected: np.ndarray, actual: np.ndarray) -> float:
    """Return the population stability index, sum of (p - q) ln(p / q), of two arrays of counts.

    Half a row is added to each bin, and bins that are empty in both are left out. The index is the
    symmetrised Kullback-Leibler divergence (Jeffreys 1946); see Siddiqi, Credit Risk Scorecards,
    2006.

    >>> population_stability_index(np.array([50, 50]), np.array([50, 50]))
    0.0
    """
    used = (expected + actual) > 0
    p = (expected[used] + 0.5) / (expected[used] + 0.5).sum()
    q = (actual[used] + 0.5) / (actual[used] + 0.5).sum()
    return float(((p - q) * np.log(p / q)).sum())


def expected_psi(before: int, after: int) -> float:
    """Return about the largest mean index of a field that has not drifted, for these row counts.

    The index times n m / (n + m) is then chi-squared with one degree of freedom less than there are
    bins (Yurdakul, Naranjo: Statistical properties of the population stability index, 2020).
    """
    return _DEGREES_OF_FREEDOM * (1 / before + 1 / after)


def psi_noise_limit(expected: np.ndarray, actual: np.ndarray) -> float:
    """Return the index that a field without drift exceeds with probability 0.05 / 39.

    This is a quantile of the distribution whose mean is `expected_psi` (Bonferroni over the 39
    fields).

    Args:
        expected, actual: counts of a field's bins, as in `population_stability_index`. Bins that
        are
            empty in both reduce the degrees of freedom.
    """
    n_bins = int(((expected + actual) > 0).sum())
    if n_bins < 2:
        return 0.0
    return float(
        chdtri(n_bins - 1, FAMILYWISE_ERROR_RATE / len(FIELDS))
        * (1 / expected.sum() + 1 / actual.sum())
    )


def drift_level(psi: float, noise: float = 0.0) -> str:
    """Return "little", or the highest of DRIFT_THRESHOLDS that `psi` reaches, if above `noise`.

    >>> drift_level(0.12), drift_level(0.12, noise=0.2)
    ('some', 'little')
    """
    reached = (
        word for limit, word in reversed(DRIFT_THRESHOLDS.items()) if psi >= max(limit, noise)
    )
    return next(reached, "little")


def min_rows_for_drift(before: int) -> int | None:
    """Return the least number of later rows to judge drift by; None if no number is enough.

    With fewer rows, the index of a field without drift averages as much as the first threshold by
    chance alone (`expected_psi`).
    """
    remaining = min(DRIFT_THRESHOLDS) / _DEGREES_OF_FREEDOM - 1 / before
    return math.ceil(1 / remaining) if remaining > 1e-9 else None


def explain_too_few_rows(before: int, after: int, names: tuple[str, str] = ("training", "")) -> str:
    """Return why drift is not judged between `before` earlier and `after` later rows; "" if it is.

    `names` says what rows they are, before the word "rows".
    """
    needed = min_rows_for_drift(before)
    if needed is not None and after >= needed:
        return ""
    earlier, later = (
        f"{rows:,} {f'{name} ' if name else ''}row{'' if rows == 1 else 's'}"
        for rows, name in zip((before, after), names, strict=True)
    )
    if needed is None:
        minimum = math.floor(_DEGREES_OF_FREEDOM / min(DRIFT_THRESHOLDS)) + 1
        return (
            f"Drift is not judged against {earlier}: with fewer than {minimum:,}, rows that have"
            " not drifted differ as much by chance alone."
        )
    return (
        f"Drift is not judged on {later}: so few differ as much by chance alone. At least"
        f" {needed:,} are needed against {earlier}."
    )


def _field_drift(field: str, expected: np.ndarray, actual: np.ndarray) -> FieldDrift:
    return FieldDrift(
        field,
        psi=population_stability_index(expected, actual),
        unseen_source=float(expected[UNSEEN] / expected.sum()),
        unseen_target=float(actual[UNSEEN] / actual.sum()),
        missing_source=float(expected[MISSING] / expected.sum()),
        missing_target=float(actual[MISSING] / actual.sum()),
        noise=psi_noise_limit(expected, actual),
    )
