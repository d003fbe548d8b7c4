"""Whether what a sample, a dataset or a backbone consists of is all there: by sizes and headers,
not by every byte.

Versions up to 0.10.0 did not sync what they wrote, so a power cut could leave files of no bytes, or
of zeros, behind a card that is whole. A fault is told in a few words for a sentence, such as
"labels.npy has 0 of 480,128 bytes"; "" where there is none. None of these raises for what the files
hold; a file that may not be read raises its OSError.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import DTypeLike

from core.data.schema import FIELDS, NUMERIC

_PARQUET_MAGIC = b"PAR1"
_LENGTH_BYTES = 8
"""Bytes at the start of a safetensors file that say how long its header is."""


def find_sample_fault(folder: Path, rows: int) -> str:
    """What is wrong with the files of a sample of so many rows."""
    stream, earlier, skipped = (
        folder / name for name in ("rows.arrow", "rows.parquet", "skipped.npy")
    )
    return (
        find_parquet_fault(earlier, rows)
        if earlier.exists() and not stream.exists()
        else find_stream_fault(stream, rows)
    ) or (find_array_fault(skipped, np.int64, None) if skipped.exists() else "")


def find_dataset_fault(folder: Path, rows: int) -> str:
    """What is wrong with the files of a dataset of so many rows; its encoded rows are seen to by
    `find_encoded_fault`."""
    arrays = {"parts.npy": np.int8, "order.npy": np.int64, "labels.npy": np.float32}
    faults = (find_array_fault(folder / name, kind, (rows,)) for name, kind in arrays.items())
    return next(filter(None, faults), "") or find_preprocessing_fault(folder / "preprocessing")


def find_encoded_fault(folder: Path, rows: int) -> str:
    """What is wrong with so many encoded rows."""
    ids = find_array_fault(folder / "ids.npy", np.int32, (rows, len(FIELDS)))
    return ids or find_array_fault(folder / "numerics.npy", np.float32, (rows, len(NUMERIC)))


def find_backbone_fault(folder: Path) -> str:
    """What is wrong with the files of a backbone, or of a run's model."""
    return find_weights_fault(folder / "model.safetensors") or find_preprocessing_fault(
        folder / "preprocessing"
    )


def find_preprocessing_fault(folder: Path) -> str:
    """What is wrong with what core.data.preprocessing.Preprocessing.save wrote."""
    return find_json_fault(folder / "preprocessing.json") or find_parquet_fault(
        folder / "vocabulary.parquet"
    )


def find_array_fault(path: Path, dtype: DTypeLike, shape: tuple[int, ...] | None) -> str:
    """What is wrong with a .npy file of that type and shape; shape None: one dimension, as long as
    it says itself."""
    if fault := _check_exists(path):
        return fault
    size = path.stat().st_size
    with path.open("rb") as stream:
        try:
            header = (
                np.lib.format.read_array_header_1_0
                if np.lib.format.read_magic(stream) == (1, 0)
                else None
            )
            found, _, kind = (
                header(stream) if header else np.lib.format.read_array_header_2_0(stream)
            )
        except (ValueError, EOFError):
            return f"{path.name} has no header of an array ({size:,} bytes)"
        begins = stream.tell()
    if kind != np.dtype(dtype) or (found != shape if shape is not None else len(found) != 1):
        return f"{path.name} holds {kind} {found}"
    return _check_size(path, size, begins + math.prod(found) * kind.itemsize)


def find_stream_fault(path: Path, rows: int) -> str:
    """What is wrong with an Arrow stream of so many rows (core.data.columns.dictionary_file)."""
    if fault := _check_exists(path):
        return fault
    found = 0
    try:
        # Mapped: of each batch no more is read than where its columns lie.
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
            for batch in reader:
                found += batch.num_rows
            ended = file.tell() == file.size()
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        return (
            f"{path.name} breaks off after {found:,} of {rows:,} rows ({path.stat().st_size:,}"
            " bytes)"
        )
    return "" if found == rows and ended else f"{path.name} holds {found:,} of {rows:,} rows"


def find_parquet_fault(path: Path, rows: int | None = None) -> str:
    """What is wrong with a Parquet file, of so many rows where that is known."""
    if fault := _check_exists(path):
        return fault
    size = path.stat().st_size
    with path.open("rb") as stream:
        ends = [stream.read(len(_PARQUET_MAGIC))]
        stream.seek(max(0, size - len(_PARQUET_MAGIC)))
        ends.append(stream.read())
    if ends != [_PARQUET_MAGIC, _PARQUET_MAGIC]:
        return f"{path.name} is no Parquet file ({size:,} bytes)"
    try:
        found = pq.read_metadata(path).num_rows
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        # Arrow's own errors may be an OSError, but without a number of the system's.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        return f"{path.name} has a damaged footer ({size:,} bytes)"
    return "" if rows in (None, found) else f"{path.name} holds {found:,} of {rows:,} rows"


def find_weights_fault(path: Path) -> str:
    """What is wrong with a safetensors file."""
    if fault := _check_exists(path):
        return fault
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        text = stream.read(length) if length <= size else b""
    try:
        tensors: dict[str, Any] = json.loads(text)
        ends = [one["data_offsets"][1] for name, one in tensors.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return f"{path.name} has no header of weights ({size:,} bytes)"
    return _check_size(path, size, _LENGTH_BYTES + length + max(ends, default=0))


def find_json_fault(path: Path) -> str:
    """What is wrong with a file of JSON."""
    if fault := _check_exists(path):
        return fault
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return f"{path.name} is no JSON ({path.stat().st_size:,} bytes)"
    return ""


def _check_exists(path: Path) -> str:
    return "" if path.exists() else f"{path.name} is missing"


def _check_size(path: Path, size: int, expected: int) -> str:
    return "" if size == expected else f"{path.name} has {size:,} of {expected:,} bytes"
