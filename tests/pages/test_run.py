"""The page Run in every state a run can be in."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix
from streamlit.testing.v1 import AppTest

from core.data.datasets import Dataset
from core.runs.launch import lane_lock
from core.runs.store import Run, RunStore
from core.training.settings import FinetuneRequest
from core.workspace import Workspace
from tests.core.training.helpers import QUICK, carry_out, pretrained
from tests.pages.test_finetune import open_page

Tiny = tuple[Workspace, Dataset]


def shown(app: AppTest) -> str:
    """Every text on the page, joined."""
    elements = [*app.markdown, *app.caption, *app.info, *app.warning, *app.error, *app.success, *app.subheader]
    return "\n".join(element.value for element in elements)


def queued(workspace: Workspace, dataset: Dataset, name: str = "a run") -> Run:
    return RunStore(workspace).submit(FinetuneRequest(dataset.id, "simulated-dnn"), name, "cpu")


def button(app: AppTest, label: str) -> bool:
    return any(one.label == label for one in app.button)


def test_without_runs_it_says_where_to_begin(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(tiny[0], "run", monkeypatch)
    assert "No runs yet" in app.info[0].value


def test_an_unknown_run_is_a_sentence(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, dataset = tiny
    queued(workspace, dataset)
    app = open_page(workspace, "run", monkeypatch, run="r-none<script>")
    assert "There is no run 'r-none<script>'" in app.error[0].value
    assert app.subheader[0].value == "a run"


def test_queued_then_cancelled_then_resumed(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, dataset = tiny
    first, second = queued(workspace, dataset, "first"), queued(workspace, dataset, "second")
    app = open_page(workspace, "run", monkeypatch, run=second.id)
    assert "queued" in shown(app) and button(app, "Cancel") and not button(app, "Resume")
    next(one for one in app.button if one.label == "Cancel").click().run()
    store = RunStore(workspace)
    assert store.get(second.id).status == "cancelled" and store.get(first.id).status == "queued"
    assert "Cancelled before it began." in shown(app) and button(app, "Resume")
    monkeypatch.setattr("pages.run.ensure_worker", lambda *_: None, raising=False)
    next(one for one in app.button if one.label == "Resume").click().run()
    assert not app.exception
    assert store.get(second.id).status == "queued"


def test_running_shows_its_progress(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, dataset = tiny
    run = queued(workspace, dataset)
    store = RunStore(workspace)
    with lane_lock(workspace, "cpu"):
        store.claim("cpu", 1)
        store.phase(run.id, "training")
        store.progress(run.id, 2, 5, 30, 100)
        store.add_points(run.id, [(30, "train_loss", 0.5), (30, "seconds", 6.0)])
        app = open_page(workspace, "run", monkeypatch, run=run.id)
        assert "running" in shown(app)
    assert store.get(run.id).status == "running"


def test_a_dead_worker_is_noticed_and_offers_resume(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, dataset = tiny
    run = queued(workspace, dataset)
    RunStore(workspace).claim("cpu", 1)
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    assert "interrupted" in shown(app) and "The worker died" in shown(app) and button(app, "Resume")


def test_failed_shows_the_sentence_and_hostile_names_stay_text(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, dataset = tiny
    name = "<script>alert(1)</script> **bold** :red[x]"
    run = queued(workspace, dataset, name)
    store = RunStore(workspace)
    store.claim("cpu", 1)
    store.finish(run.id, "failed", "The loss became nan; lower the learning rate.")
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    assert "The loss became nan" in app.error[0].value
    assert "\\<script\\>" in app.subheader[0].value and "\\*\\*bold\\*\\*" in app.subheader[0].value


def test_a_finished_run_shows_its_result_and_the_slider_decides(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    run = carry_out(workspace, FinetuneRequest(dataset.id, card.id, "depth", 1, train=QUICK))
    assert run.result is not None
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    target = app.dataframe[0].value.set_index("Metric")
    for name, title in (("auc", "AUC-ROC"), ("log_loss", "Log loss"), ("f1", "F1"), ("accuracy", "Accuracy")):
        assert target.loc[title, "After"] == f"{run.result['metrics']['target_test'][name]:.4f}"
        assert target.loc[title, "Before"] == f"{run.result['before']['target_test'][name]:.4f}"
    source = app.dataframe[1].value.set_index("Metric")
    assert source.loc["AUC-ROC", "After"] == f"{run.result['metrics']['source_test']['auc']:.4f}"
    assert "On the target" in app.info[0].value and "n = 600" in app.info[0].value

    slider = app.slider(f"threshold-{run.id}")
    assert slider.value == round(run.result["threshold"], 3)
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
    assert metrics["Accuracy of always-no"] == f"{(tn + fp) / 600:.4f}"
    next(one for one in app.button if one.label == "Reset").click().run()
    assert app.slider(f"threshold-{run.id}").value == round(run.result["threshold"], 3)


@pytest.mark.parametrize("strategy", ["pretraining", "zero-shot"])
def test_runs_without_a_before(strategy: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    if strategy == "zero-shot":
        run = carry_out(workspace, FinetuneRequest(dataset.id, card.id, "zero-shot", train=QUICK))
    else:
        run = RunStore(workspace).list(kind="pretrain")[0]
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    assert list(app.dataframe[0].value.columns) == ["Metric", "Value"]
    words = "nothing was trained" if strategy == "zero-shot" else "made a new backbone"
    assert words in app.info[0].value


def test_name_tags_and_note_are_kept(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, dataset = tiny
    run = queued(workspace, dataset)
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    fields = {field.label: field for field in [*app.text_input, *app.text_area]}
    fields["Name"].set_value("renamed")
    fields["Tags, separated by commas"].set_value("b, a")
    fields["Note"].set_value("looked at")
    next(one for one in app.button if one.label == "Save").click().run()
    stored = RunStore(workspace).get(run.id)
    assert (stored.name, stored.tags, stored.note) == ("renamed", ("a", "b"), "looked at")
