"""Finding the one thing that a name or id stands for, where a wrong guess could not be undone."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from core.errors import BadInput, Damaged
from core.workspace import check_name


class Named(Protocol):
    """A sample, dataset, backbone or sweep."""

    @property
    def id(self) -> str:
        """What folders and addresses call it; never changes."""

    @property
    def name(self) -> str:
        """What a user calls it."""


Item = TypeVar("Item", bound=Named)


def found_among(whole: Sequence[Item], broken: Sequence[Damaged], name_or_id: str, what: str) -> Item:
    """The item of that id, else the first of that name; what="sample" is the kind.

    `Damaged` where the folder of that id is damaged, or an unreadable one may be what is meant; else BadInput lists the
    names there are.
    """
    for field in ("id", "name"):
        for item in whole:
            if getattr(item, field) == name_or_id:
                return item
    for error in broken:
        if error.path.parent.name == name_or_id:
            raise error
    names = sorted({item.name for item in whole})
    also = f" {broken[0]}" if broken else ""
    raise BadInput(f"There is no {what} {name_or_id[:80]!r}; the {what}s here are {names}.{also}")


def only_one(items: Sequence[Item], name_or_id: str, what: str) -> Item:
    """The item of that id, else the only one of that name.

    BadInput where no item has it, naming those there are, and where several have that name, with their ids. what: the
    kind of item, such as "sample".
    """
    for item in items:
        if item.id == name_or_id:
            return item
    found = [item for item in items if item.name == name_or_id]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(item.id for item in found)
        raise BadInput(f"There are {len(found)} {what}s named {name_or_id[:80]!r}: {ids}. Name one by its id.")
    names = sorted({item.name for item in items})
    raise BadInput(f"There is no {what} {name_or_id[:80]!r}; the {what}s here are {names}.")


def free_name(items: Sequence[Item], own: Item, name: str, what: str) -> str:
    """`name` as `own` may be called from now on; BadInput where it cannot be a name or another item has it."""
    cleaned = check_name(name, what)
    if any(item.name == cleaned and item.id != own.id for item in items):
        raise BadInput(f"There is already a {what} named {cleaned!r}; choose another name.")
    return cleaned
