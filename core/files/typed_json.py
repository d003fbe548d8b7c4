"""Dataclasses as JSON and back, each value checked against its declared type.

`check_types` checks what a caller gives to the constructor, so that nothing is stored that could
not be read again.

What comes from a process that has read an untrusted file is accepted only exactly as declared. What
the workspace holds may have fields that a newer Thaw wrote, and lack fields with defaults.
"""

import dataclasses
import threading
import types
from collections.abc import Callable, Mapping, Set
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from core.errors import BadInput

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Return dataclasses as objects and tuples as lists; everything else as it is."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: to_json(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json(one) for one in value]
    return value


def from_json(kind: type[T], value: Any, exact: bool = True) -> T:
    """Return what `to_json` made of a value of type `kind`.

    A class with a method `from_stored` reads its own values.

    Args:
        kind: a dataclass, tuple, list, mapping, union or simple type.
        value: parsed JSON.
        exact: whether an object must have exactly the fields of its dataclass. If not, unknown
            fields are ignored, fields with a default may be missing, and folders (of the type Path)
            are not stored.

    Raises:
        ValueError: `value` cannot be one; the message names the field.

    >>> from_json(tuple[str, ...], ["a", "b"])
    ('a', 'b')
    """
    # mypy does not take a type for hashable.
    read = _reader(cast(Any, kind), exact)
    before, _reading.active = _reading.active, True
    try:
        found: T = read(value, "")
    finally:
        _reading.active = before
    return found


def check_types(instance: Any) -> None:
    """Check the fields of a frozen dataclass against their types, as its ``__post_init__`` does.

    A NumPy scalar or array becomes Python's own, and a list a tuple where that is declared. A float
    is no whole number, not even 256.0, and neither is True.

    Raises:
        BadInput: a field has another type; the message names it, its value and what it must be.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Settings:
    ...     batch_size: int
    ...     def __post_init__(self):
    ...         check_types(self)
    >>> Settings(256.0)
    Traceback (most recent call last):
    core.errors.BadInput: batch size is 256.0; it must be a whole number (int).
    """
    if _reading.active:
        return
    for name, accepted, read, expected in _field_checks(cast(Any, type(instance))):
        value = getattr(instance, name)
        if type(value) in accepted:
            continue
        try:
            found = read(to_builtin(value), name)
        except ValueError as error:
            raise BadInput(
                f"{name.replace('_', ' ')} is {_shorten(repr(value))}; it must be {expected}."
            ) from error
        if found is not value:
            object.__setattr__(instance, name, found)


class _Reading(threading.local):
    """Whether this thread is inside `from_json`, which has checked every field itself."""

    active = False


_reading = _Reading()


def require_whole_number(value: Any, what: str, low: int) -> int:
    """Return `value` as an int; BadInput where it is none or below `low`.

    >>> require_whole_number(1.5, "minimum count", 1)
    Traceback (most recent call last):
    core.errors.BadInput: minimum count is 1.5; it must be a whole number of 1 or more.
    """
    found = to_builtin(value)
    if type(found) is not int or found < low:
        raise BadInput(
            f"{what} is {_shorten(repr(value))}; it must be a whole number of {low} or more."
        )
    return found


def to_builtin(value: Any) -> Any:
    """Return `value` as Python's own number, list or text, where NumPy or pandas made it.

    JSON knows no NumPy numbers.

    >>> import numpy as np
    >>> to_builtin(np.float64(0.5)), to_builtin(np.arange(2))
    (0.5, [0, 1])
    """
    if hasattr(value, "tolist"):
        return value.tolist()
    return (
        [to_builtin(one) for one in value]
        if isinstance(value, list | tuple | range | Set)
        else value
    )


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"


def describe_json_type(value: object) -> str:
    """Return what a JSON value is, in words."""
    kinds: dict[type, str] = {
        list: "a list",
        str: "text",
        bool: "true or false",
        type(None): "null",
        dict: "an object",
    }
    return kinds.get(type(value), "a number")


# What turns a parsed value into a field's; `where` is the path of field names, "" for the whole.
_Read = Callable[[Any, str], Any]
_SIMPLE: dict[Any, frozenset[type]] = {
    float: frozenset((float, int)),
    int: frozenset((int,)),
    str: frozenset((str,)),
    bool: frozenset((bool,)),
    type(None): frozenset((type(None),)),
}
"""Types of parsed JSON that a simple type accepts."""


_NAMES: dict[Any, str] = {
    float: "a number (float)",
    int: "a whole number (int)",
    str: "text (str)",
    bool: "True or False (bool)",
    type(None): "None",
}
"""Simple types as a message says them."""


@cache
def _field_checks(cls: type) -> tuple[tuple[str, frozenset[type], _Read, str], ...]:
    """Return (name, types that need no look, reader, type in words) of every field."""
    hints = get_type_hints(cls)
    return tuple(
        (
            one.name,
            _accepted(hints[one.name]),
            _reader(hints[one.name], False),
            _describe_kind(hints[one.name]),
        )
        for one in dataclasses.fields(cls)
    )


def _accepted(kind: Any) -> frozenset[type]:
    """Return the types whose every value is of type `kind`."""
    if get_origin(kind) in (types.UnionType, Union):
        return frozenset().union(*(_accepted(one) for one in get_args(kind)))
    if get_origin(kind) is dict and get_args(kind)[1] is Any:
        return frozenset((dict,))
    if dataclasses.is_dataclass(kind):
        return frozenset((cast(type, kind),))
    return _SIMPLE.get(kind, frozenset())


def _describe_kind(kind: Any) -> str:
    """Return what a value must be.

    >>> _describe_kind(tuple[int, ...]), _describe_kind(float | None)
    ('a list, each entry a whole number (int)', 'a number (float) or None')
    """
    origin, of = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        return " or ".join(map(_describe_kind, of))
    if origin in (tuple, list):
        return f"a list, each entry {_describe_kind(of[0])}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a dict"
    return _NAMES.get(kind) or f"of the type {getattr(kind, '__name__', kind)}"


@cache
def _reader(kind: Any, exact: bool) -> _Read:
    """Return the function that reads values of type `kind`.

    Made once per type: type hints are taken apart once, and not for every one of thousands of runs.
    """
    origin, of = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda value, where: value
    if origin in (types.UnionType, Union):
        return _union_reader(kind, of, exact)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _dataclass_reader(kind, exact)
    if parse := getattr(kind, "from_stored", None):
        return lambda value, where: parse(value)
    if origin in (tuple, list):
        return _sequence_reader(kind, origin, of, exact)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_reader(kind, of[1], exact)
    return _simple_reader(kind, _SIMPLE[kind], kind.__name__)


def _simple_reader(kind: Any, accepted: frozenset[type], name: str) -> _Read:
    def read(value: Any, where: str) -> Any:
        if type(value) not in accepted:
            raise _wrong_type(kind, value, where, name)
        return value

    return read


def _union_reader(kind: Any, kinds: tuple[Any, ...], exact: bool) -> _Read:
    if all(one in _SIMPLE for one in kinds):
        name = next(one.__name__ for one in reversed(kinds) if one is not type(None))
        return _simple_reader(kind, frozenset().union(*(_SIMPLE[one] for one in kinds)), name)
    optional = type(None) in kinds
    *others, last = (_reader(one, exact) for one in kinds if one is not type(None))

    def read(value: Any, where: str) -> Any:
        if value is None and optional:
            return None
        for other in others:
            try:
                return other(value, where)
            except ValueError:
                continue
        return last(value, where)

    return read


def _sequence_reader(kind: Any, origin: Any, of: tuple[Any, ...], exact: bool) -> _Read:
    readers = [_reader(one, exact) for one in of if one is not Ellipsis]
    length = len(of) if origin is tuple and of[-1] is not Ellipsis else None

    def read(value: Any, where: str) -> Any:
        if not isinstance(value, list | tuple):
            raise _wrong_type(kind, value, where, "a list")
        if length is not None and len(value) != length:
            raise _wrong_type(kind, value, where, f"one of {length} entries")
        entries = readers if length is not None else readers * len(value)
        return origin(one(item, where) for one, item in zip(entries, value, strict=True))

    return read


def _mapping_reader(kind: Any, of: Any, exact: bool) -> _Read:
    read_value = _reader(of, exact)

    def read(value: Any, where: str) -> Any:
        if not isinstance(value, Mapping):
            raise _wrong_type(kind, value, where, "an object")
        return {
            key: read_value(item, f"{where}.{key}" if where else "") for key, item in value.items()
        }

    return read


def _dataclass_reader(cls: type, exact: bool) -> _Read:
    hints = get_type_hints(cls)
    fields = [
        (
            one.name,
            _reader(hints[one.name], exact),
            one.default is not dataclasses.MISSING
            or one.default_factory is not dataclasses.MISSING,
        )
        for one in dataclasses.fields(cls)
        if exact or hints[one.name] is not Path
    ]
    names = {name for name, _, _ in fields}

    def read(value: Any, where: str) -> Any:
        if type(value) is cls:
            return value
        if not isinstance(value, Mapping):
            raise _wrong_type(cls, value, where, "an object")
        if exact and set(value) != names:
            raise ValueError(f"{str(value)[:60]!r} is not a {cls.__name__}")
        given = {}
        for name, read_field, optional in fields:
            path = f"{where}.{name}" if where else name
            if name in value:
                given[name] = read_field(value[name], path)
            elif not optional:
                raise ValueError(f"it lacks {path!r}")
        return cls(**given)

    return read


def _wrong_type(kind: Any, value: Any, where: str, wanted: str) -> ValueError:
    if not where:
        return ValueError(f"{str(value)[:60]!r} is not of the type {kind}")
    shown = "" if isinstance(value, Mapping | list | tuple) else f" ({str(value)[:40]!r})"
    return ValueError(f"its {where} is {describe_json_type(value)}{shown} where {wanted} belongs")
