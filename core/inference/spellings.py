"""Ways in which a file may spell the values of a column differently from the training rows.

Criteo's categories are 32-bit hashes, written as 8 lower-case hexadecimal digits. Tools that
export, join or load them change that: a database prints them in upper case, pandas reads some as
numbers, a feature pipeline adds the column's name. Each spelling here is undone on values that a
model does not know; if the model knows the result, that spelling is the reason.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

_COMMON_SHARE = 0.8
"""Share of the values that must begin (or end) with a text for it to be tried as an addition."""
_MIN_REST = 4
"""Characters that must remain when an addition ends in a letter or digit."""


@dataclass(frozen=True)
class Spelling:
    """A way of writing values.

    Args:
        name: identifies it.
        file: how the file has the values, after "the file has them …".
        model: how the model has them, after "the model …".
        undo: returns a value as the model would have it; None if it is not spelled this way.
        partial: whether it may concern only some of the values, so that it is also tried if others
            are known as they are. Upper case, for example, does not change a value of digits.
    """

    name: str
    file: str
    model: str
    undo: Callable[[str], str | None]
    partial: bool = False


def all_spellings(width: int) -> tuple[Spelling, ...]:
    """Return every spelling that is tried.

    Args:
        width: the usual length of the model's values; 8 for Criteo's.
    """
    return (
        Spelling("upper_case", "in upper case", "in lower case", str.lower, partial=True),
        Spelling("lower_case", "in lower case", "in upper case", str.upper, partial=True),
        Spelling("spaces", "with spaces around them", "without", str.strip, partial=True),
        Spelling("quotes", "in quotation marks", "without", _without_quotes, partial=True),
        Spelling("hex_prefix", "with 0x before them", "without", _without_hex_prefix),
        Spelling(
            "leading_zeros",
            "without their leading zeros",
            "with them",
            lambda value: _with_zeros(value, width),
            partial=True,
        ),
        Spelling(
            "added_zeros",
            "with leading zeros",
            "without",
            lambda value: _without_zeros(value, width),
        ),
        Spelling(
            "decimal", "as decimal numbers", "in hexadecimal", lambda value: _to_hex(value, width)
        ),
        Spelling(
            "decimal", "as decimal numbers", "in hexadecimal", lambda value: _to_hex(value, 0)
        ),
        Spelling("hexadecimal", "in hexadecimal", "as decimal numbers", _to_decimal),
        Spelling("hexadecimal", "in hexadecimal", "as signed decimal numbers", _to_signed),
        Spelling(
            "fraction",
            "as numbers with a decimal point",
            "without it",
            _without_fraction,
            partial=True,
        ),
    )


def candidate_spellings(values: Sequence[str], width: int) -> Iterator[Spelling]:
    """Yield what to try on unknown values, simplest first: single spellings, then pairs of them.

    Args:
        values: unknown values, the most frequent one first.
        width: the usual length of the model's values.
    """
    single = (*all_spellings(width), *_affixes(values))
    yield from single
    for outer in single:
        for inner in all_spellings(width):
            if inner.name != outer.name:
                yield _combine(outer, inner)


def _combine(outer: Spelling, inner: Spelling) -> Spelling:
    """Return the spelling that is undone by undoing `outer`, then `inner`."""

    def undo(value: str) -> str | None:
        bare = outer.undo(value)
        return None if bare is None or bare == value else inner.undo(bare)

    return Spelling(
        f"{outer.name}+{inner.name}",
        f"{outer.file} and {inner.file}",
        f"{outer.model} and {inner.model}",
        undo,
    )


def _affixes(values: Sequence[str]) -> Iterator[Spelling]:
    """Yield the texts that nearly all values begin or end with, as spellings.

    Every length is tried, since hashes may share their first digit by chance.
    """
    for length in range(1, len(values[0])):
        text, rest = values[0][:length], len(values[0]) - length
        if sum(value.startswith(text) for value in values) < _COMMON_SHARE * len(values):
            break
        if rest >= _MIN_REST or not text[-1].isalnum():
            yield _affix(text, f"with {text!r} before them", str.removeprefix)
    for length in range(1, len(values[0])):
        text, rest = values[0][-length:], len(values[0]) - length
        if sum(value.endswith(text) for value in values) < _COMMON_SHARE * len(values):
            break
        if rest >= _MIN_REST or not text[0].isalnum():
            yield _affix(text, f"with {text!r} after them", str.removesuffix)


def _affix(text: str, file: str, remove: Callable[[str, str], str]) -> Spelling:
    return Spelling("addition", file, "without", lambda value: remove(value, text) or None)


def _without_quotes(value: str) -> str | None:
    text = value.strip()
    # As Python prints bytes.
    if len(text) > 3 and text[0] in "bB" and text[1] in "'\"" and text[-1] == text[1]:
        return text[2:-1]
    bare = text.strip("'\"`")
    return bare if bare != text else None


def _without_hex_prefix(value: str) -> str | None:
    return value[2:] if value[:2] in ("0x", "0X", "\\x") else None


def _with_zeros(value: str, width: int) -> str | None:
    return value.zfill(width) if 0 < len(value) < width else None


def _without_zeros(value: str, width: int) -> str | None:
    if not value.startswith("0"):
        return None
    # The model's own values may begin with 0.
    bare = value.lstrip("0")
    return bare.zfill(width) if len(value) > width else bare


def _whole_number(value: str) -> int | None:
    """Return the integer that a text such as 1761418852, -2533548444 or 1761418852.0 stands for."""
    try:
        number = int(value) if value.lstrip("+-").isdigit() else float(value)
        whole = int(number)
    except (ValueError, OverflowError):
        return None
    exact = isinstance(number, int) or (number == whole and abs(number) < 2**53)
    return whole if exact and -(2**63) <= whole < 2**64 else None


def _to_hex(value: str, width: int) -> str | None:
    number = _whole_number(value)
    if number is None:
        return None
    # A negative number is a hash that was read as a signed integer.
    bits = 32 if number >= -(2**31) else 64
    return format(number + 2**bits if number < 0 else number, f"0{width}x")


def _hexadecimal(value: str) -> int | None:
    try:
        # Without a letter it may as well be a decimal number.
        return (
            int(value, 16) if value.isalnum() and not value.isdigit() and len(value) <= 16 else None
        )
    except ValueError:
        return None


def _to_decimal(value: str) -> str | None:
    number = _hexadecimal(value)
    return None if number is None else str(number)


def _to_signed(value: str) -> str | None:
    number = _hexadecimal(value)
    return None if number is None or not 2**31 <= number < 2**32 else str(number - 2**32)


def _without_fraction(value: str) -> str | None:
    number = _whole_number(value) if "." in value else None
    return None if number is None else str(number)
