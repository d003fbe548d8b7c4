"""What the user says about how to read a file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from core.data.paths import check_input, clean_path, format_path
from core.data.schema import FIELDS, ID, LABEL
from core.errors import BadInput

MAX_MAPPING_BYTES = 2**20
"""Largest size of a file with a column mapping, in bytes."""
ON_BAD_ROWS = {"reject": "Reject the file", "skip": "Skip and count them"}
"""What can be done about rows that cannot be parsed: its name in requests and commands, and its
label on pages."""
ColumnSource = str | int | None
"""A column of a file: its name in the header, its position from 1, or None if the file lacks it."""


@dataclass(frozen=True)
class ReadOptions:
    """How to read a file.

    Attributes:
        member: for an archive, the file that holds the rows; "" lets Thaw choose.
        columns: the file's column for label, I1 to I13, C1 to C26 and ``id``. Those that it does
            not name are recognised by the header.
        keep: names of the extra columns to store; None for all, at most
            `column_mapping.MAX_EXTRA_COLUMNS`.

    >>> ReadOptions(columns={"label": "clicked", "I5": None}).columns["label"]
    'clicked'
    """

    member: str = ""
    columns: Mapping[str, ColumnSource] | None = None
    keep: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_mapping(self.columns or {})


def check_mapping(columns: Mapping[str, ColumnSource]) -> None:
    """Raise BadInput if a key or a value is not a column, or if two keys share a value."""
    allowed = (LABEL, *FIELDS, ID)
    field_of: dict[str | int, str] = {}
    for field, source in columns.items():
        if field not in allowed:
            raise BadInput(
                f"The column mapping names {field!r}; on the left it must have label, I1 to I13, C1"
                ' to C26 or id, on the right the column of the file, such as {"label":'
                ' "clicked"}.'
            )
        if source is None:
            continue
        if isinstance(source, bool) or not isinstance(source, str | int):
            raise BadInput(
                f"The column mapping gives {source!r} for {field}; give a column's name, its"
                " position from 1, or null where the file has no such column."
            )
        if source in field_of:
            raise BadInput(
                f"The column mapping gives {source!r} for both {field_of[source]} and {field}."
            )
        field_of[source] = field


def load_mapping(text: str) -> dict[str, ColumnSource]:
    """Read a column mapping from a JSON file, or from `text` itself if it is an object."""
    subject = "The column mapping"
    if not text.lstrip().startswith("{"):
        path = clean_path(text)
        subject = f"The column mapping {format_path(path)}"
        check_input(path, "column mapping")
        if path.stat().st_size > MAX_MAPPING_BYTES:
            raise BadInput(
                f"{subject} has more than {MAX_MAPPING_BYTES:,} bytes; it must be one small JSON"
                " object."
            )
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{subject} cannot be read ({error}); check the path.") from error
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{subject} is not JSON ({error}).") from error
    if not isinstance(values, dict):
        raise BadInput(
            f'{subject} holds a {type(values).__name__}; it must be one object such as {{"label":'
            ' "clicked"}.'
        )
    check_mapping(values)
    return values


def parse_names(text: str) -> tuple[str, ...]:
    """Parse names of columns, separated by commas, or a JSON list if they contain commas.

    >>> parse_names("day,domain")
    ('day', 'domain')
    """
    if not text.lstrip().startswith("["):
        return tuple(name.strip() for name in text.split(",") if name.strip())
    try:
        return tuple(str(name) for name in json.loads(text))
    except ValueError as error:
        raise BadInput(
            f"The columns to keep, {text[:60]!r}, are not a JSON list ({error})."
        ) from error


def to_cli_args(options: ReadOptions) -> list[str]:
    """Return the options as command-line arguments, such as ``["--member", "train.csv"]``."""
    args = ["--member", options.member] if options.member else []
    if options.columns:
        args += ["--columns", json.dumps(dict(options.columns), ensure_ascii=False)]
    if options.keep is None:
        return args
    plain = all(
        name == name.strip() and name and not set(name) & {",", "["} for name in options.keep
    )
    return [
        *args,
        "--keep",
        ",".join(options.keep) if plain else json.dumps(options.keep, ensure_ascii=False),
    ]


DEFAULT_OPTIONS = ReadOptions()
"""Read the file as it is."""
