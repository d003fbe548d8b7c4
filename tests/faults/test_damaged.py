"""Every file of a workspace damaged in every way: pages and commands go on, and the damaged thing
is named.

The workspace is small and complete: a sample, a dataset, a backbone, a run that is done with all
that can be kept of it, and a sweep that waits.
"""

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st

from core.cli.parser import main
from core.data.datasets import list_datasets
from core.data.samples import list_samples
from core.jobs import run_cache
from core.models.backbone_store import list_backbones
from core.workspace import Workspace
from tests.pages.page_states import Place, furnished_copy, places, serve

LISTS = ("samples", "datasets", "backbones", "runs", "sweeps")


@pytest.fixture(scope="module")
def furnished(
    tiny_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str]]:
    """A workspace with something on every page, never to be changed; ids as `furnish` gives
    them."""
    workspace, ids = furnished_copy(
        tiny_template, tmp_path_factory.mktemp("furnished") / "workspace"
    )
    with contextlib.closing(sqlite3.connect(workspace.database)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return workspace.root, ids


@pytest.fixture
def here(
    furnished: tuple[Path, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Workspace, dict[str, str]]]:
    """A copy of it that the pages opened from now on show."""
    shutil.copytree(furnished[0], tmp_path / "here")
    workspace = Workspace(tmp_path / "here")
    st.cache_data.clear()
    st.cache_resource.clear()
    serve(workspace, monkeypatch)
    yield workspace, furnished[1]
    st.cache_data.clear()
    st.cache_resource.clear()


def _replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _nulls(path: Path) -> None:
    """Every value of a JSON object null; other files begin with zeros."""
    if path.suffix == ".json":
        path.write_text(json.dumps(dict.fromkeys(json.loads(path.read_text()))))
    else:
        path.write_bytes(bytes(64) + path.read_bytes()[64:])


def _odd_types(path: Path) -> None:
    """Every text a number and every number a text, every list an object and the other way round."""

    def turned(value: object) -> object:
        return {str: 1, int: "1", float: "1", bool: [], list: {}, dict: [], type(None): {}}[
            type(value)
        ]

    if path.suffix == ".json":
        path.write_text(
            json.dumps({key: turned(value) for key, value in json.loads(path.read_text()).items()})
        )
    else:
        path.write_bytes(b"[1, 2, 3]")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut in half": _cut,
    "a list": lambda path: path.write_text("[1, 2]"),
    "an empty object": lambda path: path.write_text("{}"),
    "nulls": _nulls,
    "other types": _odd_types,
    "not text": lambda path: path.write_bytes(b"\xff\xfe\x00\xd8" * 40),
    "deeply nested": lambda path: path.write_text("[" * 200_000),
    "a folder": _replaced(lambda path: path.mkdir()),
    "a link to nothing": _replaced(lambda path: path.symlink_to("nowhere")),
    "a pipe": _replaced(lambda path: os.mkfifo(path)),
    "gone": lambda path: path.unlink(),
}


def lists(workspace: Workspace) -> list[list[Any]]:
    return [list_samples(workspace), list_datasets(workspace), list_backbones(workspace)]


def said_by(app: object) -> str:
    return " ".join(
        str(one.value)
        for kind in ("error", "warning", "info", "markdown")
        for one in getattr(app, kind)
    )


def check_everything(
    workspace: Workspace, ids: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> tuple[str, str]:
    """Opens every page and gives every listing command; (what pages said, what commands said on
    standard error)."""
    run_cache._cache_by_file.cache_clear()
    pages = ""
    for place in places(ids):
        app = place.open()
        assert not app.exception, (place, [one.value for one in app.exception])
        pages += said_by(app)
    capsys.readouterr()
    for command in (*([name] for name in LISTS), ["scored", "--run", ids["run"]]):
        status = main(["--workspace", str(workspace.root), *command, "--json"])
        assert status in (0, 2), command
    return pages, capsys.readouterr().err


ENTRIES = ("samples/*/sample.json", "datasets/*/dataset.json", "backbones/*/card.json")


def test_damaged_descriptions_are_named_and_everything_else_works(
    here: tuple[Workspace, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, ids = here
    damaged = []
    for entry in ENTRIES:
        (path,) = workspace.root.glob(entry)
        for place, damage in enumerate(DAMAGES):
            folder = path.parent.with_name(f"{path.parent.name}-{place}")
            shutil.copytree(path.parent, folder)
            DAMAGES[damage](folder / path.name)
            damaged.append(folder / path.name)
    pages, commands = check_everything(workspace, ids, capsys)
    assert [path for path in damaged if str(path).replace("_", "\\_") not in pages] == []
    assert [path for path in damaged if str(path) not in commands] == []
    assert [len(found) for found in lists(workspace)] == [1, 1, 6]


@pytest.mark.parametrize(
    "entry", [*ENTRIES, "samples/*/rows.arrow", "datasets/*/labels.npy", "backbones/*/model.*"]
)
def test_where_all_there_is_is_damaged_pages_say_so(
    entry: str, here: tuple[Workspace, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, ids = here
    (path,) = workspace.root.glob(entry)
    path.write_bytes(b"")
    pages, commands = check_everything(workspace, ids, capsys)
    assert str(path).replace("_", "\\_") in pages and str(path) in commands


STORES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut in half": _cut,
    "not a database": lambda path: path.write_bytes(b"junk" * 5000),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "zeros after its header": lambda path: path.write_bytes(
        path.read_bytes()[:100] + bytes(path.stat().st_size - 100)
    ),
    "a folder": _replaced(lambda path: path.mkdir()),
    "a link to nothing": _replaced(lambda path: path.symlink_to("nowhere")),
    "a pipe": _replaced(lambda path: os.mkfifo(path)),
}


@pytest.mark.parametrize("damage", STORES)
def test_a_damaged_store_is_named_and_nothing_is_made_over_it(
    damage: str, here: tuple[Workspace, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, _ = here
    for path in workspace.root.glob("thaw.sqlite-*"):
        path.unlink()
    STORES[damage](workspace.database)
    before = workspace.database.read_bytes() if workspace.database.is_file() else None
    run_cache._cache_by_file.cache_clear()
    for page in (
        "home",
        "data",
        "backbones",
        "finetune",
        "sweep",
        "run",
        "score",
        "compare",
        "learn",
    ):
        app = Place(page).open()
        assert not app.exception, (page, [one.value for one in app.exception])
        assert "thaw.sqlite" in said_by(app) and "is damaged" in said_by(app), page
    for command in ("runs", "sweeps"):
        assert main(["--workspace", str(workspace.root), command]) == 2
        assert "is damaged" in capsys.readouterr().err
    for command in ("samples", "datasets", "backbones"):
        assert main(["--workspace", str(workspace.root), command]) == 0
    assert (workspace.database.read_bytes() if workspace.database.is_file() else None) == before
    assert not (workspace.root / "nowhere").exists()


RECORDS = {
    "a result cut off": ("result", '{"metrics": {"target'),
    "a result that is a list": ("result", "[1]"),
    "a result of other types": ("result", '{"metrics": 1, "stages": {}, "seconds": []}'),
    "a request cut off": ("request", '{"kind": "fine'),
    "a request of other types": ("request", '{"kind": "finetune", "dataset": 1, "train": 7}'),
    "tags that are none": ("tags", "{}"),
    "a status that is none": ("status", "gone"),
    "a time that is none": ("created", "yesterday"),
}


@pytest.mark.parametrize("damage", RECORDS)
def test_a_damaged_run_in_the_store_is_named_and_all_else_works(
    damage: str, here: tuple[Workspace, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, ids = here
    column, value = RECORDS[damage]
    with contextlib.closing(sqlite3.connect(workspace.database)) as database, database:
        database.execute(f"UPDATE runs SET {column} = ? WHERE id = ?", (value, ids["run"]))
    run_cache._cache_by_file.cache_clear()
    said = ""
    for place in places(ids):
        if place.page in ("home", "run", "compare", "score", "learn"):
            app = place.open()
            assert not app.exception, (place, [one.value for one in app.exception])
            said += said_by(app)
    assert "damaged" in said
    assert main(["--workspace", str(workspace.root), "runs"]) == 0
    out = capsys.readouterr()
    assert ids["run"] in (out.out if column == "result" else out.err)


@pytest.mark.parametrize(
    "damage", ["empty", "cut in half", "not text", "a folder", "gone", "a pipe"]
)
@pytest.mark.parametrize("file", ["predictions.npz", "model/card.json", "model/model.safetensors"])
def test_a_damaged_file_of_a_run_is_named_and_the_rest_of_the_page_works(
    file: str, damage: str, here: tuple[Workspace, dict[str, str]]
) -> None:
    workspace, ids = here
    path = workspace.runs / ids["run"] / file
    DAMAGES[damage](path)
    for page, key in (("run", "run"), ("compare", "runs"), ("learn", "run"), ("score", "run")):
        app = Place(page, {key: ids["run"]}).open()
        assert not app.exception, (page, [one.value for one in app.exception])
        if file == "predictions.npz" and page in ("run", "compare"):
            assert "predictions.npz" in said_by(app), page
    app = Place("run", {"run": ids["run"]}).open()
    assert "AUC" in " ".join(str(one.value) for one in app.dataframe)
