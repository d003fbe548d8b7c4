"""Simulated columns, their values spelled in other ways, and what scoring reports about them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from core.data.drift import drift_counts
from core.data.preprocessing import Preprocessing
from core.data.schema import CATEGORICAL, FIELDS, NUMERIC
from core.data.simulate import simulate
from core.inference.unknown_values import UnknownColumn, unknown_columns

Columns = dict[str, list[str | None]]


Spell = Callable[[str], str]


def simulate_columns(path: Path, rows: int, domain: str, seed: int) -> Columns:
    """Simulated rows as text, a missing value as None."""
    simulate(path, rows, domain, seed=seed)
    cells = [line.split("\t")[1:] for line in path.read_text().splitlines()]
    return {field: [row[place] or None for row in cells] for place, field in enumerate(FIELDS)}


def to_table(columns: Columns) -> pa.Table:
    texts = pa.table({field: pa.array(columns[field], pa.string()) for field in FIELDS})
    return texts.cast(
        pa.schema([(field, pa.float64() if field in NUMERIC else pa.string()) for field in FIELDS])
    )


def unknown_columns_of(
    trained: tuple[Preprocessing, np.ndarray], columns: Columns
) -> tuple[UnknownColumn, ...]:
    rows = to_table(columns)
    counts = drift_counts(trained[0].encode(rows).ids)
    return unknown_columns(trained[0], rows, counts, trained[1])


def respell(columns: Columns, spell: Spell, fields: tuple[str, ...] = CATEGORICAL) -> Columns:
    changed = {
        field: [value if value is None else spell(value) for value in columns[field]]
        for field in fields
    }
    return columns | changed


def count_ids(preprocessing: Preprocessing, columns: Columns) -> np.ndarray:
    return drift_counts(preprocessing.encode(to_table(columns)).ids)
