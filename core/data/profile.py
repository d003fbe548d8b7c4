"""What is in a sample's columns, and how far a dataset's target domain has moved from its source
domain."""

import dataclasses
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.special import chdtri

from core.data.columns.value_counts import count_column, sort_by_value
from core.data.datasets import Dataset, load_encoded, select_training_rows
from core.data.parallel import map_ordered
from core.data.preprocessing import MISSING, UNSEEN, load_preprocessing, log_transform
from core.data.samples import Sample, read_dictionary_table
from core.data.schema import FIELDS, NUMERIC
from core.errors import BadInput, Damaged
from core.stored import load_stored, parse_stored
from core.workspace import Workspace, write_json

VERSION = 1
"""Of the stored form; a profile of another version is computed anew."""
N_TOP_VALUES = 20
N_BINS = 40
QUANTILES = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)
DRIFT_THRESHOLDS = {0.1: "some", 0.25: "strong"}
"""Index from which a drift is called so; below the first it is little. The usual reading in credit
scoring."""
FAMILYWISE_ERROR_RATE = 0.05
"""Share of comparisons in which any of the 39 fields is called drifted although none has moved, at
most."""
_PROFILE_FILE = "profile.json"
_N_DRIFT_VALUES = 20
_DEGREES_OF_FREEDOM = _N_DRIFT_VALUES + 2
"""Degrees of freedom of a field's index: its bins but one."""


@dataclass(frozen=True)
class ColumnProfile:
    """One column over all rows of a sample.

    missing_share: of the rows. cardinality: distinct values, missing not counted. top_values: up to
    TOP (value, rows), falling. quantiles: values at QUANTILES; empty for a category or when all are
    missing. edges (bins + 1), counts (bins): the histogram of sign(x) ln(1 + |x|); empty for a
    category, whose histogram is its top values.
    """

    name: str
    missing_share: float
    cardinality: int
    top_values: tuple[tuple[str, int], ...]
    quantiles: tuple[float, ...] = ()
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()

    @property
    def kind(self) -> str:
        """numeric or category."""
        return "numeric" if self.name in NUMERIC else "category"


@dataclass(frozen=True)
class _StoredProfile:
    """What _FILE holds, beside its version."""

    columns: tuple[ColumnProfile, ...]


@dataclass(frozen=True)
class FieldDrift:
    """How one field differs between source and target training rows; shares are of those rows.

    psi: population stability index (sum of (p - q) ln(p / q)) over the field's ids: missing,
    unseen, its 20 most frequent values in the source and all other values together, half a row
    added to each. unseen_*: the value is not in the dataset's vocabulary (in the source: too rare
    to be). noise: see `psi_noise_limit`; default 0, no allowance.
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
        """little, some or strong, see `drift_level`."""
        return drift_level(self.psi, self.noise)


def profile_columns(
    sample: Sample, progress: Callable[[float], None] | None = None
) -> tuple[ColumnProfile, ...]:
    """Profiles of the 39 columns, in file order; kept in the sample's folder. Few columns are in
    memory at a time."""
    stored = sample.folder / _PROFILE_FILE
    with suppress(Damaged):
        # Whatever is damaged, or of another version, is computed anew.
        return load_stored(stored, "look at the sample again", _parse_stored_profiles)
    profiles = []
    table = read_dictionary_table(sample)
    for found in map_ordered(lambda name: _profile_column(name, table[name]), FIELDS):
        profiles.append(found)
        if progress:
            progress(len(profiles) / len(FIELDS))
    write_json(
        stored,
        {"version": VERSION, "columns": [dataclasses.asdict(profile) for profile in profiles]},
    )
    return tuple(profiles)


def measure_drift(workspace: Workspace, dataset: Dataset) -> tuple[FieldDrift, ...]:
    """Per field, in file order, how the target training rows differ from the source training rows.

    BadInput when the dataset has no source domain, or no labels and so no target domain.
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
    before, after = drift_counts(source), drift_counts(target)
    return tuple(
        _field_drift(field, before[place], after[place]) for place, field in enumerate(FIELDS)
    )


def drift_counts(ids: np.ndarray) -> np.ndarray:
    """Rows of each bin that drift is measured by, int64 (39, bins), from ids (rows, 39); counts of
    parts add up.

    Bins: missing, unseen, the _DRIFT_VALUES most frequent values where the vocabulary was fitted,
    all others together.
    """
    # Ids rise as the counts where they were fitted fall, so the lowest ids are the most frequent
    # values.
    last = UNSEEN + _N_DRIFT_VALUES + 1
    return np.stack([np.bincount(column, minlength=last + 1) for column in np.minimum(ids, last).T])


def population_stability_index(before: np.ndarray, after: np.ndarray) -> float:
    """Population stability index of two arrays of counts: sum of (p - q) ln(p / q), half a row
    added to each bin.

    Bins that are empty in both are left out (Siddiqi: Credit Risk Scorecards, 2006; it is the
    symmetrised Kullback-Leibler divergence of Jeffreys 1946). DRIFT_LIMITS says how it is read.
    """
    used = (before + after) > 0
    p = (before[used] + 0.5) / (before[used] + 0.5).sum()
    q = (after[used] + 0.5) / (after[used] + 0.5).sum()
    return float(((p - q) * np.log(p / q)).sum())


def expected_psi(before: int, after: int) -> float:
    """About the most that the mean index of a field would be, had nothing moved, for so many rows
    before and after.

    The index times n m / (n + m) is then distributed as chi-squared with one degree of freedom less
    than there are bins (Yurdakul, Naranjo: Statistical properties of the population stability
    index, 2020).
    """
    return _DEGREES_OF_FREEDOM * (1 / before + 1 / after)


def psi_noise_limit(before: np.ndarray, after: np.ndarray) -> float:
    """The index that a field exceeds by chance alone, had nothing moved, in FALSE_ALARMS / 39 of
    all comparisons.

    The quantile of the distribution that `expected_psi` has the mean of. before, after: counts
    of one field's bins, as `population_stability_index` takes them; bins that are empty in both leave fewer
    degrees of freedom.
    """
    used = int(((before + after) > 0).sum())
    if used < 2:
        return 0.0
    return float(
        chdtri(used - 1, FAMILYWISE_ERROR_RATE / len(FIELDS)) * (1 / before.sum() + 1 / after.sum())
    )


def drift_level(psi: float, noise: float = 0.0) -> str:
    """little, some or strong: the last of DRIFT_LIMITS that the index reaches, if it exceeds
    `noise` as well."""
    reached = (
        word for limit, word in reversed(DRIFT_THRESHOLDS.items()) if psi >= max(limit, noise)
    )
    return next(reached, "little")


def min_rows_for_drift(before: int) -> int | None:
    """The least number of later rows on which drift is judged, against `before` earlier rows; None
    if none is enough.

    With fewer, the index of a field that has not moved averages as much as the first of
    DRIFT_LIMITS by chance alone (`expected_psi`): some hundred rows, and as many on the other
    side.
    """
    left = min(DRIFT_THRESHOLDS) / _DEGREES_OF_FREEDOM - 1 / before
    return math.ceil(1 / left) if left > 1e-9 else None


def explain_too_few_rows(before: int, after: int, names: tuple[str, str] = ("training", "")) -> str:
    """Why drift is not judged between so many earlier and later rows, in a sentence; "" where it is
    judged.

    names: what rows they are, before the word "rows".
    """
    needed = min_rows_for_drift(before)
    if needed is not None and after >= needed:
        return ""
    earlier, later = (
        f"{rows:,} {f'{name} ' if name else ''}row{'' if rows == 1 else 's'}"
        for rows, name in zip((before, after), names, strict=True)
    )
    if needed is None:
        least = math.floor(_DEGREES_OF_FREEDOM / min(DRIFT_THRESHOLDS)) + 1
        return (
            f"Drift is not judged against {earlier}: with fewer than {least:,}, rows that have not"
            " drifted differ as much by chance alone."
        )
    return (
        f"Drift is not judged on {later}: so few differ as much by chance alone. At least"
        f" {needed:,} are needed against {earlier}."
    )


def _field_drift(field: str, before: np.ndarray, after: np.ndarray) -> FieldDrift:
    return FieldDrift(
        field,
        psi=population_stability_index(before, after),
        unseen_source=float(before[UNSEEN] / before.sum()),
        unseen_target=float(after[UNSEEN] / after.sum()),
        missing_source=float(before[MISSING] / before.sum()),
        missing_target=float(after[MISSING] / after.sum()),
        noise=psi_noise_limit(before, after),
    )


def _profile_column(name: str, column: pa.ChunkedArray) -> ColumnProfile:
    counts = count_column(column)
    values, rows = counts.most_common(N_TOP_VALUES)
    shared = ColumnProfile(
        name,
        missing_share=counts.missing / max(len(column), 1),
        cardinality=len(counts.counts),
        top_values=tuple(
            (_format_value(value), int(number))
            for value, number in zip(values.to_pylist(), rows, strict=True)
        ),
    )
    if name not in NUMERIC or not len(counts.counts):
        return shared
    numbers, rows = sort_by_value(counts)
    histogram, edges = np.histogram(log_transform(numbers), N_BINS, weights=rows)
    return dataclasses.replace(
        shared,
        quantiles=tuple(float(value) for value in _weighted_quantiles(numbers, rows)),
        edges=tuple(float(edge) for edge in edges),
        counts=tuple(int(number) for number in histogram),
    )


def _weighted_quantiles(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """QUANTILES of rising values that occur so often; between two, in proportion (Hyndman and Fan
    1996, type 7)."""
    ends = np.cumsum(rows)
    places = np.array(QUANTILES) * (ends[-1] - 1)
    low, high = (
        values[np.searchsorted(ends, whole, side="right")]
        for whole in (np.floor(places), np.ceil(places))
    )
    return low + (high - low) * (places - np.floor(places))


def _format_value(value: str | float) -> str:
    """A value as the file has it: whole numbers without a decimal point."""
    if isinstance(value, str):
        return value
    return str(int(value)) if value.is_integer() else repr(value)


def _parse_stored_profiles(values: dict[str, Any]) -> tuple[ColumnProfile, ...]:
    if values["version"] != VERSION:
        raise ValueError(f"it is of version {values['version']}")
    profiles = parse_stored(_StoredProfile, values).columns
    if [one.name for one in profiles] != [*FIELDS] or any(
        len(one.quantiles) not in (0, len(QUANTILES)) for one in profiles
    ):
        raise ValueError("it does not describe the 39 columns")
    return profiles
