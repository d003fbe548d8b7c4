"""Runs and sweeps by the API: trained here or by a worker, the numbers are the same."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

import thaw
from core.cli.parser import main
from core.data.datasets import Dataset
from core.errors import BadInput
from core.evaluation.metrics import compute_metrics
from core.runs.launch import CLUSTER_QUEUE, worker_lock
from core.workspace import Workspace


@pytest.fixture(scope="module")
def ws(tiny_template: Path, tmp_path_factory: pytest.TempPathFactory) -> thaw.Workspace:
    """A workspace with the dataset tiny, which the tests of this module add to."""
    import shutil

    root = tmp_path_factory.mktemp("api") / "workspace"
    shutil.copytree(tiny_template, root)
    return thaw.Workspace(root)


@pytest.fixture(scope="module")
def run(ws: thaw.Workspace) -> thaw.Run:
    """A short run that was trained in this process."""
    return ws.finetune(
        "tiny",
        "Simulated DNN",
        freeze_depth=1,
        epochs=np.int64(1),  # type: ignore[arg-type]
        device="cpu",
        wait="here",
    )


def test_a_run_trained_here_has_what_a_run_has(ws: thaw.Workspace, run: thaw.Run) -> None:
    assert run.status == "done" and run.info.queue == CLUSTER_QUEUE
    assert run.settings["epochs"] == 1 and run.result.trained_parameters > 0
    assert "--freeze-depth 1 --epochs 1 --device cpu" in run.command
    assert run.dataset.name == "tiny" and run.backbone.name == "Simulated DNN"
    assert run.stages["frozen"].tolist()[0] and not run.stages["frozen"].tolist()[-1]
    assert ws.runs[0].id == run.id and ws.runs.to_pandas()["Target AUC"][0] > 0.5
    for shown in (run._repr_html_(), run.metrics._repr_html_(), ws.runs._repr_html_()):
        assert "<table>" in shown
    assert "simulated" in run._repr_html_()


def test_runs_are_blended(ws: thaw.Workspace, run: thaw.Run) -> None:
    other = ws.finetune("tiny", "Simulated DNN", strategy="zero-shot", device="cpu", wait="here")
    blend = ws.blend([run, other.id], name="both", wait="here")
    assert blend.name == "both" and blend.info.kind == "blend"
    assert blend.weights["weight"].sum() == pytest.approx(1)
    assert set(blend.weights["run"]) == {run.id, other.id}
    assert ws.blend([other, run]).id == blend.id
    frame = blend.predictions("target_validation")
    pd.testing.assert_index_equal(frame.index, run.predictions("target_validation").index)
    assert blend.command.split()[-3] == "blend" and "×" in blend._repr_html_()
    with pytest.raises(BadInput, match="has no backbone of its own"):
        blend.backbone  # noqa: B018
    with pytest.raises(BadInput, match="is no blend"):
        run.weights  # noqa: B018
    blend.delete()


def test_metrics_are_those_of_the_predictions(run: thaw.Run) -> None:
    frame, target = run.predictions("target_test"), run.metrics.target_test
    assert 0.5 < run.before.target_test.auc < 1
    again = compute_metrics(
        frame["label"].to_numpy(), frame["score"].to_numpy(dtype=np.float64), run.threshold
    )
    assert math.isclose(target.auc, again.auc) and math.isclose(target.log_loss, again.log_loss)
    rows = run.dataset.info.rows
    assert frame.index.is_monotonic_increasing and frame.index[-1] == rows - 1
    assert run.metrics.to_pandas().loc["auc", "target_test"] == target.auc
    with pytest.raises(AttributeError, match="There is no metric 'auk'"):
        target.auk  # noqa: B018
    with pytest.raises(thaw.BadInput, match="part is 'source_train'; it must be 'target_test', "):
        run.predictions("source_train")  # type: ignore[arg-type]


def test_the_worker_trains_to_the_same_numbers(ws: thaw.Workspace, run: thaw.Run) -> None:
    other = ws.finetune("tiny", "Simulated DNN", 1, epochs=1, device="cpu", wait=True)
    assert other.info.queue == "cpu" and other.id != run.id
    pd.testing.assert_frame_equal(other.predictions(), run.predictions())
    assert other.metrics == run.metrics


def test_figures_are_plotly_figures(run: thaw.Run) -> None:
    figures = [run.roc(), run.precision_recall(), run.calibration(), run.gains()]
    figures += [run.confusion(), run.confusion(0.5, "source_test"), run.learning_curves("auc")]
    for figure in [*figures, run.learning_curves(), run.learning_curves("accuracy")]:
        assert isinstance(figure, go.Figure) and run.name in figure.layout.title.text
        assert len(figure.data) > 0
    assert run.points()["validation_auc"].notna().sum() >= 1


def test_a_table_is_scored_under_its_own_index(run: thaw.Run, tmp_path: Path) -> None:
    frame = thaw.simulate(200, "target", seed=5, out=tmp_path / "rows.tsv")
    frame.index = pd.Index([f"row {number}" for number in range(200)])
    scores = run.score(frame)
    assert scores.index.equals(frame.index) and scores["score"].between(0, 1).all()
    assert scores.attrs["metrics"]["rows"] == 200
    assert run.score(frame.drop(columns="label")).attrs["metrics"] is None
    from_file = run.score(tmp_path / "rows.tsv")
    assert from_file["row"].tolist() == list(range(1, 201))
    np.testing.assert_array_equal(from_file["score"], scores["score"])
    with pytest.raises(thaw.BadInput, match="There is no file"):
        run.score(tmp_path / "none.tsv")


def test_scoring_the_dataset_again_gives_the_same_metrics(run: thaw.Run) -> None:
    target, again = run.metrics.target_test, run.evaluate().target_test
    assert math.isclose(target.auc, again.auc, abs_tol=1e-6)


def test_a_report_and_the_model_go_out(run: thaw.Run, tmp_path: Path) -> None:
    assert run.name in run.report(tmp_path / "run.html").read_text()
    assert (run.export(tmp_path / "model") / "model.safetensors").exists()


def test_controls_stand_beside_a_run(ws: thaw.Workspace) -> None:
    run = ws.finetune(
        "tiny", "Simulated DNN", strategy="lp-ft", probe_epochs=1, epochs=2, batch_size=256,
        head_hidden=[8], controls=["zero-shot"], wait="here",
    )  # fmt: skip
    (control,) = run.controls
    assert control.status == "done" and control.info.strategy == "zero-shot"
    assert run.info.finetune_request.head.hidden == (8,)


def test_a_sweep_has_a_table_a_verdict_and_a_figure(ws: thaw.Workspace, tmp_path: Path) -> None:
    backbone = ws.backbone("Simulated DNN")

    def ask(name: str | None = None) -> thaw.Sweep:
        return ws.sweep(
            "tiny", backbone, depths=[0, 3], strategies=["zero-shot"], seeds=2, epochs=1,
            choose_rate=False, batch_size=256, name=name, wait="here",
        )  # fmt: skip

    sweep = ask()
    assert sweep.name == "Simulated DNN on tiny" and sweep.status == {"done": 5}
    table = sweep.table()
    assert table["arm"].tolist() == ["freeze depth 0", "freeze depth 3", "zero-shot"]
    assert sweep.table("zero-shot")["reference"].unique().tolist() == ["zero-shot"]
    assert "freeze depth 0" in sweep.verdict and len(sweep.runs) == len(sweep.runs_table()) == 5
    assert isinstance(sweep.figure(), go.Figure) and isinstance(sweep.figure("ece"), go.Figure)
    assert "Verdict" in sweep._repr_html_() and "5 done" in repr(sweep)
    assert sweep.name in sweep.report(tmp_path / "sweep.html").read_text()
    with pytest.raises(thaw.BadInput, match="There is no arm 'scratch'"):
        sweep.table("scratch")
    # Asked for again by its name it is the same sweep; for other arms the name is taken.
    known = ask(sweep.name)
    assert known.id == sweep.id and ws.sweeps[sweep.name].id == sweep.id
    with pytest.raises(thaw.BadInput, match="already a sweep named"):
        ws.sweep("tiny", backbone, depths=[1], name=sweep.name)


def test_a_pretrained_backbone_is_fine_tuned(ws: thaw.Workspace) -> None:
    made = ws.pretrain(
        "tiny", "dnn", "mine", widths=[16], embedding=4, epochs=1, batch_size=512, wait="here"
    )
    assert math.isnan(made.before.target_test.auc) and made.before.to_pandas().empty
    assert made.backbone.name == "mine" and made.backbone.info.settings["embedding"] == 4
    run = ws.finetune("tiny", made, freeze_depth=1, epochs=1, batch_size=512, wait="here")
    assert run.backbone.id == made.backbone.id
    with pytest.raises(thaw.BadInput, match="already a backbone named 'mine'"):
        ws.pretrain("tiny", "dnn", "mine")


def test_a_run_that_waits_is_cancelled_and_resumed(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.runs.submit.ensure_worker", lambda *_: None)
    ws = thaw.Workspace(tiny[0].root)
    run = ws.finetune("tiny", "Simulated DNN", freeze_depth=3, epochs=1, device="cpu")
    assert run.status == "queued"
    with pytest.raises(thaw.RunError, match=r"is queued, so it has no result. wait\(\)"):
        run.metrics  # noqa: B018
    with pytest.raises(TimeoutError, match="still queued"):
        run.wait(timeout=0)
    assert run.cancel().status == "cancelled"
    with pytest.raises(thaw.RunError, match=f"Run {run.id} cancelled: Cancelled before it began"):
        run.wait()
    with pytest.raises(thaw.BadInput, match="only queued and running runs"):
        run.cancel()
    assert run.resume().status == "queued"
    run.annotate(tags=["a"], note="b").rename("other")
    assert (run.info.tags, run.info.note, run.name) == (("a",), "b", "other")
    run.delete()
    assert not ws.runs


def test_only_one_process_trains_runs_of_its_own(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.runs.cluster.LOCK_TIMEOUT", 0.1)
    ws = thaw.Workspace(tiny[0].root)
    with (
        worker_lock(tiny[0], CLUSTER_QUEUE),
        pytest.raises(thaw.BadInput, match="Another process trains runs"),
    ):
        ws.finetune("tiny", "Simulated DNN", freeze_depth=3, epochs=1, wait="here")
    (run,) = ws.runs
    assert run.status == "cancelled", "no worker would take it"
    assert run.resume().status == "done"


def test_a_run_is_waited_for_where_it_trains(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.runs.submit.ensure_worker", lambda *_: None)
    monkeypatch.setattr("core.runs.sweep.ensure_worker", lambda *_: None)
    ws = thaw.Workspace(tiny[0].root)
    run = ws.finetune("tiny", "Simulated DNN", freeze_depth=3, epochs=1, device="cpu")
    with pytest.raises(thaw.BadInput, match="waits for the worker, which trains it"):
        run.train_here()
    one_run: dict[str, Any] = {"depths": [3], "seeds": 1, "epochs": 1, "choose_rate": False}
    sweep = ws.sweep("tiny", "Simulated DNN", **one_run, name="by a worker")
    with pytest.raises(thaw.BadInput, match="waits for the worker"):
        sweep.train_here()
    # As after Ctrl-C in the first of its runs: the others wait, and no worker takes them.
    monkeypatch.setattr("thaw.sweep.Sweep.train_here", lambda self: self)
    here = ws.sweep("tiny", "Simulated DNN", **one_run, name="h", wait="here")
    monkeypatch.undo()
    for waiting in (here, here.runs[0]):
        with pytest.raises(
            thaw.BadInput, match=r"No worker takes the run .* train_here\(\) trains"
        ):
            waiting.wait()
    assert here.train_here().status == {"done": 1}


def test_an_interrupt_leaves_a_run_that_resumes(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    ws = thaw.Workspace(tiny[0].root)
    with monkeypatch.context() as patched:
        patched.setattr("core.runs.dispatch.execute", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ws.finetune("tiny", "Simulated DNN", freeze_depth=3, epochs=1, wait="here")
    (run,) = ws.runs
    assert run.status == "interrupted"
    with pytest.raises(thaw.RunError, match="interrupted"):
        run.wait()
    assert run.resume().status == "done"


def test_what_cannot_be_is_said_as_the_command_line_says_it(
    ws: thaw.Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["finetune", "--dataset", "tiny", "--backbone", "Simulated DNN", "--freeze-depth"]
    root = ["--workspace", str(ws.folder)]
    assert main([*root, *words, "9", "--epochs", "1"]) == 2
    with pytest.raises(thaw.BadInput) as refused:
        ws.finetune("tiny", "Simulated DNN", freeze_depth=9, epochs=1)
    assert str(refused.value) in capsys.readouterr().err
    with pytest.raises(TypeError, match=r"finetune\(\) takes no option 'epoch'; did you mean 'ep"):
        ws.finetune("tiny", "Simulated DNN", 1, epoch=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="did you mean 'lr'"):
        ws.finetune("tiny", "Simulated DNN", 1, learning_rate=0.1)  # type: ignore[call-arg]
    with pytest.raises(thaw.BadInput, match="either freeze_depth or strategy"):
        ws.finetune("tiny", "Simulated DNN")
    with pytest.raises(thaw.BadInput, match="There is no run 'r-none'"):
        ws.run("r-none")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_size": 256.0}, r"batch_size is 256\.0; it must be a whole number"),
        ({"epochs": 1.0}, "epochs is 1.0"),
        ({"early_stopping": 1.5}, "early_stopping is 1.5"),
        ({"amp": 3}, "amp is 3"),
        ({"head_hidden": [1.5]}, "hidden is"),
        ({"head_hidden": 8}, "hidden is 8"),
        ({"freeze_depth": 1.5}, "freeze_depth is 1.5"),
        ({"freeze_depth": np.float64(1)}, "freeze_depth is"),
        ({"freeze_depth": True}, "freeze_depth is True"),
        ({"target_rows": 100.0}, "target_rows is 100.0"),
    ],
)
def test_a_number_of_another_type_is_refused_before_anything_is_stored(
    options: dict[str, Any], sentence: str, ws: thaw.Workspace
) -> None:
    before = len(ws.runs)
    with pytest.raises(BadInput, match=sentence):
        given: dict[str, Any] = {"freeze_depth": 1, "device": "cpu"} | options
        ws.finetune("tiny", "Simulated DNN", **given)
    assert len(ws.runs) == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"epochs": 1.0}, "epochs is 1.0"),
        ({"depths": [1.5]}, r"depths is \[1.5\]"),
        ({"seeds": 1.5}, "seeds is 1.5; it must be a whole number"),
        ({"halving": 2.0}, "halving is 2.0"),
        ({"target_sizes": [100.0]}, r"target_sizes is \[100.0\]"),
        ({"rates": ["a"]}, "rates is"),
        ({"head_hidden": [1.5]}, "hidden is"),
    ],
)
def test_a_sweep_refuses_them_too(
    options: dict[str, Any], sentence: str, ws: thaw.Workspace
) -> None:
    before = len(ws.runs), len(ws.sweeps)
    with pytest.raises(BadInput, match=sentence):
        given: dict[str, Any] = {"depths": [1], "device": "cpu"} | options
        ws.sweep("tiny", "Simulated DNN", **given)
    assert (len(ws.runs), len(ws.sweeps)) == before


def test_pretraining_refuses_settings_of_another_type(ws: thaw.Workspace) -> None:
    before = len(ws.runs)
    wrong: list[Any] = [{"widths": 8}, {"embedding": 4.0}, {"epochs": 1.0}, {"mask_share": "a"}]
    for options in wrong:
        with pytest.raises(BadInput, match=" is .*; it must be "):
            ws.pretrain("tiny", "dnn", "odd", device="cpu", **options)
    assert len(ws.runs) == before


def test_a_wrong_control_or_minimum_count_is_refused(ws: thaw.Workspace) -> None:
    before = len(ws.runs)
    with pytest.raises(BadInput, match="There is no control 'scrach'"):
        ws.finetune("tiny", "Simulated DNN", 1, controls=["scrach"], device="cpu")
    assert len(ws.runs) == before
    with pytest.raises(BadInput, match=r"min_count is 1\.5"):
        ws.samples[0].prepare(name="odd", min_count=1.5)  # type: ignore[arg-type]
