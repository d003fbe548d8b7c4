"""Costs, slices and interpolation on the page Run, compared with the functions and files behind
them."""

import numpy as np
import pytest

from core.data.datasets import Dataset
from core.data.samples import find_sample
from core.evaluation.decision_cost import DecisionCosts, cheapest_threshold
from core.jobs.requests import FinetuneRequest, InterpolateRequest
from core.jobs.store import RunStore
from core.workspace import Workspace
from tests.core.data.helpers import with_segments
from tests.core.training.helpers import QUICK, pretrained, run_request
from tests.pages.helpers import has_button, open_page, page_text

Tiny = tuple[Workspace, Dataset]


def test_costs_choose_a_threshold_on_validation_rows(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    run = run_request(
        workspace, FinetuneRequest(dataset.id, pretrained(workspace, "dnn").id, train=QUICK)
    )
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    app.number_input(f"fn-{run.id}").set_value(9.0).run()
    assert not app.exception
    arrays = np.load(workspace.runs / run.id / "predictions.npz")
    true, guessed = (
        arrays[f"target_validation_{name}"].astype(float) for name in ("label", "score")
    )
    threshold = cheapest_threshold(true, guessed, DecisionCosts(1, 9))
    labels, scores = (arrays[f"target_test_{name}"].astype(float) for name in ("label", "score"))
    acted = scores >= threshold
    cost = (np.sum(acted & (labels == 0)) + 9 * np.sum(~acted & (labels == 1))) / len(labels)
    metrics = {metric.label: metric.value for metric in app.metric}
    assert (
        metrics["Threshold"] == f"{threshold:.4f}" and metrics["Cost per test row"] == f"{cost:.4f}"
    )

    app.segmented_control(f"way-{run.id}").set_value("impressions").run()
    app.number_input(f"price-{run.id}").set_value(6.0).run()
    assert any("a click must be worth more" in error.value for error in app.error)


def test_slices_cover_the_test_rows(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, dataset = tiny
    run = run_request(
        workspace, FinetuneRequest(dataset.id, pretrained(workspace, "dnn").id, train=QUICK)
    )
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    app.selectbox(f"slice-{run.id}").select("C6").run()
    assert not app.exception
    table = next(one.value for one in app.dataframe if "C6" in one.value.columns)
    assert table["Rows"].sum() == 600
    assert {"AUC before", "AUC after"} <= set(table.columns)
    assert "Holm" in page_text(app)


def test_a_segment_column_slices(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, dataset = tiny
    with_segments(find_sample(workspace, dataset.sample_id), "day", ["mon", "tue", None])
    run = run_request(
        workspace, FinetuneRequest(dataset.id, pretrained(workspace, "dnn").id, train=QUICK)
    )
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    assert not app.exception
    table = next(one.value for one in app.dataframe if "day" in one.value.columns)
    assert dict(zip(table["day"], table["Rows"], strict=True)) == {
        "mon": 200,
        "tue": 200,
        "missing": 200,
    }


def test_an_interpolation_is_requested_awaited_and_shown(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    run = run_request(
        workspace,
        FinetuneRequest(dataset.id, pretrained(workspace, "dnn").id, train=QUICK, keep_head=True),
    )
    monkeypatch.setattr("core.runs.submit.ensure_worker", lambda *_: None)
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    next(one for one in app.button if one.label == "Interpolate with the backbone").click().run()
    assert not app.exception
    (waiting,) = RunStore(workspace).list(kind="interpolate")
    assert waiting.interpolate_request.run == run.id and not has_button(
        app, "Interpolate with the backbone"
    )
    RunStore(workspace).request_cancel(waiting.id)

    mixed = run_request(workspace, InterpolateRequest(dataset.id, run.id, train=QUICK))
    assert mixed.result is not None and mixed.result.interpolation is not None
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    slider = app.select_slider(f"alpha-{mixed.id}")
    assert slider.value == mixed.result.interpolation.chosen
    slider.set_value(0.5).run()
    metrics = {metric.label: metric.value for metric in app.metric}
    assert (
        metrics["AUC, target test rows"]
        == f"{mixed.result.interpolation.parts['target_test']['auc'][5]:.4f}"
    )
    assert (
        metrics["Log loss, target test rows"]
        == f"{mixed.result.interpolation.parts['target_test']['log_loss'][5]:.4f}"
    )
    assert "than the fine-tuned run" in page_text(app) or "from the fine-tuned run" in page_text(
        app
    )
