"""Reads Parquet and Arrow files: column names, and rows as text.

As text they go through the same checks as any other file.
"""

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.data.archives.bounded_reader import check_unpacked_size, first_error_line
from core.data.archives.containers import ARROW, ARROW_STREAM, PARQUET
from core.data.reading.arrow_ipc import read_arrow, read_arrow_names
from core.data.reading.parquet_pages import sum_claimed_bytes
from core.data.schema import CATEGORICAL, FIELDS, LABEL
from core.errors import BadInput

COLUMNAR_FORMATS = {
    PARQUET: ("parquet", "Parquet's mark PAR1"),
    ARROW: ("arrow", "the mark of an Arrow file (Feather)"),
    ARROW_STREAM: ("arrow", "the schema of an Arrow stream"),
}
"""Containers with named, typed columns: (dialect, what the file starts with)."""
BATCH_ROWS = 65_536
MAX_ROW_GROUP_BYTES = 4 * 2**30


def read_first_rows(
    path: Path, container: str, limit: int
) -> tuple[list[str], list[list[str]], frozenset[str]]:
    """Read the first rows of a file.

    Columns of lists or bytes, and columns that share a name, cannot be read as text.

    Returns:
        (column names, at most `limit` rows as text with "" for what has none, names of the columns
        that cannot be read as text).
    """
    names = read_column_names(path, container)
    unique = [name for name in names if names.count(name) == 1]
    with open_batches(path, container, unique) as batches:
        for batch in batches:
            rows = batch.slice(0, limit)
            texts = {name: _to_text_or_none(rows.column(name), name, path.name) for name in unique}
            cells = [texts.get(name) or [""] * rows.num_rows for name in names]
            unreadable = frozenset(name for name in names if texts.get(name) is None)
            return (
                names,
                [[cell or "" for cell in row] for row in zip(*cells, strict=True)],
                unreadable,
            )
    return names, [], frozenset()


def _to_text_or_none(column: pa.Array, name: str, file: str) -> list[str | None] | None:
    kind = column.type
    if pa.types.is_nested(kind):
        return None
    try:
        return to_text(column, name, file).to_pylist()
    except BadInput:
        # The column may not be needed. If it is, reading it raises the error.
        return None


def read_column_names(path: Path, container: str) -> list[str]:
    """Return the column names in the file's schema."""
    if container != PARQUET:
        return read_arrow_names(path)
    try:
        return list(pq.read_schema(path, memory_map=True).names)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise BadInput(
            f"{path.name!r} begins like Parquet but cannot be read ({first_error_line(error)});"
            " write it again."
        ) from error


@contextmanager
def open_batches(
    path: Path, container: str, names: Sequence[str]
) -> Iterator[Iterator[pa.RecordBatch]]:
    """Open the columns of these names, in this order, as an iterator of batches."""
    batches = (
        _parquet_batches(path, list(names))
        if container == PARQUET
        else read_arrow(path, list(names))
    )
    try:
        yield (batch.select(list(names)) for batch in batches)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        format_name = "Parquet" if container == PARQUET else "an Arrow file"
        raise BadInput(
            f"{path.name!r} cannot be read as {format_name} ({first_error_line(error)}); write it"
            " again."
        ) from error


def to_text(
    column: pa.Array, name: str, file: str, field: str = "", first_row: int = 1
) -> pa.Array:
    """Convert a column of numbers, booleans, dictionaries or bytes to strings.

    Args:
        column: the values. Floats of a category are written without a decimal point if all are
            whole.
        name: of the column in the file, for messages.
        file: the file's name, for messages.
        field: the column's name in the sample.
        first_row: number of the first row, for messages.

    Raises:
        BadInput: the column is label or feature and holds neither numbers nor text (dates, for
            instance), or bytes that are not UTF-8.
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    try:
        if pa.types.is_dictionary(column.type):
            column = column.cast(kind)
        if pa.types.is_boolean(kind):
            column = column.cast(pa.int8())
        elif pa.types.is_floating(kind) and field in CATEGORICAL:
            column = _floats_to_integers(column)
        elif field in (LABEL, *FIELDS) and not _is_readable(kind):
            raise pa.ArrowTypeError
        texts = column.cast(pa.string())
        texts.validate(full=True)
    except (pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise BadInput(
            f"Column {name} of {file!r} has the type {column.type}; it must hold numbers or text."
        ) from error
    except pa.ArrowInvalid as error:
        raise BadInput(
            f"Column {name} of {file!r} holds text that is not UTF-8 in rows {first_row:,} to"
            f" {first_row + len(column) - 1:,}; write it again."
        ) from error
    return texts


def _is_readable(type_: pa.DataType) -> bool:
    """Return whether values of a type are numbers or text. Dates and durations are not."""
    number = pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_)
    text = (
        pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
        or pa.types.is_string_view(type_)
    )
    binary = (
        pa.types.is_binary(type_)
        or pa.types.is_large_binary(type_)
        or pa.types.is_fixed_size_binary(type_)
    )
    return number or text or binary or pa.types.is_boolean(type_) or pa.types.is_null(type_)


def _floats_to_integers(column: pa.Array) -> pa.Array:
    """Convert floats to integers if all are whole: pandas turns integers with gaps into floats."""
    present = pc.if_else(pc.is_nan(column), None, column)
    try:
        return present.cast(pa.int64())
    except pa.ArrowInvalid:
        return column


def _parquet_batches(path: Path, names: list[str]) -> Iterator[pa.RecordBatch]:
    packed, unpacked, n_seen = path.stat().st_size, 0, 0
    with pq.ParquetFile(path) as file:
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        sizes = [group.total_byte_size for group in groups]
        if any(size > MAX_ROW_GROUP_BYTES for size in sizes):
            raise BadInput(
                f"{path.name!r} has a row group of {max(sizes):,} bytes; write it with row groups"
                f" of at most {MAX_ROW_GROUP_BYTES:,} bytes."
            )
        _check_count(sum(group.num_rows for group in groups), file, path.name)
        check_unpacked_size(sum(sizes), packed, path.name)
        check_unpacked_size(sum_claimed_bytes(path, file.metadata), packed, path.name)
        hidden_types = _find_hidden_types(file)
        for batch in file.iter_batches(BATCH_ROWS, columns=names):
            # A value that is repeated a million times takes no space in the file, but does here.
            unpacked += batch.nbytes
            check_unpacked_size(unpacked, packed, path.name)
            n_seen += batch.num_rows
            yield _restore_types(batch, hidden_types)
        _check_count(n_seen, file, path.name)


def _find_hidden_types(file: pq.ParquetFile) -> dict[str, pa.DataType]:
    """Return the temporal types of dictionary columns, by name.

    Arrow reads such columns as integers, which would pass as numbers.
    """
    types: dict[str, pa.DataType] = {}
    with suppress(ValueError, KeyError, pa.ArrowException):
        stored = base64.b64decode((file.metadata.metadata or {})[b"ARROW:schema"])
        for field in pa.ipc.read_schema(pa.py_buffer(stored)):
            if pa.types.is_dictionary(field.type) and pa.types.is_temporal(field.type.value_type):
                types[field.name] = field.type.value_type
    return types


def _restore_types(batch: pa.RecordBatch, types: dict[str, pa.DataType]) -> pa.RecordBatch:
    for position, name in enumerate(batch.schema.names):
        if name in types and pa.types.is_integer(batch.column(position).type):
            batch = batch.set_column(position, name, batch.column(position).cast(types[name]))
    return batch


def _check_count(rows: int, file: pq.ParquetFile, name: str) -> None:
    """Raise BadInput if the footer of a Parquet file counts other rows than there are.

    Arrow silently returns the smaller number.
    """
    if rows != file.metadata.num_rows:
        raise BadInput(
            f"{name!r} holds {rows:,} rows where its footer counts {file.metadata.num_rows:,}: it"
            " is damaged; write it again."
        )
