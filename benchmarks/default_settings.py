"""The default settings compared with a grid (docs/defaults.md).

`python -m benchmarks.default_settings` writes docs/defaults.md.

A DCNv2 is trained from scratch on 120 to 60,000 real rows and 100,000 and 1,000,000 simulated rows,
and a pretrained one is fine-tuned on 120 to 20,000 real target rows: once with the settings that
core.training.default_settings chooses for that many rows, and once with every batch size and
learning rate of a grid. Trainings are kept in --folder, so that a broken run goes on where it was.
"""

import argparse
import dataclasses
import gzip
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.default_page import Example, Finding, Outcome, mean_auc, mean_loss, write_page
from benchmarks.default_trainings import ARCHITECTURE, Laboratory, Study
from benchmarks.real_rows import ROWS, thaw
from core.jobs.requests import TrainSettings
from core.training.default_settings import PRESETS, default_settings
from core.workspace import PROJECT, open_workspace

LAST_ROWS = 37_139
"""Rows of the example of one epoch: the last ones of the real file."""


def settings_grid(
    batches: Sequence[int], rates: Sequence[float], epochs: int = 20
) -> tuple[tuple[int, float, int], ...]:
    """Return every batch size with every learning rate."""
    return tuple((batch, rate, epochs) for batch in batches for rate in rates)


RATES = (3e-4, 1e-3, 3e-3)
STUDIES = (
    Study("scratch", 120, 5, settings_grid((16, 64, 256), RATES)),
    Study("scratch", 1_000, 5, settings_grid((16, 32, 64, 256, 1024, 4096), RATES)),
    Study("scratch", 5_000, 5, settings_grid((32, 64, 256, 1024, 4096), RATES)),
    Study("scratch", 20_000, 3, settings_grid((64, 256, 1024, 4096), RATES)),
    Study("scratch", 60_000, 3, settings_grid((64, 256, 1024, 4096), RATES[:2])),
    Study(
        "scratch",
        100_000,
        2,
        settings_grid((64, 256), RATES)
        + settings_grid((1024,), RATES[:2])
        + settings_grid((4096,), RATES[1:2]),
        simulated=True,
    ),
    Study(
        "scratch",
        1_000_000,
        1,
        settings_grid((256, 1024, 4096), RATES[1:2], 3) + settings_grid((64,), RATES[1:2], 1),
        simulated=True,
    ),
    Study("finetune", 120, 5, settings_grid((16, 64, 256), RATES)),
    Study("finetune", 1_000, 5, settings_grid((16, 32, 64, 256, 1024, 4096), RATES)),
    Study("finetune", 5_000, 5, settings_grid((32, 64, 256, 1024, 4096), RATES)),
    Study("finetune", 20_000, 3, settings_grid((64, 256, 1024, 4096), RATES)),
    Study("head", 1_000, 5, settings_grid((16, 64, 1024), RATES)),
    Study("head", 20_000, 3, settings_grid((64, 256, 1024), RATES)),
)


def measure_outcome(laboratory: Laboratory, study: Study, settings: TrainSettings) -> Outcome:
    """Train one setting in every window of a study."""
    trainings = [laboratory.train(study, window, settings) for window in range(study.windows)]
    outcome = Outcome(
        settings,
        np.stack([training.choice for training in trainings]),
        np.stack([training.test for training in trainings]),
        tuple(training.best_epoch for training in trainings),
        tuple(training.epochs for training in trainings),
        tuple(training.seconds for training in trainings),
    )
    print_outcome(laboratory, study, outcome)
    return outcome


def print_outcome(laboratory: Laboratory, study: Study, outcome: Outcome) -> None:
    """Print one line about a setting that has been measured."""
    reached = [
        f"{part} AUC {mean_auc(labels, scores):.4f}, log loss {mean_loss(labels, scores):.4f}"
        for part, labels, scores in zip(
            ("choice", "test"),
            laboratory.data_of(study).labels(),
            (outcome.choice, outcome.test),
            strict=True,
        )
    ]
    epochs = (
        f"best epoch {np.mean(outcome.best_epochs):.1f} of {np.mean(outcome.epochs):.1f},"
        f" {sum(outcome.seconds):.0f} s"
    )
    print(
        f"{study.task} {study.rows:,} {outcome.name}: {'; '.join(reached)}; {epochs}",
        file=sys.stderr,
        flush=True,
    )


def measure(laboratory: Laboratory, study: Study) -> Finding:
    """Measure the default, the earlier default, both after one epoch, and the grid."""
    usual = PRESETS["fast"]
    most = max(epochs for _, _, epochs in study.grid)
    default, fast = (
        # Where the grid trains for few epochs, so does everything beside it.
        dataclasses.replace(
            settings, epochs=min(settings.epochs, most) if most < usual.epochs else settings.epochs
        )
        for settings in (default_settings(study.rows)[1], usual)
    )
    once = [dataclasses.replace(settings, epochs=1) for settings in (default, fast)]
    grid = [
        # Early stopping and plateau as in the default.
        dataclasses.replace(usual, batch_size=batch, learning_rate=rate, epochs=epochs)
        for batch, rate, epochs in study.grid
    ]
    choice, test = laboratory.data_of(study).labels()
    return Finding(
        task=study.task,
        rows=study.rows,
        simulated=study.simulated,
        choice_labels=choice,
        test_labels=test,
        default=measure_outcome(laboratory, study, default),
        fast=measure_outcome(laboratory, study, fast),
        one_epoch=measure_outcome(laboratory, study, once[0]),
        fast_one_epoch=measure_outcome(laboratory, study, once[1]),
        grid=tuple(measure_outcome(laboratory, study, settings) for settings in grid),
    )


def one_epoch_example(laboratory: Laboratory, commands: list[str]) -> list[Example]:
    """Return (preset, AUC after pretraining, AUC after fine-tuning), by command, one epoch each."""
    path = laboratory.folder / "last.tsv"
    with gzip.open(ROWS, "rb") as stream:
        path.write_bytes(b"".join(stream.readlines()[-LAST_ROWS:]))
    workspace = open_workspace(laboratory.folder / "example")
    shutil.rmtree(workspace.root)
    workspace = open_workspace(workspace.root)
    thaw(workspace, f"ingest {path} --name last", [])
    commands.append(f"zcat {ROWS.name} | tail -{LAST_ROWS} > last.tsv")
    commands.append("python -m core ingest last.tsv --name last")
    found = []
    for preset, flags in (("fast", " --preset fast"), ("auto", "")):
        pretrain = (
            f"pretrain --dataset last --architecture {ARCHITECTURE} --name {preset} --epochs 1"
            " --device cpu"
        )
        finetune = (
            f"finetune --dataset last --backbone {preset} --freeze-depth 0 --epochs 1 --device cpu"
        )
        results = [
            thaw(workspace, one + flags, commands)["run"]["result"] for one in (pretrain, finetune)
        ]
        aucs = [result["metrics"]["target_test"]["auc"] for result in results]
        found.append((preset, aucs[0], aucs[1]))
    return found


def main() -> None:
    """Trains what has not been trained yet, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, help="keeps the trainings (default: a temporary folder)"
    )
    parser.add_argument(
        "--only", default="", help="studies such as scratch-1000,head-1000; no page is written then"
    )
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "defaults.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        laboratory = Laboratory(options.folder or Path(folder))
        only = options.only.split(",") if options.only else []
        chosen = [study for study in STUDIES if not only or f"{study.task}-{study.rows}" in only]
        findings = [measure(laboratory, study) for study in chosen]
        if not only:
            commands: list[str] = []
            example = one_epoch_example(laboratory, commands)
            page = write_page(findings, example, commands)
            options.out.write_text(page, encoding="utf-8")
            print(page)


if __name__ == "__main__":
    main()
