"""Files that are still needed, such as an upload while its browser tab lives: a lock on the file
says so.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from core.files.leftovers import LOCKS_UNSUPPORTED, is_legacy_leftover


class HeldFile:
    """A file that no other process removes as a leftover while this object lives, even when it is
    renamed.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        with contextlib.suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def __del__(self) -> None:
        os.close(self._descriptor)


def remove_unheld(paths: Iterable[Path]) -> None:
    """Remove those of the files that nobody holds."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno not in LOCKS_UNSUPPORTED:
                    raise
            finally:
                os.close(descriptor)


def remove_legacy_files(paths: Iterable[Path]) -> None:
    """Remove those of the files that versions up to 0.10.0, which held no locks, cannot need any
    more.
    """
    for path in paths:
        if is_legacy_leftover(path):
            path.unlink(missing_ok=True)
