"""Threats of docs/security.md that no other test covers: what a page draws, what an address names, who gets in."""

import ast
import dataclasses
import io
import pickle
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.data.datasets import Dataset
from core.data.ingest import ingest
from core.data.profile import profile_columns
from core.data.samples import list_samples, save_sample
from core.errors import BadInput
from core.report.data_figures import column_figure
from core.runs.store import RunStore
from core.training.settings import FinetuneRequest
from core.workspace import PROJECT, Workspace
from pages.components.common import plain
from pages.components.run_table import safe_csv
from pages.components.sign_in import may_enter
from tests.core.data.helpers import fingerprint, rows, text

EVIL = "http://evil.example/x.png"
HOSTILE = f"![x]({EVIL}) <img src={EVIL} onerror=alert(1)> '; DROP TABLE runs; --"
FILES = sorted(path.name for path in (PROJECT / "pages").glob("[!_]*.py") if path.name != "router.py")
ADDRESS = (
    "run",
    "runs",
    "dataset",
    "sample",
    "backbone",
    "sweep",
    "find",
    "status",
    "kind",
    "tags",
    "strategy",
    "view",
)
Tiny = tuple[Workspace, Dataset]


@pytest.fixture
def home(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace with a run whose name, tag, note and message are hostile, and a sample of such a file name."""
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
    save_sample(dataclasses.replace(sample, source=HOSTILE, bad_rows=1, bad_examples=(f"Row 1: {HOSTILE}",)))
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
    kinds = (app.markdown, app.caption, app.error, app.warning, app.info, app.success, app.title, app.subheader)
    return [str(block.value) for kind in kinds for block in kind] + [str(one.label) for one in app.expander]


@pytest.mark.parametrize("file", FILES)
def test_nothing_from_users_or_addresses_is_drawn_as_markup(file: str, home: Workspace) -> None:
    """An image in a cell would be fetched from its host by whoever opens the page. (HTML is off there.)"""
    app = opened(file, **dict.fromkeys(ADDRESS, HOSTILE)).run()
    assert not app.exception
    for words in drawn(app):
        assert f"]({EVIL}" not in words.replace("\\]", "").replace("\\(", ""), words


def test_a_failed_runs_sentence_is_readable_and_plain(home: Workspace) -> None:
    app = opened("run.py").run()
    shown = next(block.value for block in app.error if "Row 3" in block.value)
    assert shown == plain(f"Row 3 of 'file': I5 is {HOSTILE!r}, not a number.")
    assert "!\\[x\\](" in shown


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "r-../../x", "a\0b", HOSTILE, "x" * 5000])
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


def test_sql_in_every_text_the_store_takes(home: Workspace) -> None:
    store = RunStore(home)
    before = [run.id for run in store.list()]
    for words in ("'; DROP TABLE runs; --", '" OR 1=1 --', "%", "_", "\\"):
        assert store.list(status=words) == store.list(kind=words) == store.group(words) == []
        assert store.points(words) == {} and store.claim(words, 1) is None
        store.annotate(before[0], words, [words], words)
        assert store.get(before[0]).name == words
    assert [run.id for run in store.list()] == before


def test_no_cell_of_a_csv_starts_a_formula() -> None:
    cells = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=1", "=cmd|' /C calc'!A0"]
    lines = safe_csv(pd.DataFrame({"Name": cells, "n": range(len(cells))}))
    back = pd.read_csv(io.StringIO(lines), keep_default_na=False)["Name"]
    assert [cell[0] for cell in back] == ["'"] * len(cells)


def test_pickles_are_loaded_nowhere_but_from_our_own_checkpoints() -> None:
    """No call in the product unpickles: torch.load takes weights alone, numpy refuses objects, joblib loads nothing."""
    for path in [*(PROJECT / "core").rglob("*.py"), *(PROJECT / "pages").rglob("*.py"), PROJECT / "app.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called, named = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert called not in ("pickle.load", "pickle.loads", "joblib.load", "eval", "exec", "os.system"), path
            assert called != "torch.load" or named.get("weights_only") == "True", path
            assert called != "np.load" or named.get("allow_pickle", "False") == "False", path
            assert named.get("shell", "False") == "False" and named.get("unsafe_allow_html", "False") == "False", path


@pytest.mark.parametrize("name", ["model.pt", "model.bin", "rows.pkl", "rows.npy"])
def test_a_pickle_offered_as_rows_is_refused(name: str, workspace: Workspace, tmp_path: Path) -> None:
    """Content decides, not the name; a pickle that would leave a mark when loaded leaves none."""
    mark = tmp_path / "mark"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (mark,)  # type: ignore[return-value]

    path = tmp_path / name
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(BadInput):
        ingest(workspace, path, "sample")
    assert not mark.exists()


def test_the_server_listens_to_this_machine_and_checks_where_requests_come_from() -> None:
    server = tomllib.loads((PROJECT / ".streamlit" / "config.toml").read_text())["server"]
    assert server["address"] == "127.0.0.1" and server["enableXsrfProtection"] and server["maxUploadSize"] <= 2048
    assert server["enableCORS"] and "corsAllowedOrigins" not in server


def signed(**told: object) -> dict[str, object]:
    return {"is_logged_in": True, "email": "ann@example.com", "email_verified": True, **told}


AUTH = {"redirect_uri": "http://localhost:8501/oauth2callback", "cookie_secret": "x" * 40, "client_id": "thaw"}


@pytest.mark.parametrize("file", FILES)
def test_without_sign_in_no_page_shows_anything(file: str, home: Workspace) -> None:
    app = opened(file)
    app.secrets["auth"] = AUTH
    app.run()
    assert not app.exception
    assert [button.label for button in app.button] == ["Sign in"] and [title.value for title in app.title] == ["Thaw"]
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
    assert may_enter(user, allowed) is enters


def test_hostile_values_in_a_file_stay_text(home: Workspace, tmp_path: Path) -> None:
    """Column values reach figures and tables as data."""
    lines = [[line[0], *line[1:39], "<script>alert(1)</script>"] for line in rows(30)]
    path = tmp_path / "file"
    path.write_bytes(text(lines))
    sample = ingest(home, path, "hostile")
    figure = column_figure(profile_columns(sample)[-1], sample.rows).to_json()
    assert "<script>" not in figure
