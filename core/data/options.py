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


def read_mapping(text: str) -> dict[str, str | int | None]:
    """The column mapping in a JSON file, or the JSON itself."""
    return json.loads(text if text.lstrip().startswith("{") else Path(text).read_text(encoding="utf-8-sig"))


def option_words(options: ReadOptions) -> list[str]:
    """The options as words of the command line."""
    words = ["--member", options.member] if options.member else []
    return words + (["--columns", json.dumps(dict(options.columns))] if options.columns else [])
