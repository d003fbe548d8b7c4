"""Whether the workspace at a path is still the one that was there, by device and inode."""

import errno
import os
from pathlib import Path

from core.errors import RunError
from core.workspace import Workspace

# While a file is open its inode is not given to another file. With O_PATH, closing it does not
# release the locks that SQLite has on it, as closing an ordinary descriptor would.
_PIN_FLAG = getattr(os, "O_PATH", None)


class WorkspaceReplaced(RunError):
    """Another workspace is in the place of the one of this process."""


class WorkspaceIdentity:
    """Folder and files of the workspace at a path, as they are now.

    Raises:
        WorkspaceReplaced: there is none.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._root = workspace.root
        self._pins: list[int] = []
        self._known: dict[Path, tuple[int, int]] = {}
        self.add(workspace.root)
        if workspace.runs.exists():
            self.add(workspace.runs)
        # There is no store yet where no run was ever queued.
        self.has_store(workspace)

    def add(self, path: Path) -> None:
        """Add a file or folder to those that identify the workspace.

        An example is a lock that this process holds.

        Raises:
            WorkspaceReplaced: there is none at `path`.
        """
        try:
            if _PIN_FLAG is not None:
                self._pins.append(os.open(path, _PIN_FLAG | os.O_CLOEXEC))
            found = path.stat()
        except FileNotFoundError:
            raise WorkspaceReplaced(self.message) from None
        self._known[path] = found.st_dev, found.st_ino

    def has_store(self, workspace: Workspace) -> bool:
        """Return whether there is a store; one that is new belongs to this workspace."""
        if workspace.database not in self._known and workspace.database.exists():
            self.add(workspace.database)
        return workspace.database in self._known

    def is_replaced(self, ignoring: Path | None = None) -> bool:
        """Return whether something else, or nothing, is at one of the known paths now.

        The path `ignoring` is not checked.
        """
        return any(_differs(path, known) for path, known in self._known.items() if path != ignoring)

    def check(self) -> None:
        """Raise WorkspaceReplaced where `is_replaced`."""
        if self.is_replaced():
            raise WorkspaceReplaced(self.message)

    @property
    def message(self) -> str:
        """The message of WorkspaceReplaced."""
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
        # ESTALE: the server has no such file any more. Other errors may be temporary.
        return error.errno == errno.ESTALE
    return (found.st_dev, found.st_ino) != known
