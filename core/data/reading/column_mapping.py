"""Which column of a file is which: recognised by its name, or as the user's mapping says."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.data.read_options import ColumnSource, ReadOptions
from core.data.reading.column_names import (
    is_index_column,
    recognise_columns,
)
from core.data.reading.columns_needed import find_id_column, require_fields, require_label
from core.data.schema import FIELDS, ID, LABEL
from core.errors import BadInput

MAX_COLUMNS = 1000
"""Number of columns that a file may have."""
MAX_EXTRA_COLUMNS = 16
"""Number of columns beyond the 40 that are kept by default."""
_MAX_NAME_LENGTH = 64


@dataclass(frozen=True)
class ColumnMapping:
    """Which column of a file is which.

    Attributes:
        stored_as: for every column of the file its name in the sample, None if it is left out.
        id_column: stored name of the column that identifies a row, "" for none.
        segment_columns: stored names of the other extra columns.
        missing_fields: features that the file lacks, stored as missing.
        renamed: (our name, the file's) where they differ.
        notes: sentences about what was decided.
    """

    stored_as: tuple[str | None, ...]
    id_column: str = ""
    segment_columns: tuple[str, ...] = ()
    missing_fields: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether one of the columns is the label."""
        return LABEL in self.stored_as


def match_header(
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    options: ReadOptions,
    file: str,
    need_label: bool = True,
    nested: frozenset[str] = frozenset(),
) -> ColumnMapping:
    """Match the columns of a file whose header is `names`.

    Args:
        names: the header.
        rows: some rows, as text.
        options: what the user says about the file.
        file: its name, for messages.
        need_label: raise ColumnsNeeded if a column that was not recognised may be the label.
        nested: columns whose values are not text; they are not kept.

    Raises:
        ColumnsNeeded: a feature was not found.
        BadInput: a column is named twice, or the mapping or `options.keep` names a missing one.
    """
    if len(names) > MAX_COLUMNS:
        raise BadInput(
            f"The header of {file!r} names {len(names):,} columns; at most {MAX_COLUMNS:,} are"
            " read."
        )
    names = [name.strip().lstrip("\ufeff").strip() for name in names]
    mapped = _resolve_mapping(options.columns or {}, names, file)
    positions = {
        field: position
        for field, position in recognise_columns(names, file).items()
        if position not in mapped.values()
    } | mapped
    examples = [
        [row[position] for row in rows if position < len(row)] for position in range(len(names))
    ]
    require_fields(positions, names, examples, f"The header of {file!r}")
    if LABEL not in positions and need_label:
        require_label(positions, names, examples, file)
    return _build_mapping(positions, names, options, file, nested)


def match_positions(
    rows: Sequence[Sequence[str]],
    default_order: Mapping[str, int],
    options: ReadOptions,
    file: str,
    names: Sequence[str],
) -> ColumnMapping:
    """Match the columns of a file without a header, or with one that only numbers the columns.

    Args:
        rows: some rows, as text.
        default_order: position of each field, from 0, where no mapping says otherwise.
        options: what the user says about the file.
        file: its name, for messages.
        names: the numbered names, or positions.
    """
    mapped = _resolve_mapping(options.columns or {}, names, file)
    positions = _fill_in_order(default_order, mapped, len(names)) | mapped
    examples = [[row[position] for row in rows] for position in range(len(names))]
    require_fields(positions, names, examples, f"{file!r}, which has no header,")
    columns = _build_mapping(positions, names, options, file)
    moved = tuple(
        (field, name)
        for field, name in columns.renamed
        if positions[field] != default_order.get(field)
    )
    return dataclasses.replace(columns, renamed=moved)


def _fill_in_order(
    default_order: Mapping[str, int], mapped: Mapping[str, int | None], width: int
) -> dict[str, int]:
    """Return the positions of the fields that the mapping does not name.

    They keep `default_order` if the mapping takes none of its columns; otherwise they fill the
    remaining columns in Criteo's order.
    """
    taken = {position for position in mapped.values() if position is not None}
    if not taken & set(default_order.values()):
        return {field: position for field, position in default_order.items() if field not in mapped}
    rest = [field for field in (LABEL, *FIELDS) if field not in mapped]
    free = [position for position in range(width) if position not in taken]
    return dict(zip(rest, free, strict=True)) if len(rest) == len(free) else {}


def criteo_order(labelled: bool, first: int = 0) -> dict[str, int]:
    """Return the positions of label (if any), I1 to I13 and C1 to C26, starting at `first`."""
    fields = ((LABEL,) if labelled else ()) + FIELDS
    return {name: first + position for position, name in enumerate(fields)}


def _resolve_mapping(
    mapping: Mapping[str, ColumnSource], names: Sequence[str], file: str
) -> dict[str, int | None]:
    """Return the position, from 0, of every column that the mapping names."""
    positions: dict[str, int | None] = {}
    for field, source in mapping.items():
        if isinstance(source, int):
            if not 1 <= source <= len(names):
                raise BadInput(
                    f"The column mapping gives position {source} for {field}; {file!r} has columns"
                    f" 1 to {len(names)}."
                )
            positions[field] = source - 1
        elif source is not None:
            matches = [
                position for position, name in enumerate(names) if name == source.strip()
            ] or [
                position
                for position, name in enumerate(names)
                if name.lower() == source.strip().lower()
            ]
            if not matches:
                raise BadInput(
                    f"The column mapping gives {source!r} for {field}, which {file!r} does not"
                    f" have; it has {', '.join(map(repr, names[:12]))}"
                    f"{' …' if len(names) > 12 else ''}."
                )
            positions[field] = matches[0]
        else:
            positions[field] = None
        other_field = next(
            (
                name_of_other
                for name_of_other, position in positions.items()
                if position == positions[field] and name_of_other != field
            ),
            None,
        )
        if other_field and positions[field] is not None:
            raise BadInput(
                f"The column mapping gives column {source!r} of {file!r} for both {other_field} and"
                f" {field}."
            )
    return positions


def _build_mapping(
    positions: Mapping[str, int | None],
    names: Sequence[str],
    options: ReadOptions,
    file: str,
    nested: frozenset[str] = frozenset(),
) -> ColumnMapping:
    present = {field: position for field, position in positions.items() if position is not None}
    stored_as: list[str | None] = [None] * len(names)
    for field, position in present.items():
        if field != ID:
            stored_as[position] = field
    extra = [position for position in range(len(names)) if stored_as[position] is None]
    stored = unique_names(extra, names)
    id_position = present.get(ID) if ID in positions else find_id_column(extra, names)
    others = [position for position in extra if position != id_position]
    chosen, notes = _select_extra_columns(others, stored, names, nested, options.keep, file)
    for position in ([] if id_position is None else [id_position]) + chosen:
        stored_as[position] = stored[position]
    renamed = tuple(
        (field, names[position])
        for field, position in present.items()
        if field not in (names[position], ID)
    )
    return ColumnMapping(
        tuple(stored_as),
        id_column="" if id_position is None else stored[id_position],
        segment_columns=tuple(stored[position] for position in chosen),
        missing_fields=tuple(field for field in FIELDS if field not in present),
        renamed=renamed,
        notes=notes,
    )


def unique_names(positions: Sequence[int], names: Sequence[str]) -> dict[int, str]:
    """Return unique stored names, by position, for columns beyond the 40.

    They never equal the name of label or features.
    """
    stored: dict[int, str] = {}
    taken = {LABEL, *FIELDS}
    for position in positions:
        name = names[position][:_MAX_NAME_LENGTH] or f"column {position + 1}"
        if name in (LABEL, *FIELDS):
            name = f"{name} (file)"
        number, stored_name = 1, name
        while stored_name in taken:
            number += 1
            stored_name = f"{name} ({number})"
        taken.add(stored_name)
        stored[position] = stored_name
    return stored


def _select_extra_columns(
    others: Sequence[int],
    stored: Mapping[int, str],
    names: Sequence[str],
    nested: frozenset[str],
    keep: tuple[str, ...] | None,
    file: str,
) -> tuple[list[int], tuple[str, ...]]:
    """Return (positions of the segment columns to keep, notes about those left out)."""
    text = [position for position in others if names[position] not in nested]
    if keep is not None:
        by_name = {stored[position]: position for position in text}
        by_name |= {
            names[position]: position
            for position in reversed(text)
            if names[position] not in by_name
        }
        if unknown := [name for name in keep if name not in by_name]:
            held = " as text" if unknown[0] in nested else ""
            raise BadInput(
                f"{file!r} has no column {unknown[0]!r} to keep beside label and features{held}; it"
                f" has {', '.join(repr(stored[position]) for position in text) or 'none'}."
            )
        return sorted({by_name[name] for name in keep}), ()
    wanted = [position for position in text if not is_index_column(names[position])]
    left_out = [
        (names[position] or "one without a name", "row numbers")
        for position in text
        if is_index_column(names[position])
    ]
    left_out += [(names[position], "no text") for position in others if names[position] in nested]
    left_out += [
        (names[position], f"more than {MAX_EXTRA_COLUMNS}")
        for position in wanted[MAX_EXTRA_COLUMNS:]
    ]
    if not left_out:
        return wanted, ()
    listed = ", ".join(f"{name} ({reason})" for name, reason in left_out[:5])
    advice = " Name the ones to keep with --keep." if len(wanted) > MAX_EXTRA_COLUMNS else ""
    note = (
        "Columns that are left out:"
        f" {listed}{f' and {len(left_out) - 5} more' if len(left_out) > 5 else ''}.{advice}"
    )
    return wanted[:MAX_EXTRA_COLUMNS], (note,)
