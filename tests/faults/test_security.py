"""Threats of docs/security.md that no other test covers: what a page draws, what an address names,
who gets in."""

import ast
import dataclasses
import io
import pickle
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.data.datasets import Dataset, find_dataset
from core.data.prepare import prepare
from core.data.profile import profile_columns
from core.data.reading.ingest import ingest
from core.data.samples import find_sample, list_samples, save_sample
from core.data.split import SplitSpec
from core.errors import BadInput
from core.jobs.requests import FinetuneRequest, PretrainRequest
from core.jobs.store import RunStore
from core.models.backbone_import import import_backbone
from core.models.backbone_store import find_backbone
from core.report.data_figures import column_figure
from core.report.table_files import to_safe_csv
from core.runs.submit import submit_pretrain
from core.runs.sweep import Arm, SweepSpec, submit_sweep
from core.training.vector_file import read_vectors
from core.workspace import BUNDLED_BACKBONES, PROJECT, Workspace
from pages.components.shared.formatting import escape_inline
from pages.components.shared.sign_in import is_allowed
from tests.core.data.helpers import fingerprint, rows, text
from tests.pages.helpers import PAGE_FILES
from tests.pages.page_states import furnish, places, serve

EVIL = "http://evil.example/x.png"
HOSTILE = f"` ![x]({EVIL}) <img src={EVIL} onerror=alert(1)> '; DROP TABLE runs; --"
ADDRESS = (
    "run",
    "runs",
    "dataset",
    "sample",
    "backbone",
    "sweep",
    "scored",
    "section",
    "find",
    "shelf_find",
    "status",
    "kind",
    "tags",
    "strategy",
    "depth",
    "view",
    "present",
    "rows",
    "against",
    "setting",
    "column",
    "seeds",
    "seed",
    "cost",
    "lines",
    "part",
    "one-threshold",
    "arms",
    "head",
    "training",
    "sizes",
    "rates",
    "halving",
)
"""Names that addresses of pages carry."""
SOURCES = [
    *(PROJECT / "core").rglob("*.py"),
    *(PROJECT / "pages").rglob("*.py"),
    PROJECT / "app.py",
]
Tiny = tuple[Workspace, Dataset]


@pytest.fixture
def home(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace with a run whose name, tag, note and message are hostile, and a sample of such a
    file name."""
    workspace, dataset = tiny
    monkeypatch.setenv("THAW_HOME", str(workspace.root))
    monkeypatch.setattr("core.runs.launch.ensure_worker", lambda *_: None)
    st.cache_resource.clear()
    store = RunStore(workspace)
    run = store.submit(FinetuneRequest(dataset.id, "b-1"), "a run", "cpu")
    store.claim("cpu", 1)
    store.finish(run.id, "failed", f"Row 3 of 'file': I5 is {HOSTILE!r}, not a number.")
    store.annotate(run.id, HOSTILE[:110], [HOSTILE[:30]], HOSTILE)
    sample = list_samples(workspace)[0]
    save_sample(
        dataclasses.replace(sample, source=HOSTILE, bad_rows=1, bad_examples=(f"Row 1: {HOSTILE}",))
    )
    yield workspace
    st.cache_resource.clear()


def opened(file: str, **query: str) -> AppTest:
    app = AppTest.from_file(str(PROJECT / "pages" / "router.py"), default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    app.switch_page(str(PROJECT / "pages" / file))
    return app


def drawn(app: AppTest) -> list[str]:
    """Everything on the page that Streamlit draws as Markdown."""
    kinds = (
        app.markdown,
        app.caption,
        app.error,
        app.warning,
        app.info,
        app.success,
        app.title,
        app.subheader,
    )
    labelled = (
        app.expander,
        app.button,
        app.checkbox,
        app.toggle,
        app.metric,
        app.tabs,
        app.selectbox,
        app.text_input,
    )
    return [str(block.value) for kind in kinds for block in kind] + [
        f"{one.label} {getattr(one, 'help', '')}" for kind in labelled for one in kind
    ]


def marked_up(app: AppTest) -> list[str]:
    """What of it is an image or a link to EVIL, since nothing before its address is escaped."""
    return [
        words for words in drawn(app) if f"]({EVIL}" in words.replace("\\]", "").replace("\\(", "")
    ]


@pytest.mark.parametrize("file", PAGE_FILES)
def test_nothing_from_users_or_addresses_is_drawn_as_markup(file: str, home: Workspace) -> None:
    """An image in a cell would be fetched from its host by every reader of the page. (HTML is off
    there.)"""
    app = opened(file, **dict.fromkeys(ADDRESS, HOSTILE)).run()
    assert not app.exception
    assert not marked_up(app)


@pytest.mark.usefixtures("costs_in_process")
def test_finished_runs_of_hostile_names_are_drawn_as_text(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every page with results on it, where each run's name, tags and note are hostile."""
    ids = furnish(*tiny)
    serve(tiny[0], monkeypatch)
    store = RunStore(tiny[0])
    for run in store.list():
        store.annotate(run.id, HOSTILE[:110], [HOSTILE[:30]], HOSTILE)
    for place in places(ids):
        app = place.open()
        assert not app.exception and drawn(app), place
        assert not marked_up(app), place


def test_a_failed_runs_message_is_readable_and_plain(home: Workspace) -> None:
    app = opened("run.py").run()
    shown = next(block.value for block in app.error if "Row 3" in block.value)
    assert shown == escape_inline(f"Row 3 of 'file': I5 is {HOSTILE!r}, not a number.")
    assert "!\\[x\\](" in shown


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "..", "r-../../x", "a\0b", HOSTILE, "x" * 5000]
)
def test_an_address_names_nothing_outside_the_workspace(name: str, home: Workspace) -> None:
    before = fingerprint(Workspace(home.runs))
    for file in ("run.py", "compare.py", "data.py"):
        app = opened(file, run=name, runs=name, sample=name, dataset=name).run()
        assert not app.exception
    with pytest.raises(BadInput):
        RunStore(home).get(name)
    with pytest.raises(BadInput):
        RunStore(home).delete(name)
    assert fingerprint(Workspace(home.runs)) == before


@pytest.mark.parametrize("folder", ["samples", "datasets", "backbones", "runs"])
def test_no_name_leads_outside_its_folder(folder: str, home: Workspace) -> None:
    """Real things, copied to where "../x" and absolute paths would find them, were a name joined to
    a path."""
    finds: dict[str, Callable[[str], object]] = {
        "samples": lambda name: find_sample(home, name),
        "datasets": lambda name: find_dataset(home, name),
        "backbones": lambda name: find_backbone(home, name),
        "runs": lambda name: RunStore(home).get(name),
    }
    real = {"samples": list_samples(home)[0].folder, "datasets": find_dataset(home, "tiny").folder}
    real["backbones"], real["runs"] = BUNDLED_BACKBONES / "simulated-dcnv2", real["datasets"]
    outside = home.root.parent / "outside"
    shutil.copytree(real[folder], outside)
    for name in (
        "../../outside",
        str(outside),
        f"{outside}/",
        f"../datasets/{real['datasets'].name}",
        "..",
        ".",
    ):
        assert (home.root / folder / name).exists()
        with pytest.raises(BadInput, match="There is no"):
            finds[folder](name)


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/b", "a\\b", "..", ".x", "a\0b", "a\nb", " ", "x" * 65, HOSTILE]
)
def test_no_thing_gets_a_name_that_could_be_a_path(name: str, home: Workspace) -> None:
    sample, dataset = list_samples(home)[0], find_dataset(home, "tiny")
    before, runs = fingerprint(home), len(RunStore(home).list())
    makes: tuple[Callable[[], object], ...] = (
        lambda: ingest(home, home.uploads / "tiny.tsv", name),
        lambda: prepare(home, sample, SplitSpec(), name),
        lambda: submit_sweep(home, SweepSpec(dataset.id, "simulated-dnn", (Arm("scratch"),)), name),
        lambda: submit_pretrain(home, PretrainRequest(dataset.id, "dnn", name)),
    )
    for make in makes:
        with pytest.raises(BadInput, match="name .* cannot be used"):
            make()
    assert fingerprint(home) == before and len(RunStore(home).list()) == runs


@pytest.mark.parametrize("name", ["../../evil.tsv", "/tmp/evil.tsv", "..", f"{HOSTILE}.tsv"])
def test_the_name_of_an_upload_is_not_a_path(name: str, home: Workspace) -> None:
    """Rows that are refused, whose copy stays until another is chosen; what the page says of them
    is text."""
    app = opened("data.py")
    app.session_state["adding"] = True
    app.run()
    app.file_uploader(key="sample_upload_0").upload(name, b"no rows", "text/plain").run()
    assert not app.exception and len(app.error) == 1
    assert [path.name[:7] for path in home.uploads.iterdir() if path.name != "tiny.tsv"] == [
        "upload-"
    ]
    assert not list(home.root.parent.rglob("*evil*"))
    assert not marked_up(app)


def test_sql_in_every_text_the_store_takes(home: Workspace) -> None:
    store = RunStore(home)
    before = [run.id for run in store.list()]
    for words in ("'; DROP TABLE runs; --", '" OR 1=1 --', "%", "_", "\\"):
        assert store.list(status=words) == store.list(kind=words) == store.list_group(words) == []
        assert store.points(words) == {} and store.claim(words, 1) is None
        store.annotate(before[0], words, [words], words)
        assert store.get(before[0]).name == words
    assert [run.id for run in store.list()] == before


def test_no_cell_of_a_csv_starts_a_formula() -> None:
    cells = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=1", "=cmd|' /C calc'!A0"]
    lines = to_safe_csv(pd.DataFrame({"Name": cells, "n": range(len(cells))}))
    back = pd.read_csv(io.StringIO(lines), keep_default_na=False)["Name"]
    assert [cell[0] for cell in back] == ["'"] * len(cells)


def test_every_table_that_is_given_away_goes_through_the_same_guard() -> None:
    """Predictions are numbers, and simulated rows are made by us; any other CSV is written by
    `to_safe_csv`."""
    writers = {
        str(path.relative_to(PROJECT))
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in ("to_csv", "write_csv", "to_excel", "writer")
    }
    assert writers == {"core/report/table_files.py", "core/data/simulate.py"}


def test_pickles_are_loaded_nowhere_but_from_our_own_checkpoints() -> None:
    """No call in the product unpickles: torch.load takes weights alone, numpy refuses objects,
    joblib loads nothing."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called, named = (
                ast.unparse(node.func),
                {word.arg: ast.unparse(word.value) for word in node.keywords},
            )
            assert called not in (
                "pickle.load",
                "pickle.loads",
                "joblib.load",
                "eval",
                "exec",
                "os.system",
            ), path
            assert called.rpartition(".")[2] not in (
                "read_pickle",
                "load_model",
                "Unpickler",
                "extractall",
            ), path
            assert called != "torch.load" or named.get("weights_only") == "True", path
            assert called != "np.load" or named.get("allow_pickle", "False") == "False", path
            assert (
                named.get("shell", "False") == "False"
                and named.get("unsafe_allow_html", "False") == "False"
            ), path


@pytest.mark.parametrize(
    "name", ["model.pt", "model.bin", "rows.pkl", "rows.npy", "vectors.txt", "weights.h5", "b.zip"]
)
def test_a_pickle_offered_anywhere_is_refused(
    name: str, workspace: Workspace, tmp_path: Path
) -> None:
    """Content decides, not the name; a pickle that would leave a mark when loaded leaves none."""
    mark = tmp_path / "mark"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (mark,)  # type: ignore[return-value]

    path = tmp_path / name
    path.write_bytes(pickle.dumps(Trap()))
    takes: tuple[Callable[[], object], ...] = (
        lambda: ingest(workspace, path, "sample"),
        lambda: import_backbone(workspace, path),
        lambda: read_vectors(path, ["C1=a"], 2),
    )
    for take in takes:
        with pytest.raises(BadInput):
            take()
    assert not mark.exists()
    pickle.loads(path.read_bytes())
    assert mark.exists(), "the trap itself is none"


def test_the_server_listens_to_this_machine_and_checks_where_requests_come_from() -> None:
    config = tomllib.loads((PROJECT / ".streamlit" / "config.toml").read_text())
    server = config["server"]
    assert (
        server["address"] == "127.0.0.1"
        and server["enableXsrfProtection"]
        and server["maxUploadSize"] <= 2048
    )
    assert server["enableCORS"] and "corsAllowedOrigins" not in server
    assert config["browser"]["gatherUsageStats"] is False


def test_every_threat_names_a_test_that_is_there() -> None:
    page = (PROJECT / "docs" / "security.md").read_text(encoding="utf-8")
    threats = [
        line.split(" | ")
        for line in page.splitlines()
        if line.startswith("| ") and "---" not in line
    ][1:]
    assert len(threats) > 15
    for what, _, tested in threats:
        named = re.findall(r"`((?:tests|benchmarks)/[^`]+)`", tested)
        assert named and all((PROJECT / one).is_file() for one in named), what


def signed(**told: object) -> dict[str, object]:
    return {"is_logged_in": True, "email": "ann@example.com", "email_verified": True, **told}


AUTH = {
    "redirect_uri": "http://localhost:8501/oauth2callback",
    "cookie_secret": "x" * 40,
    "client_id": "thaw",
}


@pytest.mark.parametrize("file", PAGE_FILES)
def test_without_sign_in_no_page_shows_anything(file: str, home: Workspace) -> None:
    app = opened(file)
    app.secrets["auth"] = AUTH
    app.run()
    assert not app.exception
    assert [button.label for button in app.button] == ["Sign in"] and [
        title.value for title in app.title
    ] == ["Thaw"]
    assert not app.dataframe and not app.selectbox and not app.text_input and not app.expander


@pytest.mark.parametrize(
    ("user", "allowed", "enters"),
    [
        (signed(), None, True),
        (signed(), ["ann@example.com"], True),
        (signed(email="Ann@Example.com"), ["@example.com"], True),
        (signed(email="ann@example.com.evil.org"), ["@example.com"], False),
        (signed(email="bob@evilexample.com"), ["@example.com"], False),
        (signed(email_verified=False), ["ann@example.com"], False),
        ({"is_logged_in": True}, ["ann@example.com"], False),
        (signed(), [], False),
        ({"is_logged_in": False}, None, False),
    ],
)
def test_who_gets_in(user: dict[str, object], allowed: list[str] | None, enters: bool) -> None:
    assert is_allowed(user, allowed) is enters


def test_hostile_values_in_a_file_stay_text(home: Workspace, tmp_path: Path) -> None:
    """Column values reach figures and tables as data, and no page draws one as markup."""
    lines = [[line[0], *line[1:39], f"<script>alert(1)</script>{HOSTILE}"] for line in rows(30)]
    path = tmp_path / "file"
    path.write_bytes(text([*lines, [*lines[0][:5], HOSTILE, *lines[0][6:]]]))
    sample = ingest(home, path, "hostile", "skip")
    assert sample.bad_rows == 1
    figure = column_figure(profile_columns(sample)[-1], sample.rows).to_json()
    assert "<script>" not in figure and "<img" not in figure
    dataset = prepare(
        home, sample, SplitSpec("column", column="C26", target_values=(lines[0][39],)), "hostile", 1
    )
    for view, named in (("Sample", "sample"), ("Split", "sample"), ("Datasets", "dataset")):
        app = opened("data.py", **{named: sample.id if named == "sample" else dataset.id})
        app.session_state["view"] = view
        app.run()
        assert not app.exception and drawn(app)
        assert not marked_up(app)
