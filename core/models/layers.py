"""torch's linear layer and embedding table, with faster operations.

Weights, names and results are torch's own. Some of its operations are slow for click models
(docs/decisions.md). The input of a block, n_fields * size + dense columns, is rarely a multiple of
16: MKL then splits a matrix product over threads badly, and cuBLAS falls back to kernels for
unaligned memory. On a CPU, the gradient of an embedding table goes through the rows one by one.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
"""x W' + b by oneDNN; None where torch was built without it, as for some processors."""
ONEDNN_MIN_MULTIPLICATIONS = 2**23
"""Below this number of multiplications the overhead of calling oneDNN costs more than it saves."""
PADDED_DEVICES: tuple[str, ...] = ("cuda",)
"""Device types on which the sides of a matrix product are padded to multiples of PAD_MULTIPLE."""
PAD_MULTIPLE = 16
"""Tensor cores want rows that begin at multiples of 16 bytes: 8 bfloat16 or 4 float32 values. 16
serves both, and is what cuBLAS tiles by."""


class Linear(nn.Linear):
    """nn.Linear by a faster product: oneDNN's for large float32 products on a CPU, padded on a GPU.

    See `uses_onednn` and `uses_padding`.
    """

    def forward(self, x: Tensor) -> Tensor:
        if uses_onednn(x, self.weight):
            return _OneDNNLinear.apply(x.flatten(0, -2), self.weight, self.bias).unflatten(
                0, x.shape[:-1]
            )
        if uses_padding(x, self.weight):
            return _PaddedLinear.apply(x.flatten(0, -2), self.weight, self.bias).unflatten(
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


def uses_padding(x: Tensor, weight: Tensor) -> bool:
    """Whether the product of `x` and `weight` is computed with zeros up to multiples of 16.

    Not where a side is below 16, as the output of a head is: that is no work for tensor cores.

    Args:
        x: shape ``(..., inputs)``.
        weight: shape ``(outputs, inputs)``.
    """
    return (
        x.device.type in PADDED_DEVICES
        and x.ndim > 1
        and min(weight.shape) >= PAD_MULTIPLE
        and any(side % PAD_MULTIPLE for side in weight.shape)
        # An exported model has the plain product.
        and not torch.onnx.is_in_onnx_export()
    )


class _PaddedLinear(torch.autograd.Function):
    """``x @ W.T + b`` with zero columns appended to x and zero rows and columns to W.

    Zeros add nothing to a sum, so the result is that of the plain product to rounding. Under
    autocast a copy to its type is due anyway, and that copy is the padded one.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        outputs, inputs = map(_padded_side, weight.shape)
        # [rows, inputs], [outputs, inputs]
        x_padded = _pad(x, len(x), inputs, dtype)
        weight_padded = _pad(weight, outputs, inputs, dtype)
        ctx.save_for_backward(x_padded, weight_padded)
        ctx.shape = weight.shape
        with torch.autocast(device, enabled=False):
            if bias is None:
                product = x_padded @ weight_padded.t()
            else:
                bias_padded = _pad(bias[None], 1, outputs, dtype)[0]
                product = torch.addmm(bias_padded, x_padded, weight_padded.t())
        return product if outputs == len(weight) else product[:, : len(weight)]

    @staticmethod
    def backward(
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        outputs, inputs = ctx.shape
        (gradient,) = gradients
        for_x, for_weight, for_bias = ctx.needs_input_grad
        # [rows, outputs]
        padded = _pad(gradient, len(gradient), len(weight), weight.dtype)
        return (
            (padded @ weight)[:, :inputs] if for_x else None,
            (padded.t() @ x)[:outputs, :inputs] if for_weight else None,
            padded.sum(0)[:outputs] if for_bias else None,
        )


def _padded_side(side: int) -> int:
    """Return the smallest multiple of PAD_MULTIPLE that is not below `side`.

    >>> _padded_side(637), _padded_side(640)
    (640, 640)
    """
    return -(-side // PAD_MULTIPLE) * PAD_MULTIPLE


def _pad(matrix: Tensor, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    """Return the matrix in the given type, with zeros up to ``(rows, columns)``.

    Returns `matrix` itself if it has that type and shape and may enter a product without a copy.
    """
    height, width = matrix.shape
    if (height, width) == (rows, columns):
        return matrix.to(dtype).contiguous()
    padded = matrix.new_empty(rows, columns, dtype=dtype)
    padded[:height, :width] = matrix
    # Filling the margins alone writes a hundredth of what filling the whole matrix does.
    padded[:height, width:] = 0
    padded[height:] = 0
    return padded


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
