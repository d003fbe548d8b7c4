"""Which workspace a worker has: the folder and files that lay at its path when it began, by device
and inode."""

import errno
import os
from pathlib import Path

from core.errors import RunError
from core.workspace import Workspace

# Opened so, a file cannot give its inode to another, and closing it does not take SQLite's locks on
# it away.
_PIN_FLAG = getattr(os, "O_PATH", None)


class WorkspaceReplaced(RunError):
    """Another workspace lies where the one of this process lay."""


class WorkspaceIdentity:
    """The workspace at a path, as it was when this was made; Replaced where there is none."""

    def __init__(self, workspace: Workspace) -> None:
        self._root = workspace.root
        self._pins: list[int] = []
        self._known: dict[Path, tuple[int, int]] = {}
        self.add(workspace.root)
        if workspace.runs.exists():
            self.add(workspace.runs)
        # Where no run was ever queued, there is no store yet.
        self.has_store(workspace)

    def add(self, path: Path) -> None:
        """Counts the file or folder at `path`, such as a lock that this process holds, among what
        the workspace is known by; Replaced where there is none."""
        try:
            if _PIN_FLAG is not None:
                self._pins.append(os.open(path, _PIN_FLAG | os.O_CLOEXEC))
            found = path.stat()
        except FileNotFoundError:
            raise WorkspaceReplaced(self.message) from None
        self._known[path] = found.st_dev, found.st_ino

    def has_store(self, workspace: Workspace) -> bool:
        """Whether there is a store; one that has just been made belongs to this workspace."""
        if workspace.database not in self._known and workspace.database.exists():
            self.add(workspace.database)
        return workspace.database in self._known

    def is_replaced(self, ignoring: Path | None = None) -> bool:
        """Whether something else, or nothing, lies at one of the paths now; but_for: one that does
        not count."""
        return any(_differs(path, known) for path, known in self._known.items() if path != ignoring)

    def check(self) -> None:
        """Raises Replaced where `is_replaced`."""
        if self.is_replaced():
            raise WorkspaceReplaced(self.message)

    @property
    def message(self) -> str:
        """What Replaced says."""
        return (
            f"The workspace {str(self._root)!r} was moved away, removed or replaced; this process"
            " leaves it, and what is there now, as they are."
        )

    def __enter__(self) -> "WorkspaceIdentity":
        return self

    def __exit__(self, *_: object) -> None:
        while self._pins:
            os.close(self._pins.pop())


def _differs(path: Path, known: tuple[int, int]) -> bool:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError as error:
        # The server has forgotten that file; a disk that does not answer now may do so again.
        return error.errno == errno.ESTALE
    return (found.st_dev, found.st_ino) != known
