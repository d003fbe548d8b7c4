"""Dataclasses as JSON and back, each value checked against its declared type: what comes from a process that has read
a stranger's file is not believed any further than that."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Dataclasses as objects, tuples as lists; everything else as it is."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: to_json(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json(one) for one in value]
    return value


def from_json(kind: type[T], value: Any) -> T:
    """What `to_json` made of a value of type `kind`; ValueError where it cannot have been one.

    >>> from_json(tuple[str, ...], ["a", "b"])
    ('a', 'b')
    """
    found: T = _build(kind, value)
    return found


def _build(kind: Any, value: Any) -> Any:
    origin, of = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _build_union(of, value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _build_dataclass(kind, value)
    if origin in (tuple, list) and isinstance(value, list):
        if origin is list:
            return [_build(of[0], one) for one in value]
        if len(of) == 2 and of[1] is Ellipsis:
            return tuple(_build(of[0], one) for one in value)
        if len(of) == len(value):
            return tuple(_build(one, cell) for one, cell in zip(of, value, strict=True))
    elif origin in (dict, Mapping) and isinstance(value, dict):
        return {key: _build(of[1], one) for key, one in value.items()}
    elif kind is float and type(value) in (int, float):
        return float(value)
    elif kind in (str, int, bool, type(None)) and type(value) is kind:
        return value
    raise ValueError(f"{str(value)[:60]!r} is not of the type {kind}")


def _build_union(kinds: tuple[Any, ...], value: Any) -> Any:
    for kind in kinds:
        try:
            return _build(kind, value)
        except ValueError:
            continue
    raise ValueError(f"{str(value)[:60]!r} is of none of the types {kinds}")


def _build_dataclass(kind: Any, value: Any) -> Any:
    hints = get_type_hints(kind)
    if not isinstance(value, dict) or set(value) != {one.name for one in dataclasses.fields(kind)}:
        raise ValueError(f"{str(value)[:60]!r} is no {kind.__name__}")
    return kind(**{name: _build(hints[name], one) for name, one in value.items()})
