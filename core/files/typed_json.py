"""Dataclasses as JSON and back, each value checked against its declared type.

What comes from a process that has read an untrusted file is accepted only exactly as declared. What
the workspace holds may have fields that a newer Thaw wrote, and lack fields with defaults.
"""

import dataclasses
import types
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

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
    found: T = _Reader(exact).read(kind, value, "")
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


@cache
def _fields(cls: type) -> tuple[tuple[str, Any, bool], ...]:
    """Return (name, type, whether it has a default) of the fields."""
    hints = get_type_hints(cls)
    return tuple(
        (
            one.name,
            hints[one.name],
            one.default is not dataclasses.MISSING
            or one.default_factory is not dataclasses.MISSING,
        )
        for one in dataclasses.fields(cls)
    )


@dataclasses.dataclass(frozen=True)
class _Reader:
    exact: bool

    def read(self, kind: Any, value: Any, where: str) -> Any:
        """Return `value` as a field of type `kind` holds it.

        Args:
            kind: see `from_json`.
            value: parsed JSON.
            where: the field names that lead to it; "" for the whole.
        """
        origin, of = get_origin(kind), get_args(kind)
        if kind is Any:
            return value
        if origin in (types.UnionType, Union):
            return self._read_union(of, value, where)
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            return self._read_fields(kind, value, where)
        if parse := getattr(kind, "from_stored", None):
            return parse(value)
        if origin in (tuple, list):
            if not isinstance(value, list | tuple):
                raise _wrong_type(kind, value, where, "a list")
            if origin is tuple and of[-1] is not Ellipsis and len(of) != len(value):
                raise _wrong_type(kind, value, where, f"one of {len(of)} entries")
            kinds = [of[0]] * len(value) if origin is list or of[-1] is Ellipsis else of
            return origin(
                self.read(one, item, where) for one, item in zip(kinds, value, strict=True)
            )
        if isinstance(origin, type) and issubclass(origin, Mapping):
            if not isinstance(value, Mapping):
                raise _wrong_type(kind, value, where, "an object")
            return {
                key: self.read(of[1], item, where and f"{where}.{key}")
                for key, item in value.items()
            }
        accepted = {float: (int, float), int: int, str: str, bool: bool}[kind]
        if not isinstance(value, accepted) or (kind is not bool and isinstance(value, bool)):  # type: ignore[arg-type]
            raise _wrong_type(kind, value, where, kind.__name__)
        return value

    def _read_union(self, kinds: tuple[Any, ...], value: Any, where: str) -> Any:
        if value is None and type(None) in kinds:
            return None
        *others, last = (one for one in kinds if one is not type(None))
        for kind in others:
            try:
                return self.read(kind, value, where)
            except ValueError:
                continue
        return self.read(last, value, where)

    def _read_fields(self, cls: type, value: Any, where: str) -> Any:
        if not isinstance(value, Mapping):
            raise _wrong_type(cls, value, where, "an object")
        fields = _fields(cls)
        if self.exact:
            if set(value) != {name for name, _, _ in fields}:
                raise ValueError(f"{str(value)[:60]!r} is no {cls.__name__}")
        else:
            fields = tuple(one for one in fields if one[1] is not Path)
        given = {}
        for name, kind, optional in fields:
            place = f"{where}.{name}" if where else name
            if name in value:
                given[name] = self.read(kind, value[name], place)
            elif not optional:
                raise ValueError(f"it lacks {place!r}")
        return cls(**given)


def _wrong_type(kind: Any, value: Any, where: str, wanted: str) -> ValueError:
    if not where:
        return ValueError(f"{str(value)[:60]!r} is not of the type {kind}")
    shown = "" if isinstance(value, Mapping | list | tuple) else f" ({str(value)[:40]!r})"
    return ValueError(f"its {where} is {describe_json_type(value)}{shown} where {wanted} belongs")
