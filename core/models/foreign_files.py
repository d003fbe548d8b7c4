"""Backbones of others, unpacked and checked in a process of their own.

Damaged bytes that crash a library end that process at worst. The vocabulary is written anew, so
that whatever opens the imported backbone later reads a file that Thaw wrote. Free of torch, which
that process does not load.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

from core.data.fitted_statistics import SCHEMA
from core.data.reading import reader_process
from core.data.reading.reader_server import SendEvent
from core.data.reading.values import MAX_CATEGORY_LENGTH
from core.data.schema import FIELDS
from core.errors import BadInput
from core.models.exchange import unpack_backbone

MAX_VALUES = 200_000_000
MAX_VALUES_BYTES = 4 * 2**30
"""Most values of a vocabulary, and most bytes of them all once decoded."""


def unpack_in_subprocess(path: Path, folder: Path) -> None:
    """core.models.exchange.unpack_backbone in another process."""
    reader_process.call(unpack_job, path, {"path": str(path), "folder": str(folder)})


def rewrite_vocabulary(path: Path) -> None:
    """Replace a `vocabulary.parquet` by a file with the same values that Thaw wrote.

    Raises:
        BadInput: it does not hold field and value as text, or more than memory can hold once
            decoded.
    """
    reader_process.call(vocabulary_job, path, {"path": str(path)})


def rewrite_statistics(path: Path) -> None:
    """Replace a `statistics.parquet` by a file with the same lines that Thaw wrote.

    Raises:
        BadInput: its columns are not those of statistics, or it has more than memory can hold once
            decoded.
    """
    reader_process.call(statistics_job, path, {"path": str(path)})


def probe_weights(path: Path) -> None:
    """Open weights and read their header in another process first; the caller checks them."""
    reader_process.call(weights_job, path, {"path": str(path)})


def probe_hdf5(path: Path) -> None:
    """Read all of an HDF5 file in another process first; the caller checks it."""
    reader_process.call(hdf5_job, path, {"path": str(path)})


def unpack_job(request: dict[str, Any], tell: SendEvent) -> None:
    """The work of `unpack_in_subprocess`."""
    unpack_backbone(Path(request["path"]), Path(request["folder"]))


def vocabulary_job(request: dict[str, Any], tell: SendEvent) -> None:
    """The work of `rewrite_vocabulary`."""
    path = Path(request["path"])
    table = _checked_vocabulary(path)
    plain = pa.schema([("field", pa.string()), ("value", pa.string())])
    part = path.with_name(".part-vocabulary")
    pq.write_table(table.select(plain.names).cast(plain), part, compression="zstd")
    part.replace(path)


def statistics_job(request: dict[str, Any], tell: SendEvent) -> None:
    """The work of `rewrite_statistics`."""
    path = Path(request["path"])
    text = [field.name for field in SCHEMA if field.type == pa.string()]
    wanted = {field.name: str(field.type) for field in SCHEMA}
    table = _read_checked(path, wanted, text).select(SCHEMA.names).cast(SCHEMA)
    part = path.with_name(".part-statistics")
    pq.write_table(table, part, compression="zstd")
    part.replace(path)


def weights_job(request: dict[str, Any], tell: SendEvent) -> None:
    """The work of `probe_weights`."""
    try:
        with safe_open(request["path"], framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                file.get_slice(name).get_shape()
    except SafetensorError:
        return


def hdf5_job(request: dict[str, Any], tell: SendEvent) -> None:
    """The work of `probe_hdf5`."""
    import h5py

    def read(name: str, item: Any) -> None:
        tell(name)
        dict(item.attrs)
        if isinstance(item, h5py.Dataset):
            item[()]

    try:
        with h5py.File(request["path"], "r") as file:
            file.visititems(read)
    except MemoryError:
        raise
    except Exception:
        # HDF5 raises many kinds of errors for a damaged file; the caller reports it.
        return


def _checked_vocabulary(path: Path) -> pa.Table:
    table = _read_checked(path, {"field": "string", "value": "string"}, ["field", "value"])
    if unknown := set(pc.unique(table["field"]).to_pylist()) - set(FIELDS):
        raise BadInput(
            f"The vocabulary has values of a column {str(min(unknown, key=str))[:40]!r}, which is"
            " none."
        )
    return table


def _read_checked(path: Path, types: dict[str, str], text: list[str]) -> pa.Table:
    """Read a Parquet file whose columns have these types, the text ones as dictionaries.

    Raises:
        BadInput: it has other columns, is damaged, or is larger than is read.
    """
    title = path.stem
    try:
        columns = {field.name: str(field.type) for field in pq.read_schema(path)}
        if {*columns} != {*types} or any(types[name] not in columns[name] for name in types):
            raise BadInput(
                f"{path.name!r} has the columns {columns}; it must have"
                f" {' and '.join(types)} as {'text' if {*types} == {*text} else types}."
            )
        # As dictionaries: a value that a small file repeats a million times is held once.
        with pq.ParquetFile(path, read_dictionary=text) as file:
            if file.metadata.num_rows > MAX_VALUES:
                raise BadInput(
                    f"The {title} has {file.metadata.num_rows:,} values; at most {MAX_VALUES:,}"
                    " are read."
                )
            table = file.read()
        for column in table.columns:
            column.validate(full=True)
        sizes = [_decoded_bytes(chunk, title) for name in text for chunk in table[name].chunks]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{path.name!r} cannot be read ({str(error)[:120]}); export the backbone again."
        ) from error
    if sum(sizes) > MAX_VALUES_BYTES:
        raise BadInput(
            f"The {title} takes {sum(sizes):,} bytes in memory; at most {MAX_VALUES_BYTES:,} are"
            " read."
        )
    return table


def _decoded_bytes(chunk: pa.DictionaryArray, title: str) -> int:
    """Bytes of a column chunk as plain text.

    Raises:
        BadInput: a value is longer than any in a sample can be.
    """
    lengths = pc.binary_length(chunk.dictionary)
    if (pc.max(lengths).as_py() or 0) > 4 * MAX_CATEGORY_LENGTH:
        raise BadInput(
            f"The {title} holds a value of more than {MAX_CATEGORY_LENGTH:,} letters; "
            "that is damage."
        )
    return pc.sum(lengths.take(chunk.indices)).as_py() or 0
