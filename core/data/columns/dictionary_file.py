"""A sample's rows on disk: a memory-mapped Arrow stream of dictionary-encoded batches.

Every column but the label is dictionary-encoded per batch: the dictionary holds each distinct
value once (each spelling of a number), missing values as null, and every row has a 16-bit index
into it. Whatever is computed per value (a count, a vocabulary id, a logarithm) is therefore
computed once per distinct value of a batch instead of once per row.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.data.schema import CATEGORICAL, FIELDS, LABEL, NUMERIC
from core.errors import BadInput

BATCH_ROWS = 2**15 - 1
"""Rows of a batch: the largest number that int16 indices allow."""

_VALUE_TYPES = dict.fromkeys(NUMERIC, pa.float64()) | dict.fromkeys(CATEGORICAL, pa.string())
_ROW_FIELDS = pa.schema(
    [(LABEL, pa.int8())]
    + [(field, pa.dictionary(pa.int16(), _VALUE_TYPES[field])) for field in FIELDS]
)
_EXTRA_TYPE = pa.dictionary(pa.int16(), pa.string())
"""Type of a column other than label and features."""
_ENCODE_NULLS = pc.DictionaryEncodeOptions(null_encoding="encode")


def dictionary_encode(table: pa.Table) -> list[pa.RecordBatch]:
    """Return a table's rows as dictionary-encoded batches of at most BATCH_ROWS rows.

    Args:
        table: an optional label, I1..I13 (any number type), C1..C26 (string).
    """
    batches = []
    for start in range(0, table.num_rows, BATCH_ROWS):
        rows = table.slice(start, BATCH_ROWS)
        columns = {}
        for name in rows.column_names:
            column = (
                rows[name].combine_chunks() if rows[name].num_chunks != 1 else rows[name].chunk(0)
            )
            columns[name] = column.cast(pa.int8()) if name == LABEL else _encode_field(column, name)
        batches.append(make_batch(columns))
    return batches


def make_batch(columns: dict[str, pa.Array], extra: Sequence[str] = ()) -> pa.RecordBatch:
    """Return columns as a batch in the order of the file: label, features, then `extra`.

    All columns but the label must be dictionary-encoded with int16 indices.
    """
    schema = _schema(LABEL in columns, extra)
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _schema(labelled: bool, extra: Sequence[str]) -> pa.Schema:
    fields = [*_ROW_FIELDS] if labelled else [*_ROW_FIELDS][1:]
    return pa.schema(fields + [pa.field(name, _EXTRA_TYPE) for name in extra])


@contextmanager
def open_row_writer(
    path: Path, labelled: bool, extra: Sequence[str] = ()
) -> Iterator[pa.ipc.RecordBatchStreamWriter]:
    """Open a writer at `path` whose `write_batch` takes batches of `make_batch`."""
    schema = _schema(labelled, extra)
    with pa.OSFile(str(path), "wb") as stream, pa.ipc.new_stream(stream, schema) as writer:
        yield writer


def memory_map_rows(path: Path) -> pa.Table:
    """Return all rows, dictionary-encoded. They are memory-mapped: only what is used is read.

    Earlier versions stored Parquet, which is read whole and encoded.
    """
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            tables = (pa.Table.from_batches([batch]) for batch in file.iter_batches(BATCH_ROWS))
            return pa.Table.from_batches(
                [batch for table in tables for batch in dictionary_encode(table)]
            )
    with pa.ipc.open_stream(pa.memory_map(str(path))) as reader:
        return reader.read_all()


def dictionary_decode(table: pa.Table) -> pa.Table:
    """Return plain columns: numbers as float64, categories as string, missing values as null."""
    types = {LABEL: pa.int8()} | _VALUE_TYPES
    return pa.table(
        {name: table[name].cast(types.get(name, pa.string())) for name in table.column_names}
    )


def indices_and_dictionary(column: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Return a column as (index of each row's value, distinct values).

    Args:
        column: dictionary-encoded or not.

    Returns:
        Integer indices of shape ``(n_rows,)`` and the dictionary, with null for a missing value.

    Raises:
        BadInput: an index has no value, so the stored rows are damaged.
    """
    encoded = column if pa.types.is_dictionary(column.type) else _encode_array(column)
    indices, dictionary = encoded.indices.to_numpy(), encoded.dictionary
    if len(indices) and not 0 <= indices.min() <= indices.max() < len(dictionary):
        raise BadInput(
            "The stored rows of this sample are damaged; delete the sample and add its file again."
        )
    return indices, dictionary


def _encode_array(column: pa.Array) -> pa.DictionaryArray:
    return pc.call_function("dictionary_encode", [column], _ENCODE_NULLS)


def _encode_field(column: pa.Array, name: str) -> pa.DictionaryArray:
    encoded = _encode_array(column)
    values = encoded.dictionary
    if name in NUMERIC:
        # Integers of more than 53 bits are rounded, as they are when read as floats. Adding 0.0
        # turns -0.0 into 0.0.
        values = pc.add(values.cast(pa.float64(), safe=False), 0.0)
    return pa.DictionaryArray.from_arrays(
        encoded.indices.cast(pa.int16(), safe=False), values, safe=False
    )
