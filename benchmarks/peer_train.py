"""One training of a peer's network, in the peers' environment.

Usage: `python -m benchmarks.peer_train job.json`.

The job names the peer, the model, its settings, the training settings, the prepared rows (npz) and
where the answer goes (npz). Optimiser, batches, learning rate and early stopping are those of
core.training.loop, written again here because this environment holds no part of Thaw.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.peer_models import PEERS, Peer

EVALUATION_ROWS = 16384

Rows = dict[str, Tensor]
"""ids (rows, fields) int64, numerics (rows, 13) and labels (rows,) float32 of one part."""


@torch.no_grad()
def predict(peer: Peer, rows: Rows) -> np.ndarray:
    """Click probabilities (rows,) in eval mode."""
    peer.network.eval()
    parts = zip(
        rows["ids"].split(EVALUATION_ROWS), rows["numerics"].split(EVALUATION_ROWS), strict=True
    )
    return torch.cat([peer.forward(ids, numerics) for ids, numerics in parts]).numpy()


def log_loss(labels: np.ndarray, scores: np.ndarray) -> float:
    """Mean cross entropy in nats."""
    clipped = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(labels * np.log(clipped) + (1 - labels) * np.log(1 - clipped)))


def train_epoch(
    peer: Peer, rows: Rows, optimiser: torch.optim.Optimizer, batch_size: int, seed: int
) -> None:
    """One pass over `rows` in an order drawn from `seed`."""
    peer.network.train()
    order = torch.randperm(len(rows["labels"]), generator=torch.Generator().manual_seed(seed))
    for batch in order.split(batch_size):
        scores = peer.forward(rows["ids"][batch], rows["numerics"][batch])
        loss = nn.functional.binary_cross_entropy(scores, rows["labels"][batch])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()


def fit(peer: Peer, train: Rows, validation: Rows, settings: dict[str, Any]) -> dict[str, float]:
    """Train the network and leave it with the weights of the epoch with the lowest validation loss.

    Returns:
        That epoch, the number of epochs trained, and the processor seconds that it took.
    """
    began = time.process_time()
    torch.manual_seed(settings["seed"])
    optimiser = torch.optim.Adam(
        peer.network.parameters(), lr=settings["learning_rate"], fused=True
    )
    best, best_epoch, since, epoch = float("inf"), 0, 0, 0
    kept: dict[str, Tensor] = {}
    while epoch < settings["epochs"] and since < settings["early_stopping"]:
        train_epoch(
            peer, train, optimiser, settings["batch_size"], settings["seed"] * 1_000_003 + epoch
        )
        epoch += 1
        loss = log_loss(validation["labels"].numpy(), predict(peer, validation))
        if loss < best:
            best, best_epoch, since = loss, epoch, 0
            kept = {
                name: tensor.detach().clone() for name, tensor in peer.network.state_dict().items()
            }
            continue
        since += 1
        if settings["plateau"] and since % settings["plateau"] == 0:
            for group in optimiser.param_groups:
                group["lr"] *= 0.1
    peer.network.load_state_dict(kept)
    return {"best_epoch": best_epoch, "epochs": epoch, "seconds": time.process_time() - began}


def main() -> None:
    """Reads the job, trains or only copies our weights, and writes the scores of the test rows."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    with np.load(job["rows"]) as stored:
        rows = {name: torch.from_numpy(stored[name]) for name in stored.files}
    train, validation, test = (
        {name: rows[f"{part}_{name}"] for name in ("ids", "numerics", "labels")}
        for part in ("train", "validation", "test")
    )
    peer = PEERS[job["peer"]](
        job["model"], job["settings"], job["field_sizes"], job["train"]["seed"]
    )
    outcome: dict[str, float] = {}
    if job["weights"]:
        with np.load(job["weights"]) as stored:
            peer.copy({name: stored[name] for name in stored.files})
    if not job["only_score"]:
        outcome = fit(peer, train, validation, job["train"])
    parameters = sum(parameter.numel() for parameter in peer.network.parameters())
    np.savez(
        job["answer"],
        scores=predict(peer, test),
        outcome=json.dumps(outcome | {"parameters": parameters}),
    )


if __name__ == "__main__":
    main()
