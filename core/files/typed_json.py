"""Dataclasses as JSON and back, each value checked against its declared type.

What comes from a process that has read an untrusted file is accepted only exactly as declared. What
the workspace holds may have fields that a newer Thaw wrote, and lack fields with defaults.
"""

import dataclasses
import types
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

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
    found: T = _reader(cast(Any, kind), exact)(value, "")
    return found


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
