"""Label, features and identifiers recognised by the names that people give to them."""

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
"""Usual names of the label, in lower case and without separators."""
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
"""Words that stand before the number in the name of a numeric feature."""
CATEGORICAL_WORDS = frozenset(
    {"c", "cat", "cats", "category", "categorical", "categories", "sparse", "s"}
)
_FILLER_WORDS = frozenset(
    {"feature", "features", "feat", "col", "column", "field", "var", "hash", "hashed", "criteo"}
)
"""Words that may stand beside them."""
_INDEX_NAMES = re.compile(r"|index|unnamed\d+|indexlevel\d+")
"""Names, without separators, that pandas gives to the numbers of the rows."""


def normalise_name(name: str) -> str:
    """A name in lower case, without separators; letters of every script stay."""
    return re.sub(r"[\W_]+", "", name.lower())


def is_index_column(name: str) -> bool:
    """Whether a column of this name holds the numbers of the rows, as pandas writes them."""
    return bool(_INDEX_NAMES.fullmatch(normalise_name(name))) and not (
        name.strip() and not normalise_name(name)
    )


def find_label_columns(names: Sequence[str]) -> list[int]:
    """Places of the names that are usual ones of a label; only the exact ones where there are
    such."""
    plain = [normalise_name(name) for name in names]
    places = [place for place, name in enumerate(plain) if name in LABEL_NAMES]
    return [place for place in places if plain[place] == LABEL] or places


def recognise_columns(names: Sequence[str], file: str = "") -> dict[str, int]:
    """Place (from 0) of label and fields among a header's names, as far as their names are usual
    ones.

    BadInput where one of our own names stands there twice.

    >>> recognise(["clicked", "int_1"])
    {'label': 0}
    """
    for ours in (LABEL, *FIELDS):
        if names.count(ours) > 1:
            raise BadInput(
                f"The header of {file!r} names the column {ours} {names.count(ours)} times."
            )
    names = _strip_table_prefix(names)
    found: dict[str, int] = {}
    if len(labels := find_label_columns(names)) == 1:
        found[LABEL] = labels[0]
    groups = _group_numbered_names(names)
    for fields, words, starts in (
        (NUMERIC, NUMERIC_WORDS, (1, 0)),
        (CATEGORICAL, CATEGORICAL_WORDS, (1, 0, 14, 13)),
    ):
        places = _find_consecutive(
            [group for key, group in groups.items() if key & words], len(fields), starts
        )
        found |= (
            dict(zip(fields, places, strict=True)) if places else _match_exact_names(names, fields)
        )
    return found


def _strip_table_prefix(names: Sequence[str]) -> list[str]:
    """The names without that of a table, which Hive puts before each: train.label, train.i1."""
    tables = {name.partition(".")[0] if "." in name else None for name in names}
    if len(names) > 1 and len(tables) == 1 and None not in tables:
        return [name.partition(".")[2] for name in names]
    return list(names)


def _match_exact_names(names: Sequence[str], fields: Sequence[str]) -> dict[str, int]:
    """Our own names in either case; none where there are more of them than there are fields, as C1
    to C39."""
    upper = [name.upper() for name in names]
    if f"{fields[0][0]}{len(fields) + 1}" in upper:
        return {}
    return {field: upper.index(field) for field in fields if upper.count(field) == 1}


def _group_numbered_names(names: Sequence[str]) -> dict[frozenset[str], dict[int, int]]:
    """By the words beside their one number, place by number of the names that hold nothing else."""
    groups: dict[frozenset[str], dict[int, int]] = {}
    for place, name in enumerate(names):
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
            groups.setdefault(words, {}).setdefault(int(numbers[0]), place)
    return groups


def _find_consecutive(
    groups: Sequence[dict[int, int]], count: int, starts: Sequence[int]
) -> list[int]:
    """Places of a group whose numbers are `count` consecutive ones from one of the starts; [] where
    there is none."""
    for start in starts:
        for group in groups:
            if set(group) == set(range(start, start + count)):
                return [group[number] for number in range(start, start + count)]
    return []
