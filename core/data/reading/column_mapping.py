"""Which column of a file is which: recognised by its name, or as a mapping says."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.data.read_options import ColumnSource, ReadOptions
from core.data.reading.column_names import (
    ID_NAMES,
    find_label_columns,
    is_index_column,
    normalise_name,
    recognise_columns,
)
from core.data.reading.other_datasets import recognise_other_dataset
from core.data.reading.values import parse_label
from core.data.schema import FIELDS, ID, LABEL
from core.errors import BadInput

MAX_COLUMNS = 1000
MAX_EXTRA_COLUMNS = 16
"""Columns beyond the 40 that are kept unless fewer, or others, are asked for."""
MAX_MISSING_FIELDS = len(FIELDS) // 2
"""Features that a file may lack."""
_MAX_FAULT_SHARE = 0.1
_MAX_NAME_LENGTH = 64


@dataclass(frozen=True)
class ColumnMapping:
    """Which column of a file is which.

    stored_as: for every column of the file the name it is stored under, None where it is left out.
    id_column, segment_columns: names among them of the column that identifies a row ("" for none) and of
    segment columns. missing_fields: fields that the file lacks, stored as missing. renamed: (our name, the
    file's) where they differ. notes: sentences on what was decided.
    """

    stored_as: tuple[str | None, ...]
    id_column: str = ""
    segment_columns: tuple[str, ...] = ()
    missing_fields: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether one of them is the label."""
        return LABEL in self.stored_as


class ColumnsNeeded(BadInput):
    """Columns were not recognised: the user has to say which is which.

    reason: what was not recognised; the message adds `advice`, how the command line is told. names:
    the file's columns, by header or position. examples: some cells of each. proposal: a mapping to
    start from. usable: whether a mapping can help at all.
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


def match_header(
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    options: ReadOptions,
    file: str,
    need_label: bool = True,
    nested: frozenset[str] = frozenset(),
) -> ColumnMapping:
    """The columns of a file whose header is `names`; rows: some of its rows, as text.

    nested: columns whose values are no text, which are not kept. need_label: ask where the label
    may be one of the columns that were not recognised. ColumnsNeeded where a field is not found;
    BadInput where a column is named twice, or the mapping or `options.keep` names one there is not.
    """
    if len(names) > MAX_COLUMNS:
        raise BadInput(
            f"The header of {file!r} names {len(names):,} columns; at most {MAX_COLUMNS:,} are"
            " read."
        )
    names = [name.strip().lstrip("\ufeff").strip() for name in names]
    mapped = _resolve_mapping(options.columns or {}, names, file)
    found = {
        ours: place
        for ours, place in recognise_columns(names, file).items()
        if place not in mapped.values()
    } | mapped
    examples = [[row[place] for row in rows if place < len(row)] for place in range(len(names))]
    _require_fields(found, names, examples, f"The header of {file!r}")
    if LABEL not in found and need_label:
        _require_label(found, names, examples, file)
    return _build_mapping(found, names, options, file, nested)


def match_positions(
    rows: Sequence[Sequence[str]],
    default_order: Mapping[str, int],
    options: ReadOptions,
    file: str,
    names: Sequence[str],
) -> ColumnMapping:
    """The columns of a file without a header; start: which is which, by place from 0, where no
    mapping says otherwise.

    rows: some of its rows, as text. names: what a header that only counts the columns calls them,
    or their positions.
    """
    mapped = _resolve_mapping(options.columns or {}, names, file)
    found = _fill_in_order(default_order, mapped, len(names)) | mapped
    examples = [[row[place] for row in rows] for place in range(len(names))]
    _require_fields(found, names, examples, f"{file!r}, which has no header,")
    columns = _build_mapping(found, names, options, file)
    moved = tuple(
        (ours, name) for ours, name in columns.renamed if found[ours] != default_order.get(ours)
    )
    return dataclasses.replace(columns, renamed=moved)


def _fill_in_order(
    start: Mapping[str, int], mapped: Mapping[str, int | None], width: int
) -> dict[str, int]:
    """Criteo's order of what the mapping leaves out, over the columns it leaves; `start` where it
    takes none."""
    taken = {place for place in mapped.values() if place is not None}
    if not taken & set(start.values()):
        return {ours: place for ours, place in start.items() if ours not in mapped}
    rest = [ours for ours in (LABEL, *FIELDS) if ours not in mapped]
    free = [place for place in range(width) if place not in taken]
    return dict(zip(rest, free, strict=True)) if len(rest) == len(free) else {}


def criteo_order(labelled: bool, first: int = 0) -> dict[str, int]:
    """Criteo's own order: label (or none), I1 to I13, C1 to C26, from the place `first` on."""
    ours = ((LABEL,) if labelled else ()) + FIELDS
    return {name: first + place for place, name in enumerate(ours)}


def _resolve_mapping(
    mapping: Mapping[str, ColumnSource], names: Sequence[str], file: str
) -> dict[str, int | None]:
    """The mapping with a place from 0 for every column it names."""
    found: dict[str, int | None] = {}
    for ours, source in mapping.items():
        if isinstance(source, int):
            if not 1 <= source <= len(names):
                raise BadInput(
                    f"The column mapping gives position {source} for {ours}; {file!r} has columns 1"
                    f" to {len(names)}."
                )
            found[ours] = source - 1
        elif source is not None:
            matches = [place for place, name in enumerate(names) if name == source.strip()] or [
                place for place, name in enumerate(names) if name.lower() == source.strip().lower()
            ]
            if not matches:
                raise BadInput(
                    f"The column mapping gives {source!r} for {ours}, which {file!r} does not have;"
                    " it has "
                    f"{', '.join(repr(name) for name in names[:12])}{' …' if len(names) > 12 else ''}."
                )
            found[ours] = matches[0]
        else:
            found[ours] = None
        twin = next(
            (other for other, place in found.items() if place == found[ours] and other != ours),
            None,
        )
        if twin and found[ours] is not None:
            raise BadInput(
                f"The column mapping gives column {source!r} of {file!r} for both {twin} and"
                f" {ours}."
            )
    return found


def _require_fields(
    found: Mapping[str, int | None],
    names: Sequence[str],
    examples: Sequence[Sequence[str]],
    what: str,
) -> None:
    """what: the header, or the file without one, to begin a sentence with."""
    missing = [field for field in FIELDS if field not in found]
    absent = [field for field, place in found.items() if place is None and field in FIELDS]
    if len(absent) > MAX_MISSING_FIELDS:
        raise BadInput(
            f"The column mapping leaves {len(absent)} of the 39 features without a column; too few"
            " are left."
        )
    if not missing:
        return
    if (other := recognise_other_dataset(names)) and len(missing) > MAX_MISSING_FIELDS:
        raise ColumnsNeeded(
            f"{what} is that of {other}: it has other features than the 13 numeric and 26"
            " categorical ones of Criteo's click data that Thaw trains on, so it cannot be used.",
            "",
            names,
            examples,
            {},
            usable=False,
        )
    proposal = _propose_mapping(found, names)
    lacks = f"lacks the columns {', '.join(missing[:8])}{' …' if len(missing) > 8 else ''}"
    example = {field: proposal.get(field) or "name in the file" for field in missing[:2]}
    raise ColumnsNeeded(
        f"{what} {lacks}; it names {', '.join(names[:8])}{' …' if len(names) > 8 else ''}.",
        "Say which column is which with a mapping (--columns map.json), such as"
        f" {json.dumps(example, ensure_ascii=False)}; null stands for a column that the file does"
        " not have.",
        names,
        examples,
        proposal,
    )


def _require_label(
    found: Mapping[str, int | None],
    names: Sequence[str],
    examples: Sequence[Sequence[str]],
    file: str,
) -> None:
    used = set(found.values())
    free = [
        place
        for place in range(len(names))
        if place not in used and not is_index_column(names[place])
    ]
    named = [place for place in find_label_columns(names) if place in free]
    labels = named or [place for place in free if _looks_like_label(examples[place])]
    if not labels:
        return
    listed = ", ".join(repr(names[place]) for place in labels[:4])
    if len(named) > 1:
        reason = f"The header of {file!r} has several columns that may be the label: {listed}."
    else:
        holds = "holds" if len(labels) == 1 else "hold"
        words = (
            ""
            if all(set(map(str.strip, examples[place])) <= {"0", "1", ""} for place in labels)
            else ", or nearly"
        )
        reason = f"The header of {file!r} names no label, and {listed} {holds} only 0 and 1{words}."
    raise ColumnsNeeded(
        reason,
        'If that is the label, say so with a mapping (--columns map.json): {"label":'
        f' {json.dumps(names[labels[0]])}}}; if the rows have no label, {{"label": null}}.',
        names,
        examples,
        _propose_mapping(found, names) | {LABEL: names[labels[0]]},
    )


def _looks_like_label(cells: Sequence[str]) -> bool:
    """Whether nearly all cells are 0 or 1, in some spelling, or one of few that stand for them."""
    codes = [parse_label(cell) for cell in cells]
    known = [code for code in codes if code in (0, 1)]
    return bool(known) and codes.count(None) <= _MAX_FAULT_SHARE * len(codes)


def _propose_mapping(
    found: Mapping[str, int | None], names: Sequence[str]
) -> dict[str, ColumnSource]:
    """What was recognised, and for the rest what stands in Criteo's order where the number of
    columns fits."""
    proposal: dict[str, ColumnSource] = {
        ours: None if place is None else names[place] for ours, place in found.items()
    }
    unused = [place for place in range(len(names)) if place not in found.values()]
    identifier = _find_id(unused, names)
    free = [
        names[place]
        for place in unused
        if place != identifier and not is_index_column(names[place])
    ]
    for ours in ((LABEL, *FIELDS), FIELDS):
        missing = [field for field in ours if field not in found]
        if len(free) == len(missing):
            proposal |= dict(zip(missing, free, strict=True))
            break
    if identifier is not None:
        proposal[ID] = names[identifier]
    return proposal


def _build_mapping(
    found: Mapping[str, int | None],
    names: Sequence[str],
    options: ReadOptions,
    file: str,
    nested: frozenset[str] = frozenset(),
) -> ColumnMapping:
    place_of = {ours: place for ours, place in found.items() if place is not None}
    used: list[str | None] = [None] * len(names)
    for ours, place in place_of.items():
        if ours != ID:
            used[place] = ours
    extra = [place for place in range(len(names)) if used[place] is None]
    stored = unique_names(extra, names)
    identifier = place_of.get(ID) if ID in found else _find_id(extra, names)
    others = [place for place in extra if place != identifier]
    chosen, notes = _select_extra_columns(others, stored, names, nested, options.keep, file)
    for place in ([] if identifier is None else [identifier]) + chosen:
        used[place] = stored[place]
    renamed = tuple(
        (ours, names[place]) for ours, place in place_of.items() if ours not in (names[place], ID)
    )
    return ColumnMapping(
        tuple(used),
        id_column="" if identifier is None else stored[identifier],
        segment_columns=tuple(stored[place] for place in chosen),
        missing_fields=tuple(field for field in FIELDS if field not in place_of),
        renamed=renamed,
        notes=notes,
    )


def unique_names(extra: Sequence[int], names: Sequence[str]) -> dict[int, str]:
    """By place, the names that columns beyond the 40 are stored under: each once, and never one of
    ours."""
    stored: dict[int, str] = {}
    taken = {LABEL, *FIELDS}
    for place in extra:
        name = names[place][:_MAX_NAME_LENGTH] or f"column {place + 1}"
        if name in (LABEL, *FIELDS):
            name = f"{name} (file)"
        number, unique = 1, name
        while unique in taken:
            number += 1
            unique = f"{name} ({number})"
        taken.add(unique)
        stored[place] = unique
    return stored


def _find_id(extra: Sequence[int], names: Sequence[str]) -> int | None:
    return next((place for place in extra if normalise_name(names[place]) in ID_NAMES), None)


def _select_extra_columns(
    others: Sequence[int],
    stored: Mapping[int, str],
    names: Sequence[str],
    nested: frozenset[str],
    keep: tuple[str, ...] | None,
    file: str,
) -> tuple[list[int], tuple[str, ...]]:
    """(places of the segment columns to keep, what to say about those left out)."""
    text = [place for place in others if names[place] not in nested]
    if keep is not None:
        free = {stored[place]: place for place in text}
        free |= {names[place]: place for place in reversed(text) if names[place] not in free}
        if unknown := [name for name in keep if name not in free]:
            held = " as text" if unknown[0] in nested else ""
            raise BadInput(
                f"{file!r} has no column {unknown[0]!r} to keep beside label and features{held}; it"
                f" has {', '.join(repr(stored[place]) for place in text) or 'none'}."
            )
        return sorted({free[name] for name in keep}), ()
    wanted = [place for place in text if not is_index_column(names[place])]
    left = [
        (names[place] or "one without a name", "row numbers")
        for place in text
        if is_index_column(names[place])
    ]
    left += [(names[place], "no text") for place in others if names[place] in nested]
    left += [
        (names[place], f"more than {MAX_EXTRA_COLUMNS}") for place in wanted[MAX_EXTRA_COLUMNS:]
    ]
    if not left:
        return wanted, ()
    listed = ", ".join(f"{name} ({why})" for name, why in left[:5])
    advice = " Name the ones to keep with --keep." if len(wanted) > MAX_EXTRA_COLUMNS else ""
    note = (
        "Columns that are left out:"
        f" {listed}{f' and {len(left) - 5} more' if len(left) > 5 else ''}.{advice}"
    )
    return wanted[:MAX_EXTRA_COLUMNS], (note,)
