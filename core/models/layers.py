"""torch's linear layer and embedding table, with faster operations on a CPU.

Weights, names and results are torch's own. Two of its operations are slow for click models
(docs/decisions.md): MKL splits a matrix product over threads badly where a dimension is not a
multiple of 16, and the input of a block, n_fields * size + dense columns, rarely is one; and the
gradient of an embedding table goes through the rows one by one.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
"""x W' + b by oneDNN; None where torch was built without it, as for some processors."""
ONEDNN_MIN_MULTIPLICATIONS = 2**23
"""Below this number of multiplications the overhead of calling oneDNN costs more than it saves."""


class Linear(nn.Linear):
    """nn.Linear by oneDNN's product where that is faster: large float32 products on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        if uses_onednn(x, self.weight):
            return _OneDNNLinear.apply(x.flatten(0, -2), self.weight, self.bias).unflatten(
                0, x.shape[:-1]
            )
        return super().forward(x)


class EmbeddingTable(nn.Embedding):
    """nn.Embedding with the gradient of index_select on a CPU, unless it is sparse.

    On a GPU that gradient would add in an order that changes from run to run.
    """

    def forward(self, ids: Tensor) -> Tensor:
        if self.sparse or self.weight.device.type != "cpu" or torch.onnx.is_in_onnx_export():
            return super().forward(ids)
        return self.weight.index_select(0, ids.flatten()).unflatten(0, ids.shape)


def uses_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN is faster for the product of `x` and `weight`.

    Args:
        x: shape ``(..., inputs)``.
        weight: shape ``(outputs, inputs)``.
    """
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
    """``x @ W.T + b`` by oneDNN; the gradient of W by MKL, which is the faster of the two there."""

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
