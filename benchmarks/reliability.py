"""docs/reliability.md: each campaign replaces its own section and leaves the others."""

from collections.abc import Sequence
from datetime import UTC, datetime

from benchmarks.page_section import put_section
from core.workspace import PROJECT

PAGE = PROJECT / "docs" / "reliability.md"


def write_section(title: str, script: str, lines: Sequence[str]) -> None:
    """Replace the section `title` of docs/reliability.md, or add it at the end."""
    day = datetime.now(UTC).date().isoformat()
    body = "\n".join([f"Made by `{script}` on {day}.", "", *lines])
    put_section(PAGE, title, body)
    print(body)
