"""The page Learn: what it says without a run, and that its figures and sentences are those of the
selected run."""

import pytest

from core.data.datasets import Dataset
from core.evaluation.roc_auc import delong_test
from core.inference.weight_drift import measure_weight_drift
from core.jobs.requests import FinetuneRequest
from core.jobs.store import RunStore
from core.report.learn_figures import before_after_figure
from core.runs.dispatch import execute
from core.runs.launch import CLUSTER_QUEUE
from core.runs.sweep import Arm, SweepSpec, submit_sweep
from core.runs.sweep_result import summarise_arms
from core.runs.worker import run_job
from core.workspace import Workspace
from pages.components.learn.glossary import TERMS, number_terms
from tests.core.training.helpers import QUICK, load_predictions, pretrained, run_request
from tests.pages.helpers import has_button, open_page, page_text

Tiny = tuple[Workspace, Dataset]


def test_without_a_run_it_says_what_to_do(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(tiny[0], "learn", monkeypatch)
    assert "Run the demo on **Home**" in app.info[0].value
    assert all(f"**{word}**" in page_text(app) for word in (*TERMS, *number_terms()))


def test_the_figures_are_the_runs(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    frozen, full = (
        run_request(workspace, FinetuneRequest(dataset.id, card.id, "depth", depth, train=QUICK))
        for depth in (1, 0)
    )
    control = run_request(workspace, FinetuneRequest(dataset.id, card.id, "zero-shot", train=QUICK))
    measure_weight_drift(workspace, frozen)
    app = open_page(workspace, "learn", monkeypatch, run=frozen.id)
    assert app.selectbox[0].value == frozen.id and not has_button(app, "Measure weight drift")
    assert "1 of 3 stages was frozen" in page_text(
        app
    ) and "1 of 3 stages did not change." in page_text(app)

    # The newest comes first.
    app.selectbox[0].select_index(0).run()
    assert not app.exception and has_button(app, "Measure weight drift")
    assert "0 of 3 stages were frozen" in page_text(app)
    mine, other = load_predictions(workspace, full), load_predictions(workspace, control)
    difference = delong_test(
        mine["target_test_label"], mine["target_test_score"], other["target_test_score"]
    )
    text = page_text(app)
    assert f"95 % {difference.low:+.4f} to {difference.high:+.4f}, p " in text
    assert "Δ log loss" in text and "; n = 600)" in text
    assert "Compared with a network trained from scratch: there is no such run yet." in page_text(
        app
    )


def test_controls_are_found_whatever_rate_an_arm_chose(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    spec = SweepSpec(
        dataset.id,
        card.id,
        (Arm("depth", 0), Arm("scratch")),
        (0,),
        (1e-3, 1e-2),
        train=QUICK,
        choose_rate=True,
    )
    sweep = submit_sweep(workspace, spec, "rates", run_here=True)
    store = RunStore(workspace)
    while (run := store.claim(CLUSTER_QUEUE, 1)) is not None:
        run_job(workspace, store, run, execute)
    full, scratch = summarise_arms(sweep, store.list_group(sweep.id))
    for options in ({"rows": "target"}, {}):
        request = FinetuneRequest(
            dataset.id, card.id, "logistic-regression", train=QUICK, options=options
        )
        regression = run_request(workspace, request)
    # No rate of a logistic regression changes it, and from scratch has one of its own.
    assert full.learning_rate != QUICK.learning_rate
    app = open_page(workspace, "learn", monkeypatch, run=full.runs[0].id)
    mine = load_predictions(workspace, full.runs[0])
    for control, words in (
        (regression, "a logistic regression on source and target rows"),
        (scratch.runs[0], "a network trained from scratch"),
    ):
        other = load_predictions(workspace, control)
        difference = delong_test(
            mine["target_test_label"], mine["target_test_score"], other["target_test_score"]
        )
        span = f"95 % {difference.low:+.4f} to {difference.high:+.4f}"
        said = next(line for line in page_text(app).splitlines() if words in line)
        assert span in said


def test_what_was_forgotten_is_drawn_before_and_after() -> None:
    def at(auc: float) -> dict[str, float]:
        return {"auc": auc, "auc_low": auc - 0.01, "auc_high": auc + 0.02}

    before, after = (
        {"target_test": at(0.7), "source_test": at(0.8)},
        {"target_test": at(0.75), "source_test": at(0.78)},
    )
    figure = before_after_figure(before, after)
    drawn = {trace.name: trace for trace in figure.data if trace.name}
    assert list(drawn["before"].x) == [0.8, 0.7] and list(drawn["after"].x) == [0.78, 0.75]
    assert drawn["after"].error_x.array == pytest.approx([0.02, 0.02])
