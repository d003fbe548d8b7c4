"""How a file is to be read: a stand-in for the reader's own form, which replaces this file."""

from dataclasses import dataclass
from pathlib import Path

from core.data.options import DEFAULT_OPTIONS, ReadOptions


@dataclass(frozen=True)
class File:
    """A file to be read. original: its own name, which a copy of ours does not have. key: of its widgets."""

    path: Path
    original: str
    key: str


def read_form(file: File) -> ReadOptions | None:
    """Asks what the file does not show by itself; None as long as it cannot be read."""
    return DEFAULT_OPTIONS
