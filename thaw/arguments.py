"""Check the arguments of a method against its type hints, so that a wrong one is BadInput."""

import difflib
import functools
import inspect
import numbers
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from core.errors import BadInput

P = ParamSpec("P")
R = TypeVar("R")
SHOWN_LENGTH = 80
"""Characters of a wrong value that a message shows."""
_WORDS = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
    bool: ("True or False", "True or False"),
    Path: ("a path", "paths"),
    types.NoneType: ("None", "None"),
}
_SIMPLE = (str, bytes, bool, numbers.Number, list, tuple, set, dict, range, types.NoneType)


def checked(method: Callable[P, R]) -> Callable[P, R]:
    """Check every call's arguments: BadInput for a wrong type, TypeError for an unknown option.

    An option, one of the keywords that a TypedDict describes, may be None, which leaves it out.
    """
    signature = inspect.signature(method)

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:
            # Python's own message has the name of the method.
            return method(*args, **kwargs)
        hints = _hints(method)
        for name, value in given.items():
            kind = signature.parameters[name].kind
            hint = hints.get(name, Any)
            if kind is inspect.Parameter.VAR_KEYWORD:
                (options,) = get_args(hint)
                check_names(method.__name__, value, options)
                types_of_options = _hints(options)
                for option, one in value.items():
                    if one is not None:
                        check_type(option, one, types_of_options[option])
            elif kind is inspect.Parameter.VAR_POSITIONAL:
                for one in value:
                    check_type(name, one, hint)
            else:
                check_type(name, value, hint)
        return method(*args, **kwargs)

    return call


def check_names(method: str, given: Iterable[str], known: type) -> None:
    """Raise TypeError for a keyword that a method does not take.

    The message names the most similar one.
    """
    names = known.__annotations__.keys()
    for name in given:
        if name not in names:
            similar = difflib.get_close_matches({"learning_rate": "lr"}.get(name, name), names, 1)
            hint = f"did you mean {similar[0]!r}?" if similar else f"it takes {', '.join(names)}."
            raise TypeError(f"{method}() takes no option {name!r}; {hint}")


def check_type(name: str, value: Any, hint: Any) -> None:
    """Raise BadInput unless `value` is what the type hint of the argument `name` says.

    NumPy's and pandas' numbers and arrays count as Python's numbers and lists.

    >>> check_type("depths", 2, Sequence[int] | Literal["all"])
    Traceback (most recent call last):
    core.errors.BadInput: depths is 2; it must be a list of whole numbers or 'all'.
    """
    if not _fits(value, hint):
        such = f", such as [{value!r}]" * (isinstance(value, str) and _fits([value], hint))
        raise BadInput(f"{name} is {_shown(value)}; it must be {_words(hint)}{such}.")


@functools.cache
def _hints(described: Any) -> dict[str, Any]:
    return get_type_hints(described)


def _fits(value: Any, hint: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in args)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in args)
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    if origin is not None and issubclass(origin, Sequence):
        items = value.tolist() if hasattr(value, "tolist") else value
        whole = isinstance(items, Collection) and not isinstance(items, str | bytes | Mapping)
        return whole and all(_fits(one, args[0]) for one in items)
    if hint is bool:
        return isinstance(value, bool | np.bool_)
    if hint in (int, float):
        number = numbers.Integral if hint is int else numbers.Real
        return isinstance(value, number) and not isinstance(value, bool)
    return isinstance(value, origin or hint)


def _shown(value: Any) -> str:
    if isinstance(value, _SIMPLE):
        text = repr(value)
        return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}…"
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _words(hint: Any, several: bool = False) -> str:
    """What `hint` asks for, in words; with `several` as what a list holds."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        parts = [one for one in args if one is not types.NoneType]
        if Path in parts:
            # A path may be text.
            parts = [one for one in parts if one is not str]
        named = any(getattr(one, "__module__", "").startswith("thaw.") for one in parts)
        words = [
            "its name" if one is str and named and not several else _words(one, several)
            for one in parts
        ]
        return _either(words)
    if origin is Literal:
        return _either([*map(repr, args)])
    if origin is not None and issubclass(origin, Mapping):
        return "dicts" if several else "a dict"
    if origin is not None and issubclass(origin, Sequence):
        return f"{'lists' if several else 'a list'} of {_words(args[0], several=True)}"
    if hint is Any:
        return "values"
    if hint in _WORDS:
        return _WORDS[hint][several]
    return f"{hint.__name__}s" if several else f"a {hint.__name__}"


def _either(words: Sequence[str]) -> str:
    """One of `words`: "a", "a or b", "a, b or c"."""
    *first, last = ", ".join(words).replace(" or ", ", ").split(", ")
    return f"{', '.join(first)} or {last}" if first else last
