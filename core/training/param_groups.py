"""What a plan asks of the loop beyond frozen or not: parts of a stage, adapters, rates and freezing
by gradient."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from core.freezing.plan import Plan
from core.jobs.reporter import Point
from core.models.network import Embedding, Network, biases_and_norms
from core.training.lazy_adam import coalesce_rows

ParamGroup = dict[str, Any]
"""A parameter group of the optimiser: "params", "part" of the learning rate, and the "stage" they
belong to."""

AUTOFREEZE_QUANTILE = 0.5
"""Share of the stages still training below whose median change AutoFreeze looks for stages to
freeze (the paper's)."""


class LoRALinear(nn.Module):
    """A linear layer with a low-rank addition: W x + b + up (down x), W and b as they were (Hu et
    al. 2022).

    lora_A: (rank, inputs), Kaiming-uniform; lora_B: (outputs, rank), zero, so that training begins at the
    layer itself.
    """

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.linear = linear
        self.lora_A = nn.Parameter(linear.weight.new_empty(rank, linear.in_features))
        self.lora_B = nn.Parameter(linear.weight.new_zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + x @ self.lora_A.T @ self.lora_B.T

    @torch.no_grad()
    def merge(self) -> nn.Linear:
        """The plain linear layer that gives the same outputs."""
        self.linear.weight += self.lora_B @ self.lora_A
        return self.linear


def add_lora(network: Network, plan: Plan) -> None:
    """Puts an addition of the plan's rank beside every linear layer of the stages that train."""
    for module, stage in zip(network.stages, plan.stages[:-1], strict=True):
        if not stage.frozen:
            _replace_modules(
                module,
                lambda part: LoRALinear(part, plan.rank) if isinstance(part, nn.Linear) else None,
            )


def merge_lora(network: Network) -> None:
    """Merges every addition into its layer."""
    _replace_modules(
        network.stages, lambda part: part.merge() if isinstance(part, LoRALinear) else None
    )


def _replace_modules(module: nn.Module, make: Callable[[nn.Module], nn.Module | None]) -> None:
    """Puts what `make` gives in place of each module below `module`; where it gives None, looks
    further below."""
    for name, child in module.named_children():
        replacement = make(child)
        if replacement is None:
            _replace_modules(child, make)
        else:
            setattr(module, name, replacement)


def trainable_parameters(module: nn.Module, scope: str) -> list[nn.Parameter]:
    """The parameters of a stage that train when it does; `only` as in a plan."""
    if scope == "adapters":
        pairs = [
            (part.lora_A, part.lora_B) for part in module.modules() if isinstance(part, LoRALinear)
        ]
        return [parameter for pair in pairs for parameter in pair]
    if scope == "biases and norms":
        return biases_and_norms(module)
    module.requires_grad_(True)
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def parameter_groups(network: Network, plan: Plan) -> list[ParamGroup]:
    """The optimiser's groups: one a stage that ever trains, and one for the head."""
    modules = [*network.stages, network.head]
    groups: list[ParamGroup] = []
    for index, (module, stage) in enumerate(zip(modules, plan.stages, strict=True)):
        if not stage.frozen:
            only = "all" if module is network.head else plan.scope
            groups.append(
                {
                    "params": trainable_parameters(module, only),
                    "part": stage.lr_scale,
                    "stage": index,
                }
            )
    return groups


def set_trainable(
    network: Network,
    plan: Plan,
    groups: Sequence[ParamGroup],
    epoch: int,
    autofreeze_depth: int = 0,
) -> None:
    """Sets gradients and modes as they are in `epoch` (from 0): what does not train has no
    gradients and is in eval mode, so that there is no dropout and BatchNorm statistics stay.
    closed: leading stages frozen by AutoFreeze.
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


class L2SPPenalty:
    """L2-SP: half of `strength` times the squared distance of the stages from where they began (Li
    et al. 2018)."""

    def __init__(self, groups: Sequence[ParamGroup], head_index: int, strength: float) -> None:
        own = [one for group in groups if group["stage"] != head_index for one in group["params"]]
        self._pairs = [(one, one.detach().clone()) for one in own]
        self._strength = strength

    def penalty(self) -> Tensor:
        """The penalty at the weights of now, a scalar."""
        distances = [(now - began).square().sum() for now, began in self._pairs]
        return 0.5 * self._strength * torch.stack(distances).sum()


def reset_embeddings(network: Network, seed: int) -> None:
    """Draws the embedding stage's vectors anew, without touching the random numbers of anything
    else."""
    stage = network.stage_list()[0]
    assert isinstance(stage, Embedding)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        stage.reset_parameters()


def gradient_norms(groups: Sequence[ParamGroup]) -> Tensor:
    """Norm of each group's gradient, (groups,); 0 where there is none."""
    norms = []
    for group in groups:
        found = [one.grad for one in group["params"] if one.grad is not None]
        squares = [
            (coalesce_rows(one)[1] if one.is_sparse else one).square().sum() for one in found
        ]
        norms.append(
            torch.stack(squares).sum().sqrt() if squares else group["params"][0].new_zeros(())
        )
    return torch.stack(norms)


def gradient_points(
    groups: Sequence[ParamGroup], norms: Sequence[float], network: Network, step: int
) -> list[Point]:
    """A point "gradient/STAGE" of every stage that trains at `step`, the head too; norms: as
    `gradient_norms` gives."""
    names = [*(stage.name for stage in network.stage_list()), "head"]
    return [
        (step, f"gradient/{names[group['stage']]}", norm)
        for group, norm in zip(groups, norms, strict=True)
        if norm
    ]


@torch.no_grad()
def relative_gradient_norms(groups: Sequence[ParamGroup]) -> list[float]:
    """Gradient norm over weight norm of each group, the largest scaled to 1: Auto-RGN's rates (Lee
    et al. 2023)."""
    weights = [
        torch.stack([one.square().sum() for one in group["params"]]).sum().sqrt()
        for group in groups
    ]
    relative = gradient_norms(groups) / torch.stack(weights).clamp_min(1e-12)
    return (relative / relative.max().clamp_min(1e-12)).tolist()


def update_autofreeze_depth(
    previous_norms: Sequence[float], norms: Sequence[float], autofreeze_depth: int
) -> int:
    """How many leading stages AutoFreeze freezes from now on, given those closed already (Liu et
    al. 2021, eq. 2).

    before, now: gradient norm of each stage, head left out, summed over the last epoch and this
    one. From the first stage that trains up, those freeze whose relative change is at most the
    median of all that train.
    """
    changes = [
        abs(a - b) / a if a else 0.0
        for a, b in zip(previous_norms[autofreeze_depth:], norms[autofreeze_depth:], strict=True)
    ]
    if not changes:
        return autofreeze_depth
    limit = sorted(changes)[max(0, math.ceil(AUTOFREEZE_QUANTILE * len(changes)) - 1)]
    for change in changes:
        if change > limit:
            break
        autofreeze_depth += 1
    return autofreeze_depth
