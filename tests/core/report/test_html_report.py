"""The report of a sweep and of selected runs: numbers, hashes, commands, and hostile names."""

from pathlib import Path

import numpy as np
import pytest
from plotly.offline import get_plotlyjs
from sklearn.metrics import roc_auc_score

from core.data.datasets import Dataset
from core.data.prepare import prepare_files
from core.data.reading.ingest import ingest
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.errors import BadInput
from core.jobs.requests import FinetuneRequest
from core.jobs.store import RunStore
from core.report.html_report import write_report
from core.report.report_data import runs_report_data, sweep_report_data
from core.runs.sweep import SweepSpec, submit_sweep
from core.workspace import Workspace
from tests.core.report.helpers import ARMS, TRAIN, finished_sweep
from tests.core.report.html_reader import HtmlReader
from tests.core.training.helpers import pretrained, run_request


def test_the_report_of_a_sweep(tiny: tuple[Workspace, Dataset], tmp_path: Path) -> None:
    workspace, dataset = tiny
    sweep = finished_sweep(workspace, dataset)
    store = RunStore(workspace)
    runs = store.list_group(sweep.id)
    store.annotate(
        runs[0].id, "<script>alert(1)</script>", ["<b>tag"], "</script><img src=x onerror=alert(2)>"
    )

    subject = sweep_report_data(workspace, sweep)
    said = write_report(workspace, subject, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert said["bytes"] == len(text.encode()) < len(get_plotlyjs().encode()) + 400_000
    assert said["simulated"] and said["comparisons"] == 3 + 2 and len(said["runs"]) == 7
    reader = HtmlReader(text)
    names = [name for name, _ in reader.elements]
    assert (
        "img" not in names
        and names.count("script") == names.count("figure") + 2
        and names.count("figure") >= 8
    )
    for shown in (
        "<script>alert(1)</script>",
        "<b>tag",
        "</script><img src=x onerror=alert(2)>",
        "Simulated data:",
    ):
        assert shown in reader.words
    for known in (
        dataset.content_hash,
        subject.cards[0].weights_sha256,
        subject.cards[0].licence,
        "Holm's method",
    ):
        assert known in reader.words
    for sentence in said["verdicts"]:
        assert sentence in reader.words
    aucs = []
    for run in runs:
        if run.strategy == "lora":
            with np.load(workspace.runs / run.id / "predictions.npz") as arrays:
                aucs.append(roc_auc_score(arrays["target_test_label"], arrays["target_test_score"]))
    assert f"{np.mean(aucs):.4f} ± {np.std(aucs, ddof=1):.4f}" in reader.words
    assert (
        "python -m core sweep --name first --dataset tiny --backbone 'small dnn' --depths 0,1"
        in reader.words
    )

    check_runs_picked_by_hand(workspace, tmp_path)


def check_runs_picked_by_hand(workspace: Workspace, tmp_path: Path) -> None:
    store = RunStore(workspace)
    runs = [run for run in store.list(kind="finetune", status="done") if run.strategy != "lora"]
    subject = runs_report_data(workspace, runs)
    assert {one.title: len(one.runs) for one in subject.results} == {
        "freeze depth 0": 2, "freeze depth 1": 2, "zero-shot": 1,
    }  # fmt: skip
    assert all([run.seed for run in one.runs] in ([0, 1], [0]) for one in subject.results)
    assert sum("core finetune" in line for line in subject.commands) == len(runs)
    write_report(workspace, subject, tmp_path / "runs.html")
    assert "5 runs on tiny" in (tmp_path / "runs.html").read_text(encoding="utf-8")

    alone = runs_report_data(workspace, [runs[0], runs[0]])
    assert len(alone.results[0].runs) == 1
    write_report(workspace, alone, tmp_path / "alone.html")
    assert "nothing to compare" in (tmp_path / "alone.html").read_text(encoding="utf-8")
    with pytest.raises(BadInput, match="is a pretrain run and done; a report takes fine-tuning"):
        runs_report_data(workspace, store.list(kind="pretrain"))


def test_the_files_of_a_dataset_and_their_duplicates_are_named(
    workspace: Workspace, tmp_path: Path
) -> None:
    simulate(tmp_path / "may.tsv", 900, "source", seed=1)
    simulate(tmp_path / "june.tsv", 500, "target", seed=2)
    with (tmp_path / "june.tsv").open("a") as june:
        june.writelines((tmp_path / "may.tsv").read_text().splitlines(keepends=True)[:20])
    files = {
        role: ingest(workspace, tmp_path / f"{name}.tsv", name)
        for role, name in (("source", "may"), ("target", "june"))
    }
    dataset = prepare_files(workspace, files, SplitSpec(), "months", min_count=5)
    run = run_request(
        workspace, FinetuneRequest(dataset.id, pretrained(workspace, "dnn").id, train=TRAIN)
    )
    write_report(workspace, runs_report_data(workspace, [run]), tmp_path / "report.html")
    words = HtmlReader((tmp_path / "report.html").read_text(encoding="utf-8")).words
    assert "Source from 'may' (900 rows), target from 'june' (520 rows)." in words
    assert "20 of the 520 rows of 'june' also occur in 'may'." in words
    assert "20 of the 260 target test rows also occur among the source training rows." in words
    assert "python -m core prepare --name months --source may --target june --min-count 5" in words


def test_a_sweep_without_a_finished_run_is_refused(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, dataset = tiny
    spec = SweepSpec(dataset.id, pretrained(workspace, "dnn").id, ARMS, (0,), train=TRAIN)
    sweep = submit_sweep(workspace, spec, "waiting", run_here=True)
    with pytest.raises(BadInput, match="No run of the sweep 'waiting' is done yet"):
        sweep_report_data(workspace, sweep)
