"""Labels and scores that leave metrics undefined, through everything that reads a metric.

Which functions those are is found by walking the code (tests.missing.walk); that each was called is
seen while the commands, files and pages are driven. A new one that nothing here drives fails the
test.
"""

import dataclasses
import itertools
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings

import thaw
from core.cli.parser import main
from core.cli.search_notices import SearchNotices
from core.data.datasets import find_dataset
from core.data.simulate import simulate
from core.evaluation.format_metrics import is_missing
from core.evaluation.paired_comparison import compare_log_loss
from core.evaluation.recalibration import recalibrate
from core.jobs.requests import FinetuneRequest, InterpolateRequest, PretrainRequest
from core.jobs.store import Run, RunStore
from core.models.backbone_store import find_backbone
from core.models.card import BackboneCard
from core.report.html_report import write_report
from core.report.report_data import sweep_report_data
from core.runs.dispatch import execute
from core.runs.launch import CLUSTER_QUEUE, worker_lock
from core.runs.search import continue_search, submit_search
from core.runs.search_defaults import make_search_spec
from core.runs.search_spec import SearchSpec
from core.runs.sweep import Arm, SweepSpec, submit_sweep
from core.runs.verify import Difference, Verification, verify
from core.runs.worker import run_job
from core.workspace import PROJECT, Workspace, open_workspace
from tests.core.models.references import SMALL
from tests.core.training.helpers import QUICK
from tests.missing.called_functions import entered
from tests.missing.consumers import (
    check,
    check_figures,
    drive_api,
    drive_commands,
    drive_files,
    drive_pages,
    keep_figures,
    run_here,
    words_of,
)
from tests.missing.examples import Example, arrays, examples
from tests.missing.scored_workspace import make, template, train, with_parts
from tests.missing.walk import CARRIERS, FOLDERS, MEASURING, readers_of_metrics
from tests.pages.page_states import Place

RISING = tuple(np.linspace(0.1, 0.9, 30).tolist())
ONE_CLICK = Example("one click", (0,) * 29 + (1,), RISING, RISING[::-1])
NO_CLICKS = Example("no clicks", (0,) * 30, RISING, RISING[::-1])
ONE_ROW = Example("one row", (1,), (0.4,), (0.5,))
TWO_ROWS = Example("two rows", (1, 0), (0.4, 0.5), (0.5, 0.4))
ALL_EQUAL = Example("all scores equal", (1, 0, 1, 0, 0), (0.5,) * 5, (0.3,) * 5)
FEW = Example(
    "few rows", (1, 0, 1, 0, 0, 1), (0.9, 0.2, 0.3, 0.4, 0.1, 0.6), (0.2, 0.9, 0.4, 0.3, 0.6, 0.1)
)
OBJECTIVES = ("supervised", "rfd", "mfp")
ON_PAGES = ("one click", "no clicks", "one row", "two rows", "few rows")


def test_every_reader_of_a_metric_takes_one_that_is_missing(
    tiny_template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template(tmp_path / "template", tiny_template)
    count = itertools.count()

    @settings(
        max_examples=4,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=[*HealthCheck],
    )
    @example(ONE_CLICK)
    @example(NO_CLICKS)
    @example(ONE_ROW)
    @example(TWO_ROWS)
    @example(ALL_EQUAL)
    @example(FEW)
    @given(examples())
    def drive(drawn: Example) -> None:
        number = next(count)
        folder = tmp_path / f"files-{number}"
        folder.mkdir()
        made = make(tmp_path / "template", tmp_path / f"workspace-{number}", drawn)
        for run in made.runs:
            is_as_defined(run, drawn)
        with pytest.MonkeyPatch.context() as patch:
            run_here(patch, made.workspace)
            figures = keep_figures(patch)
            drive_commands(made, drawn, folder, capsys)
            drive_files(made)
            if drawn.kind in ON_PAGES:
                drive_api(made, drawn, folder)
                drive_pages(made, drawn, folder, once=not number)
            check_figures(figures)

    with entered() as found:
        drive()
        # Only the benchmarks compare two arms without a cache.
        labels, after, before = arrays(FEW)
        compare_log_loss(labels, after[None], before[None])
        # Maps are fitted on ten rows of each class and more.
        assert len(recalibrate(np.tile(labels, 7), np.tile(after, 7)).fits) > 1
        drive_training(tmp_path / "template", tmp_path, capsys)
        drive_windows(tmp_path / "template", tmp_path)
    missed = [
        function for function in readers_of_metrics() if (function.file, function.line) not in found
    ]
    assert not missed, f"these read metrics, and nothing here drives them: {missed}"


def is_as_defined(run: Run, drawn: Example) -> None:
    """What is stored of the run exists exactly where the labels define it."""
    assert run.result is not None and run.result.before is not None
    for part in (run.result.metrics["target_test"], run.result.before["target_test"]):
        assert (not is_missing(part["auc"])) == drawn.has_auc == (not is_missing(part["pr_auc"]))
        assert (
            (not is_missing(part["auc_low"]))
            == drawn.has_interval
            == (not is_missing(part["auc_high"]))
        )
        assert not is_missing(part["log_loss"]) and part["rows"] == drawn.rows


def drive_search(workspace: Workspace, card: BackboneCard, folder: Path) -> None:
    """A search on its page, before a trial has ended and at its end, and in its report."""
    dataset, arms = find_dataset(workspace, "tiny"), [Arm("depth", 0), Arm("depth", 1)]
    spec = make_search_spec(
        dataset, card, SearchSpec(runs=2), QUICK, card.head, True, arms, seeds=1
    )
    search, store = submit_search(workspace, spec, "search", run_here=True), RunStore(workspace)
    notices = SearchNotices(workspace)
    with worker_lock(workspace, CLUSTER_QUEUE):
        check(words_of(Place("sweep", {"sweep": search.id}).open()), "a search that runs")
    while (run := store.claim(CLUSTER_QUEUE, 1)) is not None:
        run_job(workspace, store, run, execute)
        continue_search(workspace, search.id)
        notices.print_new(search, store.list_group(search.id))
    check(words_of(Place("sweep", {"sweep": search.id}).open()), "a search")
    written = write_report(
        workspace, sweep_report_data(workspace, search), folder / f"{search.id}.html"
    )
    check(" ".join(written["verdicts"]), "a report of a search")


def drive_windows(template_root: Path, folder: Path) -> None:
    """A rolling evaluation on its page, while it runs and at its end, and in its report.

    A window of one class is refused, so that its rows are ordinary ones.
    """
    workspace = open_workspace(shutil.copytree(template_root, folder / "windows"))
    store = RunStore(workspace)
    first = store.list(kind="finetune")[0].finetune_request
    arms = (Arm("depth", 0), Arm("zero-shot"))
    spec = SweepSpec(first.dataset, first.backbone, arms, (0, 1), train=QUICK, keep_head=True)
    spec = dataclasses.replace(spec, windows=3, window_start="last")
    with pytest.MonkeyPatch.context() as patch:
        run_here(patch, workspace)
        rolling = submit_sweep(workspace, spec, "rolling", run_here=True)
        with worker_lock(workspace, CLUSTER_QUEUE):
            check(words_of(Place("sweep", {"sweep": rolling.id}).open()), "windows that run")
        while (run := store.claim(CLUSTER_QUEUE, 1)) is not None:
            run_job(workspace, store, run, execute)
        check(words_of(Place("sweep", {"sweep": rolling.id}).open()), "windows")
        assert main(["--workspace", str(workspace.root), "sweep", "--name", rolling.id]) == 0
        found = thaw.Workspace(workspace.root).sweeps["rolling"]
        check(found.verdict + found.windows_table().to_csv(), "the API's windows")
        found.figure().to_json()
        found.report(folder / "windows.html")


def drive_training(template_root: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Training itself on parts that hold a single click or none: validation, halving, mixing,
    verifying."""
    for drawn in (ONE_CLICK, NO_CLICKS):
        root = folder / f"trained-{drawn.kind}"
        shutil.copytree(template_root, root)
        workspace = open_workspace(root)
        dataset, store = (
            with_parts(workspace, find_dataset(workspace, "tiny"), drawn),
            RunStore(workspace),
        )
        small: dict[str, Any] = {name: SMALL[name] for name in ("embedding", "widths")}
        asked = [
            PretrainRequest(dataset.id, "dnn", f"by {one}", QUICK, small, one) for one in OBJECTIVES
        ]
        made = [train(workspace, request) for request in asked]
        card = made[0].result.backbone  # type: ignore[union-attr]
        tuned = train(
            workspace,
            FinetuneRequest(dataset.id, card, "depth", 1, train=QUICK, keep_head=True),
        )
        train(workspace, InterpolateRequest(dataset.id, tuned.id))
        is_as_defined(tuned, drawn)
        # Boosting goes on for long where a tree more always fits validation rows without a click.
        fitted = ("logistic-regression", *(("gradient-boosting",) if drawn.has_auc else ()))
        for control in fitted:
            is_as_defined(
                train(workspace, FinetuneRequest(dataset.id, card, control, train=QUICK)), drawn
            )
        assert verify(workspace, tuned).same
        with pytest.MonkeyPatch.context() as patch:
            run_here(patch, workspace)
            arms = (Arm("depth", 0), Arm("depth", 1))
            halved = SweepSpec(
                dataset.id, card, arms, (0,), train=dataclasses.replace(QUICK, epochs=2), halving=2
            )
            sweep = submit_sweep(workspace, halved, "halved", run_here=True)
            # The first run waits at its rung for the second; meanwhile one of them runs.
            run = store.claim(CLUSTER_QUEUE, 1)
            assert run is not None
            with worker_lock(workspace, CLUSTER_QUEUE):
                check(words_of(Place("sweep", {"sweep": sweep.id}).open()), "a sweep that runs")
            run_job(workspace, store, run, execute)
            while (run := store.claim(CLUSTER_QUEUE, 1)) is not None:
                run_job(workspace, store, run, execute)
            ended = store.list_group(sweep.id)
            assert [one.status for one in ended] == ["done"] * 2, [one.message for one in ended]
            drive_search(workspace, find_backbone(workspace, card), folder)
            for one in made:
                check(words_of(Place("run", {"run": one.id}).open()), "a pretraining")
    simulate(folder / "more.tsv", 1000, "both", seed=9)
    assert (
        main(["--workspace", str(root), "ingest", str(folder / "more.tsv"), "--name", "more"]) == 0
    )
    capsys.readouterr()
    differs = (Difference("metrics target_test auc", None, 0.5), Difference("threshold", 0.5, 0.25))
    said = Verification("r-1", False, 9, differs, 0.1, False, (), "cpu", 1).sentence
    assert "metrics target_test auc (none then, 0.5 now)" in said


def test_a_reader_that_is_new_is_found(tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "new.py").write_text(
        "from core.evaluation.roc_auc import delong_test\n\n\n"
        "def silent(rows):\n    return len(rows)\n\n\n"
        "def reads(result):\n    return result['auc'] + 1\n\n\n"
        "def takes(one: 'int', verdicts: list[Verdict]):\n    return verdicts\n\n\n"
        "@cache\ndef calls(y, a, b):\n    return delong_test(y, a, b).p\n"
    )
    found = [(one.name, one.line) for one in readers_of_metrics(tmp_path)]
    assert found == [("reads", 8), ("takes", 12), ("calls", 16)]


@pytest.mark.parametrize("text", ["AUC nan", "+nan to +nan", "(None)", "score inf."])
def test_a_number_that_does_not_exist_is_seen(text: str) -> None:
    with pytest.raises(AssertionError):
        check(text, "here")
    check("Nonetheless, finance and nanoseconds", "here")


def test_every_type_and_module_that_is_named_exists() -> None:
    """A type that was renamed would be watched no more."""
    sources = [path for folder in FOLDERS for path in (PROJECT / folder).rglob("*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    for name in CARRIERS:
        assert re.search(rf"^(class {name}\b|{name}\b.* = )", text, re.MULTILINE), name
    for module in MEASURING:
        path = PROJECT / module.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), module


def test_examples_are_what_their_kind_says() -> None:
    assert (
        not NO_CLICKS.has_auc
        and ONE_CLICK.has_auc
        and not ONE_CLICK.has_interval
        and FEW.has_interval
    )
    assert [one.shape for one in arrays(FEW)] == [(6,)] * 3
