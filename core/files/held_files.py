"""Files that are still needed, marked by a lock on the file.

An upload, for example, is needed while its browser tab lives.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from core.files.leftovers import LOCKS_UNSUPPORTED, is_legacy_leftover


class HeldFile:
    """A file that no other process removes as a leftover while this object lives.

    This holds even if the file is renamed.
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
    """Remove the files that versions up to 0.10.0 left behind and that are certainly unused.

    Those versions held no locks.
    """
    for path in paths:
        if is_legacy_leftover(path):
            path.unlink(missing_ok=True)
