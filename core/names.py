"""Find the one thing that a name or id stands for, and give things unique names.

Two commands at the same time could both find a name free and both take it. Whoever gives something
a name therefore holds `names_lock` from the check until it is stored.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from filelock import FileLock, Timeout

from core.errors import BadInput, Damaged, NameTaken
from core.stored import damaged_file_error, read_stored_json
from core.workspace import Workspace, check_name

NAMES_LOCK = "names.lock"
NAMES_LOCK_TIMEOUT = 30.0


class Named(Protocol):
    """A sample, dataset, backbone or sweep."""

    @property
    def id(self) -> str:
        """What folders and URLs call it; never changes."""

    @property
    def name(self) -> str:
        """What a user calls it."""


Item = TypeVar("Item", bound=Named)


def find_by_name_or_id(
    items: Sequence[Item], damaged_items: Sequence[Damaged], name_or_id: str, kind: str
) -> Item:
    """Return the item of that id, else the first of that name.

    Args:
        items: those that could be read.
        damaged_items: those that could not.
        name_or_id: what to find.
        kind: of the items, such as "sample".

    Raises:
        Damaged: the folder of that id is damaged.
        BadInput: there is no such item; the message lists the names there are.
    """
    for field in ("id", "name"):
        for item in items:
            if getattr(item, field) == name_or_id:
                return item
    for error in damaged_items:
        if error.path.parent.name == name_or_id:
            raise error
    names = sorted({item.name for item in items})
    also = f" {damaged_items[0]}" if damaged_items else ""
    raise BadInput(f"There is no {kind} {name_or_id[:80]!r}; the {kind}s here are {names}.{also}")


def find_unique(items: Sequence[Item], name_or_id: str, kind: str) -> Item:
    """Return the item of that id, else the only one of that name.

    Args:
        items: all there are.
        name_or_id: what to find.
        kind: of the items, such as "sample".

    Raises:
        BadInput: there is none, or several have that name; the message lists names or ids.
    """
    for item in items:
        if item.id == name_or_id:
            return item
    found = [item for item in items if item.name == name_or_id]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(item.id for item in found)
        raise BadInput(
            f"There are {len(found)} {kind}s named {name_or_id[:80]!r}: {ids}. Name one by its id."
        )
    names = sorted({item.name for item in items})
    raise BadInput(f"There is no {kind} {name_or_id[:80]!r}; the {kind}s here are {names}.")


@contextmanager
def names_lock(workspace: Workspace) -> Iterator[None]:
    """Hold the lock under which names are given in this workspace; keep the block short.

    Raises:
        BadInput: another process has held it for NAMES_LOCK_TIMEOUT seconds.
    """
    lock = FileLock(workspace.root / NAMES_LOCK, timeout=NAMES_LOCK_TIMEOUT, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise BadInput(
            "Another command or page has been storing something in this workspace for"
            f" {NAMES_LOCK_TIMEOUT:g} seconds, and names are given one at a time. Try again in a"
            " moment; if a command was stopped (Ctrl-Z), continue or end it."
        ) from None
    except IsADirectoryError as error:
        raise damaged_file_error(
            workspace.root / NAMES_LOCK, "it is a folder", "delete it"
        ) from error
    try:
        yield
    finally:
        lock.release()


def unused_id(folder: Path, base_id: str) -> str:
    """Return `base_id`, or it with the lowest number appended, that does not exist in `folder`.

    >>> unused_id(Path("no such folder"), "s-1")
    's-1'
    """
    number = 1
    while os.path.lexists(
        folder / (found := base_id if number == 1 else f"{base_id}-name{number}")
    ):
        number += 1
    return found


def find_damaged_id(
    root: Path, file: str, base_id: str, name: str, intact_ids: Iterable[str]
) -> str | None:
    """Return the id of the damaged entry that is repaired by creating its content again; else None.

    It is the one named `name`, else one whose name cannot be read. One of another name stays as it
    is.

    Args:
        root: folder of its kind.
        file: the description in which a name is stored.
        base_id: id of the content.
        name: name of the new entry.
        intact_ids: ids of the entries that are not damaged.
    """
    intact = {*intact_ids}
    pattern = re.compile(rf"{re.escape(base_id)}(-name\d+)?")
    unnamed = []
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if folder.name in intact or not pattern.fullmatch(folder.name):
            continue
        try:
            stored_name = read_stored_json(folder / file, "").get("name")
        except Damaged:
            stored_name = None
        if stored_name == name:
            return folder.name
        if not isinstance(stored_name, str):
            unnamed.append(folder.name)
    return unnamed[0] if unnamed else None


def validate_new_name(items: Sequence[Item], current: Item, name: str, kind: str) -> str:
    """Return `name`, cleaned, as `current` may be called from now on.

    Raises:
        BadInput: it cannot be a name.
        NameTaken: another item has it.
    """
    cleaned = check_name(name, kind)
    if any(item.name == cleaned and item.id != current.id for item in items):
        raise NameTaken(f"There is already a {kind} named {cleaned!r}; choose another name.")
    return cleaned
