"""The recommendation on the pages Sweep, Compare and Run, at the margins of the address."""

import pytest
from streamlit.testing.v1 import AppTest

from core.evaluation.non_inferiority import Margins
from core.evaluation.recommendation_words import headline
from core.jobs.store import RunStore
from core.runs.arm_recommendation import recommend_arms
from core.runs.sweep import list_sweeps
from core.runs.sweep_result import summarise_arms
from core.workspace import Workspace
from pages.components.shared.formatting import escape_markdown
from tests.pages.helpers import has_button, open_page, page_text

WIDE = {"margin_auc": "0.1", "margin_log_loss": "20"}


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker: what is queued stays queued."""
    monkeypatch.setattr("core.runs.sweep.ensure_worker", lambda workspace, queue: None)


def open_sweep(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, **query: str) -> AppTest:
    (sweep,) = list_sweeps(workspace)
    return open_page(workspace, "sweep", monkeypatch, sweep=sweep.id, **query)


def expected(workspace: Workspace, margins: Margins) -> list[str]:
    (sweep,) = list_sweeps(workspace)
    results = summarise_arms(sweep, RunStore(workspace).list_group(sweep.id))
    found = recommend_arms(workspace, results, margins)
    return [f"##### {escape_markdown(headline(one))}" for one in found]


def sentences(app: AppTest) -> list[str]:
    return [one.value for one in app.markdown if one.value.startswith("##### ")]


def test_a_sweep_begins_with_it_and_a_margin_changes_it_at_once(
    swept: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_sweep(swept, monkeypatch)
    assert sentences(app) == expected(swept, Margins())
    text = page_text(app)
    assert text.index("**Recommendation**") < text.index("What the results support")
    runs = len(RunStore(swept).list())
    app.number_input("margin_auc").set_value(0.1)
    app.number_input("margin_log_loss").set_value(20.0).run()
    assert sentences(app) == expected(swept, Margins(0.1, 20.0))
    assert len(RunStore(swept).list()) == runs
    # The same address shows the same.
    again = open_sweep(swept, monkeypatch, **WIDE)
    assert sentences(again) == sentences(app) and not again.exception


def test_one_click_adds_the_seeds_to_the_same_sweep(
    swept: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "pages.components.sweep.sweep_recommendation.seeds_that_settle", lambda found: 3
    )
    app = open_sweep(swept, monkeypatch)
    before = len(RunStore(swept).list())
    app.button("sweep_settle").click().run()
    assert not app.exception
    (sweep,) = list_sweeps(swept)
    assert sweep.spec.seeds == (0, 1, 2, 3, 4)
    # Zero-shot and logistic regression run once; three arms at two sizes get three more seeds.
    assert len(RunStore(swept).list()) == before + 3 * 2 * 3
    # While they wait, the button is gone and the recommendation is provisional.
    assert not any(one.key == "sweep_settle" for one in app.button)
    assert "**Recommendation** :orange-badge" in page_text(app)


def test_compare_has_one_for_the_selected_runs(
    swept: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = ",".join(run.id for run in RunStore(swept).list() if not run.active)
    app = open_page(swept, "compare", monkeypatch, runs=ids, **WIDE)
    # The pretraining run is among them, and takes no part.
    assert any(run.kind == "pretrain" for run in RunStore(swept).list())
    assert sentences(app) == expected(swept, Margins(0.1, 20.0))


def test_a_run_stands_against_its_controls_and_lacking_ones_are_one_click(
    swept: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RunStore(swept)
    run = next(run for run in store.list() if run.strategy == "depth" and run.target_rows == 300)
    app = open_page(swept, "run", monkeypatch, run=run.id)
    assert "this run's arm and 2 controls" in page_text(app) and len(sentences(app)) == 1
    before = len(store.list())
    app.button("run_controls").click().run()
    assert not app.exception
    # Gradient boosting, the retrained network and the one from scratch, for both seeds.
    queued = [run for run in store.list() if run.status == "queued"]
    assert len(queued) == len(store.list()) - before == 6
    assert {run.target_rows for run in queued} == {300}
    assert not has_button(app, "Run the missing controls")


def test_without_controls_the_page_offers_them(
    swept: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RunStore(swept)
    for run in store.list():
        if run.strategy in ("zero-shot", "logistic-regression"):
            store.delete(run.id)
    run = next(run for run in store.list() if run.strategy == "depth")
    app = open_page(swept, "run", monkeypatch, run=run.id)
    assert "Without controls nothing says" in page_text(app)
    assert has_button(app, "Run its controls")
