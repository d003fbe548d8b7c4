"""The optimiser's parameter groups: what trains, when, and at which share of the learning rate."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from core.freezing.plan import Plan
from core.jobs.requests import TrainSettings
from core.models.network import Embedding, Network, biases_and_norms, matrices
from core.training.checkpoint import Progress
from core.training.lazy_adam import LazyAdamW
from core.training.lora import LoRALinear

ParamGroup = dict[str, Any]
"""A parameter group of a torch optimiser with two keys more: "lr_scale", the share of the learning
rate (timm's key), and "stage", the index of the stage, or of the head after the last stage."""


def trainable_parameters(module: nn.Module, scope: str) -> list[nn.Parameter]:
    """Return the parameters of a stage that train when it does.

    Args:
        module: the stage.
        scope: "all", "biases and norms" (BitFit) or "adapters" (LoRA), as in a plan.
    """
    if scope == "adapters":
        layers = [layer for layer in module.modules() if isinstance(layer, LoRALinear)]
        return [parameter for layer in layers for parameter in (layer.lora_A, layer.lora_B)]
    if scope == "biases and norms":
        return biases_and_norms(module)
    module.requires_grad_(True)
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def parameter_groups(network: Network, plan: Plan) -> list[ParamGroup]:
    """Return one group per stage that ever trains, from the input up, and one for the head."""
    modules = [*network.stages, network.head]
    groups: list[ParamGroup] = []
    for index, (module, stage) in enumerate(zip(modules, plan.stages, strict=True)):
        if not stage.frozen:
            # The head is new, so all of it trains, whatever the strategy's scope is.
            scope = "all" if module is network.head else plan.scope
            parameters = trainable_parameters(module, scope)
            groups.append({"params": parameters, "lr_scale": stage.lr_scale, "stage": index})
    return groups


def split_by_decay(
    network: nn.Module, groups: Sequence[ParamGroup], settings: TrainSettings
) -> list[ParamGroup]:
    """Return the optimiser's groups: those given, or each in two where only matrices decay.

    Args:
        network: says which parameters are matrices.
        groups: one per stage.
        settings: weight decay and its scope.
    """
    if not settings.weight_decay or settings.decay_scope == "all":
        return list(groups)
    decayed = {id(parameter) for parameter in matrices(network)}
    split = []
    for group in groups:
        for decay in (settings.weight_decay, 0.0):
            parameters = [one for one in group["params"] if (id(one) in decayed) == bool(decay)]
            if parameters:
                split.append({**group, "params": parameters, "weight_decay": decay})
    return split


def merge_by_stage(groups: Sequence[ParamGroup]) -> list[ParamGroup]:
    """Return one group per stage, with all parameters of the optimiser's groups of that stage."""
    merged: dict[int, ParamGroup] = {}
    for group in groups:
        if (stage := group["stage"]) in merged:
            parameters = [*merged[stage]["params"], *group["params"]]
            merged[stage] = {**merged[stage], "params": parameters}
        else:
            merged[stage] = group
    return [*merged.values()]


def set_trainable(
    network: Network,
    plan: Plan,
    groups: Sequence[ParamGroup],
    epoch: int,
    autofreeze_depth: int = 0,
) -> None:
    """Set `requires_grad` and the train/eval mode of every stage for an epoch.

    A stage that does not train is in eval mode: no dropout, and BatchNorm neither uses nor updates
    the statistics of the batch. Without that, a "frozen" stage would change its outputs.

    Args:
        network: the network.
        plan: says from which epoch each stage trains.
        groups: the optimiser's, from `parameter_groups`.
        epoch: from 0.
        autofreeze_depth: leading stages that AutoFreeze has frozen.
    """
    network.requires_grad_(False)
    network.eval()
    modules = [*network.stages, network.head]
    for group in groups:
        index = group["stage"]
        if plan.stages[index].from_epoch <= epoch and index >= autofreeze_depth:
            modules[index].train()
            for parameter in group["params"]:
                parameter.requires_grad_(True)


def set_lr(
    groups: Sequence[ParamGroup],
    settings: TrainSettings,
    progress: Progress,
    total_steps: int,
    first_step: int = 0,
) -> None:
    """Set the learning rate of every group for the next step.

    Args:
        groups: the optimiser's; each has its share of the rate in "lr_scale".
        settings: say whether the rate follows a cosine.
        progress: holds the current rate, which a plateau may have lowered.
        total_steps: steps that the cosine takes.
        first_step: at which it begins.
    """
    if settings.cosine:
        # Half a cosine from the full rate to 0 over all steps, without restarts.
        step = progress.step - first_step
        share = (1 + math.cos(math.pi * step / total_steps)) / 2
        progress.learning_rate = settings.learning_rate * share
    for group in groups:
        group["lr"] = progress.learning_rate * group["lr_scale"]


class L2SPPull:
    """L2-SP: pull weights towards those they started from (Li et al., ICML 2018).

    The paper adds ``alpha / 2 |w - w_start|² + beta / 2 |w_new|²`` to the loss, the second term for
    layers that are new. Adam would divide its gradient by that of the loss, so that the pull would
    be weakest where the loss changes most. As AdamW does with weight decay (Loshchilov and Hutter
    2019), the gradient of the penalty is applied beside Adam's step instead:
    ``w -= lr * alpha * (w - w_start)`` and ``w_new -= lr * beta * w_new``.

    Args:
        groups: the optimiser's, with the weights that training starts from.
        plan: `l2_sp` is alpha and `head_decay` is beta, which applies to a new head; one that was
            kept is pulled as the stages are.
    """

    def __init__(self, groups: Sequence[ParamGroup], plan: Plan) -> None:
        head = len(plan.stages) - 1
        self._pulls: list[tuple[float, list[tuple[Tensor, Tensor | None]]]] = []
        for group in groups:
            is_new = group["stage"] == head and plan.new_head
            pairs = [
                (parameter, None if is_new else parameter.detach().clone())
                for parameter in group["params"]
            ]
            self._pulls.append((plan.head_decay if is_new else plan.l2_sp, pairs))

    @torch.no_grad()
    def step(self, optimiser: LazyAdamW) -> None:
        """Pull all weights once, before the optimiser's step.

        However strong the pull is, it ends at where it leads to.

        Args:
            optimiser: has the groups' learning rates of this step.
        """
        for index, (strength, pairs) in enumerate(self._pulls):
            product = optimiser.rate(index) * strength
            share = product.clamp_max(1) if isinstance(product, Tensor) else min(1.0, product)
            for parameter, start in pairs:
                if start is None:
                    parameter.mul_(1 - share)
                else:
                    parameter.lerp_(start, share)


def reset_embeddings(network: Network, seed: int) -> None:
    """Draw new embedding vectors (MEDA), without changing any other random numbers."""
    stage = network.stage_list()[0]
    assert isinstance(stage, Embedding)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        stage.reset_parameters()
