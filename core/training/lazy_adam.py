"""AdamW that spares big embedding tables: of a table looked up sparsely, only rows that a batch
touched are updated.

A dense step reads and writes every row of a table and of its two moments, though a batch meets a
few of them; at a million ids that is a third of the time.
"""

from typing import Any

import torch
from torch import Tensor, nn

SPARSE_MIN_ROWS = 2**18
"""Rows from which on a table is looked up sparsely; below, the dense step costs little and is plain
Adam."""


def use_sparse_gradients(network: nn.Module) -> None:
    """Makes every embedding table of at least LAZY_ROWS rows give sparse gradients."""
    for module in network.modules():
        if isinstance(module, nn.Embedding):
            module.sparse = module.num_embeddings >= SPARSE_MIN_ROWS


class LazyAdamW(torch.optim.AdamW):
    """torch's AdamW, and for sparse gradients torch's SparseAdam: moments and weights of untouched
    rows stay.

    SparseAdam itself sums double rows by torch's coalesce, which took longer than the dense step it
    saves (docs/decisions.md). Weight decay does not reach rows with sparse gradients.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step; gradients of sparse tables are used up."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    rows, gradient = coalesce_rows(parameter.grad)
                    parameter.grad = None
                    self._step_rows(parameter, rows, gradient, group)
        super().step()

    def _step_rows(
        self, weight: Tensor, rows: Tensor, gradient: Tensor, group: dict[str, Any]
    ) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = (
                torch.zeros_like(weight),
                torch.zeros_like(weight),
            )
        state["step"] += 1
        steps = float(state["step"])
        (beta1, beta2), rate, eps = group["betas"], group["lr"], group["eps"]
        mean = state["exp_avg"].index_select(0, rows).lerp_(gradient, 1 - beta1)
        square = (
            state["exp_avg_sq"]
            .index_select(0, rows)
            .mul_(beta2)
            .addcmul_(gradient, gradient, value=1 - beta2)
        )
        state["exp_avg"].index_copy_(0, rows, mean)
        state["exp_avg_sq"].index_copy_(0, rows, square)
        change = mean.div_(square.sqrt_().add_(eps))
        # Each row is there once; index_add_ would sort them to find out.
        changed = weight.index_select(0, rows)
        changed.add_(change, alpha=-rate * (1 - beta2**steps) ** 0.5 / (1 - beta1**steps))
        weight.index_copy_(0, rows, changed)


def coalesce_rows(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """(row numbers, ascending and once each; sum of their gradients) of an uncoalesced sparse
    gradient."""
    # Half as wide numbers are sorted in less time; no table has 2**31 rows.
    ordered, order = torch.sort(gradient._indices()[0].int())
    rows, counts = torch.unique_consecutive(ordered, return_counts=True)
    sums = nn.functional.embedding_bag(
        order, gradient._values(), counts.cumsum(0) - counts, mode="sum"
    )
    return rows.long(), sums
