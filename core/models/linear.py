"""A linear layer that takes oneDNN's product on the CPU, where torch's own takes MKL's.

MKL splits a product over threads badly where a side is no multiple of 16, and the input of a block or cross layer,
fields * embedding + 13 floats, never is one (docs/decisions.md).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

SMALL = 2**23
"""Multiplications below which oneDNN's longer call costs more than its product saves."""


class Linear(nn.Linear):
    """nn.Linear, faster on the CPU in float32; the same weights, names and, but for rounding, outputs."""

    def forward(self, x: Tensor) -> Tensor:
        if taken_by_onednn(x, self.weight):
            return _Product.apply(x.flatten(0, -2), self.weight, self.bias).unflatten(0, x.shape[:-1])
        return super().forward(x)


def taken_by_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether `x` (…, inputs) times `weight` (outputs, inputs) is a product that oneDNN does faster."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.ndim > 1
        and x.numel() * len(weight) >= SMALL
        and torch.backends.mkldnn.is_available()
        and not torch.is_autocast_enabled("cpu")
        # An exporter knows torch's own operations only.
        and not torch.compiler.is_compiling()
    )


class _Product(torch.autograd.Function):
    """x W' + b. Its gradient for W is MKL's product, which is the faster of the two there."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            _onednn(gradient, weight.t(), None) if for_x else None,
            gradient.t() @ x if for_weight else None,
            gradient.sum(0) if for_bias else None,
        )


@register_flop_formula(torch.ops.mkldnn._linear_pointwise)
def _operations(x: torch.Size, weight: torch.Size, *others: object, out_shape: torch.Size, **named: object) -> int:
    return 2 * x.numel() * weight[0]


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
