"""torch's linear layer and embedding table, with faster operations on the CPU; same weights, names
and results.

Two of torch's own are slow for what click models do (docs/decisions.md): MKL splits a product over
threads badly where a side is no multiple of 16, and the input of a block or cross layer, fields *
embedding + 13 floats, never is one; and the gradient of an embedding table goes through the rows
one by one.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
"""x W' + b by oneDNN; None where torch was built without it, as for some processors."""
ONEDNN_MIN_MULTIPLICATIONS = 2**23
"""Multiplications below which oneDNN's longer call costs more than its product saves."""


class Linear(nn.Linear):
    """nn.Linear by oneDNN's product, where that is faster: on the CPU, in float32, from SMALL
    on."""

    def forward(self, x: Tensor) -> Tensor:
        if uses_onednn(x, self.weight):
            return _OneDNNLinear.apply(x.flatten(0, -2), self.weight, self.bias).unflatten(
                0, x.shape[:-1]
            )
        return super().forward(x)


class EmbeddingTable(nn.Embedding):
    """nn.Embedding with index_select's gradient on the CPU, unless it is to be a sparse one.

    On a GPU that gradient would add in no fixed order.
    """

    def forward(self, ids: Tensor) -> Tensor:
        if self.sparse or self.weight.device.type != "cpu" or torch.onnx.is_in_onnx_export():
            return super().forward(ids)
        return self.weight.index_select(0, ids.flatten()).unflatten(0, ids.shape)


def uses_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether `x` (…, inputs) times `weight` (outputs, inputs) is a product that oneDNN does
    faster."""
    return (
        ONEDNN is not None
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.ndim > 1
        and x.numel() * len(weight) >= ONEDNN_MIN_MULTIPLICATIONS
        and not torch.is_autocast_enabled("cpu")
        # The exporter knows torch's own operations only.
        and not torch.onnx.is_in_onnx_export()
    )


class _OneDNNLinear(torch.autograd.Function):
    """x W' + b. Its gradient for W is MKL's product, which is the faster of the two there."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    def backward(
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            _onednn(gradient, weight.t(), None) if for_x else None,
            gradient.t() @ x if for_weight else None,
            gradient.sum(0) if for_bias else None,
        )


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    assert ONEDNN is not None
    product: Tensor = ONEDNN(x, weight, bias, "none", [], "")
    return product


def _count_flops(
    x: torch.Size, weight: torch.Size, *others: object, out_shape: torch.Size, **named: object
) -> int:
    return 2 * x.numel() * weight[0]


if ONEDNN is not None:
    register_flop_formula(ONEDNN)(_count_flops)
