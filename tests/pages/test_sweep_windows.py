"""Rolling evaluation on page Sweep: the form asks for windows, and the view shows them."""

import shlex

import pytest
from streamlit.testing.v1 import AppTest

from core.cli.parser import build_parser
from core.cli.sweep_command import sweep_spec
from core.data.datasets import Dataset
from core.jobs.requests import TrainSettings
from core.jobs.store import RunStore
from core.runs.dispatch import execute
from core.runs.rolling_result import rolling_table
from core.runs.sweep import Arm, SweepSpec, submit_sweep
from core.runs.sweep_result import summarise_arms
from core.runs.worker import run_job
from core.workspace import Workspace
from tests.core.training.helpers import pretrained
from tests.pages.helpers import has_button, open_page, page_text, table_with_column

Tiny = tuple[Workspace, Dataset]
TRAIN = TrainSettings(epochs=1, batch_size=256, early_stopping=0, device="cpu")


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker: what is queued stays queued."""
    monkeypatch.setattr("core.runs.sweep.ensure_worker", lambda workspace, queue: None)
    monkeypatch.setattr(
        "pages.components.sweep.sweep_form.ensure_worker", lambda workspace, queue: None
    )


def asked_for(app: AppTest, workspace: Workspace) -> SweepSpec:
    words = shlex.split(app.code[-1].value)
    return sweep_spec(workspace, build_parser().parse_args(words[3:]))


def test_the_form_asks_for_windows_as_the_command_does(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page(tiny[0], "sweep", monkeypatch, backbone="simulated-dnn")
    before = asked_for(app, tiny[0])
    assert before.windows == 0 and "--windows" not in app.code[-1].value
    app.checkbox("sweep_rolling").check().run()
    app.selectbox("sweep_from").select("last").run()
    assert not app.exception
    spec = asked_for(app, tiny[0])
    assert (spec.windows, spec.window_start, spec.window_column) == (5, "last", "")
    assert spec.target_sizes == (0,) and not spec.halving and not spec.blend
    # The preset follows the rows of a window, and the summary counts the windows.
    assert spec.train.batch_size <= before.train.batch_size
    text = page_text(app)
    assert "5 windows of 240 rows: the first 4 train, and windows 2 to 5 test." in text
    assert "4 trained windows" in text and "zero-shot once a window" in text
    assert app.button_group(f"sweep_sizes_{tiny[1].id}").disabled
    assert (app.query_params["windows"], app.query_params["from"]) == ("5", "last")


def test_the_address_carries_the_windows(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    query = {"backbone": "simulated-dnn", "windows": "3", "from": "last"}
    app = open_page(tiny[0], "sweep", monkeypatch, **query)
    spec = asked_for(app, tiny[0])
    assert (spec.windows, spec.window_start) == (3, "last")
    query = {"windows": "1", "from": "first", "window_column": "day"}
    odd = open_page(tiny[0], "sweep", monkeypatch, backbone="simulated-dnn", **query)
    assert asked_for(odd, tiny[0]).windows == 0
    warned = " ".join(one.value for one in odd.warning)
    assert "2 to 50" in warned and "backbone or last" in warned


def test_windows_are_shown_as_they_are_tested(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, dataset = tiny
    arms = (Arm("full"), Arm("zero-shot"))
    spec = SweepSpec(
        dataset.id,
        pretrained(workspace, "dnn").id,
        arms,
        (0,),
        train=TRAIN,
        windows=4,
        window_start="last",
    )
    sweep = submit_sweep(workspace, spec, "rolling")
    app = open_page(workspace, "sweep", monkeypatch, sweep=sweep.id)
    assert "Nothing yet: no window is tested" in page_text(app)
    store = RunStore(workspace)

    def work(number: int) -> None:
        for _ in range(number):
            claimed = store.claim("cpu", 1)
            assert claimed is not None and run_job(workspace, store, claimed, execute) == ""

    work(3)
    app.run()
    text = page_text(app)
    assert "provisional: 3 of 6 runs done" in text and "2 of 3 windows are tested" in text
    assert "which takes two windows that both have" in text
    table = table_with_column(app, "Windows").set_index("Arm")
    assert table["Windows"].to_dict() == {"full fine-tuning": "2 of 3", "zero-shot": "1 of 3"}
    work(3)
    app = open_page(workspace, "sweep", monkeypatch, sweep=sweep.id)
    table = table_with_column(app, "Windows").set_index("Arm")
    expected = rolling_table(workspace, summarise_arms(sweep, store.list_group(sweep.id)))
    for row in expected:
        shown = table.loc[row["arm"]]
        assert shown["AUC"] == pytest.approx(row["auc"])
        assert [shown[f"AUC {test}"] for test in (2, 3, 4)] == [
            pytest.approx(row[f"auc_window_{number}"]) for number in (1, 2, 3)
        ]
    assert table.loc["full fine-tuning", "By AUC"] == "baseline"
    assert not has_button(app, "Blend them")
