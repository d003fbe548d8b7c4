"""Commands that show stored things, compared with the file of rows and the stored predictions."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.metrics import confusion_matrix, roc_auc_score

from core.cli.parser import main
from core.data.datasets import Dataset, find_dataset, load_parts
from core.data.datasets import select_test_rows as rows_to_test
from core.data.samples import list_samples
from core.data.schema import FIELDS
from core.data.split import SPLIT_PARTS
from core.evaluation.significance import combine_outcomes
from core.jobs.requests import TrainSettings
from core.jobs.store import Run, RunStore
from core.models.backbone_store import find_backbone
from core.read_only import READ_ONLY
from core.report import decisions
from core.runs import artifacts, submit, sweep
from core.runs.dispatch import execute
from core.runs.sweep import Arm, Sweep, SweepSpec, list_sweeps, submit_sweep
from core.runs.worker import run_job
from core.workspace import Workspace, open_workspace

TRAIN = TrainSettings(epochs=1, batch_size=256, early_stopping=0, device="cpu")
SEEDS = (0, 1)

Say = Callable[..., dict[str, Any]]
Refuse = Callable[..., str]


@pytest.fixture(scope="module")
def workspace(tiny_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """With a sweep whose runs are done and another one that waits; no test changes it."""
    root = tmp_path_factory.mktemp("looked at") / "workspace"
    shutil.copytree(tiny_template, root)
    space = open_workspace(root)
    dataset, store = find_dataset(space, "tiny"), RunStore(space)
    with pytest.MonkeyPatch.context() as patch:
        for module in (submit, sweep):
            patch.setattr(module, "ensure_worker", lambda *_: None)
        arms = (Arm("depth", 0), Arm("depth", 1), Arm("zero-shot"))
        submit_sweep(
            space, SweepSpec(dataset.id, "simulated-dnn", arms, SEEDS, train=TRAIN), "done"
        )
        while run := store.claim("cpu", 1):
            run_job(space, store, run, execute)
        submit_sweep(
            space,
            SweepSpec(dataset.id, "simulated-dnn", (Arm("scratch"),), (0,), train=TRAIN),
            "waits",
        )
    store.annotate(
        store.list_group(find(space, "done").id)[0].id,
        name="=the first",
        tags=["baseline"],
        note="of Monday",
    )
    return space


@pytest.fixture
def say(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> Say:
    """Gives a command and takes its JSON; the same in words goes well too."""

    def run(*words: str | Path) -> dict[str, Any]:
        said = ["--workspace", str(workspace.root), *map(str, words)]
        assert main(said) == 0
        text = capsys.readouterr().out
        assert text.strip()
        assert main([*said, "--json"]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return run


@pytest.fixture
def refuse(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> Refuse:
    """Run a command that must be refused; returns its message."""

    def run(*words: str | Path) -> str:
        assert main(["--workspace", str(workspace.root), *map(str, words)]) == 2
        return capsys.readouterr().err.removeprefix("thaw: ").rstrip("\n")

    return run


def find(workspace: Workspace, name: str) -> Sweep:
    return next(one for one in list_sweeps(workspace) if one.name == name)


def done(workspace: Workspace) -> list[Run]:
    return RunStore(workspace).list_group(find(workspace, "done").id)


def file_of_rows(workspace: Workspace) -> pd.DataFrame:
    """The sample's file, read by pandas."""
    columns = ["label", *FIELDS]
    return pd.read_csv(
        workspace.uploads / "tiny.tsv",
        sep="\t",
        names=columns,
        dtype=dict.fromkeys(FIELDS[13:], str),
    )


def arrays_of(workspace: Workspace, run: Run) -> dict[str, np.ndarray]:
    with np.load(workspace.runs / run.id / "predictions.npz") as arrays:
        return dict(arrays)


def by_arm(workspace: Workspace, strategy: str, depth: int = 0) -> list[Run]:
    return [
        run
        for run in done(workspace)
        if (run.strategy, run.finetune_request.freeze_depth) == (strategy, depth)
    ]


def test_samples_and_sweeps_are_listed(workspace: Workspace, say: Say) -> None:
    sample = list_samples(workspace)[0]
    found = say("samples")["samples"]
    clicks = file_of_rows(workspace)["label"].mean()
    assert [(one["id"], one["rows"], one["simulated"]) for one in found] == [
        (sample.id, 3000, True)
    ]
    assert found[0]["click_rate"] == pytest.approx(clicks) and "folder" not in found[0]
    sweeps = say("sweeps")["sweeps"]
    assert [(one["name"], one["runs"]) for one in sweeps] == [
        ("waits", {"queued": 1}),
        ("done", {"done": 5}),
    ]


def test_columns_are_described_as_pandas_does(workspace: Workspace, say: Say) -> None:
    rows = file_of_rows(workspace)
    found = say("profile", "--sample", "tiny", "--first-rows", "3")
    assert [one["name"] for one in found["columns"]] == list(FIELDS)
    for one in found["columns"]:
        column = rows[one["name"]]
        assert one["missing_share"] == pytest.approx(column.isna().mean())
        assert one["cardinality"] == column.nunique()
    first = pd.DataFrame(found["first_rows"])
    assert len(first) == 3 and first["C1"].tolist() == rows["C1"][:3].tolist()
    np.testing.assert_array_equal(first["I5"].astype(float), rows["I5"][:3].astype(float))
    assert say("profile", "--sample", "tiny").keys() == {"sample", "name", "rows", "columns"}


def test_drift_is_of_the_source_and_the_target_training_rows(
    workspace: Workspace, say: Say
) -> None:
    dataset = find_dataset(workspace, "tiny")
    rows, parts = file_of_rows(workspace), load_parts(dataset)
    found = say("drift", "--dataset", dataset.id)["fields"]
    assert {one["field"] for one in found} == set(FIELDS)
    assert [one["psi"] for one in found] == sorted((one["psi"] for one in found), reverse=True)
    for one in found:
        for domain in ("source", "target"):
            missing = (
                rows[one["field"]][parts == SPLIT_PARTS.index(f"{domain}_train")].isna().mean()
            )
            assert one[f"missing_{domain}"] == pytest.approx(missing)
    assert {one["level"] for one in found} <= {"little", "some", "strong"}


def test_vocabulary_counts_values_the_backbone_never_saw(workspace: Workspace, say: Say) -> None:
    dataset, card = find_dataset(workspace, "tiny"), find_backbone(workspace, "Simulated DNN")
    known = pd.read_parquet(card.folder / "preprocessing" / "vocabulary.parquet")
    rows = file_of_rows(workspace)[load_parts(dataset) == SPLIT_PARTS.index("target_train")]
    found = say("vocabulary", "--backbone", "Simulated DNN", "--dataset", "tiny")
    present = unseen = 0
    for one in found["fields"]:
        if one["field"].startswith("C"):
            column = rows[one["field"]]
            missed = column.notna() & ~column.isin(known["value"][known["field"] == one["field"]])
            assert one["unseen_share"] == pytest.approx(missed.mean())
            present, unseen = present + int(column.notna().sum()), unseen + int(missed.sum())
    assert found["unseen_share"] == pytest.approx(unseen / present)


def test_runs_by_filter(workspace: Workspace, say: Say, refuse: Refuse) -> None:
    names = {run["name"] for run in say("runs")["runs"]}
    assert len(say("runs")["runs"]) == 6 and "=the first" in names
    assert [run["name"] for run in say("runs", "--find", "monday FIRST")["runs"]] == ["=the first"]
    assert [run["name"] for run in say("runs", "--tags", "baseline,none")["runs"]] == ["=the first"]
    assert (
        len(say("runs", "--sweep", "done")["runs"])
        == len(say("runs", "--status", "done")["runs"])
        == 5
    )
    assert say("runs", "--sweep", "done", "--status", "queued")["runs"] == []
    assert (
        len(say("runs", "--kind", "finetune")["runs"]) == 6
        and say("runs", "--kind", "pretrain")["runs"] == []
    )
    assert "no status 'gone'" in refuse("runs", "--status", "gone") and "no kind 'x'" in refuse(
        "runs", "--kind", "x"
    )


def test_runs_as_a_table(workspace: Workspace, say: Say, refuse: Refuse, tmp_path: Path) -> None:
    """A name that a spreadsheet would take for a formula is marked in CSV, and is as it is in
    Parquet."""
    expected = {
        run.id: run.result.metrics["target_test"]["auc"] for run in done(workspace) if run.result
    }
    for ending, read in ((".csv", pd.read_csv), (".parquet", pd.read_parquet)):
        path = tmp_path / f"runs{ending}"
        say("runs", "--sweep", "done", "--out", path)
        table = read(path)
        assert dict(zip(table["Run"], table["Target AUC"], strict=True)) == pytest.approx(expected)
        assert ("'=the first" if ending == ".csv" else "=the first") in set(table["Name"])
    say("runs", "--sweep", "done", "--by-arm", "--out", tmp_path / "arms.csv")
    arms = pd.read_csv(tmp_path / "arms.csv").set_index("Arm")
    depth = [expected[run.id] for run in by_arm(workspace, "depth", 1)]
    assert len(arms) == 3 and arms.loc["freeze depth 1", "Target AUC"] == pytest.approx(
        np.mean(depth)
    )
    assert "ends in '.xlsx'" in refuse("runs", "--out", tmp_path / "runs.xlsx")
    assert "no table to write" in refuse(
        "runs", "--find", "nothing", "--out", tmp_path / "none.csv"
    )


@pytest.mark.parametrize("by", ["sweep", "runs"])
def test_compare_compares_arms_with_the_reference(
    by: str, workspace: Workspace, say: Say, tmp_path: Path
) -> None:
    of_it = (
        ("--sweep", "done")
        if by == "sweep"
        else ("--runs", ",".join(run.id for run in done(workspace)))
    )
    out = ("--out", tmp_path / "arms.csv", "--out-runs", tmp_path / "runs.parquet")
    found = say("compare", *of_it, *out)
    means = {}
    for title, runs in (
        ("freeze depth 0", by_arm(workspace, "depth", 0)),
        ("zero-shot", by_arm(workspace, "zero-shot")),
    ):
        arrays = [arrays_of(workspace, run) for run in runs]
        means[title] = np.mean(
            [roc_auc_score(one["target_test_label"], one["target_test_score"]) for one in arrays]
        )
    rows = {row["arm"]: row for row in found["arms"]}
    assert found["reference"] == "freeze depth 0" and {*means} <= {*rows} and len(rows) == 3
    assert {title: rows[title]["auc"] for title in means} == pytest.approx(means)
    verdict = next(
        one
        for one in found["verdicts"]
        if (one["arm"], one["against"]) == ("zero-shot", "freeze depth 0")
    )
    assert verdict["auc"]["delta"] == pytest.approx(means["zero-shot"] - means["freeze depth 0"])
    outcomes = {"AUC": verdict["auc"]["outcome"], "log loss": verdict["log_loss"]["outcome"]}
    assert verdict["verdict"] == combine_outcomes(outcomes) and found["sentences"]
    table = pd.read_csv(tmp_path / "arms.csv").set_index("arm")
    assert table.loc["zero-shot", "auc_difference_delta"] == pytest.approx(verdict["auc"]["delta"])
    assert set(pd.read_parquet(tmp_path / "runs.parquet")["run"]) == {
        run.id for run in done(workspace)
    }
    again = say("compare", *of_it, "--against", "zero-shot")
    assert again["reference"] == "zero-shot"


def test_the_threshold_of_lowest_cost_has_the_lowest_cost(workspace: Workspace, say: Say) -> None:
    run = by_arm(workspace, "depth", 1)[0]
    arrays = arrays_of(workspace, run)
    found = say("threshold", "--run", run.id, "--false-positive", "1", "--false-negative", "6")[
        "arms"
    ][0]

    def cost(part: str, at: float) -> float:
        label, acted = arrays[f"{part}_label"], arrays[f"{part}_score"] >= at
        return float(np.mean(1 * (acted & (label == 0)) + 6 * (~acted & (label == 1))))

    tried = [*arrays["target_validation_score"], 2.0]
    assert cost("target_validation", found["thresholds"][0]) == pytest.approx(
        min(cost("target_validation", at) for at in tried)
    )
    assert found["cost"] == pytest.approx(cost("target_test", found["thresholds"][0]))
    counted = say("threshold", "--run", run.id, "--at", "0.3")["runs"][0]
    (tn, fp), (fn, tp) = confusion_matrix(
        arrays["target_test_label"], arrays["target_test_score"] >= 0.3
    )
    assert [counted[name] for name in ("tn", "fp", "fn", "tp")] == [tn, fp, fn, tp]


def test_costs_can_be_put_by_the_worth_of_a_click(
    workspace: Workspace, say: Say, refuse: Refuse
) -> None:
    of_it = ("--sweep", "done")
    by_clicks = say("threshold", *of_it, "--click-value", "5", "--price", "1")
    assert by_clicks["costs"] == {"false_positive": 1.0, "false_negative": 4.0}
    assert by_clicks == say("threshold", *of_it), "which is what costs are when none is given"
    assert "go together" in refuse("threshold", *of_it, "--click-value", "5")
    assert "go together" in refuse(
        "threshold", *of_it, "--click-value", "5", "--price", "1", "--false-positive", "1"
    )


def test_slices_are_of_the_rows_with_that_value(
    workspace: Workspace, say: Say, refuse: Refuse
) -> None:
    dataset: Dataset = find_dataset(workspace, "tiny")
    values = file_of_rows(workspace)["C9"].to_numpy()[rows_to_test(dataset, "target")]
    run = by_arm(workspace, "depth", 1)[0]
    arrays = arrays_of(workspace, run)
    found = say("slices", "--run", run.id, "--column", "C9")
    assert found["reference"] == "before" and {row["arm"] for row in found["slices"]} == {
        "before",
        "after",
    }
    row = next(
        one for one in found["slices"] if one["arm"] == "after" and one["slice"] in set(values)
    )
    mask = values == row["slice"]
    label, score = arrays["target_test_label"][mask], arrays["target_test_score"][mask]
    assert row["rows"] == mask.sum() and row["auc"] == pytest.approx(roc_auc_score(label, score))
    arms = say("slices", "--sweep", "done", "--column", "domain")
    assert {one["slice"] for one in arms["slices"]} == {"source", "target"} and len(
        arms["slices"]
    ) == 6
    assert say("slices", "--sweep", "done", "--column", "all")["differences"]
    assert "two arms at least" in refuse("slices", "--run", run.id, "--column", "all")
    said = refuse("slices", "--run", run.id, "--column", "C27")
    assert "have no column 'C27'" in said and "they have C1, C2" in said


def test_slices_by_a_column_that_the_file_brought_along(
    workspace: Workspace, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = by_arm(workspace, "depth", 1)[0]
    label = arrays_of(workspace, run)["target_test_label"]
    days = [f"day {place % 2}" for place in range(len(file_of_rows(workspace)))]
    monkeypatch.setattr(decisions, "shared_extra_columns", lambda *_: ("day",))
    monkeypatch.setattr(decisions, "read_column", lambda *_: pa.chunked_array([days]))
    found = say("slices", "--run", run.id, "--column", "day")["slices"]
    assert {row["slice"] for row in found} == {"day 0", "day 1"}
    assert sum(row["rows"] for row in found if row["arm"] == "after") == len(label)


def test_runs_that_cannot_be_compared_give_a_message(workspace: Workspace, refuse: Refuse) -> None:
    assert "No run of the sweep 'waits' is done" in refuse("compare", "--sweep", "waits")
    assert "None of these runs is done" in refuse("threshold", "--sweep", "waits")
    assert "There is no arm 'best'" in refuse("compare", "--sweep", "done", "--against", "best")
    assert "There is no sweep 'none'" in refuse("compare", "--sweep", "none")


def test_scored_files_are_listed_and_deleted(
    workspace: Workspace, say: Say, refuse: Refuse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def score(
        space: Workspace, run_id: str, source: Path, target: Path, *_: object
    ) -> dict[str, Any]:
        target.write_text("row,score,predicted_click\n1,0.25,0\n")
        return {"rows": 1, "bad_examples": [], "notes": []}

    monkeypatch.setattr(artifacts, "score_in_subprocess", score)
    run = done(workspace)[0]
    for content in ("a", "b"):
        (tmp_path / content).write_text(content)
        artifacts.score_and_store(workspace, run.id, tmp_path / content, "mine.tsv", "reject")
    found = say("scored", "--run", run.id)["scored"]
    assert [one["file"] for one in found] == ["mine.tsv", "mine.tsv"] and found[0]["rows"] == 1
    assert "keeps 2 scored files named 'mine.tsv'" in refuse(
        "delete-scored", "--run", run.id, "--file", "mine.tsv"
    )
    assert "keeps no scored file 'other'" in refuse(
        "delete-scored", "--run", run.id, "--file", "other"
    )
    monkeypatch.setenv(READ_ONLY, "1")
    assert "THAW_READ_ONLY=1" in refuse("delete-scored", "--run", run.id, "--file", found[0]["id"])
    monkeypatch.delenv(READ_ONLY)
    assert (
        main(
            [
                "--workspace",
                str(workspace.root),
                "delete-scored",
                "--run",
                run.id,
                "--file",
                found[0]["id"],
            ]
        )
        == 0
    )
    assert [one.id for one in artifacts.list_scorings(workspace, run.id)] == [found[1]["id"]]


def test_a_dry_run_queues_nothing_and_says_what_the_run_has(workspace: Workspace, say: Say) -> None:
    before = RunStore(workspace).list()
    run = by_arm(workspace, "depth", 1)[0]
    asked = (
        "--dataset",
        "tiny",
        "--backbone",
        "Simulated DNN",
        "--epochs",
        "1",
        "--device",
        "cpu",
        "--dry-run",
    )
    one = say("finetune", *asked, "--freeze-depth", "1", "--controls", "scratch,zero-shot")
    assert run.result and one["arms"][0]["trained_parameters"] == run.result.trained_parameters
    assert [stage["frozen"] for stage in one["arms"][0]["stages"]] == [
        True,
        *[False] * (len(run.result.stages) - 1),
    ]
    assert [arm["arm"] for arm in one["arms"]] == [
        "freeze depth 1",
        "from scratch",
        "zero-shot",
    ] and one["runs"] == 3
    many = say(
        "sweep",
        *asked,
        "--name",
        "never",
        "--depths",
        "0,1",
        "--strategies",
        "zero-shot",
        "--seeds",
        "2",
    )
    assert many["runs"] == 2 * 2 * 4 + 1 and len(many["learning_rates"]) == 4
    assert 0 < many["estimate"]["rate_choice_seconds"] < many["estimate"]["seconds"]
    made = say(
        "pretrain", "--dataset", "tiny", "--architecture", "dnn", "--name", "never", "--dry-run"
    )
    assert made["trained_parameters"] > made["parameters"] > 0
    assert made["settings"]["embedding"] == 8, "recommended for few rows"
    assert RunStore(workspace).list() == before and len(list_sweeps(workspace)) == 2


def test_controls_are_queued_with_the_run(
    tiny: tuple[Workspace, Dataset],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space = tiny[0]
    store = RunStore(space)

    def run_queued(*_: object) -> None:
        while run := store.claim("cpu", 1):
            run_job(space, store, run, execute)

    monkeypatch.setattr(submit, "ensure_worker", run_queued)
    words = [
        "finetune",
        "--dataset",
        "tiny",
        "--backbone",
        "Simulated DNN",
        "--freeze-depth",
        "1",
        "--epochs",
        "1",
    ]
    words += ["--device", "cpu", "--controls", "zero-shot", "--json"]
    assert main(["--workspace", str(space.root), *words]) == 0
    found = json.loads(capsys.readouterr().out)
    main_run, control = found["run"], found["controls"][0]
    assert (main_run["request"]["strategy"], control["request"]["strategy"]) == (
        "depth",
        "zero-shot",
    )
    assert main_run["group"] == control["group"] and len(store.list()) == 2
