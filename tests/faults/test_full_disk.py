"""The app on a disk that is full, becomes full at a press, or is read-only: a message, and nothing
is lost."""

import contextlib
import io
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import streamlit as st
from streamlit.runtime import fragment
from streamlit.runtime.scriptrunner import exec_code
from streamlit.testing.v1 import AppTest

from app import explain
from core.cli.parser import main
from core.errors import BadInput, RunError
from core.jobs.database import keep_connection
from core.models.backbone_store import list_backbones
from core.models.exchange import export_backbone
from core.runs import demo, launch, subprocess_commands, tasks
from core.workspace import Workspace, open_workspace
from tests.core.data.helpers import rows, text
from tests.faults.disks import fill_disk, remount_read_only
from tests.pages.helpers import clear_workspace_cache
from tests.pages.page_states import Place, furnished_copy, places

FULL, READ_ONLY = "is full", "may not be written"
NO_FOLDER = "cannot be made (Read-only file system)"
ROWS = text(rows(400))

AppPart = Callable[[AppTest], object]


@pytest.fixture(scope="module")
def furnished(
    tiny_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Workspace, dict[str, str]]:
    """A workspace with something on every page, never to be changed; ids as `furnish` gives
    them."""
    return furnished_copy(tiny_template, tmp_path_factory.mktemp("furnished") / "workspace")


@pytest.fixture
def home(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """$THAW_HOME on the small disk, not made yet; errors as app.py has them explained; no worker
    starts."""

    class Child:
        def __init__(self, *_: object, **__: object) -> None:
            self.poll = lambda: None

    real = exec_code.handle_user_script_exception
    for module in (exec_code, fragment):
        monkeypatch.setattr(
            module, "handle_user_script_exception", lambda error, _: real(error, explain)
        )
    monkeypatch.setattr(launch, "subprocess", SimpleNamespace(Popen=Child, DEVNULL=None))
    monkeypatch.setenv("THAW_HOME", str(small_disk / "workspace"))
    forget()
    yield small_disk / "workspace"
    forget()


def forget() -> None:
    """Makes a server of what this process is that has just started."""
    clear_workspace_cache()
    st.cache_data.clear()
    st.cache_resource.clear()


def kept(workspace: Workspace) -> tuple[dict[str, bytes], str]:
    """(files by path, the run store as SQL): what may not be lost. Locks, logs and SQLite's own
    files are no one's."""
    files = {
        str(path.relative_to(workspace.root)): path.read_bytes()
        for path in workspace.root.rglob("*")
        if path.is_file()
        and path.suffix not in (".lock", ".log")
        and not path.name.startswith("thaw.sqlite")
    }
    if not workspace.database.exists():
        return files, "BEGIN TRANSACTION;\nCOMMIT;"
    with contextlib.closing(sqlite3.connect(workspace.database)) as db:
        return files, "\n".join(db.iterdump())


def errors(app: AppTest) -> str:
    return " ".join(block.value for block in app.error)


@pytest.mark.parametrize(
    ("furnishing", "disk", "sentence"),
    [
        (True, "read-only", READ_ONLY),
        (True, "full", FULL),
        (False, "read-only", NO_FOLDER),
        (False, "full", FULL),
    ],
    ids=["read-only", "full", "new and read-only", "new and full"],
)
def test_every_page_says_what_is_wrong(
    furnishing: bool,
    disk: str,
    sentence: str,
    furnished: tuple[Workspace, dict[str, str]],
    home: Path,
) -> None:
    """A server that starts on such a disk, every page and deep link: those too that need no more
    than to read."""
    workspace, ids = furnished
    if furnishing:
        shutil.copytree(workspace.root, home)
    elif disk == "full":
        open_workspace()
    before = kept(Workspace(home)) if home.exists() else None
    ballast = None
    if disk == "full":
        ballast = fill_disk(home.parent, 0)
    else:
        remount_read_only(home.parent)
    for place in places(ids):
        app = place.open()
        assert not app.exception, place
        assert errors(app).count(sentence) == 1, f"{place}: {errors(app)}"
    if ballast:
        ballast.unlink()
        assert kept(Workspace(home)) == before
        for place in (Place("home"), Place("run", {"run": ids["run"]})):
            assert FULL not in errors(place.open()), "one has to start the app anew"


def nothing(app: AppTest) -> None:
    """No field to fill in."""


def press(key: str) -> AppPart:
    """Presses the button of that key, or with that label."""

    def do(app: AppTest) -> None:
        next(one for one in app.button if key in (one.key, one.label)).click()

    return do


def take_upload(app: AppTest) -> None:
    app.file_uploader[0].set_value(("rows.tsv", ROWS, "text/plain"))


def add_by(way: str, then: AppPart) -> AppPart:
    """Opens the form for another sample."""

    def do(app: AppTest) -> None:
        app.session_state["adding"] = True
        app.run().segmented_control(key="way").set_value(way).run()
        then(app)
        app.run()

    return do


def give_backbone(app: AppTest) -> None:
    archive = open_workspace().root.parent / "backbone.zip"
    app.file_uploader[0].set_value(("backbone.zip", archive.read_bytes(), "application/zip")).run()


def give_path(app: AppTest) -> None:
    app.text_input(key="path").set_value(str(open_workspace().uploads / "tiny.tsv"))


def write_note(app: AppTest) -> None:
    app.text_area[0].set_value("looked at it " * 50)


@dataclass(frozen=True)
class Action:
    """A button at a place. ready: what one fills in while there is room."""

    page: str
    press: AppPart
    query: dict[str, str] = field(default_factory=dict)
    view: str = ""
    ready: AppPart = nothing


ACTIONS = {
    "demo": Action("home", press("run_demo")),
    "upload": Action("data", take_upload, ready=add_by("upload", nothing)),
    "file": Action(
        "data",
        press("add_path"),
        ready=add_by("path", give_path),
    ),
    "simulate": Action(
        "data",
        press("simulate"),
        ready=add_by(
            "simulate", lambda app: app.number_input(key="simulated_rows").set_value(2000)
        ),
    ),
    "prepare": Action("data", press("prepare"), view="Split"),
    "pretrain": Action("backbones", press("pt_launch"), {"section": "Pretrain"}),
    "import": Action("backbones", press("import"), ready=give_backbone),
    "launch": Action("finetune", press("ft_launch")),
    "sweep": Action("sweep", press("sweep_launch")),
    "cancel a sweep": Action("sweep", press("Cancel"), {"sweep": "sweep"}),
    "add seeds": Action("sweep", press("sweep_extend"), {"sweep": "sweep"}),
    "cancel": Action("run", press("Cancel"), {"run": "waits"}),
    "note": Action("run", press("Save"), {"run": "run"}, ready=write_note),
    "mix": Action("run", press("Interpolate with the backbone"), {"run": "run"}),
    "measure": Action("run", press("Measure weight drift"), {"run": "run"}),
    "export": Action("run", press("Export"), {"run": "run"}),
    "verify": Action("run", press("Verify"), {"run": "run"}),
    "upload to score": Action("score", take_upload, {"run": "run"}),
    "score": Action(
        "score",
        press("score"),
        {"run": "run"},
        ready=lambda app: app.segmented_control(key="score_way").set_value("sample").run(),
    ),
}


@pytest.fixture
def commands_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in this process as the command line would, before the page is drawn
    again."""

    def run(
        workspace: Workspace, words: Sequence[str], on_progress: object = None
    ) -> dict[str, Any]:
        out, said = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
            status = main(["--workspace", str(workspace.root), *words, "--json"])
        if status:
            raise (BadInput if status == 2 else RunError)(
                said.getvalue().splitlines()[-1].removeprefix("thaw: ")
            )
        found: dict[str, Any] = json.loads(out.getvalue())
        return found

    class Now:
        def __init__(
            self, target: Callable[..., None], args: tuple[Any, ...], daemon: bool
        ) -> None:
            self.start = lambda: target(*args)

    monkeypatch.setattr(subprocess_commands, "run_command", run)
    monkeypatch.setattr(tasks, "threading", SimpleNamespace(Thread=Now))
    monkeypatch.setattr(tasks, "_tasks", {})


@pytest.mark.usefixtures("costs_in_process", "commands_told")
def test_a_disk_that_fills_up_while_someone_presses(
    furnished: tuple[Workspace, dict[str, str]], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a worker that lives, so that pages can still be read: each press ends in a sentence,
    nothing changes."""
    template, ids = furnished
    monkeypatch.setattr(demo, "ROWS", 4000)
    shutil.copytree(template.root, home)
    workspace = open_workspace()
    export_backbone(
        next(card for card in list_backbones(workspace) if not card.bundled),
        home.parent / "backbone.zip",
    )
    for name, action in ACTIONS.items():
        query = {key: ids.get(value, value) for key, value in action.query.items()}
        app = Place(action.page, query, action.view).open()
        action.ready(app)
        assert not app.exception and not app.error, name
        before = kept(workspace)
        with keep_connection(workspace):
            ballast = fill_disk(home.parent, 0)
            action.press(app)
            app.run()
            assert not app.exception and FULL in errors(app), f"{name}: {errors(app)}"
            ballast.unlink()
        assert kept(workspace) == before, name
        tasks._tasks.clear()
        assert FULL not in errors(app.run()), f"{name}: with room again"


def test_a_disk_with_room_for_an_upload_and_not_for_its_rows(
    furnished: tuple[Workspace, dict[str, str]], home: Path
) -> None:
    """The copy is removed: nobody could use it, and it would keep the disk full for a day."""
    shutil.copytree(furnished[0].root, home)
    app = Place("data").open()
    before = kept(open_workspace())
    add_by("upload", take_upload)(app)
    assert len([*open_workspace().uploads.glob("upload-*")]) == 1
    ballast = fill_disk(home.parent, 16_384)
    press("add_upload")(app)
    app.run()
    assert not app.exception and FULL in errors(app)
    ballast.unlink()
    assert kept(open_workspace()) == before


@pytest.mark.parametrize("kind", ["annotate_dialog", "confirm_delete"])
def test_a_disk_that_fills_up_under_a_dialog(
    kind: str, furnished: tuple[Workspace, dict[str, str]], home: Path
) -> None:
    shutil.copytree(furnished[0].root, home)

    def dialog(kind: str, run_id: str) -> None:
        from core.jobs.store import RunStore
        from pages.components.compare import run_actions
        from pages.components.shared.common import workspace

        getattr(run_actions, kind)([RunStore(workspace()).get(run_id)])

    app = AppTest.from_function(dialog, args=(kind, furnished[1]["run"])).run()
    if kind == "annotate_dialog":
        app.text_input[0].set_value("seen")
    before = kept(open_workspace())
    with keep_connection(open_workspace()):
        ballast = fill_disk(home.parent, 0)
        app.button[0].click().run()
        assert not app.exception and FULL in errors(app)
        ballast.unlink()
    assert kept(open_workspace()) == before
