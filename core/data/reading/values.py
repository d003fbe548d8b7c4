"""The meaning of a cell: a number, a category, a label, or a missing value.

Each function takes the distinct cells of a column as Arrow strings (null for an empty cell), so
that a value is parsed once, however many rows contain it.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MISSING_MARKERS = frozenset(
    {
        "",
        "-",
        "--",
        ".",
        "?",
        "nan",
        "-nan",
        "+nan",
        "na",
        "n/a",
        "#n/a",
        "#na",
        "#n/a n/a",
        "<na>",
        "null",
        "(null)",
    }
    | {"nil", "none", "nat", "\\n", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"}
)
"""Texts, in lower case and without surrounding spaces, that mean a missing value: those of pandas,
polars, R, spreadsheets and SQL databases (MySQL and Hive write ``\\N``)."""
PLACEHOLDER_LABELS = MISSING_MARKERS
"""Texts that mean an unknown label in a label column."""
NO_LABEL = -1
"""Stored label of a row whose label is a placeholder."""
MAX_CATEGORY_LENGTH = 4096
"""Largest number of characters of a category. Criteo's have 8; a longer text is damage."""

_MAX_MARKER_LENGTH = max(map(len, MISSING_MARKERS))
_CATEGORY_BYTES = 8
"""Length of Criteo's categories. A cell of this length can be a marker only if it starts or ends
with punctuation, so most columns need no further check."""
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_INFINITE = r"^[+-]?inf(inity)?$"
_LABELS = {"true": 1, "t": 1, "yes": 1, "y": 1, "false": 0, "f": 0, "no": 0, "n": 0}
_LABEL_NUMBER = re.compile(r"[+-]?(0|1)(\.0*)?(e[+-]?0+)?")


@dataclass(frozen=True)
class ParsedCells:
    """The distinct cells of a column as values.

    Attributes:
        values: float64 for numbers, string for categories, int8 for labels; null where missing or
            faulty.
        faults: index of each faulty cell, and what is wrong with it.
        markers: int64 indices of the cells that are a missing-value marker; empty cells are not
            among them.
    """

    values: pa.Array
    faults: Mapping[int, str] = field(default_factory=dict)
    markers: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


def parse_numbers(cells: pa.Array) -> ParsedCells:
    """Parse cells as float64. A number that is not finite is a fault.

    >>> parse_numbers(pa.array(["1.5", "NA"])).values.to_pylist()
    [1.5, None]
    """
    try:
        values = cells.cast(pa.float64())
        if pc.all(pc.is_finite(values)).as_py() is not False:
            return ParsedCells(_without_negative_zero(values))
    except pa.ArrowInvalid:
        pass
    trimmed = pc.utf8_trim_whitespace(cells)
    markers = _find_markers(trimmed)
    trimmed = _with_nulls(trimmed, markers)
    numeric = pc.fill_null(pc.match_substring_regex(trimmed, _NUMBER), True)
    values = pc.if_else(numeric, trimmed, None).cast(pa.float64())
    infinite = pc.fill_null(pc.invert(pc.is_finite(values)), False)
    spelled = pc.and_(
        pc.invert(numeric), pc.match_substring_regex(trimmed, _INFINITE, ignore_case=True)
    )
    faults = dict.fromkeys(np.flatnonzero(np.asarray(pc.invert(numeric))).tolist(), "not a number")
    infinities = np.asarray(pc.or_(infinite, pc.fill_null(spelled, False)))
    faults |= dict.fromkeys(np.flatnonzero(infinities).tolist(), "not a finite number")
    return ParsedCells(_without_negative_zero(pc.if_else(infinite, None, values)), faults, markers)


def parse_categories(cells: pa.Array, max_length: int | None = MAX_CATEGORY_LENGTH) -> ParsedCells:
    """Keep cells as they are, except that missing-value markers become null.

    A cell of more than `max_length` characters is a fault.
    """
    lengths = np.diff(np.frombuffer(cells.buffers()[1], np.int32, len(cells) + 1, 4 * cells.offset))
    has_punctuation = _has_punctuation_edge(cells)
    if not len(lengths) or ((lengths == _CATEGORY_BYTES).all() and not has_punctuation.any()):
        return ParsedCells(cells)
    suspects = np.flatnonzero(
        ((lengths <= _MAX_MARKER_LENGTH) & (lengths != _CATEGORY_BYTES)) | has_punctuation
    )
    markers = suspects[_find_markers(pc.utf8_trim_whitespace(cells.take(pa.array(suspects))))]
    values = _with_nulls(cells, markers)
    faults: dict[int, str] = {}
    if max_length is not None and lengths.max() > max_length:
        long = np.flatnonzero(
            np.asarray(pc.fill_null(pc.greater(pc.utf8_length(values), max_length), False))
        )
        faults = dict.fromkeys(long.tolist(), f"longer than {max_length:,} characters")
    return ParsedCells(values, faults, markers)


def parse_labels(cells: pa.Array, optional: bool = False) -> ParsedCells:
    """Parse cells as int8: 0 or 1, also written as ``1.0`` or ``True``.

    Args:
        cells: the distinct cells.
        optional: whether a placeholder becomes NO_LABEL; otherwise it is a fault.
    """
    labels, faults = np.zeros(len(cells), np.int8), {}
    for position, cell in enumerate(cells.to_pylist()):
        label = parse_label(cell)
        if label is None or (label == NO_LABEL and not optional):
            faults[position] = "not 0 or 1"
        else:
            labels[position] = label
    return ParsedCells(pa.array(labels), faults)


def parse_label(cell: str | None) -> int | None:
    """Return 0 or 1, NO_LABEL for a placeholder, None for anything else.

    >>> parse_label("True"), parse_label("?"), parse_label("2")
    (1, -1, None)
    """
    text = (cell or "").strip().lower()
    if text in PLACEHOLDER_LABELS:
        return NO_LABEL
    if not _LABEL_NUMBER.fullmatch(text):
        return _LABELS.get(text)
    # The number may be -1, which is NO_LABEL.
    return int(float(text))


def is_number(cell: str) -> bool:
    """Return whether a cell that is not missing is a finite number."""
    text = cell.strip()
    return bool(re.match(_NUMBER, text)) and math.isfinite(float(text))


def is_missing(cell: str | None) -> bool:
    """Return whether a cell of a feature is a missing value."""
    return cell is None or cell.strip().lower() in MISSING_MARKERS


def _find_markers(trimmed: pa.Array) -> np.ndarray:
    """Return the indices of cells, without surrounding spaces, that are missing-value markers."""
    is_marker = pc.is_in(pc.utf8_lower(trimmed), value_set=pa.array(sorted(MISSING_MARKERS)))
    return np.flatnonzero(np.asarray(is_marker))


def _with_nulls(cells: pa.Array, positions: np.ndarray) -> pa.Array:
    if not len(positions):
        return cells
    missing = np.zeros(len(cells), bool)
    missing[positions] = True
    return pc.if_else(pa.array(missing), None, cells)


def _has_punctuation_edge(cells: pa.Array) -> np.ndarray:
    """Return which cells start or end with a byte below "0", such as a space, dot or dash."""
    _, offset_buffer, buffer = cells.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32, len(cells) + 1, 4 * cells.offset)
    if buffer is None or not buffer.size:
        return np.zeros(len(cells), bool)
    data = np.frombuffer(buffer, np.uint8)
    first = data[np.minimum(offsets[:-1], len(data) - 1)]
    last = data[np.maximum(offsets[1:] - 1, 0)]
    return ((first < ord("0")) | (last < ord("0"))) & (np.diff(offsets) > 0)


def _without_negative_zero(values: pa.Array) -> pa.Array:
    return pc.add(values, 0.0)
