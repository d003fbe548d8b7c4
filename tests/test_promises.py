"""Every promise in the docs names an existing test, and every campaign is one that `make torture`
runs."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.workspace import PROJECT

PAGES = ("reliability.md", "security.md")
FEWEST = {"reliability.md": 20, "security.md": 20}
"""Promises that a page has at least: fewer would mean that its table is no longer found."""
TESTED = "Tested in"
NAMED = re.compile(r"`((?:tests|benchmarks|core|pages|assets)/[\w/.-]+\.\w+)(?:::(\w+))?`")
CAMPAIGN = re.compile(r"`benchmarks\.(\w+)`")


def promises(text: str) -> Iterator[dict[str, str]]:
    """Every row, by the head of its column, of the tables that say where a thing is tested."""
    head: list[str] = []
    for line in text.splitlines():
        cells = (
            [cell.strip() for cell in line.strip().strip("|").split("|")]
            if line.startswith("|")
            else []
        )
        if not cells:
            head = []
        elif TESTED in cells:
            head = cells
        elif head and not set("".join(cells)) <= set("-: "):
            yield dict(zip(head, cells, strict=True))


def faults_of(text: str) -> list[str]:
    """What is wrong with the promises and names in a page."""
    found = [
        f"{row!r:.120} names no test"
        for row in promises(text)
        if "tests/" not in _names(row[TESTED])
    ]
    for path, name in NAMED.findall(text):
        if not (PROJECT / path).exists():
            found.append(f"{path} does not exist")
        elif name and name not in defined(PROJECT / path):
            found.append(f"{path} has no {name}")
    for name in CAMPAIGN.findall(text):
        if not (PROJECT / "benchmarks" / f"{name}.py").exists():
            found.append(f"benchmarks/{name}.py does not exist")
    return found


def _names(cell: str) -> str:
    return " ".join(path for path, _ in NAMED.findall(cell))


def defined(path: Path) -> set[str]:
    """Names of the functions and classes of a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }


@pytest.mark.parametrize("page", PAGES)
def test_every_promise_names_a_test_that_exists(page: str) -> None:
    text = (PROJECT / "docs" / page).read_text(encoding="utf-8")
    assert faults_of(text) == []
    assert len([*promises(text)]) >= FEWEST[page]


def test_a_promise_without_a_test_is_seen() -> None:
    """The check itself: no test, a file that is not there, a function that is not in it."""
    table = f"| Promise | {TESTED} |\n|---|---|\n| it holds | {{}} |\n"
    here = "tests/test_promises.py"
    assert faults_of(table.format(f"`{here}::{defined.__name__}`")) == []
    for cell in ("nowhere", "`benchmarks/kills.py`", "`tests/none.py`", f"`{here}::none`"):
        assert len(faults_of(table.format(cell))) == 1, cell


def test_campaigns_are_scripts_that_make_torture_runs() -> None:
    """Each takes --count or has a fixed size, and ends with a status that says whether it found
    something."""
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    listed = re.search(r"^TORTURE \?= (.*)$", makefile, re.MULTILINE)
    assert listed
    scripts = set(listed[1].split())
    text = (PROJECT / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = {name for row in promises(text) for name in CAMPAIGN.findall(row["Campaign"])}
    assert named == scripts
    for name in scripts:
        source = (PROJECT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")
        assert "write_section(" in source, name
        assert "sys.exit(main())" in source or "assert " in source, f"{name} never fails"


def test_sections_name_the_script_that_made_them() -> None:
    text = (PROJECT / "docs" / "reliability.md").read_text(encoding="utf-8")
    for name in re.findall(r"^Made by `python -m benchmarks\.(\w+)`", text, re.MULTILINE):
        assert (PROJECT / "benchmarks" / f"{name}.py").exists(), name
