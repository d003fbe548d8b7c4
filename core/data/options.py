"""What a user says about how a file is to be read, beyond what the file itself shows."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.data.schema import FIELDS, ID, LABEL
from core.errors import BadInput

Source = str | int | None
"""A column of a file: its name in the header, its position from 1, or None for a column that the file lacks."""


@dataclass(frozen=True)
class ReadOptions:
    """How to read a file.

    member: of an archive, the file that holds the rows; "" lets Thaw choose. columns: which of the file's columns holds
    the label, I1 to I13, C1 to C26 and ``id``; what it does not name is recognised by the header. keep: names of the
    columns beyond those that are stored beside them, None for all (at most core.data.columns.MAX_KEPT).

    >>> ReadOptions(columns={"label": "clicked", "I5": None}).columns["label"]
    'clicked'
    """

    member: str = ""
    columns: Mapping[str, Source] | None = None
    keep: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_mapping(self.columns or {})


def check_mapping(columns: Mapping[str, Source]) -> None:
    """BadInput where a key is none of our columns, a value is no column, or two keys name the same one."""
    known = (LABEL, *FIELDS, ID)
    named: dict[str | int, str] = {}
    for ours, source in columns.items():
        if ours not in known:
            raise BadInput(
                f"The column mapping names {ours!r}; on the left it must have label, I1 to I13, C1 to C26 or id, on "
                'the right the column of the file, such as {"label": "clicked"}.'
            )
        if source is None:
            continue
        if isinstance(source, bool) or not isinstance(source, str | int):
            raise BadInput(
                f"The column mapping gives {source!r} for {ours}; give a column's name, its position from 1, or null "
                "where the file has no such column."
            )
        if source in named:
            raise BadInput(f"The column mapping gives {source!r} for both {named[source]} and {ours}.")
        named[source] = ours


def read_mapping(path: Path) -> dict[str, Source]:
    """The column mapping in a JSON file: one object such as ``{"label": "clicked", "I1": "int_0"}``."""
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadInput(
            f"The column mapping {str(path)!r} cannot be read ({error.strerror}); check the path."
        ) from error
    except ValueError as error:
        raise BadInput(f"The column mapping {str(path)!r} is not JSON ({error}).") from error
    if not isinstance(values, dict):
        raise BadInput(
            f"The column mapping {str(path)!r} holds a {type(values).__name__}; it must be one object such as "
            '{"label": "clicked"}.'
        )
    check_mapping(values)
    return values


DEFAULT_OPTIONS = ReadOptions()
"""The file is read as it shows itself."""
