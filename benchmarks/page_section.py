"""A page that several scripts write: each owns one section, from its heading to the next."""

import re
from pathlib import Path


def put_section(page: Path, heading: str, body: str) -> None:
    """Replace the section under `## heading` of a Markdown page, or add it at the end.

    The rest of the page stays as it is.
    """
    text = page.read_text(encoding="utf-8")
    section = f"## {heading}\n\n{body.strip()}\n"
    match = re.search(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if match is None:
        text = f"{text.rstrip()}\n\n{section}"
    else:
        rest = text[match.end() :]
        text = text[: match.start()] + section + (f"\n{rest}" if rest else "")
    page.write_text(text, encoding="utf-8")
