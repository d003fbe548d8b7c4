"""What pretraining gains on the real rows (docs/pretraining.md).

`python -m benchmarks.pretraining` writes its section of docs/pretraining.md.

One network with the same settings throughout, so that only the way of pretraining differs: not
those that `pretrain` recommends, which are stronger (averaged weights, target statistics).

A DNN is pretrained on the first 60 % of the real Criteo rows by clicks, by replaced features and by
masked features, once each; then it is fully fine-tuned on 1,000, 5,000 and all target training
rows, and compared with the same network from scratch.
"""

import argparse
import dataclasses
import os
import platform
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import norm, t

from benchmarks.page_section import put_section
from benchmarks.parity import Silent
from benchmarks.real_rows import INGEST, PRETRAIN, thaw
from core.data.datasets import Dataset, find_dataset, select_test_rows, select_training_rows
from core.evaluation.format_metrics import format_metric
from core.evaluation.metric_functions import log_loss
from core.evaluation.roc_auc import auc_variance, placement_values
from core.freezing.plan import make_plan
from core.jobs.requests import FinetuneRequest, TrainSettings
from core.models.backbone import load_backbone
from core.models.backbone_store import find_backbone
from core.models.card import BackboneCard, HeadSettings
from core.program import VERSION
from core.training.finetune import initial_network
from core.training.loop import fit
from core.training.losses import predict
from core.training.training_rows import TrainingRows, load_rows
from core.workspace import PROJECT, Workspace, open_workspace

ARCHITECTURE = "dnn"
NETWORK = "--embedding 16 --widths 256,256,256 --dropout 0.3"
FLAGS = {
    "supervised": f"--preset fast {PRETRAIN} --statistics none",
    "rfd": "--objective rfd --preset map",
    "mfp": "--objective mfp --preset map",
}
TITLES = {"scratch": "scratch", "supervised": "clicks (supervised)", "rfd": "RFD", "mfp": "MFP"}
BUDGETS = (1_000, 5_000, None)
SEEDS = range(5)
TRAIN = TrainSettings(
    epochs=30, batch_size=64, learning_rate=3e-4, early_stopping=3, plateau=0, device="cpu"
)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Arm:
    """One initialisation with one number of target rows.

    Attributes:
        scores: of the test rows, shape ``(n_seeds, n_rows)``.
        labels: shape ``(n_rows,)``.
    """

    scores: np.ndarray
    labels: np.ndarray

    @property
    def aucs(self) -> np.ndarray:
        """AUC of each seed."""
        return np.array([auc_variance(self.labels, scores)[0] for scores in self.scores])

    @property
    def losses(self) -> np.ndarray:
        """Log loss of each seed."""
        return np.array([log_loss(self.labels, scores) for scores in self.scores])


def finetune_once(
    card: BackboneCard,
    start: str,
    budget: int | None,
    seed: int,
    dataset: Dataset,
    table: TrainingRows,
    folder: Path,
) -> np.ndarray:
    """Return the test scores after full fine-tuning, or after training from scratch.

    Training uses `budget` target rows drawn by the seed. A seed's smaller budgets are part of its
    larger ones, and initialisations share rows.
    """
    train, validation = select_training_rows(dataset, "target", None)
    chosen = np.random.default_rng(seed).permutation(train)[:budget]
    strategy = "scratch" if start == "scratch" else "full"
    request = FinetuneRequest(
        dataset.id, card.id, strategy, train=dataclasses.replace(TRAIN, seed=seed)
    )
    plan = make_plan(card, strategy, 0, HeadSettings())
    network = initial_network(card, plan, request, load_backbone(card))
    checkpoint = folder / "checkpoint.pt"
    checkpoint.unlink(missing_ok=True)
    fit(
        network,
        plan,
        table.take(chosen, CPU),
        table.take(validation, CPU),
        request.train,
        Silent(),
        checkpoint,
    )
    return predict(network, table.take(select_test_rows(dataset, "target"), CPU))


def interval(differences: np.ndarray) -> str:
    """Mean and 95 % interval of the mean by Student's t."""
    half = t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / len(differences) ** 0.5
    mean = differences.mean()
    return f"{mean:+.4f} ({mean - half:+.4f} to {mean + half:+.4f})"


def mean_placement_values(arm: Arm) -> tuple[np.ndarray, np.ndarray]:
    """Return DeLong's placement values of every click and every other row, means over the seeds."""
    parts = [placement_values(arm.labels, scores) for scores in arm.scores]
    return np.mean([clicks for _, clicks, _ in parts], axis=0), np.mean(
        [others for _, _, others in parts], axis=0
    )


def interval_over_rows(a: Arm, b: Arm) -> str:
    """Return the 95 % interval of the mean difference for other test rows (DeLong)."""
    differences = [
        of_a - of_b
        for of_a, of_b in zip(mean_placement_values(a), mean_placement_values(b), strict=True)
    ]
    half = norm.ppf(0.975) * sum(rows.var(ddof=1) / len(rows) for rows in differences) ** 0.5
    mean = differences[0].mean()
    return f"({mean - half:+.4f} to {mean + half:+.4f})"


def mean_and_deviation(values: np.ndarray) -> str:
    """Mean and standard deviation."""
    return f"{values.mean():.4f} ± {values.std(ddof=1):.4f}"


def table_row(rows: int, start: str, arm: Arm, scratch: Arm) -> str:
    """One row of the table."""
    cells = [
        f"{rows:,}",
        TITLES[start],
        mean_and_deviation(arm.aucs),
        "",
        "",
        mean_and_deviation(arm.losses),
        "",
    ]
    if start != "scratch":
        cells[3] = interval(arm.aucs - scratch.aucs)
        cells[4] = interval_over_rows(arm, scratch)
        cells[6] = interval(arm.losses - scratch.losses)
    return f"| {' | '.join(cells)} |"


def pretrained_line(objective: str, run: dict[str, Any]) -> str:
    """Return a row about one backbone: what it took, and what it reached on source rows."""
    result = run["result"]
    learnt = result["learnt"]
    if objective == "supervised":
        reached = f"AUC {format_metric(learnt['auc'])} on source test rows"
    else:
        reached = (
            ", ".join(f"{title} {format_metric(value)}" for title, value in learnt.items())
            + " on source validation rows"
        )
    seconds = result["seconds"]["train"]
    return (
        f"| {TITLES[objective]} | {result['best_epoch']} of {result['epochs_run']} | {seconds:.0f}"
        f" | {reached} |"
    )


def run_protocol(workspace: Workspace, folder: Path) -> str:
    """Everything, as the text of the section."""
    commands: list[str] = []
    thaw(workspace, INGEST, commands)
    dataset = find_dataset(workspace, "real")
    runs = {
        objective: thaw(
            workspace,
            f"pretrain --dataset real --architecture {ARCHITECTURE} --name real-{objective}"
            f" --device cpu {NETWORK} {flags}",
            commands,
        )["run"]
        for objective, flags in FLAGS.items()
    }
    cards = {objective: find_backbone(workspace, f"real-{objective}") for objective in FLAGS}
    table = load_rows(
        workspace,
        dataset,
        cards["supervised"].folder / "preprocessing",
        ("target_train", "target_validation", "target_test"),
    )
    labels = table.take(select_test_rows(dataset, "target"), CPU).labels.numpy()
    lines = []
    for budget in BUDGETS:
        arms = {}
        for start in TITLES:
            card = cards.get(start, cards["supervised"])
            scores = [
                finetune_once(card, start, budget, seed, dataset, table, folder) for seed in SEEDS
            ]
            arms[start] = Arm(np.stack(scores).astype(np.float64), labels)
            rows = budget or len(select_training_rows(dataset, "target", None)[0])
            lines.append(table_row(rows, start, arms[start], arms["scratch"]))
            print(lines[-1], flush=True)
    return PAGE.format(
        today=date.today().isoformat(),
        version=VERSION,
        machine=(
            f"{os.cpu_count()} cores, load average {os.getloadavg()[2]:.0f}, Python"
            f" {platform.python_version()}"
        ),
        device=runs["rfd"]["result"]["device"],
        source=runs["rfd"]["result"]["train_rows"],
        validation=len(select_training_rows(dataset, "target", None)[1]),
        test=len(labels),
        seeds=len(SEEDS),
        train=TRAIN,
        pretrained="\n".join(pretrained_line(objective, run) for objective, run in runs.items()),
        table="\n".join(lines),
        commands="\n".join(commands),
    )


HEADING = "Real rows: what does each way of pretraining gain?"
PAGE = """Made by `python -m benchmarks.pretraining` on {today} with version {version} ({machine},
device {device}).

100,000 real rows of the Kaggle Display Advertising Challenge in order of time. A DNN (embedding 16,
three blocks of 256) is pretrained once by each objective on {source:,} rows of the first 60 %; RFD
and MFP read no labels. Then it is fully fine-tuned with a new head on target rows of the next 20 %,
beside the same network from scratch, and tested on the last 20 % ({test:,} rows).

| objective | best epoch | seconds of training | reached |
|---|---|---|---|
{pretrained}

Fine-tuning is the same for all: batch {train.batch_size}, learning rate {train.learning_rate:g}, at
most {train.epochs} epochs, ended after {train.early_stopping} without a lower loss on the
{validation:,} target validation rows, the best epoch kept. {seeds} seeds, each with its own draw of
target rows, head, row order and dropout; a seed's 1,000 rows are among its 5,000, and every
initialisation gets the same rows. ± is the standard deviation over seeds. "Over seeds" is the mean
of the differences to scratch seed by seed with Student's 95 % interval: the noise of training and
of which rows were drawn (with all rows only of training). "Over test rows" is the 95 % interval of
the same mean by DeLong's method, with the seeds as they are: the noise of the test rows.

| target rows | start | AUC | less scratch, over seeds | over test rows | log loss | less scratch, over seeds |
|---|---|---|---|---|---|---|
{table}

Each backbone was pretrained with one seed; how much another pretraining would differ is in none of
the intervals.

Commands of the pretraining:

```
{commands}
```
"""  # noqa: E501 - a table's rows


def main() -> None:
    """Runs the protocol in a temporary workspace, or in the one named, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "pretraining.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        page = run_protocol(
            open_workspace(options.workspace or Path(folder) / "workspace"), Path(folder)
        )
    put_section(options.out, HEADING, page)
    print(page)


if __name__ == "__main__":
    main()
