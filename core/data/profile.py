"""Describes the columns of a sample: missing values, quantiles, histograms, frequent values."""

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from core.data.columns.value_counts import count_column, sort_by_value
from core.data.parallel import map_ordered
from core.data.preprocessing import log_transform
from core.data.samples import Sample, read_dictionary_table
from core.data.schema import FIELDS, NUMERIC
from core.errors import Damaged
from core.stored import load_stored, parse_stored
from core.workspace import write_json

VERSION = 1
"""Version of the stored profile; one of another version is computed again."""
N_TOP_VALUES = 20
N_BINS = 40
QUANTILES = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)
_PROFILE_FILE = "profile.json"


@dataclass(frozen=True)
class ColumnProfile:
    """One column over all rows of a sample.

    Attributes:
        name: the column.
        missing_share: share of the rows without a value.
        cardinality: number of distinct values.
        top_values: up to N_TOP_VALUES of (value, number of rows), most frequent first.
        quantiles: values at QUANTILES; empty for a category, or if all values are missing.
        edges, counts: histogram of sign(x) ln(1 + |x|) with N_BINS bins; empty for a category.
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
        """ "numeric" or "category"."""
        return "numeric" if self.name in NUMERIC else "category"


@dataclass(frozen=True)
class _StoredProfile:
    """What the profile file holds besides its version."""

    columns: tuple[ColumnProfile, ...]


def profile_columns(
    sample: Sample, progress: Callable[[float], None] | None = None
) -> tuple[ColumnProfile, ...]:
    """Return profiles of the 39 columns in file order; they are stored in the sample's folder.

    Only a few columns are in memory at a time.
    """
    path = sample.folder / _PROFILE_FILE
    with suppress(Damaged):
        # A damaged profile, or one of another version, is computed again.
        return load_stored(path, "look at the sample again", _parse_stored_profiles)
    profiles = []
    table = read_dictionary_table(sample)
    for profile in map_ordered(lambda name: _profile_column(name, table[name]), FIELDS):
        profiles.append(profile)
        if progress:
            progress(len(profiles) / len(FIELDS))
    write_json(
        path,
        {"version": VERSION, "columns": [dataclasses.asdict(profile) for profile in profiles]},
    )
    return tuple(profiles)


def _profile_column(name: str, column: pa.ChunkedArray) -> ColumnProfile:
    counts = count_column(column)
    values, rows = counts.most_common(N_TOP_VALUES)
    profile = ColumnProfile(
        name,
        missing_share=counts.missing / max(len(column), 1),
        cardinality=len(counts.counts),
        top_values=tuple(
            (_format_value(value), int(number))
            for value, number in zip(values.to_pylist(), rows, strict=True)
        ),
    )
    if name not in NUMERIC or not len(counts.counts):
        return profile
    numbers, rows = sort_by_value(counts)
    histogram, edges = np.histogram(log_transform(numbers), N_BINS, weights=rows)
    return dataclasses.replace(
        profile,
        quantiles=tuple(float(value) for value in _weighted_quantiles(numbers, rows)),
        edges=tuple(float(edge) for edge in edges),
        counts=tuple(int(number) for number in histogram),
    )


def _weighted_quantiles(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return QUANTILES of rising values that occur `rows` times (Hyndman and Fan 1996, type 7)."""
    ends = np.cumsum(counts)
    positions = np.array(QUANTILES) * (ends[-1] - 1)
    low, high = (
        values[np.searchsorted(ends, position, side="right")]
        for position in (np.floor(positions), np.ceil(positions))
    )
    return low + (high - low) * (positions - np.floor(positions))


def _format_value(value: str | float) -> str:
    """Return a value as the file has it: whole numbers without a decimal point."""
    if isinstance(value, str):
        return value
    return str(int(value)) if value.is_integer() else repr(value)


def _parse_stored_profiles(values: dict[str, Any]) -> tuple[ColumnProfile, ...]:
    if values["version"] != VERSION:
        raise ValueError(f"it is of version {values['version']}")
    profiles = parse_stored(_StoredProfile, values).columns
    if [profile.name for profile in profiles] != [*FIELDS] or any(
        len(profile.quantiles) not in (0, len(QUANTILES)) for profile in profiles
    ):
        raise ValueError("it does not describe the 39 columns")
    return profiles
