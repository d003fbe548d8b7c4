"""Checkpoints: all that a run needs to go on as if it had never stopped."""

import dataclasses
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import caused_by_gpu_failure, caused_by_out_of_memory
from core.models.network import Network
from core.workspace import write_atomic


@dataclass
class Progress:
    """Where training stands. step counts optimiser steps; epoch counts finished epochs.

    learning_rate: learning rate before each stage's part of it. running_loss: summed loss of running_rows
    rows since the last reported point. seconds: spent so far. autofreeze_depth: leading stages frozen by
    AutoFreeze. norms, previous_gradient_norms: gradient norms of each group summed over the epoch so far, and
    over the one before.
    """

    best_loss: float
    best_weights: dict[str, Any]
    learning_rate: float
    best_epoch: int = 0
    epochs_since_best: int = 0
    epoch: int = 0
    step: int = 0
    stopped: bool = False
    seconds: float = 0.0
    running_loss: Tensor = field(default_factory=lambda: torch.zeros(()))
    running_rows: int = 0
    autofreeze_depth: int = 0
    gradient_norms: Tensor = field(default_factory=lambda: torch.zeros(()))
    previous_gradient_norms: list[float] = field(default_factory=list)


def save_checkpoint(
    path: Path, progress: Progress, weights: dict[str, Tensor], optimiser: torch.optim.Optimizer
) -> None:
    """Writes what training may change of the weights, optimiser, random-number state and progress,
    atomically.

    weights: of the network, by name. Those that are no numbers are not kept: the loss that tells of
    them may be reported later than this.
    """
    # The least and the greatest are no numbers where any is none; a mask of a large table would
    # take longer to make.
    if not all(
        bool(torch.isfinite(torch.stack(tensor.aminmax())).all()) for tensor in weights.values()
    ):
        return
    values = {
        "progress": {
            item.name: getattr(progress, item.name) for item in dataclasses.fields(progress)
        },
        "network": weights,
        "optimiser": optimiser.state_dict(),
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }
    write_atomic(path, lambda part: torch.save(values, part))


def load_checkpoint(
    path: Path, network: Network, optimiser: torch.optim.Optimizer, device: torch.device
) -> Progress | None:
    """Restores what `save_checkpoint` wrote, or does nothing and returns None where `read_checkpoint`
    does."""
    values = read_checkpoint(path, device)
    if values is None:
        return None
    network.load_state_dict(values["network"], strict=False)
    optimiser.load_state_dict(values["optimiser"])
    torch.set_rng_state(values["random"].cpu())
    if values["random_cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(values["random_cuda"].cpu())
    return Progress(**values["progress"])


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any] | None:
    """What torch.save wrote; None when there is no file, or half of one.

    Only a machine that lost its power leaves half a file; training then begins anew, to the same
    result.
    """
    if not path.exists():
        return None
    try:
        values: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (EOFError, RuntimeError, pickle.UnpicklingError) as error:
        if caused_by_out_of_memory(error) or caused_by_gpu_failure(error):
            raise
        path.unlink()
        return None
    return values
