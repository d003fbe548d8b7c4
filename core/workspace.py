"""The workspace: the one folder with a user's samples, datasets, backbones, runs and caches."""

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.error_kinds import DISK_FULL
from core.errors import BadInput
from core.files.durable import make_folder, write_file
from core.files.leftovers import remove_leftovers_below, remove_leftovers_in
from core.files.permissions import restrict_permissions
from core.files.write_guard import check_write
from core.program import PROJECT, default_workspace
from core.read_only import is_read_only

BUNDLED_BACKBONES = PROJECT / "assets" / "backbones"

HASH_BLOCK_BYTES = 2**20
_NAME = re.compile(r"[^\W_][\w .,()+%=-]{0,63}")


@dataclass(frozen=True)
class Workspace:
    """The folders of a workspace, all below `root`.

    Every entry has a folder named by its id, never by the name a user gave it.
    """

    root: Path

    @property
    def samples(self) -> Path:
        return self.root / "samples"

    @property
    def datasets(self) -> Path:
        return self.root / "datasets"

    @property
    def backbones(self) -> Path:
        return self.root / "backbones"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def uploads(self) -> Path:
        return self.root / "uploads"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def database(self) -> Path:
        return self.root / "thaw.sqlite"


def workspace_root(root: str | Path | None = None) -> Path:
    """Return `root`, else $THAW_HOME, else the default folder (core.program.default_workspace).

    Raises:
        BadInput: it cannot be a folder.
    """
    given = Path(root or os.environ.get("THAW_HOME") or default_workspace())
    try:
        path = given.expanduser().resolve()
        # Arrow accepts only paths in UTF-8.
        str(path).encode()
    except (OSError, RuntimeError, ValueError) as error:
        why = "its name is not UTF-8" if isinstance(error, UnicodeEncodeError) else str(error)
        raise BadInput(
            f"The workspace folder {str(given)!r} cannot be used ({why}); set THAW_HOME to a folder"
            " you may write to."
        ) from error
    return path


def open_workspace(root: str | Path | None = None) -> Workspace:
    """Return the workspace at `workspace_root(root)`, created where there is none.

    What ended processes left half-written in it is removed, and permissions that earlier versions
    gave to others are taken back.

    Raises:
        BadInput: it cannot be created.
    """
    workspace = Workspace(workspace_root(root))
    folders = [workspace.samples, workspace.datasets, workspace.backbones, workspace.runs]
    folders += [workspace.cache, workspace.uploads, workspace.logs]
    for folder in folders:
        try:
            make_folder(folder)
        except OSError as error:
            advice = (
                "free some space"
                if error.errno in DISK_FULL
                else "set THAW_HOME to a folder you may write to"
            )
            raise BadInput(
                f"The workspace folder {str(folder)!r} cannot be made ({error.strerror}); {advice}."
            ) from error
    if not is_read_only():
        for folder in (workspace.root, *folders):
            remove_leftovers_in(folder)
        restrict_permissions(workspace.root, {folder.name for folder in folders})
    return workspace


class WorkspaceMissing(BadInput):
    """The workspace's folder, or its run store, was there and is not any more."""


def require_workspace_folder(workspace: Workspace) -> None:
    """Raise WorkspaceMissing where the folder was moved or removed since it was opened.

    A page that is drawn, or a worker that looks for runs, must not create it again while one folder
    is being exchanged for another: the other would be moved into it.
    """
    if not workspace.root.is_dir():
        raise WorkspaceMissing(
            f"The workspace folder {str(workspace.root)!r} is not there any more. Put it back, or"
            " start Thaw anew to begin with an empty one."
        )


def check_name(name: str, kind: str) -> str:
    """Return `name` stripped.

    Args:
        name: 1 to 64 characters that begin with a letter or digit, without slashes.
        kind: of what it names, for the message.

    Raises:
        BadInput: it cannot be used.
    """
    cleaned = name.strip()
    if not _NAME.fullmatch(cleaned):
        raise BadInput(
            f"The {kind} name {name[:80]!r} cannot be used: take 1 to 64 letters, digits, spaces or"
            " . _ - ( ) + % = , and start with a letter or digit."
        )
    return cleaned


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path, then move that file to `path`.

    Readers see all of it or nothing, and once this returns a power cut cannot undo it. An OSError
    in writing names `path`.
    """
    check_write()
    make_folder(path.parent)
    write_file(path, write)


def remove_leftovers(workspace: Workspace) -> None:
    """Remove the unfinished files in the workspace whose process has died.

    See core.files.leftovers.
    """
    remove_leftovers_below(workspace.root)


def nan_to_none(value: Any) -> Any:
    """Return `value` with None in place of NaN and infinity, which JSON does not have.

    >>> nan_to_none({"auc": float("nan"), "rows": (1, 2)})
    {'auc': None, 'rows': [1, 2]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: nan_to_none(inner) for key, inner in value.items()}
    return [nan_to_none(inner) for inner in value] if isinstance(value, list | tuple) else value


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    NaN and infinity, which older versions wrote, are read as None.
    """
    return json.loads(text, parse_constant=lambda _: None)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity as null."""
    text = json.dumps(
        nan_to_none(value), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False
    )
    write_atomic(path, lambda part: part.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """Return the JSON value stored at `path`, see `parse_json`."""
    return parse_json(path.read_text(encoding="utf-8"))


def hash_json(value: Any) -> str:
    """Return the SHA-256 (hex) of `value` as canonical JSON: equal settings have equal hashes."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def hash_file(path: Path, should_stop: Callable[[], bool] = lambda: False) -> str:
    """Return the SHA-256 (hex) of a file's bytes, read in blocks.

    The result is "" once `should_stop` returns True.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(HASH_BLOCK_BYTES):
            if should_stop():
                return ""
            digest.update(block)
    return digest.hexdigest()
