"""Checks that the files of a sample, dataset or backbone are complete, by sizes and headers only.

Versions up to 0.10.0 did not sync what they wrote, so a power cut could leave empty or zeroed files
next to an intact card. Each function returns a fault in a few words for a sentence, such as
"labels.npy has 0 of 480,128 bytes", or "". It raises OSError only if a file may not be read.
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
"""Bytes of the header length at the start of a safetensors file."""


def find_sample_fault(folder: Path, rows: int) -> str:
    """Check the files of a sample of `rows` rows."""
    stream, parquet = folder / "rows.arrow", folder / "rows.parquet"
    if parquet.exists() and not stream.exists():
        fault = find_parquet_fault(parquet, rows)
    else:
        fault = find_stream_fault(stream, rows)
    skipped = folder / "skipped.npy"
    if not fault and skipped.exists():
        fault = find_array_fault(skipped, np.int64, None)
    return fault


def find_dataset_fault(folder: Path, rows: int) -> str:
    """Check the files of a dataset of `rows` rows; for encoded rows see `find_encoded_fault`."""
    arrays = {"parts.npy": np.int8, "order.npy": np.int64, "labels.npy": np.float32}
    faults = (find_array_fault(folder / name, dtype, (rows,)) for name, dtype in arrays.items())
    return next(filter(None, faults), "") or find_preprocessing_fault(folder / "preprocessing")


def find_encoded_fault(folder: Path, rows: int, n_dense: int = len(NUMERIC)) -> str:
    """Check `rows` encoded rows of `n_dense` floats each."""
    ids = find_array_fault(folder / "ids.npy", np.int32, (rows, len(FIELDS)))
    return ids or find_array_fault(folder / "numerics.npy", np.float32, (rows, n_dense))


def find_backbone_fault(folder: Path) -> str:
    """Check the files of a backbone, or of a run's model."""
    return find_weights_fault(folder / "model.safetensors") or find_preprocessing_fault(
        folder / "preprocessing"
    )


def find_preprocessing_fault(folder: Path) -> str:
    """Check what `core.data.preprocessing.Preprocessing.save` wrote."""
    fault = find_json_fault(folder / "preprocessing.json") or find_parquet_fault(
        folder / "vocabulary.parquet"
    )
    if fault or "statistics" not in json.loads((folder / "preprocessing.json").read_bytes()):
        return fault
    return find_parquet_fault(folder / "statistics.parquet")


def find_array_fault(path: Path, dtype: DTypeLike, shape: tuple[int, ...] | None) -> str:
    """Check a .npy file of this dtype and shape; shape None means any one-dimensional shape."""
    if fault := _check_exists(path):
        return fault
    size = path.stat().st_size
    with path.open("rb") as stream:
        try:
            read_header = (
                np.lib.format.read_array_header_1_0
                if np.lib.format.read_magic(stream) == (1, 0)
                else None
            )
            found_shape, _, found_dtype = (
                read_header(stream) if read_header else np.lib.format.read_array_header_2_0(stream)
            )
        except (ValueError, EOFError):
            return f"{path.name} has no header of an array ({size:,} bytes)"
        data_start = stream.tell()
    if found_dtype != np.dtype(dtype) or (
        found_shape != shape if shape is not None else len(found_shape) != 1
    ):
        return f"{path.name} holds {found_dtype} {found_shape}"
    return _check_size(path, size, data_start + math.prod(found_shape) * found_dtype.itemsize)


def find_stream_fault(path: Path, rows: int) -> str:
    """Check an Arrow stream of `rows` rows (see `core.data.columns.dictionary_file`)."""
    if fault := _check_exists(path):
        return fault
    n_rows = 0
    try:
        # Memory-mapped: only the position of each column is read, not its values.
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
            for batch in reader:
                n_rows += batch.num_rows
            ended = file.tell() == file.size()
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        return f"{path.name} ends after {n_rows:,} of {rows:,} rows ({path.stat().st_size:,} bytes)"
    return "" if n_rows == rows and ended else f"{path.name} holds {n_rows:,} of {rows:,} rows"


def find_parquet_fault(path: Path, rows: int | None = None) -> str:
    """Check a Parquet file, of `rows` rows if that is known."""
    if fault := _check_exists(path):
        return fault
    size = path.stat().st_size
    with path.open("rb") as stream:
        ends = [stream.read(len(_PARQUET_MAGIC))]
        stream.seek(max(0, size - len(_PARQUET_MAGIC)))
        ends.append(stream.read())
    if ends != [_PARQUET_MAGIC, _PARQUET_MAGIC]:
        return f"{path.name} is not a Parquet file ({size:,} bytes)"
    try:
        n_rows = pq.read_metadata(path).num_rows
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        # Arrow's own errors may be an OSError, but without an errno.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        return f"{path.name} has a damaged footer ({size:,} bytes)"
    return "" if rows in (None, n_rows) else f"{path.name} holds {n_rows:,} of {rows:,} rows"


def find_weights_fault(path: Path) -> str:
    """Check a safetensors file."""
    if fault := _check_exists(path):
        return fault
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        text = stream.read(length) if length <= size else b""
    try:
        tensors: dict[str, Any] = json.loads(text)
        ends = [
            tensor["data_offsets"][1] for name, tensor in tensors.items() if name != "__metadata__"
        ]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return f"{path.name} has no header of weights ({size:,} bytes)"
    return _check_size(path, size, _LENGTH_BYTES + length + max(ends, default=0))


def find_json_fault(path: Path) -> str:
    """Check a JSON file."""
    if fault := _check_exists(path):
        return fault
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return f"{path.name} is not JSON ({path.stat().st_size:,} bytes)"
    return ""


def _check_exists(path: Path) -> str:
    return "" if path.exists() else f"{path.name} is missing"


def _check_size(path: Path, size: int, expected: int) -> str:
    return "" if size == expected else f"{path.name} has {size:,} of {expected:,} bytes"
