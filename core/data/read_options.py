"""What a user says about how a file is to be read, beyond what the file itself shows."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.data.paths import check_input, clean_path, format_path
from core.data.schema import FIELDS, ID, LABEL
from core.errors import BadInput

MAX_MAPPING_BYTES = 2**20
"""Bytes of a file with a column mapping that are read."""
ON_BAD_ROWS = {"reject": "Reject the file", "skip": "Skip and count them"}
"""What can be done about rows that cannot be parsed: its name in requests and commands, and its
label on pages."""
ColumnSource = str | int | None
"""A column of a file: its name in the header, its position from 1, or None for a column that the
file lacks."""


@dataclass(frozen=True)
class ReadOptions:
    """How to read a file.

    member: of an archive, the file that holds the rows; "" lets Thaw choose. columns: which of the
    file's columns holds the label, I1 to I13, C1 to C26 and ``id``; what it does not name is
    recognised by the header. keep: names of the columns beyond those that are stored beside them,
    None for all (at most core.data.reading.column_mapping.MAX_EXTRA_COLUMNS).

    >>> ReadOptions(columns={"label": "clicked", "I5": None}).columns["label"]
    'clicked'
    """

    member: str = ""
    columns: Mapping[str, ColumnSource] | None = None
    keep: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_mapping(self.columns or {})


def check_mapping(columns: Mapping[str, ColumnSource]) -> None:
    """BadInput where a key is none of our columns, a value is no column, or two keys name the same
    one."""
    known = (LABEL, *FIELDS, ID)
    named: dict[str | int, str] = {}
    for ours, source in columns.items():
        if ours not in known:
            raise BadInput(
                f"The column mapping names {ours!r}; on the left it must have label, I1 to I13, C1"
                ' to C26 or id, on the right the column of the file, such as {"label":'
                ' "clicked"}.'
            )
        if source is None:
            continue
        if isinstance(source, bool) or not isinstance(source, str | int):
            raise BadInput(
                f"The column mapping gives {source!r} for {ours}; give a column's name, its"
                " position from 1, or null where the file has no such column."
            )
        if source in named:
            raise BadInput(
                f"The column mapping gives {source!r} for both {named[source]} and {ours}."
            )
        named[source] = ours


def load_mapping(text: str) -> dict[str, ColumnSource]:
    """The column mapping in a JSON file, or in `text` itself: one object such as ``{"label":
    "clicked"}``."""
    where = "The column mapping"
    if not text.lstrip().startswith("{"):
        path = clean_path(text)
        where = f"The column mapping {format_path(path)}"
        check_input(path, "column mapping")
        if path.stat().st_size > MAX_MAPPING_BYTES:
            raise BadInput(
                f"{where} has more than {MAX_MAPPING_BYTES:,} bytes; it must be one small JSON object."
            )
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{where} cannot be read ({error}); check the path.") from error
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where} is not JSON ({error}).") from error
    if not isinstance(values, dict):
        raise BadInput(
            f'{where} holds a {type(values).__name__}; it must be one object such as {{"label":'
            ' "clicked"}.'
        )
    check_mapping(values)
    return values


def parse_names(text: str) -> tuple[str, ...]:
    """Names of columns, parted by commas, or as a JSON list where they hold commas themselves.

    >>> read_names("day,domain")
    ('day', 'domain')
    """
    if not text.lstrip().startswith("["):
        return tuple(name.strip() for name in text.split(",") if name.strip())
    try:
        return tuple(str(name) for name in json.loads(text))
    except ValueError as error:
        raise BadInput(
            f"The columns to keep, {text[:60]!r}, are no JSON list ({error})."
        ) from error


def to_cli_args(options: ReadOptions) -> list[str]:
    """The options as words of the command line, such as ``["--member", "train.csv"]``."""
    words = ["--member", options.member] if options.member else []
    if options.columns:
        words += ["--columns", json.dumps(dict(options.columns), ensure_ascii=False)]
    if options.keep is None:
        return words
    plain = all(
        name == name.strip() and name and not set(name) & {",", "["} for name in options.keep
    )
    return [
        *words,
        "--keep",
        ",".join(options.keep) if plain else json.dumps(options.keep, ensure_ascii=False),
    ]


def options_from_json(values: Mapping[str, Any]) -> ReadOptions:
    """The options that `dataclasses.asdict` and JSON made `values` from."""
    keep = values.get("keep")
    return ReadOptions(
        values.get("member", ""), values.get("columns"), None if keep is None else tuple(keep)
    )


DEFAULT_OPTIONS = ReadOptions()
"""The file is read as it shows itself."""
