"""docs/reliability.md: each campaign replaces its own section and leaves the others."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from core.workspace import PROJECT

PAGE = PROJECT / "docs" / "reliability.md"


def write_section(title: str, script: str, lines: Sequence[str]) -> None:
    """Writes the section `title`, made by the command `script`, in place of the one there is, or at the end."""
    day = datetime.now(UTC).date().isoformat()
    section = "\n".join([f"## {title}", "", f"Made by `{script}` on {day}.", "", *lines]).rstrip() + "\n"
    page = PAGE.read_text(encoding="utf-8")
    there = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
    if there.search(page):
        page = there.sub(lambda _: section + "\n", page).rstrip() + "\n"
    else:
        page = page.rstrip() + "\n\n" + section
    PAGE.write_text(page, encoding="utf-8")
    print(section)
