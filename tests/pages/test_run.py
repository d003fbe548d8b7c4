"""The page Run in every state of a run."""

import dataclasses
import re
import shutil

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix
from streamlit.testing.v1.element_tree import Element

from core.data.datasets import Dataset
from core.jobs.requests import FinetuneRequest, PretrainRequest
from core.jobs.run_result import result_from_json, result_to_json
from core.jobs.store import RunStore
from core.report.run_figures import MetricSeries
from core.runs.launch import CLUSTER_QUEUE, worker_lock
from core.workspace import Workspace
from tests.core.training.helpers import QUICK, pretrained, run_request
from tests.pages.helpers import has_button, open_page, page_text, submit_finetune, table_with_column

Tiny = tuple[Workspace, Dataset]


def test_without_runs_it_says_where_to_begin(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(tiny[0], "run", monkeypatch)
    assert "No runs yet" in app.info[0].value


def test_an_unknown_run_gives_a_message(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, dataset = tiny
    submit_finetune(workspace, dataset)
    app = open_page(workspace, "run", monkeypatch, run="r-none<script>")
    assert "There is no run 'r-none\\<script\\>'" in app.error[0].value
    assert app.subheader[0].value == "a run"


def test_of_many_runs_the_box_offers_the_newest_and_the_one_asked_for(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    runs = [submit_finetune(workspace, dataset, f"run {number}") for number in range(5)]
    monkeypatch.setattr("pages.components.shared.choose_run.MAX_OFFERED", 2)
    app = open_page(workspace, "run", monkeypatch, run=runs[0].id)
    assert app.subheader[0].value == "run 0"
    assert [option.split(" ·")[0] for option in app.selectbox[0].options] == [
        "run 4",
        "run 3",
        "run 0",
    ]
    assert "The newest 2 of 5 runs are listed here" in page_text(app)


def test_queued_then_cancelled_then_resumed(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, dataset = tiny
    first, second = (
        submit_finetune(workspace, dataset, "first"),
        submit_finetune(workspace, dataset, "second"),
    )
    app = open_page(workspace, "run", monkeypatch, run=second.id)
    assert (
        "queued" in page_text(app) and has_button(app, "Cancel") and not has_button(app, "Resume")
    )
    next(one for one in app.button if one.label == "Cancel").click().run()
    store = RunStore(workspace)
    assert store.get(second.id).status == "cancelled" and store.get(first.id).status == "queued"
    assert "Cancelled before it began." in page_text(app) and has_button(app, "Resume")
    assert any(f"python -m core resume --run {second.id}" in one.value for one in app.code)
    next(one for one in app.button if one.label == "Resume").click().run()
    assert not app.exception
    assert store.get(second.id).status == "queued"
    assert any(f"python -m core cancel --run {second.id}" in one.value for one in app.code)


def test_a_run_of_a_sweep_of_the_command_line_is_resumed_there(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No worker takes its queue, and one that was started for it would end at once."""
    workspace, dataset = tiny
    store = RunStore(workspace)
    run = store.submit(FinetuneRequest(dataset.id, "simulated-dnn"), "a run", CLUSTER_QUEUE)
    store.request_cancel(run.id)
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    next(one for one in app.button if one.label == "Resume").click().run()
    assert not app.exception and "give that command again" in app.error[0].value
    assert store.get(run.id).status == "cancelled"


def test_running_shows_its_progress(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, dataset = tiny
    run = submit_finetune(workspace, dataset)
    store = RunStore(workspace)
    with worker_lock(workspace, "cpu"):
        store.claim("cpu", 1)
        store.set_phase(run.id, "training")
        store.set_progress(run.id, 2, 5, 30, 100)
        store.add_points(run.id, [(30, "train_loss", 0.5), (30, "seconds", 6.0)])
        app = open_page(workspace, "run", monkeypatch, run=run.id)
        assert "running" in page_text(app)
    assert store.get(run.id).status == "running"


def test_the_first_point_is_drawn_by_the_look_that_finds_it(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    run = submit_finetune(workspace, dataset)
    store, looks = RunStore(workspace), [0]
    drawn: list[list[str]] = []
    real = RunStore.points

    def late(self: RunStore, run_id: str, *names: str) -> MetricSeries:
        looks[0] += 1
        return real(self, run_id, *names) if looks[0] > 1 else {}

    monkeypatch.setattr(RunStore, "points", late)
    monkeypatch.setattr("pages.components.run.live._panels", lambda run, points: [sorted(points)])
    monkeypatch.setattr(
        "pages.components.run.live._draw_panels", lambda curves: drawn.extend(curves)
    )
    with worker_lock(workspace, "cpu"):
        store.claim("cpu", 1)
        store.add_points(run.id, [(0, "validation_loss", 0.5)])
        app = open_page(workspace, "run", monkeypatch, run=run.id)
    assert not app.exception
    # Found by the quick look, and drawn once more by the page that then looks less often.
    assert drawn == [["validation_loss"]] * 2 and looks == [5]


def test_a_dead_worker_is_noticed_and_offers_resume(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    run = submit_finetune(workspace, dataset)
    RunStore(workspace).claim("cpu", 1)
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    assert (
        "interrupted" in page_text(app)
        and "The worker died" in page_text(app)
        and has_button(app, "Resume")
    )


def test_failed_shows_the_sentence_and_hostile_names_stay_text(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    name = "<script>alert(1)</script> **bold** :red[x]"
    run = submit_finetune(workspace, dataset, name)
    store = RunStore(workspace)
    store.claim("cpu", 1)
    store.finish(run.id, "failed", "The loss became nan; lower the learning rate.")
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    assert "The loss became nan" in app.error[0].value
    assert "\\<script\\>" in app.subheader[0].value and "\\*\\*bold\\*\\*" in app.subheader[0].value


def test_a_finished_run_shows_its_result_and_the_slider_decides(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    run = run_request(workspace, FinetuneRequest(dataset.id, card.id, "depth", 1, train=QUICK))
    assert (
        run.result is not None
        and run.result.before is not None
        and run.result.threshold is not None
    )
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    target = app.dataframe[0].value.set_index("Metric")
    for name, title in (
        ("auc", "AUC-ROC"),
        ("log_loss", "Log loss"),
        ("f1", "F1"),
        ("accuracy", "Accuracy"),
    ):
        assert target.loc[title, "After"] == f"{run.result.metrics['target_test'][name]:.4f}"
        assert target.loc[title, "Before"] == f"{run.result.before['target_test'][name]:.4f}"
    source = app.dataframe[1].value.set_index("Metric")
    assert source.loc["AUC-ROC", "After"] == f"{run.result.metrics['source_test']['auc']:.4f}"
    assert "On the target" in app.info[0].value and "n = 600" in app.info[0].value

    slider = app.slider(f"threshold-{run.id}")
    assert slider.value == round(run.result.threshold, 3)
    arrays = np.load(workspace.runs / run.id / "predictions.npz")
    threshold = 0.123
    slider.set_value(threshold).run()
    assert not app.exception
    predicted = arrays["target_test_score"].astype(float) >= threshold
    tn, fp, fn, tp = confusion_matrix(arrays["target_test_label"], predicted, labels=[0, 1]).ravel()
    metrics = {metric.label: metric.value for metric in app.metric}
    assert metrics["Recall"] == f"{tp / (tp + fn):.4f}"
    assert metrics["Precision"] == f"{tp / (tp + fp):.4f}"
    assert metrics["Accuracy"] == f"{(tp + tn) / 600:.4f}"
    assert metrics["Accuracy of predicting no click"] == f"{(tn + fp) / 600:.4f}"
    next(one for one in app.button if one.label == "Reset").click().run()
    assert app.slider(f"threshold-{run.id}").value == round(run.result.threshold, 3)


@pytest.mark.parametrize("strategy", ["pretraining", "zero-shot"])
def test_runs_without_a_before(strategy: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    if strategy == "zero-shot":
        run = run_request(workspace, FinetuneRequest(dataset.id, card.id, "zero-shot", train=QUICK))
    else:
        run = RunStore(workspace).list(kind="pretrain")[0]
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    assert list(app.dataframe[0].value.columns) == ["Metric", "Value"]
    words = "nothing was trained" if strategy == "zero-shot" else "trained a new backbone"
    assert words in app.info[0].value


@pytest.mark.parametrize(
    ("strategy", "kept"),
    [
        ("gradient-boosting", r"The first \d+ trees? were kept"),
        ("logistic-regression", r"Number \d of the penalties was kept"),
    ],
)
def test_a_control_that_is_no_network_is_not_described_as_one(
    strategy: str, kept: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    run = run_request(workspace, FinetuneRequest(dataset.id, card.id, strategy, train=QUICK))
    RunStore(workspace).add_points(run.id, [(1, "validation_loss", 0.5)])
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    text = page_text(app)
    assert re.search(kept, text) and "nothing of the backbone" in text
    assert "epoch" not in text.lower()
    assert "Stages, frozen and trained" not in [one.label for one in app.expander]


def test_a_run_that_no_epoch_improved_says_that_it_is_its_backbone(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    train = dataclasses.replace(QUICK, learning_rate=0.5, epochs=1)
    request = FinetuneRequest(dataset.id, card.id, "depth", 0, train=train, keep_head=True)
    request = dataclasses.replace(request, head=card.head)
    run = run_request(workspace, request)
    assert run.result is not None and run.result.best_epoch == 0
    RunStore(workspace).add_points(run.id, [(0, "validation_loss", 0.5)])
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    assert "those that it started from" in app.warning[0].value
    assert "The start was kept" in page_text(app)


def test_name_tags_and_note_are_kept(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, dataset = tiny
    run = submit_finetune(workspace, dataset)
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    fields = {field.label: field for field in [*app.text_input, *app.text_area]}
    fields["Name"].set_value("renamed")
    fields["Tags, separated by commas"].set_value("b, a")
    fields["Note"].set_value("looked at")
    next(one for one in app.button if one.label == "Save").click().run()
    stored = RunStore(workspace).get(run.id)
    assert (stored.name, stored.tags, stored.note) == ("renamed", ("a", "b"), "looked at")


@pytest.mark.parametrize("objective", ["rfd", "mfp", "none"])
def test_a_pretraining_without_clicks_shows_what_it_learnt_and_the_way_on(
    objective: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    settings = {"widths": [8], "embedding": 4}
    request = PretrainRequest(dataset.id, "dnn", "mine", QUICK, settings, objective)
    run = run_request(workspace, request)
    assert run.result is not None and run.result.threshold is None
    for step, name in (
        (0, "train_loss"),
        (0, "validation_loss"),
        (4, "validation_loss"),
        (4, "validation_accuracy"),
    ):
        RunStore(workspace).add_points(run.id, [(step, name, 0.5)])
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    assert not app.slider and "Confusion" not in page_text(app)
    stages = table_with_column(app, "Stage").set_index("Stage")
    if objective == "none":
        assert "without training it" in app.info[0].value and "Nothing was trained" in page_text(
            app
        )
        assert set(stages["State"]) == {"initial weights"} and set(stages["Weights"]) == {"random"}
    else:
        learnt = {metric.label.lower(): metric.value for metric in app.metric}
        assert learnt == {
            title.lower(): f"{value:.4f}" for title, value in (run.result.learnt or {}).items()
        }
        assert stages.loc["Block 1", "Weights"] == f"trained by {objective.upper()}"
        assert "no click head yet" in page_text(app)
    links = {link.proto.label for link in app.get("page_link") if isinstance(link, Element)}
    assert {"Fine-tune it", "Show it on the shelf"} <= links


def test_a_backbone_not_trained_on_clicks_has_no_scores_before(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    settings = {"widths": [8], "embedding": 4}
    made = run_request(
        workspace, PretrainRequest(dataset.id, "dnn", "mine", QUICK, settings, "none")
    )
    assert made.result is not None
    run = run_request(
        workspace, FinetuneRequest(dataset.id, made.result.backbone, "depth", 1, train=QUICK)
    )
    assert run.result is not None and run.result.before is None
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    assert "no click head" in app.info[0].value
    assert list(app.dataframe[0].value.columns) == ["Metric", "Value"]
    stages = table_with_column(app, "Stage").set_index("Stage")
    assert stages["Started from"].to_dict() == {
        "Embedding": "random",
        "Block 1": "random",
        "Head (new)": "random",
    }


def test_an_early_result_without_origins_still_opens(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    run = run_request(workspace, FinetuneRequest(dataset.id, card.id, "depth", 1, train=QUICK))
    assert run.result is not None
    values = result_to_json(run.result)
    for stage in values["stages"]:
        del stage["origin"], stage["flops"]
    store = RunStore(workspace)
    other = store.submit(
        FinetuneRequest(dataset.id, card.id, "depth", 1, train=QUICK), "early", "cpu"
    )
    store.claim("cpu", 1)
    store.finish(other.id, "done", result=result_from_json(values))
    shutil.copytree(workspace.runs / run.id, workspace.runs / other.id)
    app = open_page(workspace, "run", monkeypatch, run=other.id)
    assert (
        table_with_column(app, "Stage").set_index("Stage").loc["Embedding", "Started from"]
        == "trained on click labels"
    )


def test_live_curves_follow_the_objective(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, dataset = tiny
    store = RunStore(workspace)
    titles = {
        "rfd": "Validation AUC of the detector",
        "mfp": "Accuracy on masked values",
        "none": "the start",
    }
    for objective, title in titles.items():
        request = PretrainRequest(dataset.id, "dnn", objective, QUICK, {}, objective)
        run = store.submit(request, objective, "cpu")
        with worker_lock(workspace, "cpu"):
            store.claim("cpu", 1)
            store.add_points(run.id, [(1, "train_loss", 0.5)])
            assert title in page_text(open_page(workspace, "run", monkeypatch, run=run.id))
        store.finish(run.id, "done", result=None)
