"""Options of reading a file that the user may set."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ReadOptions:
    """member: of an archive. columns: our column -> the file's. keep: other columns to keep, None for the default."""

    member: str = ""
    columns: Mapping[str, str | int | None] | None = None
    keep: tuple[str, ...] | None = None


DEFAULT_OPTIONS = ReadOptions()


def read_mapping(path: Path) -> dict[str, str | int | None]:
    """The column mapping in a JSON file."""
    return json.loads(path.read_text(encoding="utf-8-sig"))
