"""CONTRIBUTING.md says where to find things: the files and names are there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from core.workspace import PROJECT

ROW = re.compile(r"^\| ([^|]+) \| `([^`|]+)` \| (?:`([^`|]+)`)? ?\|$", re.MULTILINE)


def names_defined(path: Path) -> Iterator[str]:
    """Functions, classes, their methods, and what is assigned at the top of a module."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef():
                yield node.name
            case ast.ClassDef():
                yield node.name
                yield from (
                    f"{node.name}.{item.name}"
                    for item in node.body
                    if isinstance(item, ast.FunctionDef)
                )
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name


def test_every_file_and_name_is_there() -> None:
    rows = ROW.findall((PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert len(rows) >= 10
    for what, file, name in rows:
        path = PROJECT / file
        assert path.is_file(), f"{what}: there is no {file}"
        if path.suffix == ".py" and name:
            assert name in names_defined(path), f"{what}: {file} does not define {name}"
        else:
            assert name in path.read_text(encoding="utf-8"), f"{what}: {file} does not say {name}"
