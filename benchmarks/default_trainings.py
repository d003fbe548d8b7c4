"""The trainings behind docs/defaults.md, each stored in a file of its own.

The module prepares the rows and the backbone and runs one training at a time.
"""

import dataclasses
import hashlib
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from benchmarks.parity import Silent, plan_at
from benchmarks.real_rows import ROWS
from core.data.preprocessing import Preprocessing
from core.data.preprocessing import fit_preprocessing as fit_preprocessing
from core.data.reading.ingest import ingest
from core.data.samples import read_dictionary_table
from core.data.schema import LABEL
from core.data.simulate import simulate
from core.jobs.reporter import Point
from core.jobs.requests import TrainSettings
from core.models.backbone import build_network
from core.models.card import HeadSettings
from core.models.network import Network
from core.training.batches import RowTensors
from core.training.loop import fit
from core.training.losses import predict
from core.workspace import open_workspace

ARCHITECTURE = "dcnv2"
VALIDATION = 1 / 9
"""Share of the training rows that stops a training early: a tenth of both together, as for target
rows."""
SOURCE = 40_000
"""Real rows, the first ones, that the backbone is pretrained on."""
PRETRAIN = TrainSettings(
    epochs=20, batch_size=256, learning_rate=5e-4, early_stopping=2, device="cpu"
)


@dataclass(frozen=True)
class Data:
    """Rows in order of time, with the parts for training, selection and test.

    The last `choice + test` rows are for choosing among settings and for the test; the others
    train.
    """

    table: pa.Table
    choice: int
    test: int

    @property
    def end(self) -> int:
        """First row that neither trains nor validates."""
        return self.table.num_rows - self.choice - self.test

    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Labels of the rows that choose and of those that test."""
        labels = self.table[LABEL].to_numpy()[self.end :].astype(np.float64)
        return labels[: self.choice], labels[self.choice :]


@dataclass(frozen=True)
class Study:
    """What is trained, on how many training rows, with which settings.

    Attributes:
        task: "scratch", "finetune" or "head" (only the new head trains).
        windows: number of repetitions, each with another seed and, if there are enough, other rows.
        grid: (batch size, learning rate, maximum number of epochs).
    """

    task: str
    rows: int
    windows: int
    grid: tuple[tuple[int, float, int], ...]
    simulated: bool = False


class History(Silent):
    """A reporter that keeps the validation loss and AUC of every epoch."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.aucs: list[float] = []

    def points(self, rows: Sequence[Point]) -> None:
        """Keeps what was validated, epoch 0 included."""
        self.losses += [value for _, name, value in rows if name == "validation_loss"]
        self.aucs += [value for _, name, value in rows if name == "validation_auc"]


@dataclass(frozen=True)
class Training:
    """One training: scores of the rows that choose and of those that test, and how it went."""

    choice: np.ndarray
    test: np.ndarray
    best_epoch: int
    epochs: int
    seconds: float
    losses: tuple[float, ...]
    aucs: tuple[float, ...]


class Laboratory:
    """The rows, the backbone and the trainings on them.

    A training that is already stored in `folder` is read from there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workspace = open_workspace(folder / "workspace")
        folder.mkdir(exist_ok=True, parents=True)

    @cache  # noqa: B019
    def data(self, simulated: int) -> Data:
        """Return the real rows, or this many simulated ones."""
        if not simulated:
            sample = ingest(self.workspace, ROWS, "real")
            return Data(read_dictionary_table(sample), 10_000, 20_000)
        path = self.folder / f"simulated-{simulated}.tsv"
        if not path.exists():
            simulate(path, simulated, "source", 0)
        return Data(
            read_dictionary_table(ingest(self.workspace, path, path.stem, simulated=True)),
            20_000,
            50_000,
        )

    def data_of(self, study: Study) -> Data:
        """The rows of a study."""
        needed = study.windows * (study.rows + round(study.rows * VALIDATION)) + 70_000
        return self.data(needed if study.simulated else 0)

    @cache  # noqa: B019
    def encoded(
        self, study: Study, window: int
    ) -> tuple[Preprocessing, RowTensors, RowTensors, RowTensors]:
        """Return the preprocessing and the encoded rows of a window.

        Returns:
            (preprocessing, training rows, validation rows, rows for selection and test).
        """
        data = self.data_of(study)
        validation = round(study.rows * VALIDATION)
        first = 0 if study.task == "scratch" else SOURCE
        both = study.rows + validation
        # The windows lie one before the other as long as there are rows; then the last one again.
        window %= (data.end - first) // both
        end = data.end - window * both
        middle, begin = end - validation, end - both
        if study.task == "scratch":
            chosen = np.zeros(data.table.num_rows, dtype=bool)
            chosen[begin:middle] = True
            preprocessing = fit_preprocessing(data.table, mask=chosen)
        else:
            preprocessing = self.backbone()[0]
        return (
            preprocessing,
            rows_of(preprocessing, data.table.slice(begin, study.rows)),
            rows_of(preprocessing, data.table.slice(middle, validation)),
            rows_of(preprocessing, data.table.slice(data.end)),
        )

    @cache  # noqa: B019
    def backbone(self) -> tuple[Preprocessing, dict[str, torch.Tensor]]:
        """The preprocessing and weights of a DCNv2 pretrained on the first SOURCE real rows."""
        table, train = self.data(0).table, round(0.95 * SOURCE)
        chosen = np.arange(table.num_rows) < train
        preprocessing = fit_preprocessing(table, mask=chosen)
        torch.manual_seed(0)
        network = build_network(ARCHITECTURE, {}, preprocessing.field_sizes, HeadSettings())
        learnt = rows_of(preprocessing, table.slice(0, train))
        validation = rows_of(preprocessing, table.slice(train, SOURCE - train))
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Path(folder) / "checkpoint.pt"
            fit(network, plan_at(network, 0), learnt, validation, PRETRAIN, Silent(), checkpoint)
        return preprocessing, network.state_dict()

    def network(self, study: Study, preprocessing: Preprocessing, seed: int) -> Network:
        """Return the network that training starts from."""
        torch.manual_seed(seed)
        network = build_network(ARCHITECTURE, {}, preprocessing.field_sizes, HeadSettings())
        if study.task != "scratch":
            network.load_state_dict(self.backbone()[1])
            torch.manual_seed(seed)
            network.replace_head(HeadSettings())
        return network

    def train(self, study: Study, window: int, settings: TrainSettings) -> Training:
        """Return a training, from its file if it has been made before."""
        settings = dataclasses.replace(settings, seed=window, device="cpu")
        key = json.dumps([study.task, study.rows, study.simulated, dataclasses.asdict(settings)])
        file = (
            self.folder
            / f"{study.task}-{study.rows}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
        )
        if not file.exists():
            preprocessing, train, validation, last = self.encoded(study, window)
            network = self.network(study, preprocessing, window)
            history, began = History(), time.process_time()
            plan = plan_at(network, len(network.stage_list()) if study.task == "head" else 0)
            with tempfile.TemporaryDirectory() as folder:
                fitted = fit(
                    network,
                    plan,
                    train,
                    validation,
                    settings,
                    history,
                    Path(folder) / "checkpoint.pt",
                )
            seconds = time.process_time() - began
            scores, choice = predict(network, last), self.data_of(study).choice
            how = [fitted.best_epoch, fitted.epochs_run, seconds, history.losses, history.aucs]
            np.savez(
                file, choice=scores[:choice], test=scores[choice:], how=json.dumps(how), key=key
            )
        with np.load(file) as found:
            how = json.loads(str(found["how"]))
            return Training(
                found["choice"], found["test"], how[0], how[1], how[2], tuple(how[3]), tuple(how[4])
            )


def rows_of(preprocessing: Preprocessing, table: pa.Table) -> RowTensors:
    """The rows of a table as tensors."""
    encoded = preprocessing.encode(table)
    labels = torch.from_numpy(table[LABEL].to_numpy().astype(np.float32))
    return RowTensors((torch.from_numpy(encoded.ids), torch.from_numpy(encoded.numerics)), labels)
