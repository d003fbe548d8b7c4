"""Read the workspace's own files: what is damaged is named, with what to do, and the rest is read.

A file may be truncated, emptied, replaced by a folder, or written by a newer Thaw or by hand. Each
reader here returns the whole content or raises Damaged. Fields that this version does not know are
ignored.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from core.errors import BadInput, Damaged
from core.files.typed_json import describe_json_type, from_json
from core.workspace import parse_json

MAX_JSON_BYTES = 64 * 2**20
"""Largest JSON file that is read, in bytes; none of ours comes near."""
_PROCESS_LIMIT_ERRNOS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors that say something about this process and nothing about the file."""

T = TypeVar("T")


def damaged_file_error(path: Path, why: object, advice: str) -> Damaged:
    """Return the error for a damaged file.

    Args:
        path: the file, which the message names.
        why: what is wrong, as part of a sentence.
        advice: what to do, as part of a sentence.
    """
    reason = " ".join(str(why).split())[:300].rstrip(".")
    error = Damaged(f"The file {str(path)!r} is damaged: {reason}; {advice}.")
    error.path = path
    return error


def check_regular_file(path: Path) -> None:
    """Check that there is a regular file that is not empty.

    A pipe or device is not opened: reading it could block for ever.

    Raises:
        ValueError: there is none; the message is part of a sentence.
    """
    try:
        found = path.stat()
    except OSError as error:
        if error.errno in _PROCESS_LIMIT_ERRNOS:
            raise
        raise ValueError(_describe_os_error(path, error)) from error
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(
            "a folder is in its place"
            if stat.S_ISDIR(found.st_mode)
            else "it is not a regular file"
        )
    if not found.st_size:
        raise ValueError("it is empty")


def check_files_intact(
    folder: Path, files: Iterable[str], find_fault: Callable[[], str], advice: str
) -> None:
    """Check that all files of a folder are there and whole.

    Args:
        folder: where they are.
        files: their names.
        find_fault: returns what is wrong with them, beginning with a file's name, or "". It is
            called again only when one of the files has changed.
        advice: see `damaged_file_error`.

    Raises:
        Damaged: a file is missing or `find_fault` found something.
    """
    seen = []
    for name in files:
        path = folder / name
        try:
            check_regular_file(path)
        except ValueError as error:
            raise damaged_file_error(path, error, advice) from error
        found = path.stat()
        seen.append((name, found.st_mtime_ns, found.st_size, found.st_ino))
    key = str(folder)
    if key not in _fault_cache or _fault_cache[key][0] != seen:
        if len(_fault_cache) >= _MAX_CACHED_FAULTS:
            _fault_cache.clear()
        try:
            _fault_cache[key] = seen, find_fault()
        except OSError as error:
            if error.errno in _PROCESS_LIMIT_ERRNOS:
                raise
            raise damaged_file_error(
                Path(error.filename or folder), _describe_os_error(folder, error), advice
            ) from error
    if fault := _fault_cache[key][1]:
        name = next((name for name in files if Path(name).name == fault.split()[0]), "")
        raise damaged_file_error(
            folder / name,
            f"it {fault.removeprefix(Path(name).name).strip()}" if name else fault,
            advice,
        )


_fault_cache: dict[str, tuple[list[tuple[str, int, int, int]], str]] = {}
"""By folder: state of its files, and what was wrong with them in that state."""
_MAX_CACHED_FAULTS = 4096


def read_stored_json(path: Path, advice: str) -> dict[str, Any]:
    """Return the JSON object stored at `path`; Damaged where there is none."""
    try:
        check_regular_file(path)
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"it has more than the {MAX_JSON_BYTES:,} bytes that are read")
        values = parse_json(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise damaged_file_error(path, "it is not text in UTF-8", advice) from error
    except OSError as error:
        if error.errno in _PROCESS_LIMIT_ERRNOS:
            raise
        raise damaged_file_error(path, _describe_os_error(path, error), advice) from error
    except (ValueError, RecursionError) as error:
        raise damaged_file_error(path, _describe_json_error(error), advice) from error
    if not isinstance(values, dict):
        raise damaged_file_error(
            path, f"it holds {describe_json_type(values)} where an object belongs", advice
        )
    return values


def read_array(
    path: Path,
    advice: str,
    shape: tuple[int, ...],
    kinds: str,
    mmap_mode: Literal["r"] | None = None,
) -> np.ndarray:
    """Return the array stored at `path`.

    Args:
        path: an .npy file.
        advice: see `damaged_file_error`.
        shape: that it must have.
        kinds: NumPy kinds of which it must have one, such as "if" for integer or float.
        mmap_mode: as in `np.load`.

    Raises:
        Damaged: there is no such array.
    """
    try:
        check_regular_file(path)
        array = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it holds no array")
        if array.shape != shape or array.dtype.kind not in kinds:
            raise ValueError(
                f"it holds {array.dtype} of shape {array.shape} where shape {shape} belongs"
            )
    except OSError as error:
        if error.errno in _PROCESS_LIMIT_ERRNOS:
            raise
        raise damaged_file_error(path, _describe_os_error(path, error), advice) from error
    except MemoryError:
        raise
    except Exception as error:
        # A header that was changed can lead NumPy to any error there is.
        raise damaged_file_error(path, error or type(error).__name__, advice) from error
    return array


class StoredArrays(dict[str, np.ndarray]):
    """The arrays of a file by name; asking for one that it lacks raises `Damaged`."""

    def __init__(self, path: Path, advice: str, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__(arrays)
        self._path, self._advice = path, advice

    def __missing__(self, name: str) -> np.ndarray:
        raise damaged_file_error(self._path, f"it lacks {name!r}", self._advice)


def read_arrays(path: Path, advice: str, names: Sequence[str] = ()) -> StoredArrays:
    """Return the arrays stored at `path` with numpy.savez.

    They hold numbers or text; nothing is unpickled.

    Args:
        path: the file.
        advice: what the message says to do if it is damaged.
        names: of the arrays to read, as far as they are there; all if empty.

    Raises:
        Damaged: there is no such file, or it is damaged.
    """
    try:
        check_regular_file(path)
        with np.load(path, allow_pickle=False) as file:
            if isinstance(file, np.ndarray):
                raise ValueError("it holds one array where several belong")
            arrays = {name: file[name] for name in file.files if not names or name in names}
    except MemoryError:
        raise
    except OSError as error:
        if error.errno in _PROCESS_LIMIT_ERRNOS:
            raise
        raise damaged_file_error(path, _describe_os_error(path, error), advice) from error
    except Exception as error:
        # A damaged archive can lead zipfile, zlib and NumPy to any error there is.
        raise damaged_file_error(path, error or type(error).__name__, advice) from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise damaged_file_error(path, f"{name!r} is not an array", advice)
    return StoredArrays(path, advice, arrays)


def parse_stored(cls: type[T], values: Mapping[str, Any]) -> T:
    """Return the dataclass that `dataclasses.asdict` and JSON made `values` from.

    Fields that the class does not have are ignored: a newer Thaw wrote them.

    Raises:
        ValueError: a field is missing or has another type; the message names it.
    """
    return from_json(cls, values, exact=False)


def check_timestamp(value: str, field: str) -> None:
    """Raise ValueError unless `value` is an ISO time."""
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"its {field} is {value[:40]!r}, which is not a time") from None


def load_stored(path: Path, advice: str, parse: Callable[[dict[str, Any]], T]) -> T:
    """Return what `parse` makes of the JSON object stored at `path`; Damaged where it raises."""
    values = read_stored_json(path, advice)
    try:
        return parse(values)
    except Damaged:
        raise
    except (BadInput, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        why = f"it lacks {error.args[0]!r}" if isinstance(error, KeyError) and error.args else error
        raise damaged_file_error(path, why, advice) from error


def read_entries(
    root: Path, file: str, load: Callable[[Path], T], prefix: str = "", prefix_only: bool = False
) -> tuple[list[T], list[Damaged]]:
    """Read the folders in `root` that a file of that name describes.

    Args:
        root: folder of all entries.
        file: name of the file.
        load: reads one folder.
        prefix: what is named so is an entry even without the file.
        prefix_only: whether nothing else is one.

    Returns:
        What could be read, and what is damaged.
    """
    whole, broken = [], []
    for folder in root.iterdir() if root.is_dir() else ():
        if folder.name.startswith("."):
            continue
        if not (prefix and folder.name.startswith(prefix)) and (
            prefix_only or not os.path.lexists(folder / file)
        ):
            continue
        try:
            whole.append(load(folder))
        except Damaged as error:
            # Another process may have deleted it meanwhile.
            if os.path.lexists(folder):
                broken.append(error)
    return whole, broken


def _describe_os_error(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "it is a link to nothing" if path.is_symlink() else "it is missing"
    return f"it cannot be read ({error.strerror or error})"


def _describe_json_error(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    # Those of json say where; ours are sentences already.
    return f"it is not complete JSON ({error})" if hasattr(error, "lineno") else str(error)
