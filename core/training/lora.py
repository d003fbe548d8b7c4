"""LoRA: low-rank additions to linear layers (Hu et al., ICLR 2022)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from core.freezing.plan import Plan
from core.models.network import Network


class LoRALinear(nn.Module):
    """A frozen linear layer with a trained low-rank addition: ``W x + b + B A x``.

    `lora_A` ``(rank, in_features)`` starts Kaiming-uniform and `lora_B` ``(out_features, rank)`` at
    zero, so training starts from the layer itself.

    Args:
        linear: the layer; its weight and bias do not train.
        rank: of the addition.
    """

    matrix_names = ("lora_A", "lora_B")

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.linear = linear
        self.lora_A = nn.Parameter(linear.weight.new_empty(rank, linear.in_features))
        self.lora_B = nn.Parameter(linear.weight.new_zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        # [rows, in_features] -> [rows, rank] -> [rows, out_features]
        return self.linear(x) + x @ self.lora_A.T @ self.lora_B.T

    @torch.no_grad()
    def merge(self) -> nn.Linear:
        """Add ``B A`` to the weight and return the layer, which then gives the same outputs."""
        self.linear.weight += self.lora_B @ self.lora_A
        return self.linear


def add_lora(network: Network, plan: Plan) -> None:
    """Replace every linear layer of the stages that train by a `LoRALinear` of the plan's rank."""

    def add(module: nn.Module) -> nn.Module | None:
        return LoRALinear(module, plan.rank) if isinstance(module, nn.Linear) else None

    for module, stage in zip(network.stages, plan.stages[:-1], strict=True):
        if not stage.frozen:
            _replace_modules(module, add)


def merge_lora(network: Network) -> None:
    """Replace every `LoRALinear` by its merged linear layer; nothing else changes."""
    _replace_modules(
        network.stages, lambda module: module.merge() if isinstance(module, LoRALinear) else None
    )


def _replace_modules(module: nn.Module, replace: Callable[[nn.Module], nn.Module | None]) -> None:
    """Replace modules below `module` by what `replace` returns; search further where it is None."""
    for name, child in module.named_children():
        replacement = replace(child)
        if replacement is None:
            _replace_modules(child, replace)
        else:
            setattr(module, name, replacement)
