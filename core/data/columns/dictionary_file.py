"""A sample's rows on disk: an Arrow stream, memory-mapped, whose columns but the label are coded
batch by batch.

A batch holds each distinct value of a field once (of a number, each spelling) and a 16-bit place
among them for every row; missing values are among them. So whatever is asked of values (their
count, their id, their logarithm) is asked once a batch, not once a row.
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
"""Rows of a batch, so that 16 bits hold every place."""

_VALUE_TYPES = dict.fromkeys(NUMERIC, pa.float64()) | dict.fromkeys(CATEGORICAL, pa.string())
_ROW_FIELDS = pa.schema(
    [(LABEL, pa.int8())]
    + [(field, pa.dictionary(pa.int16(), _VALUE_TYPES[field])) for field in FIELDS]
)
_EXTRA_TYPE = pa.dictionary(pa.int16(), pa.string())
"""Type of a column beyond label and features."""
_ENCODE_NULLS = pc.DictionaryEncodeOptions(null_encoding="encode")


def dictionary_encode(table: pa.Table) -> list[pa.RecordBatch]:
    """Rows of label (or none), I1..I13 (any number type) and C1..C26 (string) as coded batches."""
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
    """Columns as a batch in the file's order, the `extra` ones last; all but the label are coded by
    16-bit places."""
    schema = _schema(LABEL in columns, extra)
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _schema(labelled: bool, extra: Sequence[str]) -> pa.Schema:
    fields = [*_ROW_FIELDS] if labelled else [*_ROW_FIELDS][1:]
    return pa.schema(fields + [pa.field(name, _EXTRA_TYPE) for name in extra])


@contextmanager
def open_row_writer(
    path: Path, labelled: bool, extra: Sequence[str] = ()
) -> Iterator[pa.ipc.RecordBatchStreamWriter]:
    """A writer whose `write_batch` takes what `make_batch` gives."""
    schema = _schema(labelled, extra)
    with pa.OSFile(str(path), "wb") as stream, pa.ipc.new_stream(stream, schema) as writer:
        yield writer


def memory_map_rows(path: Path) -> pa.Table:
    """All rows, coded; memory-mapped, so only what is used is read. A Parquet file of earlier days
    is coded anew."""
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            tables = (pa.Table.from_batches([batch]) for batch in file.iter_batches(BATCH_ROWS))
            return pa.Table.from_batches(
                [batch for table in tables for batch in dictionary_encode(table)]
            )
    with pa.ipc.open_stream(pa.memory_map(str(path))) as reader:
        return reader.read_all()


def dictionary_decode(table: pa.Table) -> pa.Table:
    """A coded table's columns as values: numbers as float64, categories as string, missing ones
    null."""
    kinds = {LABEL: pa.int8()} | _VALUE_TYPES
    return pa.table(
        {name: table[name].cast(kinds.get(name, pa.string())) for name in table.column_names}
    )


def indices_and_dictionary(column: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """(each row's place among the values, int; those values, a missing one null) of a field, coded
    or plain.

    BadInput where there is no value at a place: the file of the rows is damaged.
    """
    coded = column if pa.types.is_dictionary(column.type) else _encode_array(column)
    places, values = coded.indices.to_numpy(), coded.dictionary
    if len(places) and not 0 <= places.min() <= places.max() < len(values):
        raise BadInput(
            "The stored rows of this sample are damaged; delete the sample and add its file again."
        )
    return places, values


def _encode_array(column: pa.Array) -> pa.DictionaryArray:
    return pc.call_function("dictionary_encode", [column], _ENCODE_NULLS)


def _encode_field(column: pa.Array, name: str) -> pa.DictionaryArray:
    coded = _encode_array(column)
    values = coded.dictionary
    if name in NUMERIC:
        # Past 53 bits a whole number is rounded, as it is when read as a float. Adding nought makes
        # -0 the same as 0.
        values = pc.add(values.cast(pa.float64(), safe=False), 0.0)
    return pa.DictionaryArray.from_arrays(
        coded.indices.cast(pa.int16(), safe=False), values, safe=False
    )
