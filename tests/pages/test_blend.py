"""Blends on the pages: queued from Compare, shown on Run, an arm on Sweep."""

import dataclasses

import pytest
from streamlit.testing.v1 import AppTest

from core.data.datasets import Dataset
from core.jobs.requests import FinetuneRequest
from core.jobs.store import Run, RunStore
from core.runs import blends
from core.runs.blends import blend_arms, submit_blend
from core.runs.dispatch import execute
from core.runs.sweep import Sweep, SweepSpec, expand_requests, find_sweep
from core.workspace import Workspace
from tests.core.inference.stored_runs import BACKBONE, CPU, stored_run
from tests.core.report.helpers import ARMS
from tests.core.training.helpers import ListReporter
from tests.pages.helpers import open_page, page_text

Tiny = tuple[Workspace, Dataset]


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker starts."""
    monkeypatch.setattr(blends, "ensure_worker", lambda workspace, queue: None)


def press(app: AppTest, label: str) -> None:
    next(one for one in app.button if one.label == label).click().run()
    assert not app.exception


def finish(workspace: Workspace) -> None:
    store = RunStore(workspace)
    while (run := store.claim("cpu", 1)) is not None:
        store.finish(run.id, "done", result=execute(workspace, run, ListReporter()))


def pair(tiny: Tiny) -> list[Run]:
    return [stored_run(*tiny, number) for number in (0, 1)]


def test_compare_queues_a_blend_and_shows_it_as_an_arm(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, _ = tiny
    runs = pair(tiny)
    app = open_page(workspace, "compare", monkeypatch, runs=runs[0].id)
    assert next(one for one in app.button if one.label == "Blend selected runs").disabled
    ids = ",".join(run.id for run in runs)
    app = open_page(workspace, "compare", monkeypatch, runs=ids)
    press(app, "Blend selected runs")
    (blend,) = RunStore(workspace).list(kind="blend")
    assert blend.status == "queued" and blend.id in "".join(app.query_params["runs"])
    assert any(f" blend {runs[1].id} {runs[0].id}" in one.value for one in app.code)
    finish(workspace)
    regression = FinetuneRequest(runs[0].dataset, BACKBONE, "logistic-regression", train=CPU)
    ids += f",{stored_run(*tiny, 2, regression).id}"
    app = open_page(workspace, "compare", monkeypatch, runs=f"{ids},{blend.id}")
    verdicts = next(one.value for one in app.dataframe if "Verdict" in one.value)
    assert blend.blend_request.title in verdicts["Arm"].tolist()
    settings = next(one.value for one in app.dataframe if "blended" in one.value)
    # Two networks with the same settings; a blend and a logistic regression have no epochs.
    assert not {"epochs", "head · activation", "kind"} & {*settings.columns}


def test_a_blend_that_cannot_be_is_refused_in_a_sentence(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    first = pair(tiny)[0]
    fewer = stored_run(
        workspace, dataset, 2, dataclasses.replace(first.finetune_request, target_rows=500)
    )
    app = open_page(workspace, "compare", monkeypatch, runs=f"{first.id},{fewer.id}")
    press(app, "Blend selected runs")
    assert "numbers of target rows differ" in "".join(one.value for one in app.error)
    assert RunStore(workspace).list(kind="blend") == []


def test_run_shows_weights_and_curves_of_a_blend(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, _ = tiny
    runs = pair(tiny)
    blend = submit_blend(workspace, [run.id for run in runs])
    finish(workspace)
    result = RunStore(workspace).get(blend.id).result
    assert result is not None and result.blend is not None
    app = open_page(workspace, "run", monkeypatch, run=blend.id)
    weights = next(one.value for one in app.dataframe if "Weight" in one.value)
    assert weights["Weight"].tolist()[:2] == [one.weight for one in result.blend.runs]
    assert weights["Arm"].tolist()[2:] == ["this blend", "equal weights"]
    shown = page_text(app)
    assert "the best of its runs on validation rows" in shown and "The cheapest threshold" in shown
    assert "Interpolation with the backbone" not in shown and "Stages, frozen" not in shown
    labels = [one.label for one in app.button]
    assert "Export" not in labels and "Verify" in labels


def test_arms_of_a_sweep_are_blended_from_its_page(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    spec = SweepSpec(dataset.id, BACKBONE, ARMS, (0, 1), train=CPU)
    sweep = Sweep("s-1", "first", spec, "")
    RunStore(workspace).save_sweep(sweep.id, sweep.name, dataclasses.asdict(spec))
    for number, request in enumerate(expand_requests(spec)):
        stored_run(workspace, dataset, number, dataclasses.replace(request, group=sweep.id))
    app = open_page(workspace, "sweep", monkeypatch, sweep=sweep.id)
    press(app, "Blend them")
    assert "no finished arm of gradient boosting" in "".join(one.value for one in app.error)
    titles = [ARMS[0].title, ARMS[2].title]
    app.multiselect(key="sweep_blend").set_value(titles).run()
    press(app, "Blend them")
    assert len(RunStore(workspace).list(kind="blend")) == 2
    finish(workspace)
    (title,) = {
        run.blend_request.title
        for run in blend_arms(workspace, find_sweep(workspace, "s-1"), titles)
    }
    app = open_page(workspace, "sweep", monkeypatch, sweep=sweep.id)
    table = next(one.value for one in app.dataframe if "Verdict" in one.value)
    assert title in table["Arm"].tolist()
