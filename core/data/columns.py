"""Which column of a file is which: recognised by its name, or as a mapping says."""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.data.options import ReadOptions, Source
from core.data.other_datasets import recognise_other
from core.data.schema import CATEGORICAL, FIELDS, ID, LABEL, NUMERIC
from core.data.values import NO_LABEL, label_of
from core.errors import BadInput

MAX_COLUMNS = 1000
MAX_KEPT = 16
"""Columns beyond the 40 that are kept unless fewer, or others, are asked for."""
LABEL_NAMES = frozenset(
    {"label", "labels", "click", "clicks", "clicked", "isclick", "isclicked", "wasclicked", "clicklabel", "labelclick"}
    | {"target", "y", "clk", "clickflag"}
)
"""Usual names of the label, in lower case and without separators."""
ID_NAMES = frozenset(
    {"id", "rowid", "uuid", "uid", "impressionid", "requestid", "eventid", "displayid", "sampleid", "exampleid"}
    | {"recordid"}
)
NUMERIC_PREFIXES = frozenset(
    {"i", "int", "ints", "integer", "intfeature", "integerfeature", "intcol", "num", "numeric", "numerical"}
    | {"numfeature", "numericfeature", "numericalfeature", "numcol", "dense", "densefeature", "cont", "continuous"}
    | {"continuousfeature", "n", "d"}
)
CATEGORICAL_PREFIXES = frozenset(
    {"c", "cat", "cats", "category", "categorical", "catfeature", "categoricalfeature", "categoryfeature", "catcol"}
    | {"sparse", "sparsefeature", "s", "hash", "hashed"}
)
_INDEX = re.compile(r"|index|unnamed\d+|indexlevel\d+")
"""Names, without separators, that pandas gives to the numbers of the rows."""
_MAX_NAME = 64


@dataclass(frozen=True)
class Columns:
    """Which column of a file is which.

    used: for every column of the file the name it is stored under, None where it is left out. id_column, kept: names
    among them of the column that identifies a row ("" for none) and of segment columns. absent: fields that the file
    lacks, stored as missing. renamed: (our name, the file's) where they differ. notes: sentences on what was decided.
    """

    used: tuple[str | None, ...]
    id_column: str = ""
    kept: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether one of them is the label."""
        return LABEL in self.used


class ColumnsNeeded(BadInput):
    """Columns were not recognised: the user has to say which is which.

    reason: what was not recognised; the message adds `advice`, how the command line is told. names: the file's columns,
    by header or position. examples: some cells of each. proposal: a mapping to start from; empty where none helps.
    """

    def __init__(
        self,
        reason: str,
        advice: str,
        names: Sequence[str],
        examples: Sequence[Sequence[str]],
        proposal: Mapping[str, Source],
    ) -> None:
        super().__init__(f"{reason} {advice}".strip())
        self.reason = reason
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
) -> Columns:
    """The columns of a file whose header is `names`; rows: some of its rows, as text.

    nested: columns whose values are no text, which are not kept. need_label: ask where the label may be one of the
    columns that were not recognised. ColumnsNeeded where a field is not found; BadInput where a column is named twice,
    or the mapping or `options.keep` names one there is not.
    """
    if len(names) > MAX_COLUMNS:
        raise BadInput(f"The header of {file!r} names {len(names):,} columns; at most {MAX_COLUMNS:,} are read.")
    names = [name.strip().lstrip("\ufeff").strip() for name in names]
    found = recognise(names, file) | _positions_of(options.columns or {}, names, file)
    examples = [[row[place] for row in rows if place < len(row)] for place in range(len(names))]
    _ask_for_fields(found, names, examples, file)
    if LABEL not in found and need_label:
        _ask_for_label(found, names, examples, file)
    return _columns(found, names, options, file, nested)


def match_positions(
    rows: Sequence[Sequence[str]], start: Mapping[str, int], options: ReadOptions, file: str, names: Sequence[str]
) -> Columns:
    """The columns of a file without a header; start: which is which, by place from 0, where no mapping says otherwise.

    rows: some of its rows, as text. names: what a header that only counts the columns calls them, or their positions.
    """
    mapped = _positions_of(options.columns or {}, names, file)
    found = {ours: place for ours, place in start.items() if place not in mapped.values()} | mapped
    _ask_for_fields(found, names, [[row[place] for row in rows] for place in range(len(names))], file)
    columns = _columns(found, names, options, file)
    moved = tuple((ours, name) for ours, name in columns.renamed if found[ours] != start.get(ours))
    return dataclasses.replace(columns, renamed=moved)


def criteo_order(labelled: bool, first: int = 0) -> dict[str, int]:
    """Criteo's own order: label (or none), I1 to I13, C1 to C26, from the place `first` on."""
    ours = ((LABEL,) if labelled else ()) + FIELDS
    return {name: first + place for place, name in enumerate(ours)}


def recognise(names: Sequence[str], file: str = "") -> dict[str, int]:
    """Place (from 0) of label and fields among a header's names, as far as their names are usual ones.

    BadInput where one of our own names stands there twice.
    """
    for ours in (LABEL, *FIELDS):
        if names.count(ours) > 1:
            raise BadInput(f"The header of {file!r} names the column {ours} {names.count(ours)} times.")
    plain = [_plain(name) for name in names]
    found: dict[str, int] = {}
    labels = [place for place, name in enumerate(plain) if name in LABEL_NAMES]
    exact = [place for place in labels if plain[place] == LABEL]
    if len(exact or labels) == 1:
        found[LABEL] = (exact or labels)[0]
    numeric = _numbered(plain, NUMERIC_PREFIXES, len(NUMERIC), (1, 0))
    categorical = _numbered(plain, CATEGORICAL_PREFIXES, len(CATEGORICAL), (1, 0, 14, 13))
    found |= dict(zip(NUMERIC, numeric, strict=True)) if numeric else _exact(names, NUMERIC)
    return found | (dict(zip(CATEGORICAL, categorical, strict=True)) if categorical else _exact(names, CATEGORICAL))


def _plain(name: str) -> str:
    """A name in lower case, without separators."""
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def _exact(names: Sequence[str], fields: Sequence[str]) -> dict[str, int]:
    upper = [name.upper() for name in names]
    return {field: upper.index(field) for field in fields if upper.count(field) == 1}


def _numbered(plain: Sequence[str], prefixes: frozenset[str], count: int, starts: Sequence[int]) -> list[int]:
    """Places of `count` names that are one of the prefixes and consecutive numbers; [] where there is no such set."""
    places: dict[str, dict[int, int]] = {}
    for place, name in enumerate(plain):
        if (parts := re.fullmatch(r"([a-z]+)(\d{1,3})", name)) and parts[1] in prefixes:
            places.setdefault(parts[1], {}).setdefault(int(parts[2]), place)
    for start in starts:
        for found in places.values():
            if set(found) == set(range(start, start + count)):
                return [found[number] for number in range(start, start + count)]
    return []


def _positions_of(mapping: Mapping[str, Source], names: Sequence[str], file: str) -> dict[str, int | None]:
    """The mapping with a place from 0 for every column it names."""
    found: dict[str, int | None] = {}
    for ours, source in mapping.items():
        if isinstance(source, int):
            if not 1 <= source <= len(names):
                raise BadInput(
                    f"The column mapping gives position {source} for {ours}; {file!r} has columns 1 to {len(names)}."
                )
            found[ours] = source - 1
        elif source is not None:
            matches = [place for place, name in enumerate(names) if name == source.strip()] or [
                place for place, name in enumerate(names) if name.lower() == source.strip().lower()
            ]
            if not matches:
                raise BadInput(
                    f"The column mapping gives {source!r} for {ours}, which {file!r} does not have; it has "
                    f"{', '.join(repr(name) for name in names[:12])}{' …' if len(names) > 12 else ''}."
                )
            found[ours] = matches[0]
        else:
            found[ours] = None
    return found


def _ask_for_fields(
    found: Mapping[str, int | None], names: Sequence[str], examples: Sequence[Sequence[str]], file: str
) -> None:
    missing = [field for field in FIELDS if field not in found]
    if not missing:
        return
    if (other := recognise_other(names)) and len(missing) > len(FIELDS) // 2:
        raise ColumnsNeeded(
            f"The header of {file!r} is that of {other}: it has other features than the 13 numeric and 26 categorical "
            "ones of Criteo's click data that Thaw trains on, so it cannot be used.",
            "",
            names,
            examples,
            {},
        )
    proposal = _proposal(found, names)
    lacks = f"lacks the columns {', '.join(missing[:8])}{' …' if len(missing) > 8 else ''}"
    raise ColumnsNeeded(
        f"The header of {file!r} {lacks}; it names {', '.join(names[:8])}{' …' if len(names) > 8 else ''}.",
        f"Say which column is which with a mapping (--columns map.json), such as {_shown(proposal, missing)}; null "
        "stands for a column that the file does not have.",
        names,
        examples,
        proposal,
    )


def _ask_for_label(
    found: Mapping[str, int | None], names: Sequence[str], examples: Sequence[Sequence[str]], file: str
) -> None:
    used = set(found.values())
    labels = [
        place
        for place, cells in enumerate(examples)
        if place not in used and not _INDEX.fullmatch(_plain(names[place]))
        if {label_of(cell) for cell in cells} - {NO_LABEL} and all(label_of(cell) is not None for cell in cells)
    ]
    if not labels:
        return
    listed = ", ".join(repr(names[place]) for place in labels[:4])
    raise ColumnsNeeded(
        f"The header of {file!r} names no label, and {listed} {'holds' if len(labels) == 1 else 'hold'} only 0 and 1.",
        f'If that is the label, say so with a mapping (--columns map.json): {{"label": {json.dumps(names[labels[0]])}}}'
        '; if the rows have no label, {"label": null}.',
        names,
        examples,
        _proposal(found, names) | {LABEL: names[labels[0]]},
    )


def _proposal(found: Mapping[str, int | None], names: Sequence[str]) -> dict[str, Source]:
    """What was recognised, and for the rest what stands in Criteo's order where the number of columns fits."""
    proposal: dict[str, Source] = {ours: None if place is None else names[place] for ours, place in found.items()}
    free = [name for place, name in enumerate(names) if place not in found.values() and _plain(name) not in ID_NAMES]
    missing = [field for field in FIELDS if field not in found]
    if len(free) == len(missing):
        proposal |= dict(zip(missing, free, strict=True))
    identifier = _find_id([place for place in range(len(names)) if place not in found.values()], names)
    if identifier is not None:
        proposal[ID] = names[identifier]
    return proposal


def _shown(proposal: Mapping[str, Source], missing: Sequence[str]) -> str:
    example = {field: proposal.get(field) for field in missing[:2]}
    return json.dumps({field: name or "name in the file" for field, name in example.items()}, ensure_ascii=False)


def _columns(
    found: Mapping[str, int | None],
    names: Sequence[str],
    options: ReadOptions,
    file: str,
    nested: frozenset[str] = frozenset(),
) -> Columns:
    place_of = {ours: place for ours, place in found.items() if place is not None}
    used: list[str | None] = [None] * len(names)
    for ours, place in place_of.items():
        if ours != ID:
            used[place] = ours
    extra = [place for place in range(len(names)) if used[place] is None]
    stored = {place: _stored_name(names[place], place) for place in extra}
    identifier = place_of.get(ID) if ID in found else _find_id(extra, names)
    others = [place for place in extra if place != identifier and names[place] not in nested]
    chosen, notes = _chosen(others, names, options.keep, file)
    for place in ([] if identifier is None else [identifier]) + chosen:
        used[place] = stored[place]
    renamed = tuple((ours, names[place]) for ours, place in place_of.items() if ours not in (names[place], ID))
    return Columns(
        tuple(used),
        id_column="" if identifier is None else stored[identifier],
        kept=tuple(stored[place] for place in chosen),
        absent=tuple(field for field in FIELDS if field not in place_of),
        renamed=renamed,
        notes=notes,
    )


def _stored_name(name: str, place: int) -> str:
    """The name a column beyond the 40 is stored under: never one of ours."""
    name = name[:_MAX_NAME] or f"column {place + 1}"
    return f"{name} (file)" if name in (LABEL, *FIELDS) else name


def _find_id(extra: Sequence[int], names: Sequence[str]) -> int | None:
    return next((place for place in extra if _plain(names[place]) in ID_NAMES), None)


def _chosen(
    others: Sequence[int], names: Sequence[str], keep: tuple[str, ...] | None, file: str
) -> tuple[list[int], tuple[str, ...]]:
    """(places of the segment columns to keep, what to say about those left out)."""
    if keep is not None:
        free = {names[place]: place for place in reversed(others)}
        if unknown := [name for name in keep if name not in free]:
            raise BadInput(
                f"{file!r} has no column {unknown[0]!r} to keep beside label and features; it has "
                f"{', '.join(repr(name) for name in free) or 'none'}."
            )
        return sorted(free[name] for name in dict.fromkeys(keep)), ()
    wanted = []
    seen: set[str] = set()
    for place in others:
        if not _INDEX.fullmatch(_plain(names[place])) and names[place] not in seen:
            seen.add(names[place])
            wanted.append(place)
    left = [names[place] for place in wanted[MAX_KEPT:]]
    notes: tuple[str, ...] = ()
    if left:
        notes = (
            f"The file has {len(wanted)} columns beyond label and features; the first {MAX_KEPT} are kept, "
            f"{', '.join(left[:5])}{' …' if len(left) > 5 else ''} are not. Name the ones to keep with --keep.",
        )
    return wanted[:MAX_KEPT], notes
