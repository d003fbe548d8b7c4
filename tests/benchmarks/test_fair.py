"""The checks of `benchmarks.fair` pass and fail as they should, on arms with known scores."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from benchmarks.fair import arm_cells, first_cells
from benchmarks.fair_arms import Results, blend, differences
from benchmarks.fair_cells import ARMS, Cell
from benchmarks.fair_checks import make_checks
from benchmarks.fair_page import render
from benchmarks.fair_recommendations import recommendations

ROWS, SEEDS = 1500, 2
ARM = Cell("arm", "dcnv2", ARMS, SEEDS, 1000)
FULL = dataclasses.replace(ARM, strategy="depth", head="keep")
PROBE = dataclasses.replace(ARM, strategy="depth", depth=5, head="new", probe_check=True)
BOOSTED = dataclasses.replace(ARM, strategy="gradient-boosting", rows="both")
ZERO_SHOT = dataclasses.replace(ARM, strategy="zero-shot")


class Outcome:
    """Writes cells: labels of known log-odds, and scores that are these and noise."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.random = np.random.default_rng(5)
        self.odds = {part: self.random.normal(-1, 1.5, ROWS) for part in ("test", "validation")}
        self.labels = {
            part: (self.random.random(ROWS) < expit(odds)).astype(np.int8)
            for part, odds in self.odds.items()
        }
        for name in ("cells", "scores"):
            (out / name).mkdir()

    def write(
        self,
        cell: Cell,
        noise: float,
        validation_loss: float = 0.45,
        last: bool = False,
        optimum: float | None = None,
    ) -> None:
        """Write an arm whose log-odds have that much noise."""
        arrays = {f"{part}_label": labels for part, labels in self.labels.items()}
        runs = []
        for seed in range(1 if "zero-shot" in cell.name or cell.kind == "pretrain" else SEEDS):
            for part, odds in self.odds.items():
                scores = expit(odds + self.random.normal(0, noise, ROWS))
                arrays[f"{part}_{seed}"] = scores.astype(np.float32)
            auc = float(roc_auc_score(self.labels["test"], arrays[f"test_{seed}"]))
            metrics = {"target_validation": {"log_loss": validation_loss}}
            runs.append(
                {
                    "title": f"{cell.strategy or cell.architecture} {cell.depth}".removesuffix(
                        " 0"
                    ),
                    "seed": seed,
                    "learning_rate": 1e-3,
                    "metrics": {**metrics, "target_test": {"auc": auc}},
                    "before": {"target_validation": {"log_loss": 0.46}},
                    "best_epoch_is_last": last,
                    "seconds": 1.0,
                    "train_rows": 700,
                }
            )
        extra = {"optimum": {"auc": optimum, "train_rows": 700}} if optimum else {}
        body = {"cell": dataclasses.asdict(cell), "seconds": 1.0, "runs": runs, **extra}
        (self.out / "cells" / f"{cell.name}.json").write_text(json.dumps(body))
        np.savez(self.out / "scores" / f"{cell.name}.npz", **arrays)


@pytest.fixture
def outcome(tmp_path: Path) -> Outcome:
    return Outcome(tmp_path)


def passed(out: Path) -> dict[str, bool]:
    """Whether each check passes, by a word of its text."""
    words = ("validation:", "test:", "best epoch", "Linear probe", "dcnv2 on", "Its blend", "blend")
    found: dict[str, bool] = {}
    for check in make_checks(Results(out)):
        word = next((word for word in words if word in check.text), check.text)
        found[word] = found.get(word, True) and check.passed
    return found


def write_good(outcome: Outcome) -> None:
    outcome.write(FULL, 1.0, 0.44)
    outcome.write(PROBE, 1.2, 0.45, optimum=0.5)
    outcome.write(BOOSTED, 1.0)
    outcome.write(ZERO_SHOT, 1.4)
    outcome.write(Cell("pretrain", "dcnv2", "first60", 0), 0.8)
    outcome.write(Cell("pretrain", "dcnv2", "first60", 1), 0.8)
    outcome.write(Cell("boost", "dcnv2", "first60", SEEDS), 1.0)


def test_everything_shows(outcome: Outcome) -> None:
    write_good(outcome)
    found = passed(outcome.out)
    assert len(found) == 7 and all(found.values()), found
    text = render(outcome.out)
    assert "FAIL" not in text and text.count("PASS") == 7
    assert "| 700 | blend of dcnv2 and boosting |" in text


def test_what_does_not_show_fails(outcome: Outcome) -> None:
    write_good(outcome)
    outcome.write(FULL, 9.0, 0.47, last=True)
    outcome.write(PROBE, 1.2, 0.45, optimum=0.999)
    outcome.write(Cell("boost", "dcnv2", "first60", SEEDS), 0.1)
    found = passed(outcome.out)
    assert not any(
        found[word] for word in ("validation:", "test:", "best epoch", "Linear probe", "dcnv2 on")
    )


def test_a_blend_and_differences_are_those_of_the_seeds(outcome: Outcome) -> None:
    """Against scikit-learn's AUC and equal weights, which equal noise has."""
    outcome.write(FULL, 1.0)
    outcome.write(BOOSTED, 1.0)
    results = Results(outcome.out)
    full, boosted = (
        next(one for one in results.arms if one.cell["strategy"] == name)
        for name in ("depth", "gradient-boosting")
    )
    labels = outcome.labels["test"]
    aucs = [[roc_auc_score(labels, scores) for scores in one.scores()] for one in (full, boosted)]
    assert full.auc.value == pytest.approx(np.mean(aucs[0]))
    auc, _ = differences(full, boosted)
    assert auc.delta == pytest.approx(np.mean(aucs[0]) - np.mean(aucs[1]))
    mixed = blend("", full, boosted)
    logits = [np.log(one.scores() / (1 - one.scores())) for one in (full, boosted)]
    mean = [roc_auc_score(labels, one) for one in np.mean(logits, axis=0)]
    assert mixed.auc.value == pytest.approx(np.mean(mean), abs=2e-3)
    assert mixed.auc.value > max(full.auc.value, boosted.auc.value)


def test_cells_have_names_of_their_own() -> None:
    cells = first_cells(("dcnv2", "dnn"), 3)
    for architecture, first in (("dcnv2", True), ("dnn", False)):
        cells += arm_cells(architecture, 5, (1000, 0), 5, first)
    assert len({one.name for one in cells}) == len(cells)
    assert sum(one.probe_check for one in cells) == 1
    assert {one.head for one in cells if one.strategy == "lora"} == {"keep"}


def test_recommendations_from_stored_scores(outcome: Outcome) -> None:
    """The deep arm has the scores of full fine-tuning but for a trace of noise, and costs less."""
    outcome.write(Cell("pretrain", "dcnv2", ARMS, 0), 0.8)
    outcome.write(FULL, 0.4, 0.44)
    outcome.write(BOOSTED, 1.0)
    outcome.write(ZERO_SHOT, 1.4)
    deep = dataclasses.replace(FULL, depth=2)
    outcome.write(deep, 0.4, 0.45)
    cells, scores = outcome.out / "cells", outcome.out / "scores"
    with np.load(scores / f"{FULL.name}.npz") as arrays:
        near = {
            name: one
            if "label" in name
            else np.clip(one + 2e-4 * outcome.random.normal(size=ROWS), 1e-6, 1 - 1e-6)
            for name, one in arrays.items()
        }
    np.savez(scores / f"{deep.name}.npz", **near)
    for cell, cost in ((FULL, (40.0, 1000, 3)), (deep, (20.0, 380, 3))):
        path = cells / f"{cell.name}.json"
        body = json.loads(path.read_text())
        for run in body["runs"]:
            run |= dict(zip(("seconds", "trained_parameters", "epochs"), cost, strict=True))
            frozen = {"Embedding": cell.depth > 0, "Cross 1": cell.depth > 1, "Block 1": False}
            run["stages"] = [*frozen.items()]
        path.write_text(json.dumps(body))
    results = Results(outcome.out)
    found = recommendations(results, 1000)
    assert [one.margins.auc for one in found] == [0.0005, 0.001, 0.002]
    assert all(one.arm and one.arm.title == "depth 2" for one in found)
    text = render(outcome.out)
    assert (
        "| 1,000 | 0.001 AUC and 0.1 % of log loss | Freeze embedding and cross 1: costs at most"
        " 0.0001 AUC and 0.0001 nats against training everything, and trains 62 % fewer parameters"
        " in 50 % of the time." in text
    )
