"""The page Sweep in its mode "Search within a budget", and the view of a search."""

import dataclasses

import pytest
from streamlit.testing.v1 import AppTest

from core.data.datasets import Dataset
from core.jobs.requests import TrainSettings
from core.jobs.store import RunStore
from core.models.backbone_store import find_backbone
from core.runs.dispatch import execute
from core.runs.search import cancel_search, submit_search
from core.runs.search_defaults import make_search_spec
from core.runs.search_spec import SearchSpec
from core.runs.sweep import Arm, list_sweeps
from core.runs.worker import run_worker
from core.workspace import Workspace
from tests.pages.helpers import has_button, open_page, page_text

Tiny = tuple[Workspace, Dataset]
TRAIN = TrainSettings(epochs=1, batch_size=256, early_stopping=0, device="cpu")


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker: what is queued stays queued."""
    for module in ("core.runs.search", "pages.components.sweep.search_form"):
        monkeypatch.setattr(f"{module}.ensure_worker", lambda workspace, queue: None)


def test_the_form_submits_the_search(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(tiny[0], "sweep", monkeypatch, backbone="simulated-dnn", mode="search")
    assert not app.exception
    app.number_input("search_runs").set_value(7)
    app.number_input("search_minutes").set_value(2.0)
    app.text_input("search_rates").set_value("1e-4, 1e-2")
    app.text_input("search_decays").set_value("0 0.1").run()
    assert "Within 7 runs or 2 minutes, whichever ends first" in page_text(app)
    app.button("search_launch").click().run()
    (sweep,) = list_sweeps(tiny[0])
    search = sweep.spec.search
    assert search is not None
    assert (search.runs, search.minutes, search.rate_low, search.rate_high) == (7, 2.0, 1e-4, 1e-2)
    assert (search.weight_decays, search.heads) == ((0.0, 0.1), ("keep", "new"))
    assert [run.finetune_request.trial for run in RunStore(tiny[0]).list_group(sweep.id)] == [0]
    assert "7 runs" in page_text(app)


def test_the_form_says_what_is_wrong(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(tiny[0], "sweep", monkeypatch, backbone="simulated-dnn", mode="search")
    app.number_input("search_runs").set_value(0).run()
    assert "1 or more where there are no minutes" in page_text(app)
    assert not has_button(app, "Start the search")


def test_the_view_shows_the_trials_the_winner_and_its_verdict(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    card = find_backbone(workspace, "simulated-dnn")
    spec = make_search_spec(
        dataset,
        card,
        SearchSpec(runs=3),
        TRAIN,
        card.head,
        False,
        [Arm("depth", 0), Arm("depth", 2)],
        head_choice="new",
        seeds=1,
    )
    search = submit_search(workspace, dataclasses.replace(spec), "a search")
    view: AppTest = open_page(workspace, "sweep", monkeypatch, sweep=search.id)
    assert not view.exception
    assert "2 of 3 runs left" in view.get("progress")[0].proto.text
    assert "Nothing yet: no trial has ended." in page_text(view)
    cancel_search(workspace, search)
    view = open_page(workspace, "sweep", monkeypatch, sweep=search.id)
    assert "The search was cancelled" in page_text(view)
    button = next(one for one in view.button if one.label == "Resume")
    button.click().run()
    run_worker(workspace, "cpu", execute, idle_timeout=0.2)
    view = open_page(workspace, "sweep", monkeypatch, sweep=search.id)
    assert not view.exception
    text = page_text(view)
    assert "Lowest validation log loss of 3 settings" in text
    assert "What the results support" in text
    assert not has_button(view, "Resume")
