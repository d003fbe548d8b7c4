"""The page Home in AppTest: the demo queues its sweep once, and every state of a run has its
line."""

from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.data.datasets import Dataset, list_datasets
from core.evaluation.metrics import Metrics
from core.jobs.requests import FinetuneRequest
from core.jobs.run_result import RunResult
from core.jobs.store import RunStore
from core.runs import demo
from core.runs.default_blend import queue_default_blends
from core.runs.demo import ensure_demo_dataset
from core.runs.dispatch import execute
from core.runs.launch import worker_lock
from core.workspace import PROJECT, Workspace, open_workspace
from pages.components.shared.formatting import bullet_list
from tests.core.training.helpers import QUICK, ListReporter, pretrained
from tests.pages.helpers import open_page, page_text


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = open_workspace(tmp_path_factory.mktemp("home"))
    ensure_demo_dataset(workspace)
    return workspace


@pytest.fixture
def home(prepared: Workspace, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("THAW_HOME", str(prepared.root))
    monkeypatch.setattr("core.runs.submit.ensure_worker", lambda *_: None)
    monkeypatch.setattr("core.runs.sweep.ensure_worker", lambda *_: None)
    st.cache_resource.clear()
    for path in prepared.root.glob("thaw.sqlite*"):
        path.unlink()
    return AppTest.from_file(str(PROJECT / "pages" / "router.py"), default_timeout=30).run()


def metrics(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def test_an_empty_workspace_says_what_to_do(home: AppTest) -> None:
    assert not home.exception
    assert home.title[0].value == "Thaw"
    assert metrics(home)["Runs queued"] == "0"
    assert any("There are no runs yet" in text.value for text in home.markdown)
    assert any("freeze line" in block.value for block in home.html)


def test_the_demo_queues_its_sweep_once(home: AppTest, prepared: Workspace) -> None:
    home.button(key="run_demo").click().run()
    assert not home.exception
    # Eighteen runs, and the mixing of one of them with its backbone.
    assert metrics(home)["Runs queued"] == "19"
    assert len(RunStore(prepared).list()) == 18
    assert not [button for button in home.button if button.key == "run_demo"]
    assert home.progress[0].text == "0 of 18 runs done"


def test_a_run_that_failed_is_offered_again(home: AppTest, prepared: Workspace) -> None:
    home.button(key="run_demo").click().run()
    store = RunStore(prepared)
    run = store.claim("cpu", 1) or store.claim("cuda", 1)
    assert run
    store.finish(run.id, "failed", "The loss became NaN.")
    home.run()
    assert home.button(key="run_demo").label == "Finish the demo"
    home.button(key="run_demo").click().run()
    assert metrics(home)["Runs queued"] == "19"
    assert len(store.list()) == 18


def test_every_status_has_its_line(home: AppTest, prepared: Workspace) -> None:
    home.button(key="run_demo").click().run()
    store = RunStore(prepared)
    request, queue = (
        FinetuneRequest(list_datasets(prepared)[0].id, "simulated-dnn"),
        store.list()[0].queue,
    )
    done, cancelled, running = (store.submit(request, "of one's own", queue) for _ in range(3))
    for run in (done, cancelled, running):
        store.claim_run(run.id, 1)
    result = RunResult(
        metrics={"target_test": Metrics({"auc": 0.78212, "auc_low": 0.772, "auc_high": 0.793})}
    )
    store.finish(done.id, "done", result=result)
    store.finish(cancelled.id, "cancelled", "Cancelled.")
    store.set_phase(running.id, "training")
    store.set_progress(running.id, 2, 10, 30, 120)
    # Held as a living worker holds it: a running run without one counts as interrupted.
    with worker_lock(prepared, queue):
        home.run()
    assert not home.exception
    text = " ".join(block.value for block in home.markdown)
    assert "AUC 0.782 (0.772 to 0.793)" in text
    assert "training, 25 %" in text
    for status in ("queued", "running", "done", "cancelled"):
        assert f"{status}]" in text


def test_a_missing_backbone_gives_a_message(
    home: AppTest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("core.models.backbone_store.BUNDLED_BACKBONES", tmp_path)
    home.run()
    assert not home.exception
    assert "assets/backbones" in home.error[0].value.replace("\\", "")


def test_the_demos_results_appear_as_runs_finish(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, _ = tiny
    card = pretrained(workspace, "dnn")
    monkeypatch.setattr(demo, "demo_settings", lambda _: QUICK)
    monkeypatch.setattr(demo, "DATASET_NAME", "tiny")
    monkeypatch.setattr("core.runs.demo.demo_backbone", lambda _: card)
    for module in ("submit", "sweep", "blends"):
        monkeypatch.setattr(f"core.runs.{module}.ensure_worker", lambda *_: None)
    sweep = demo.run_demo(workspace)
    store = RunStore(workspace)
    queue = store.list_group(sweep.id)[0].queue

    def carry_on(runs: int) -> None:
        for _ in range(runs):
            run = store.claim(queue, 1)
            assert run
            store.finish(run.id, "done", result=execute(workspace, run, ListReporter()))

    carry_on(2)
    app = open_page(workspace, "home", monkeypatch)
    assert [one.value for one in app.subheader] == ["Demo results so far", "Latest runs"]
    assert "provisional: 2 of 14 runs done" in page_text(app) and not app.select_slider
    carry_on(13)
    # The worker queues a blend for each seed once everything has ended.
    assert len(queue_default_blends(workspace, sweep)) == 2
    carry_on(2)
    app.run()
    assert not app.exception
    assert [one.value for one in app.subheader] == ["Demo results", "Latest runs"]
    sentences = demo.wait_for_demo(workspace, sweep)
    assert sentences and all(bullet_list([one]) in page_text(app) for one in sentences)
    assert app.progress[0].text == "16 of 16 runs done"
    slider = app.select_slider[0]
    assert slider.label == "Share of the fine-tuned weights (alpha)"
    slider.set_value(1.0).run()
    # At 1 it is the fine-tuned run, whose own evaluation knows the interval.
    mixed = demo.interpolated_run(store.list_group(sweep.id))
    assert mixed and mixed.result
    tuned = mixed.result.metrics["target_test"]
    interval = f"95 % interval {tuned['auc_low']:.4f} to {tuned['auc_high']:.4f}"
    assert f"{interval}. The fine-tuned run itself." in [one.value for one in app.caption]
