"""What to do when columns are not recognised: ask the user, with a proposal to start from."""

import json
from collections.abc import Mapping, Sequence

from core.data.read_options import ColumnSource
from core.data.reading.column_names import (
    ID_NAMES,
    find_label_columns,
    is_index_column,
    normalise_name,
)
from core.data.reading.other_datasets import recognise_other_dataset
from core.data.reading.values import parse_label
from core.data.schema import FIELDS, ID, LABEL
from core.errors import BadInput

MAX_MISSING_FIELDS = len(FIELDS) // 2
"""Number of features that a file may lack."""
_MAX_FAULT_SHARE = 0.1
"""Share of cells of a possible label column that may be neither 0 nor 1."""


class ColumnsNeeded(BadInput):
    """Columns were not recognised: the user has to say which is which.

    Attributes:
        reason: what was not recognised; the message consists of it and `advice`.
        advice: what to do on the command line.
        names: the file's columns, by header or position.
        examples: some cells of each column.
        proposal: a mapping to start from.
        usable: whether a mapping can help at all.
    """

    def __init__(
        self,
        reason: str,
        advice: str,
        names: Sequence[str],
        examples: Sequence[Sequence[str]],
        proposal: Mapping[str, ColumnSource],
        usable: bool = True,
    ) -> None:
        super().__init__(f"{reason} {advice}".strip())
        self.reason = reason
        self.advice = advice
        self.usable = usable
        self.names = tuple(names)
        self.examples = tuple(tuple(cells) for cells in examples)
        self.proposal = dict(proposal)


def require_fields(
    positions: Mapping[str, int | None],
    names: Sequence[str],
    examples: Sequence[Sequence[str]],
    subject: str,
) -> None:
    """Raise ColumnsNeeded unless every feature has a column or is mapped to none.

    Args:
        positions: that of each recognised or mapped field, None for a field without a column.
        names: the file's columns.
        examples: some cells of each.
        subject: the header, or the file without one, to start a sentence with.

    Raises:
        BadInput: the mapping leaves too many features without a column.
    """
    missing = [field for field in FIELDS if field not in positions]
    left_out = [
        field for field, position in positions.items() if position is None and field in FIELDS
    ]
    if len(left_out) > MAX_MISSING_FIELDS:
        raise BadInput(
            f"The column mapping leaves {len(left_out)} of the 39 features without a column; too"
            " few are left."
        )
    if not missing:
        return
    if (other := recognise_other_dataset(names)) and len(missing) > MAX_MISSING_FIELDS:
        raise ColumnsNeeded(
            f"{subject} is that of {other}: it has other features than the 13 numeric and 26"
            " categorical ones of Criteo's click data that Thaw trains on, so it cannot be used.",
            "",
            names,
            examples,
            {},
            usable=False,
        )
    proposal = _propose_mapping(positions, names)
    lacks = f"lacks the columns {', '.join(missing[:8])}{' …' if len(missing) > 8 else ''}"
    example = {field: proposal.get(field) or "name in the file" for field in missing[:2]}
    raise ColumnsNeeded(
        f"{subject} {lacks}; it names {', '.join(names[:8])}{' …' if len(names) > 8 else ''}.",
        "Say which column is which with a mapping (--columns map.json), such as"
        f" {json.dumps(example, ensure_ascii=False)}; null stands for a column that the file does"
        " not have.",
        names,
        examples,
        proposal,
    )


def require_label(
    positions: Mapping[str, int | None],
    names: Sequence[str],
    examples: Sequence[Sequence[str]],
    file: str,
) -> None:
    """Raise ColumnsNeeded if a column that was not recognised may be the label."""
    used = set(positions.values())
    free = [
        position
        for position in range(len(names))
        if position not in used and not is_index_column(names[position])
    ]
    named = [position for position in find_label_columns(names) if position in free]
    labels = named or [position for position in free if _looks_like_label(examples[position])]
    if not labels:
        return
    listed = ", ".join(repr(names[position]) for position in labels[:4])
    if len(named) > 1:
        reason = f"The header of {file!r} has several columns that may be the label: {listed}."
    else:
        holds = "holds" if len(labels) == 1 else "hold"
        nearly = (
            ""
            if all(set(map(str.strip, examples[position])) <= {"0", "1", ""} for position in labels)
            else ", or nearly"
        )
        reason = (
            f"The header of {file!r} names no label, and {listed} {holds} only 0 and 1{nearly}."
        )
    raise ColumnsNeeded(
        reason,
        'If that is the label, say so with a mapping (--columns map.json): {"label":'
        f' {json.dumps(names[labels[0]])}}}; if the rows have no label, {{"label": null}}.',
        names,
        examples,
        _propose_mapping(positions, names) | {LABEL: names[labels[0]]},
    )


def _looks_like_label(cells: Sequence[str]) -> bool:
    """Return whether nearly all cells are 0 or 1 in some spelling, or a placeholder."""
    labels = [parse_label(cell) for cell in cells]
    known = [code for code in labels if code in (0, 1)]
    return bool(known) and labels.count(None) <= _MAX_FAULT_SHARE * len(labels)


def _propose_mapping(
    positions: Mapping[str, int | None], names: Sequence[str]
) -> dict[str, ColumnSource]:
    """Propose what was recognised, and Criteo's order for the rest if their numbers match."""
    proposal: dict[str, ColumnSource] = {
        field: None if position is None else names[position]
        for field, position in positions.items()
    }
    unused = [position for position in range(len(names)) if position not in positions.values()]
    identifier = find_id_column(unused, names)
    free = [
        names[position]
        for position in unused
        if position != identifier and not is_index_column(names[position])
    ]
    for fields in ((LABEL, *FIELDS), FIELDS):
        missing = [field for field in fields if field not in positions]
        if len(free) == len(missing):
            proposal |= dict(zip(missing, free, strict=True))
            break
    if identifier is not None:
        proposal[ID] = names[identifier]
    return proposal


def find_id_column(positions: Sequence[int], names: Sequence[str]) -> int | None:
    """Return the first of these positions whose name is usual for a row identifier."""
    return next(
        (position for position in positions if normalise_name(names[position]) in ID_NAMES), None
    )
