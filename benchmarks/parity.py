"""Thaw's networks and the peers' trained on the same real rows (docs/parity.md).

`python -m benchmarks.parity` writes docs/parity.md.

Trains DNN, DeepFM, DCNv2, AutoInt+ and FinalMLP with Thaw's loop and, in an environment of their
own that this script makes, with FuxiCTR's and DeepCTR-Torch's network classes: same encoded rows,
same settings, several seeds in turn.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peer_page import TITLES, Comparison, Training, Trial, write_page
from benchmarks.real_rows import INGEST, thaw
from core.data.dataset_rows import load_encoded
from core.data.datasets import find_dataset, load_labels, select_test_rows, select_training_rows
from core.data.preprocessing import load_preprocessing
from core.evaluation.metric_functions import log_loss
from core.evaluation.roc_auc import auc_variance
from core.freezing.plan import Plan, PlannedStage
from core.jobs.reporter import Decision, Point
from core.jobs.requests import TrainSettings
from core.models.backbone import build_network
from core.models.card import HeadSettings
from core.models.network import Network
from core.training.batches import RowTensors
from core.training.loop import fit
from core.training.losses import predict
from core.workspace import PROJECT, open_workspace

ENVIRONMENT = PROJECT / "benchmarks" / ".peers"
PACKAGES = (
    f"torch=={torch.__version__.split('+')[0]}",
    "fuxictr==2.3.10",
    "deepctr-torch==0.3.0",
    "polars==1.40.1",
)
# pytorch_tabular asks for an older pandas than the other peers get; what it needs of the new one
# works.
WITHOUT_DEPENDENCIES = (
    "pytorch-tabular==1.2.0",
    "pytorch-lightning==2.6.6",
    "lightning-utilities==0.15.3",
    "torchmetrics==1.8.2",
    "omegaconf==2.4.0",
    "einops==0.8.2",
    "scikit-base==1.2.0",
    "rich==15.0.0",
    "markdown-it-py==4.3.0",
    "mdurl==0.1.2",
    "pygments==2.21.0",
)
EMBEDDING_STD = 0.01
TRAIN = TrainSettings(
    epochs=10, batch_size=256, learning_rate=5e-4, early_stopping=2, plateau=1, device="cpu"
)
SHOWN = ("epochs", "batch_size", "learning_rate", "early_stopping", "plateau")
THREADS = 1

_DEEP = {"embedding": 16, "widths": [256, 256, 256], "dropout": 0.3, "batch_norm": False}
SETTINGS: dict[str, dict[str, Any]] = {
    "dnn": _DEEP,
    "deepfm": _DEEP,
    "dcnv2": _DEEP | {"widths": [256, 256], "crosses": 2},
    "autoint": _DEEP | {"layers": 3, "heads": 2, "attention": 16},
    "finalmlp": _DEEP | {"widths": [256, 256], "heads": 16, "gate": 64},
}


TRIALS = (
    Trial("dnn", "deepctr-torch", "DeepCTR-Torch `WDL`, no wide part"),
    Trial("dnn", "fuxictr", "FuxiCTR `DCNv2`, no cross layers"),
    Trial("deepfm", "deepctr-torch", "DeepCTR-Torch `DeepFM`"),
    Trial("dcnv2", "fuxictr", "FuxiCTR `DCNv2`, stacked"),
    Trial("autoint", "deepctr-torch", "DeepCTR-Torch `AutoInt`, with DNN"),
    Trial("finalmlp", "fuxictr", "FuxiCTR `FinalMLP`, gates on"),
)


@dataclass(frozen=True)
class Prepared:
    """The rows that both sides get.

    Attributes:
        file: the rows as npz, for the peers.
        parts: the rows as tensors, for our networks.
    """

    file: Path
    parts: dict[str, RowTensors]
    field_sizes: tuple[int, ...]

    @property
    def labels(self) -> np.ndarray:
        """Labels of the test rows."""
        return self.parts["test"].labels.numpy()


class Silent:
    """A reporter that discards everything."""

    def phase(self, name: str) -> None: ...

    def progress(self, epoch: int, epochs: int, step: int, steps: int) -> None: ...

    def points(self, rows: Sequence[Point]) -> None: ...

    def rewind(self, step: int) -> None: ...

    def rung(self, epoch: int) -> Decision:
        """Always continue."""
        return "continue"

    def should_stop(self) -> bool:
        """Never."""
        return False


def prepare(folder: Path, commands: list[str]) -> Prepared:
    """Ingest and encode the real rows once.

    Training rows are those of the source domain; validation and test rows are the target's.
    """
    workspace = open_workspace(folder / "workspace")
    thaw(workspace, INGEST, commands)
    dataset = find_dataset(workspace, "real")
    preprocessing = load_preprocessing(dataset.folder / "preprocessing")
    table, labels = load_encoded(workspace, dataset, preprocessing), load_labels(dataset)
    numbers = {
        "train": select_training_rows(dataset, "source", None)[0],
        "validation": select_training_rows(dataset, "target", None)[0],
        "test": select_test_rows(dataset, "target"),
    }
    arrays: dict[str, np.ndarray] = {}
    parts = {}
    for part, rows in numbers.items():
        values = {
            "ids": table.ids[rows].astype(np.int64),
            "numerics": table.numerics[rows],
            "labels": labels[rows],
        }
        arrays |= {f"{part}_{name}": np.asarray(array) for name, array in values.items()}
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in values.items()}
        parts[part] = RowTensors((tensors["ids"], tensors["numerics"]), tensors["labels"])
    np.savez(folder / "rows.npz", **arrays)  # type: ignore[arg-type]
    return Prepared(folder / "rows.npz", parts, preprocessing.field_sizes)


def count(network: torch.nn.Module) -> int:
    """Return the number of parameters that train."""
    return sum(parameter.numel() for parameter in network.parameters())


def plan_at(network: Network, depth: int) -> Plan:
    """Return the plan that freezes the first `depth` stages and trains the others and the head."""
    modules = [(stage.name, count(stage)) for stage in network.stage_list()] + [
        ("head", count(network.head))
    ]
    stages = [
        PlannedStage(
            name, name, size, 0.0, index < depth, 0, trained_parameters=0 if index < depth else size
        )
        for index, (name, size) in enumerate(modules)
    ]
    return Plan("depth", tuple(stages), depth, False, True)


def train_ours(model: str, prepared: Prepared, seed: int, folder: Path) -> tuple[Training, Network]:
    """One training by Thaw's own loop on the CPU."""
    settings = TrainSettings(**asdict(TRAIN) | {"seed": seed})
    torch.manual_seed(seed)
    network = build_network(model, SETTINGS[model], prepared.field_sizes, HeadSettings())
    parts, checkpoint = prepared.parts, folder / "checkpoint.pt"
    checkpoint.unlink(missing_ok=True)
    began = time.process_time()
    fitted = fit(
        network,
        plan_at(network, 0),
        parts["train"],
        parts["validation"],
        settings,
        Silent(),
        checkpoint,
    )
    seconds = (time.process_time() - began) / fitted.epochs_run
    return Training(
        predict(network, parts["test"]), seconds, fitted.best_epoch, count(network)
    ), network


def peer_python() -> Path:
    """Return the Python interpreter of the peers' environment.

    The environment is created if it does not exist yet or holds other packages.
    """
    python, ready = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "ready"
    packages = "\n".join((*PACKAGES, *WITHOUT_DEPENDENCIES))
    if not ready.exists() or ready.read_text(encoding="utf-8") != packages:
        if not ready.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
        install = [str(python), "-m", "pip", "install", "-q"]
        subprocess.run([*install, *PACKAGES], check=True)
        subprocess.run([*install, "--no-deps", *WITHOUT_DEPENDENCIES], check=True)
        ready.write_text(packages, encoding="utf-8")
    return python


def run_peer(
    trial: Trial,
    prepared: Prepared,
    seed: int,
    folder: Path,
    weights: Path | None = None,
    only_score: bool = False,
) -> Training:
    """One training of the peer's network in its own process; with `weights` it starts from ours."""
    job = {
        "peer": trial.peer,
        "model": trial.model,
        "settings": SETTINGS[trial.model] | {"embedding_std": EMBEDDING_STD},
        "train": asdict(TRAIN) | {"seed": seed},
        "field_sizes": prepared.field_sizes,
        "rows": str(prepared.file),
        "weights": str(weights) if weights else "",
        "only_score": only_score,
        "answer": str(folder / "answer.npz"),
        "threads": THREADS,
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    command = [str(peer_python()), "-m", "benchmarks.peer_train", str(folder / "job.json")]
    subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
    with np.load(folder / "answer.npz") as answer:
        scores, outcome = answer["scores"], json.loads(str(answer["outcome"]))
    seconds = outcome.get("seconds", 0.0) / outcome.get("epochs", 1)
    return Training(scores, seconds, outcome.get("best_epoch", 0), outcome["parameters"])


def save_weights(network: Network, file: Path) -> Path:
    """The network's parameters as npz, for the peers."""
    np.savez(file, **{name: tensor.numpy() for name, tensor in network.state_dict().items()})
    return file


def largest_gap(trial: Trial, prepared: Prepared, network: Network, folder: Path) -> float:
    """Return the largest difference between the two networks' probabilities of a test row.

    The peer's network has the weights of our trained one.
    """
    weights = network.head.state_dict()["layers.0.weight"]
    if trial.model == "deepfm":
        # The package adds the machine's parts up unweighted: the case of our head that it can hold.
        weights[:, : SETTINGS["deepfm"]["embedding"] + 1] = 1
    scores = predict(network, prepared.parts["test"])
    theirs = run_peer(
        trial, prepared, 0, folder, save_weights(network, folder / "weights.npz"), only_score=True
    )
    return float(np.abs(theirs.scores - scores).max())


def same_start(trial: Trial, prepared: Prepared, folder: Path) -> Training | None:
    """Train the peer with seed 0 from our initial weights; None if it cannot hold them (DeepFM)."""
    if trial.model == "deepfm":
        return None
    torch.manual_seed(0)
    network = build_network(
        trial.model, SETTINGS[trial.model], prepared.field_sizes, HeadSettings()
    )
    return run_peer(trial, prepared, 0, folder, save_weights(network, folder / "weights.npz"))


def run_trials(trials: Sequence[Trial], seeds: int, folder: Path) -> str:
    """Run all trials and return the text of docs/parity.md.

    Training goes seed by seed, each peer's right after ours.
    """
    commands: list[str] = []
    prepared = prepare(folder, commands)
    models = list(dict.fromkeys(trial.model for trial in trials))
    ours: dict[str, list[Training]] = {model: [] for model in models}
    theirs: dict[Trial, list[Training]] = {trial: [] for trial in trials}
    gaps: dict[Trial, float] = {}
    starts: dict[Trial, Training | None] = {}
    for seed, model in itertools.product(range(seeds), models):
        training, network = train_ours(model, prepared, seed, folder)
        ours[model].append(training)
        print_training(f"{model} ours", seed, prepared.labels, training)
        for trial in [trial for trial in trials if trial.model == model]:
            theirs[trial].append(run_peer(trial, prepared, seed, folder))
            print_training(f"{model} {trial.peer}", seed, prepared.labels, theirs[trial][-1])
            if seed == 0:
                starts[trial] = same_start(trial, prepared, folder)
                gaps[trial] = largest_gap(trial, prepared, network, folder)
    return write_page(
        [
            Comparison(trial, ours[trial.model], theirs[trial], gaps[trial], starts[trial])
            for trial in trials
        ],
        prepared.labels,
        {part: len(rows) for part, rows in prepared.parts.items()},
        {model: SETTINGS[model] for model in models},
        {name: getattr(TRAIN, name) for name in SHOWN},
        PACKAGES,
        [*commands, "python -m benchmarks.parity"],
    )


def print_training(what: str, seed: int, labels: np.ndarray, training: Training) -> None:
    """Print one line about a finished training."""
    auc, loss = auc_variance(labels, training.scores)[0], log_loss(labels, training.scores)
    end = f"best epoch {training.best_epoch}, {training.seconds:.2f} s an epoch"
    print(
        f"{what} seed {seed}: AUC {auc:.5f}, log loss {loss:.5f}, {end}",
        file=sys.stderr,
        flush=True,
    )


def main() -> None:
    """Runs the comparison in a temporary folder and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(TITLES), help="of " + ",".join(TITLES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "parity.md")
    options = parser.parse_args()
    chosen = [trial for trial in TRIALS if trial.model in options.models.split(",")]
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        page = run_trials(chosen, options.seeds, Path(folder))
    options.out.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
