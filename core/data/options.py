"""Options of reading a file that the user may set."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ReadOptions:
    """member: of an archive. columns: our column -> the file's. keep: other columns to keep, None for the default."""

    member: str = ""
    columns: Mapping[str, str | int | None] | None = None
    keep: tuple[str, ...] | None = None
