"""Finished arms of `benchmarks.fair`, read from what its cells have written, and their statistics.

Differences are the product's own paired statistics over test rows and seeds
(`core.evaluation.paired_comparison`), as estimate and 95 % interval.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fair_cells import ARMS, PRETRAINING
from core.evaluation.metric_functions import log_loss_per_row
from core.evaluation.paired_comparison import (
    MeanEstimate,
    PairedDifference,
    compare_auc,
    compare_log_loss,
    mean_auc,
    mean_over_rows,
    placement_values_by_seed,
)
from core.freezing.strategies import is_control
from core.inference.blend_weights import blend_scores, fit_weights, logits_of

FULL = "freeze depth 0"
BOOSTED = "gradient boosting"
ZERO_SHOT = "zero-shot"


@dataclass(frozen=True)
class Arm:
    """The finished runs of one arm at one size, as a cell wrote them.

    Attributes:
        title: of the arm.
        cell: settings of the cell.
        runs: one for each seed.
        arrays: `test_0`, `validation_0` … and the labels.
        extra: what else the cell found.
    """

    title: str
    cell: Mapping[str, Any]
    runs: tuple[Mapping[str, Any], ...]
    arrays: Mapping[str, np.ndarray]
    extra: Mapping[str, Any]

    def scores(self, part: str = "test") -> np.ndarray:
        """Return scores, ``(n_seeds, n_rows)``."""
        return np.stack([self.arrays[f"{part}_{i}"] for i in range(len(self.runs))]).astype(float)

    @property
    def labels(self) -> np.ndarray:
        """Return the labels of the test rows."""
        return self.arrays["test_label"]

    @cached_property
    def auc(self) -> MeanEstimate:
        """Mean AUC on test rows."""
        return mean_auc(placement_values_by_seed(self.labels, self.scores()))

    @cached_property
    def log_loss(self) -> MeanEstimate:
        """Mean log loss on test rows."""
        return mean_over_rows(log_loss_per_row(self.labels, self.scores()))

    def mean(self, *path: str) -> float:
        """Return the mean over seeds of a number of the runs; NaN where it is missing."""
        found = [value_at(run, path) for run in self.runs]
        return math.nan if None in found else float(np.mean(found))

    @property
    def validation_loss(self) -> float:
        """Mean log loss on validation rows."""
        return self.mean("metrics", "target_validation", "log_loss")

    @property
    def is_network(self) -> bool:
        """Whether it starts from the backbone and trains."""
        return self.cell["kind"] == "arm" and not is_control(self.cell["strategy"])

    def seeds_like(self, n_seeds: int) -> np.ndarray:
        """Return scores of that many seeds; a single scoring stands for every seed."""
        scores = self.scores()
        return np.repeat(scores, n_seeds, axis=0) if len(scores) == 1 else scores[:n_seeds]


def value_at(run: Mapping[str, Any], path: Sequence[str]) -> Any:
    found: Any = run
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def differences(a: Arm, b: Arm) -> tuple[PairedDifference, PairedDifference]:
    """Return AUC and log loss of `a` less those of `b`, over the seeds that both have."""
    untrained = min(len(a.runs), len(b.runs)) == 1
    n_seeds = (max if untrained else min)(len(a.runs), len(b.runs))
    pair = a.labels, a.seeds_like(n_seeds), b.seeds_like(n_seeds)
    return compare_auc(*pair), compare_log_loss(*pair)


def load_arms(out: Path) -> list[Arm]:
    """Read every cell that has runs."""
    found = []
    for path in sorted((out / "cells").glob("*.json")):
        body = json.loads(path.read_text())
        scores = out / "scores" / f"{path.stem}.npz"
        if body["runs"] and scores.exists():
            with np.load(scores) as arrays:
                loaded = dict(arrays)
            runs = tuple(body.pop("runs"))
            found.append(Arm(runs[0]["title"], body.pop("cell"), runs, loaded, body))
    return found


def blend(title: str, network: Arm, boosted: Arm) -> Arm:
    """Return the blend of each seed: logits weighted by log loss on validation rows.

    Raises:
        ValueError: the two were validated on other rows.
    """
    n_seeds = min(len(network.runs), len(boosted.runs))
    labels = network.arrays["validation_label"]
    if not np.array_equal(labels, boosted.arrays["validation_label"]):
        raise ValueError(f"{network.title} and {boosted.title} have other validation rows")
    arrays: dict[str, np.ndarray] = {"test_label": network.labels}
    for seed in range(n_seeds):
        validation, test = (
            [one.arrays[f"{part}_{seed}"] for one in (network, boosted)]
            for part in ("validation", "test")
        )
        weights = fit_weights(np.stack([logits_of(one) for one in validation], axis=1), labels)
        arrays[f"test_{seed}"] = blend_scores(np.stack(test), weights)
    cell = {**network.cell, "kind": "blend"}
    return Arm(title, cell, network.runs[:n_seeds], arrays, {})


def estimate(value: MeanEstimate) -> str:
    """An estimate with its interval."""
    return f"{value.value:.4f} ({value.low:.4f} to {value.high:.4f})"


def difference(value: PairedDifference) -> str:
    """A difference with its interval."""
    return f"{value.delta:+.4f} ({value.low:+.4f} to {value.high:+.4f})"


class Results:
    """Everything that a folder holds."""

    def __init__(self, out: Path) -> None:
        self.arms = load_arms(out)
        path = out / "cells" / "prepare-arms-0.json"
        self.prepared = json.loads(path.read_text()) if path.exists() else {}
        failures = out / "failures.json"
        self.failures = json.loads(failures.read_text()) if failures.exists() else {}
        named = [one for one in self.arms if one.cell["kind"] == "arm"]
        # Only the first architecture has controls.
        controls = [one for one in named if is_control(one.cell["strategy"])]
        self.architecture = controls[0].cell["architecture"] if controls else ""
        path = out / "cells" / f"pretrain-{self.architecture}-{ARMS}-0.json"
        self.n_stages = json.loads(path.read_text()).get("stages", 0) if path.exists() else 0

    def at_size(self, size: int, architecture: str = "") -> list[Arm]:
        """Return the arms at a size, lowest validation loss first."""
        wanted = architecture or self.architecture
        found = [
            one
            for one in self.arms
            if one.cell["kind"] == "arm"
            and one.cell["size"] == size
            and one.cell["architecture"] == wanted
        ]
        return sorted(found, key=lambda one: (one.validation_loss, one.title))

    @property
    def sizes(self) -> list[int]:
        """The sizes that have arms, in ascending order; 0, all rows, last."""
        found = {one.cell["size"] for one in self.arms if one.cell["kind"] == "arm"}
        return sorted(found, key=lambda size: size or math.inf)

    def find(self, size: int, strategy: str, rows: str = "", head: str = "") -> Arm | None:
        """Return the arm of a strategy at a size; of depths the full one."""
        wanted = {"strategy": strategy, "rows": rows, "head": head, "depth": 0}
        return next(
            (
                one
                for one in self.at_size(size)
                if all(one.cell[key] == value for key, value in wanted.items())
            ),
            None,
        )

    def best_network(self, size: int) -> Arm | None:
        """Return the fine-tuned arm with the lowest validation loss."""
        return next((one for one in self.at_size(size) if one.is_network), None)

    def blend_at(self, size: int) -> Arm | None:
        """Return the blend of the best network and boosting on source and target rows."""
        network, boosted = self.best_network(size), self.find(size, "gradient-boosting", "both")
        if network is None or boosted is None:
            return None
        return blend(f"blend of {network.title} and {BOOSTED}", network, boosted)

    def pretraining(self) -> list[tuple[str, int, Arm, Arm | None]]:
        """Return (dataset, training rows, backbones over seeds, gradient boosting)."""
        found = []
        for dataset in PRETRAINING:
            of_dataset = [one for one in self.arms if one.cell["dataset"] == dataset]
            boosted = next((one for one in of_dataset if one.cell["kind"] == "boost"), None)
            singles = [one for one in of_dataset if one.cell["kind"] == "pretrain"]
            for architecture in dict.fromkeys(one.cell["architecture"] for one in singles):
                parts = [one for one in singles if one.cell["architecture"] == architecture]
                arm = _joined(sorted(parts, key=lambda one: one.cell["seeds"]))
                found.append((dataset, int(arm.runs[0]["train_rows"]), arm, boosted))
        return found


def _joined(parts: Sequence[Arm]) -> Arm:
    """Return the pretrained networks of several seeds as one arm."""
    arrays = {
        f"{part}_{number}": one.arrays[f"{part}_0"]
        for number, one in enumerate(parts)
        for part in ("test", "validation")
        if f"{part}_0" in one.arrays
    }
    labels = {name: one for name, one in parts[0].arrays.items() if name.endswith("label")}
    runs = tuple(run for one in parts for run in one.runs)
    return Arm(parts[0].title, parts[0].cell, runs, {**arrays, **labels}, {})
