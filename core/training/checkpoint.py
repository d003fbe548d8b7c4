"""Checkpoints: everything a run needs to continue as if it had not been interrupted."""

import dataclasses
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import caused_by_gpu_failure, caused_by_out_of_memory
from core.models.network import Network
from core.training.weight_average import WeightAverage
from core.workspace import write_atomic

RENAMED_FIELDS = {
    "rate": "learning_rate",
    "closed": "autofreeze_depth",
    "norms_before": "previous_gradient_norms",
}
"""Names of `Progress` fields up to version 0.11, whose interrupted runs resume too."""
RENAMED_PARAMETERS = {".down": ".lora_A", ".up": ".lora_B"}
"""Names of LoRA's parameters up to version 0.11."""


@dataclass
class Progress:
    """Where training stands.

    Args:
        best_loss: lowest validation loss so far.
        best_weights: weights of the validation with the lowest loss, by name.
        learning_rate: before the share (`lr_scale`) of each parameter group.
        best_epoch: epoch of `best_weights`; 0 is the network before training.
        best_step: optimiser step of `best_weights`.
        epochs_since_best: finished epochs since that one.
        epoch: finished epochs.
        step: finished optimiser steps.
        stopped: whether early stopping ended the training.
        seconds: spent so far.
        running_loss: sum of the losses of `running_rows` rows since the last logged point.
        running_rows: see `running_loss`.
        autofreeze_depth: leading stages that AutoFreeze has frozen.
        gradient_sums: gradients of each stage, summed over the current epoch (AutoFreeze).
        previous_gradient_norms: their norms in the last epoch; empty in the first.
        join_epoch: of a plan that probes first, the epoch (from 0) in which its stages joined; None
            before that.
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
    gradient_sums: dict[int, list[Tensor]] = field(default_factory=dict)
    previous_gradient_norms: list[float] = field(default_factory=list)
    best_step: int = 0
    join_epoch: int | None = None


def save_checkpoint(
    path: Path,
    progress: Progress,
    weights: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    average: WeightAverage | None = None,
) -> None:
    """Write weights, optimiser state, random-number state and progress, atomically.

    Nothing is written if a weight is not finite: the loss that reveals it may arrive later than
    this call, and the last good checkpoint must survive.

    Args:
        path: file to write.
        progress: where training stands.
        weights: what training may change of the network, by name.
        optimiser: of the network.
        average: of its weights, if there is one.
    """
    # Minimum and maximum of a tensor are NaN if any value is. isfinite on the tensor itself would
    # first write a mask as large as the table.
    if not all(
        bool(torch.isfinite(torch.stack(tensor.aminmax())).all()) for tensor in weights.values()
    ):
        return
    values = {
        # Not dataclasses.asdict, which would copy all best weights.
        "progress": {
            item.name: getattr(progress, item.name) for item in dataclasses.fields(progress)
        },
        "network": weights,
        "optimiser": optimiser.state_dict(),
        "average": average.state_dict() if average else None,
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }
    write_atomic(path, lambda part: torch.save(values, part))


def load_checkpoint(
    path: Path,
    network: Network,
    optimiser: torch.optim.Optimizer,
    device: torch.device,
    average: WeightAverage | None = None,
) -> Progress | None:
    """Restore what `save_checkpoint` wrote; return None if there is nothing to restore."""
    values = read_checkpoint(path, device)
    if values is None:
        return None
    progress = {RENAMED_FIELDS.get(name, name): value for name, value in values["progress"].items()}
    # Up to version 0.12 AutoFreeze summed norms, which are of no use to its present rule.
    known = {item.name for item in dataclasses.fields(Progress)}
    progress = {name: value for name, value in progress.items() if name in known}
    progress["best_weights"] = _rename_parameters(progress["best_weights"])
    # strict=False: frozen stages are not in a checkpoint.
    network.load_state_dict(_rename_parameters(values["network"]), strict=False)
    optimiser.load_state_dict(values["optimiser"])
    if average:
        average.load_state_dict(values["average"])
    for group in optimiser.param_groups:
        if "part" in group:
            # The name of "lr_scale" up to version 0.11.
            group["lr_scale"] = group.pop("part")
    torch.set_rng_state(values["random"].cpu())
    if values["random_cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(values["random_cuda"].cpu())
    return Progress(**progress)


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any] | None:
    """Return what `torch.save` wrote; None if there is no file, or only a part of one.

    A partial file is left only by a machine that lost its power. It is removed; training then
    starts from the beginning, with the same result.
    """
    if not path.exists():
        return None
    try:
        # weights_only: no pickled code is executed.
        values: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (EOFError, RuntimeError, pickle.UnpicklingError) as error:
        # A full or failing device says nothing about the file.
        if caused_by_out_of_memory(error) or caused_by_gpu_failure(error):
            raise
        path.unlink()
        return None
    return values


def _rename_parameters(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights with LoRA's parameters under their present names."""
    renamed = {}
    for name, tensor in weights.items():
        for old, new in RENAMED_PARAMETERS.items():
            layer = name.removesuffix(old)
            if layer != name and f"{layer}.linear.weight" in weights:
                name = f"{layer}{new}"
        renamed[name] = tensor
    return renamed
