"""Recognises label, features and row identifiers by the names that people give them."""

import re
from collections.abc import Sequence

from core.data.schema import CATEGORICAL, FIELDS, LABEL, NUMERIC
from core.errors import BadInput

LABEL_NAMES = frozenset(
    {
        "label",
        "labels",
        "click",
        "clicks",
        "clicked",
        "isclick",
        "isclicked",
        "wasclicked",
        "clicklabel",
        "labelclick",
    }
    | {"target", "y", "clk", "clickflag"}
)
"""Common names of the label, in lower case and without separators."""
ID_NAMES = frozenset(
    {
        "id",
        "rowid",
        "uuid",
        "uid",
        "impressionid",
        "requestid",
        "eventid",
        "displayid",
        "sampleid",
        "exampleid",
    }
    | {"recordid"}
)
NUMERIC_WORDS = frozenset(
    {
        "i",
        "int",
        "ints",
        "integer",
        "integers",
        "num",
        "number",
        "numeric",
        "numerical",
        "dense",
        "cont",
        "continuous",
    }
    | {"n", "d"}
)
"""Words before the number in the name of a numeric feature."""
CATEGORICAL_WORDS = frozenset(
    {"c", "cat", "cats", "category", "categorical", "categories", "sparse", "s"}
)
_FILLER_WORDS = frozenset(
    {"feature", "features", "feat", "col", "column", "field", "var", "hash", "hashed", "criteo"}
)
"""Words that may accompany these."""
_INDEX_NAMES = re.compile(r"|index|unnamed\d+|indexlevel\d+")
"""Names, without separators, of the index column that pandas writes."""


def normalise_name(name: str) -> str:
    """Return a name in lower case without separators; letters of every script stay.

    >>> normalise_name("Is_Click")
    'isclick'
    """
    return re.sub(r"[\W_]+", "", name.lower())


def is_index_column(name: str) -> bool:
    """Return whether a column of this name holds row numbers, as pandas writes them."""
    return bool(_INDEX_NAMES.fullmatch(normalise_name(name))) and not (
        name.strip() and not normalise_name(name)
    )


def find_label_columns(names: Sequence[str]) -> list[int]:
    """Return the positions of common names of a label; only "label" itself if it is there."""
    normalised = [normalise_name(name) for name in names]
    positions = [position for position, name in enumerate(normalised) if name in LABEL_NAMES]
    return [position for position in positions if normalised[position] == LABEL] or positions


def recognise_columns(names: Sequence[str], file: str = "") -> dict[str, int]:
    """Return the positions (from 0) of label and features in a header, where recognised.

    Raises:
        BadInput: the header contains one of Thaw's own names twice.

    >>> recognise_columns(["clicked", "int_1"])
    {'label': 0}
    """
    for name in (LABEL, *FIELDS):
        if names.count(name) > 1:
            raise BadInput(
                f"The header of {file!r} names the column {name} {names.count(name)} times."
            )
    names = _strip_table_prefix(names)
    positions: dict[str, int] = {}
    if len(labels := find_label_columns(names)) == 1:
        positions[LABEL] = labels[0]
    groups = _group_numbered_names(names)
    for fields, words, starts in (
        (NUMERIC, NUMERIC_WORDS, (1, 0)),
        (CATEGORICAL, CATEGORICAL_WORDS, (1, 0, 14, 13)),
    ):
        group_positions = _find_consecutive(
            [group for key, group in groups.items() if key & words], len(fields), starts
        )
        positions |= (
            dict(zip(fields, group_positions, strict=True))
            if group_positions
            else _match_exact_names(names, fields)
        )
    return positions


def _strip_table_prefix(names: Sequence[str]) -> list[str]:
    """Remove the name of a table, which Hive puts before each column: train.label, train.i1."""
    tables = {name.partition(".")[0] if "." in name else None for name in names}
    if len(names) > 1 and len(tables) == 1 and None not in tables:
        return [name.partition(".")[2] for name in names]
    return list(names)


def _match_exact_names(names: Sequence[str], fields: Sequence[str]) -> dict[str, int]:
    """Match I1, C1 and so on in either case; nothing if there are more of them, as in C1 to C39."""
    upper = [name.upper() for name in names]
    if f"{fields[0][0]}{len(fields) + 1}" in upper:
        return {}
    return {field: upper.index(field) for field in fields if upper.count(field) == 1}


def _group_numbered_names(names: Sequence[str]) -> dict[frozenset[str], dict[int, int]]:
    """Group names that consist of words and one number: by their words, position by number."""
    groups: dict[frozenset[str], dict[int, int]] = {}
    for position, name in enumerate(names):
        parts = re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
        numbers = [part for part in parts if part.isdigit()]
        words = frozenset(part for part in parts if not part.isdigit()) - _FILLER_WORDS
        kinds = bool(words & NUMERIC_WORDS) + bool(words & CATEGORICAL_WORDS)
        if (
            len(numbers) == 1
            and len(numbers[0]) <= 3
            and kinds == 1
            and words <= NUMERIC_WORDS | CATEGORICAL_WORDS
        ):
            groups.setdefault(words, {}).setdefault(int(numbers[0]), position)
    return groups


def _find_consecutive(
    groups: Sequence[dict[int, int]], count: int, starts: Sequence[int]
) -> list[int]:
    """Return the positions of a group numbered start, start + 1, and so on; [] if there is none."""
    for start in starts:
        for group in groups:
            if set(group) == set(range(start, start + count)):
                return [group[number] for number in range(start, start + count)]
    return []
