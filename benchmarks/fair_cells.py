"""The parts of `benchmarks.fair`: each trains some runs by the API and writes one JSON file.

A cell works in a workspace of its own, a copy of the one with the prepared rows, so that many train
at a time. It writes `cells/NAME.json` (settings and metrics of its runs) and `scores/NAME.npz`
(their scores on validation and test rows) into the output folder. Weights stay in the work folder.
"""

import json
import os
import platform
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from core.runs.sweep_result import ArmResult, summarise_arms
from thaw import Run, Workspace

BASE = "base"
ARMS = "arms"
"""The dataset whose source pretrains and whose target arms adapt to."""
PRETRAINING = {"first60": (0.6, 0.1), "first80": (0.8, 0.0625)}
"""Datasets that compare pretraining with gradient boosting: the share of all rows that both train
on, and the share of these that validates."""
TEST_SHARE = 0.2
Device = Literal["auto", "cuda", "cpu"]
PARTS: dict[str, Literal["target_test", "target_validation"]] = {
    "test": "target_test",
    "validation": "target_validation",
}
"""Rows whose scores are kept."""


@dataclass(frozen=True)
class Cell:
    """What one process does.

    Attributes:
        kind: "prepare", "pretrain", "boost" (gradient boosting on the rows that
            pretrain) or "arm".
        architecture: of the backbone.
        dataset: `ARMS` or a key of `PRETRAINING`.
        seeds: number of seeds of an arm, or the one seed of a pretraining run.
        size: target rows; 0 for all.
        strategy: of the arm; "depth" with `depth` stages frozen.
        depth: see there.
        head: "keep" or "new"; "" for controls.
        rows: of a control, "source", "target" or "both"; "" for others.
        probe_check: whether the optimum of a linear probe is computed too.
    """

    kind: str
    architecture: str = ""
    dataset: str = ARMS
    seeds: int = 0
    size: int = 0
    strategy: str = ""
    depth: int = 0
    head: str = ""
    rows: str = ""
    probe_check: bool = False

    @property
    def name(self) -> str:
        """A name for its files."""
        arm = f"{self.strategy}{self.depth}" if self.strategy == "depth" else self.strategy
        words = (self.kind, self.architecture, self.dataset, arm, self.head, self.rows)
        number = self.seeds if self.kind == "pretrain" else self.size
        return "-".join([word for word in words if word] + [str(number)])


@dataclass
class Folders:
    """Where a cell reads and writes."""

    out: Path
    work: Path

    def result(self, cell: Cell) -> Path:
        """The file of what a cell found."""
        return self.out / "cells" / f"{cell.name}.json"

    def backbone(self, architecture: str) -> Path:
        """The archive of the backbone that arms begin with."""
        return self.work / f"{architecture}.zip"


@dataclass
class Found:
    """What a cell found: its JSON, and the arrays beside it."""

    cell: Cell
    records: list[dict[str, Any]] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def add(self, run: Run, title: str, seed: int) -> None:
        """Add a run with its scores."""
        result, metrics = run.result, run.result.metrics
        number = len(self.records)
        for key, part in PARTS.items():
            if part in metrics:
                rows = run.predictions(part)
                self.arrays[f"{key}_{number}"] = rows["score"].to_numpy(np.float32)
                self.arrays[f"{key}_label"] = rows["label"].to_numpy(np.int8)
        self.records.append(
            {
                "title": title,
                "seed": seed,
                "learning_rate": run.settings["learning_rate"],
                "metrics": _numbers(metrics),
                "before": _numbers(result.before or {}),
                "best_epoch": result.best_epoch,
                "epochs": result.epochs_run,
                "best_epoch_is_last": result.best_epoch_is_last,
                "trained_parameters": result.trained_parameters,
                "seconds": result.total_seconds,
                "train_rows": result.train_rows,
                # The head, which is last, is no stage.
                "stages": [[one.title, one.frozen] for one in result.stages[:-1]],
            }
        )

    def write(self, folders: Folders, seconds: float) -> None:
        """Write both files; the JSON last, since it says that the cell is done."""
        for name in ("cells", "scores"):
            (folders.out / name).mkdir(parents=True, exist_ok=True)
        if self.arrays:
            path = folders.out / "scores" / f"{self.cell.name}.npz"
            np.savez_compressed(path, **self.arrays)  # type: ignore[arg-type]
        body = {"cell": asdict(self.cell), "seconds": seconds, "runs": self.records, **self.extra}
        folders.result(self.cell).write_text(json.dumps(body, indent=1))


def run_cell(cell: Cell, folders: Folders, rows: Path, device: Device) -> None:
    """Do what a cell says, in this process, and write what it found."""
    began = time.monotonic()
    found = Found(cell)
    if cell.kind == "prepare":
        _prepare(folders.work / BASE, rows, found)
    else:
        folder = folders.work / cell.name
        # Of an earlier call that was ended.
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(folders.work / BASE, folder)
        try:
            workspace = Workspace(folder)
            KINDS[cell.kind](workspace, cell, folders, found, device)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    found.write(folders, time.monotonic() - began)


def _numbers(metrics: Any) -> dict[str, dict[str, float | None]]:
    """AUC with its interval and log loss, by part."""
    names = ("rows", "auc", "auc_low", "auc_high", "log_loss", "click_rate")
    return {part: {name: _finite(one.get(name)) for name in names} for part, one in metrics.items()}


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None


def _prepare(folder: Path, rows: Path, found: Found) -> None:
    """Ingest the rows and prepare both datasets."""
    workspace = Workspace(folder)
    sample = workspace.ingest(rows, "rows")
    sample.prepare(
        ARMS,
        source_share=0.6,
        source_validation_share=0.08,
        source_test_share=0.02,
        target_test_share=0.5,
        target_validation_share=0.1,
    )
    frame = sample.to_pandas()
    test = frame.tail(round(TEST_SHARE * len(frame)))
    for name, (share, validation) in PRETRAINING.items():
        first = frame.head(round(share * len(frame)))
        # The same rows are source rows for networks and target rows for gradient boosting, so that
        # both train and stop on the same ones. A file has one role, so the source lacks a row.
        roles: dict[str, Any] = {}
        for domain, skipped in (("source", 1), ("target", 0)):
            roles[domain] = workspace.ingest(first[skipped:], f"{name} {domain}")
            roles[f"{domain}_test"] = workspace.ingest(test[skipped:], f"{domain} test")
            roles[f"{domain}_validation_share"] = validation
        workspace.prepare(name, **roles)
    datasets = {one.name: one.parts.to_dict("records") for one in workspace.datasets}
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
    found.extra = {
        "machine": machine,
        "rows": len(sample),
        "file": rows.name,
        "datasets": datasets,
    }


def _pretrain(
    workspace: Workspace, cell: Cell, folders: Folders, found: Found, device: Device
) -> None:
    """Pretrain a backbone by the product's defaults and score the test rows."""
    run = workspace.pretrain(
        cell.dataset, cell.architecture, "backbone", seed=cell.seeds, device=device, wait="here"
    )
    scored = workspace.finetune(
        cell.dataset,
        "backbone",
        strategy="zero-shot",
        validation_share="dataset",
        device=device,
        wait="here",
    )
    found.add(scored, cell.architecture, cell.seeds)
    pretrained = run.result
    found.records[0] |= {
        "best_epoch_is_last": pretrained.best_epoch_is_last,
        "seconds": pretrained.total_seconds,
        "train_rows": pretrained.train_rows,
    }
    found.extra = {"stages": len(run.backbone.info.stages)}
    if cell.dataset == ARMS:
        run.backbone.export(folders.backbone(cell.architecture))


def _boost(
    workspace: Workspace, cell: Cell, folders: Folders, found: Found, device: Device
) -> None:
    """Gradient boosting on the rows that a backbone is pretrained on."""
    backbone = workspace.import_backbone(folders.backbone(cell.architecture), "backbone")
    for seed in range(cell.seeds):
        run = workspace.finetune(
            cell.dataset,
            backbone,
            strategy="gradient-boosting",
            rows="target",
            validation_share="dataset",
            seed=seed,
            device=device,
            wait="here",
        )
        found.add(run, "gradient boosting", seed)


def _arm(workspace: Workspace, cell: Cell, folders: Folders, found: Found, device: Device) -> None:
    """One arm at one size: a sweep over seeds whose rate the product chooses."""
    backbone = workspace.import_backbone(folders.backbone(cell.architecture), "backbone")
    data = workspace.dataset(cell.dataset)
    by_depth = cell.strategy == "depth"
    options: dict[str, Any] = {"head": cell.head} if cell.head else {}
    options |= {"rows": cell.rows} if cell.rows else {}
    sweep = workspace.sweep(
        data,
        backbone,
        depths=(cell.depth,) if by_depth else (),
        strategies=() if by_depth else (cell.strategy,),
        seeds=cell.seeds,
        target_sizes=(cell.size,),
        device=device,
        wait="here",
        **options,
    )
    stored = [run.info for run in sweep.runs]
    (result,) = summarise_arms(sweep.info, stored)
    title = arm_title(cell, result)
    for run in result.runs:
        found.add(workspace.run(run.id), title, run.seed)
    found.extra = {"rates": [asdict(one) for one in result.rates]}
    if cell.probe_check:
        from benchmarks.fair_probe import converged_probe

        found.extra["optimum"] = converged_probe(workspace, data, result.runs[0])


def arm_title(cell: Cell, result: ArmResult) -> str:
    """Return an arm's title, with the head where it is new and the rows of a control."""
    title = result.title
    if cell.head == "new":
        title += ", new head"
    if cell.rows == "both":
        title += ", source and target rows"
    return title


KINDS = {"pretrain": _pretrain, "boost": _boost, "arm": _arm}
