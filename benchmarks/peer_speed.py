"""A peer's own training, timed in the peers' environment.

Usage: `python -m benchmarks.peer_speed job.json`.

DeepCTR-Torch by its `fit`; FuxiCTR by its `train_epoch` from its npz DataLoader, with the one class
that its package ships; pytorch_tabular by its `train`. None evaluates or saves anything in the
timed part. The job asks for one epoch, or, where it names depths, for a sweep of freeze depths.
Prints JSON: seconds, and the AUC of the test rows.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from benchmarks.peer_models import NUMERICS, PEERS, Peer, tabular_model

Arrays = dict[str, np.ndarray]
WARM_BATCHES = 2


def deepctr_epoch(peer: Peer, job: dict[str, Any], rows: Arrays) -> Callable[[int], None]:
    """The package's `fit` over the first training rows."""
    network: Any = peer.network
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.compile(torch.optim.Adam(trained, lr=job["learning_rate"]), "binary_crossentropy")
    columns = [
        rows["train_ids"][:, field].astype(np.float32)
        for field in range(rows["train_ids"].shape[1])
    ]
    columns += [rows["train_numerics"][:, number] for number in range(NUMERICS)]

    def epoch(count: int) -> None:
        x = [column[:count] for column in columns]
        network.fit(
            x, rows["train_labels"][:count], batch_size=job["batch_size"], epochs=1, verbose=0
        )

    return epoch


def fuxictr_epoch(peer: Peer, job: dict[str, Any], rows: Arrays) -> Callable[[int], None]:
    """Return a function that runs the package's `train_epoch` over the first training rows.

    The batches come from its npz loader.
    """
    from fuxictr.pytorch.dataloaders.npz_dataloader import NpzDataLoader

    network: Any = peer.network
    network.compile("adam", "binary_crossentropy", job["learning_rate"])
    network._max_gradient_norm, network._total_steps, network._eval_steps = 10.0, 0, 10**9
    network._stop_training = False
    features = network.feature_map
    features.set_column_index()
    item = f"I{NUMERICS - 1}"

    def epoch(count: int) -> None:
        values = {f"F{field}": column[:count] for field, column in enumerate(rows["train_ids"].T)}
        values |= {
            f"I{number}": column[:count] for number, column in enumerate(rows["train_numerics"].T)
        }
        file = str(Path(job["folder"]) / "fuxictr.npz")
        np.savez(file, label=rows["train_labels"][:count], **values)
        loader = NpzDataLoader(
            features, file, batch_size=job["batch_size"], shuffle=True, num_workers=job["workers"]
        )
        collate = loader.collate_fn

        def in_threes(
            batch: list[np.ndarray],
        ) -> tuple[dict[str, Any], dict[str, Any], torch.Tensor]:
            # The shipped class wants the last numeric as the item and a mask of no earlier items.
            found = collate(batch)
            found |= {name: found[name].long() for name in found if name.startswith("F")}
            found |= {name: found[name].float() for name in found if not name.startswith("F")}
            return found, {item: found.pop(item)}, torch.zeros(len(batch), 0)

        loader.collate_fn = in_threes
        began.append(time.perf_counter())
        network.train_epoch(loader)

    began: list[float] = []
    epoch.began = began  # type: ignore[attr-defined]
    return epoch


def tabular_epoch(peer: Peer, job: dict[str, Any], rows: Arrays) -> Callable[[int], None]:
    """The package's `train` over the first training rows, from its own data set in memory.

    Left out: its encoding of the columns, and the accuracy that it takes of every batch.
    """
    import pandas as pd
    from pytorch_tabular.tabular_datamodule import TabularDatamodule, TabularDataset

    whole, network = tabular_model(job["settings"], job["field_sizes"]), peer.network
    whole.config.batch_size = job["batch_size"]
    network.hparams.learning_rate = job["learning_rate"]  # type: ignore[union-attr]
    network.metrics = []  # type: ignore[assignment]

    def epoch(count: int) -> None:
        columns = {f"F{field}": column[:count] for field, column in enumerate(rows["train_ids"].T)}
        columns |= {
            f"I{number}": column[:count] for number, column in enumerate(rows["train_numerics"].T)
        }
        frame = pd.DataFrame(columns | {"label": rows["train_labels"][:count].astype(np.int64)})
        data = TabularDatamodule(
            frame, whole.config, validation=frame[:1], copy_data=False, verbose=False
        )
        config = whole.config
        data.train_dataset, data.validation_dataset = (
            TabularDataset(
                part,
                config.task,
                list(config.continuous_cols),
                list(config.categorical_cols),
                ["label"],
            )
            for part in (frame, frame[:1])
        )
        began.append(time.perf_counter())
        whole.train(network, data)

    began: list[float] = []
    epoch.began = began  # type: ignore[attr-defined]
    return epoch


EPOCHS: dict[str, Callable[[Peer, dict[str, Any], Arrays], Callable[[int], None]]] = {
    "deepctr-torch": deepctr_epoch,
    "fuxictr": fuxictr_epoch,
    "pytorch-tabular": tabular_epoch,
}


@torch.no_grad()
def auc(peer: Peer, rows: Arrays) -> float:
    """AUC of the test rows."""
    peer.network.eval()
    ids, numerics = torch.from_numpy(rows["test_ids"]), torch.from_numpy(rows["test_numerics"])
    parts = zip(ids.split(16384), numerics.split(16384), strict=True)
    scores = torch.cat([peer.forward(one, numbers) for one, numbers in parts]).numpy()
    return float(roc_auc_score(rows["test_labels"], scores))


def sweep_epochs(job: dict[str, Any], rows: Arrays) -> tuple[Peer, float]:
    """Fine-tune DeepCTR-Torch's DNN at every depth with every seed; frozen layers get no gradients.

    The backbone is untrained, as its quality does not change how long an epoch takes.
    """
    peer = PEERS["deepctr-torch"]("dnn", job["settings"], job["field_sizes"], job["seed"])
    backbone = {name: tensor.clone() for name, tensor in peer.network.state_dict().items()}
    deepctr_epoch(peer, job, rows)(WARM_BATCHES * job["batch_size"])
    began = time.perf_counter()
    for depth in job["depths"]:
        for seed in job["seeds"]:
            torch.manual_seed(seed)
            network: Any = peer.network
            network.load_state_dict(backbone)
            nn.init.xavier_uniform_(network.dnn_linear.weight)
            stages = [network.embedding_dict, *network.dnn.linears]
            for height, stage in enumerate(stages):
                stage.requires_grad_(height >= depth)
            epoch = deepctr_epoch(peer, job, rows)
            for _ in range(job["epochs"]):
                epoch(len(rows["train_labels"]))
    return peer, time.perf_counter() - began


def one_epoch(job: dict[str, Any], rows: Arrays) -> tuple[Peer, float]:
    """One epoch after a warm-up on a few batches."""
    peer = PEERS[job["peer"]](job["model"], job["settings"], job["field_sizes"], job["seed"])
    epoch = EPOCHS[job["peer"]](peer, job, rows)
    epoch(WARM_BATCHES * job["batch_size"])
    began = time.perf_counter()
    epoch(len(rows["train_labels"]))
    ended = time.perf_counter()
    # Writing the package's input file is not training.
    return peer, ended - getattr(epoch, "began", [began])[-1]


def main() -> None:
    """Reads the job, trains, and says how long it took."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    with np.load(job["rows"]) as stored:
        rows = {name: stored[name] for name in stored.files}
    peer, seconds = (sweep_epochs if "depths" in job else one_epoch)(job, rows)
    print(json.dumps({"seconds": seconds, "auc": auc(peer, rows)}))


if __name__ == "__main__":
    main()
