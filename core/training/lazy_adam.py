"""AdamW that updates only the rows of an embedding table that a batch looked up.

A dense step reads and writes every row of a table and of its two moments, though a batch looks up
a few of them; with a million rows that is a third of the training time.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

SPARSE_MIN_ROWS = 2**18
"""Rows from which a table gets sparse gradients. Below, the dense step costs little, and is plain
Adam."""


def use_sparse_gradients(network: nn.Module) -> None:
    """Make every embedding table of at least `SPARSE_MIN_ROWS` rows return sparse gradients."""
    for module in network.modules():
        if isinstance(module, nn.Embedding):
            module.sparse = module.num_embeddings >= SPARSE_MIN_ROWS


class LazyAdamW(torch.optim.AdamW):
    """`torch.optim.AdamW`, which for sparse gradients steps as `torch.optim.SparseAdam` does.

    Moments and weights of rows without a gradient stay as they are, and weight decay does not
    reach tables with sparse gradients. `torch.optim.SparseAdam` itself sums the gradients of a row
    by `coalesce`, which takes longer than the dense step that it saves (docs/decisions.md).

    `before_rows_change`, if set, is called with a table and the numbers of its rows (distinct,
    int64) before a step changes them.
    """

    before_rows_change: Callable[[Tensor, Tensor], None] | None = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step. Sparse gradients are removed: the dense step must not see them."""
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
        """Update the given rows of one table.

        Args:
            weight: the table, ``(table_rows, size)``.
            rows: distinct row numbers, ``(n,)``.
            gradient: their gradients, ``(n, size)``.
            group: the table's parameter group.
        """
        if self.before_rows_change:
            self.before_rows_change(weight, rows)
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(weight)
            state["exp_avg_sq"] = torch.zeros_like(weight)
        state["step"] += 1
        step = float(state["step"])
        (beta1, beta2), lr, eps = group["betas"], group["lr"], group["eps"]

        # m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g²
        exp_avg = state["exp_avg"].index_select(0, rows).lerp_(gradient, 1 - beta1)
        exp_avg_sq = state["exp_avg_sq"].index_select(0, rows).mul_(beta2)
        exp_avg_sq.addcmul_(gradient, gradient, value=1 - beta2)
        state["exp_avg"].index_copy_(0, rows, exp_avg)
        state["exp_avg_sq"].index_copy_(0, rows, exp_avg_sq)
        # w -= lr m / (sqrt(v) + eps), both bias corrections in the step size, as in SparseAdam.
        change = exp_avg.div_(exp_avg_sq.sqrt_().add_(eps))
        step_size = lr * (1 - beta2**step) ** 0.5 / (1 - beta1**step)
        # Not index_add_, which would sort the rows to find duplicates; there are none.
        updated = weight.index_select(0, rows)
        updated.add_(change, alpha=-step_size)
        weight.index_copy_(0, rows, updated)


def coalesce_rows(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Sum the gradients of each row of an uncoalesced sparse gradient.

    Returns:
        Row numbers, int64 ``(n,)``, ascending and distinct; the sums, ``(n, size)``.
    """
    # int32 sorts faster than int64; no table has 2**31 rows.
    ordered, order = torch.sort(gradient._indices()[0].int())
    rows, counts = torch.unique_consecutive(ordered, return_counts=True)
    # embedding_bag sums consecutive entries, from each offset to the next.
    offsets = counts.cumsum(0) - counts
    sums = nn.functional.embedding_bag(order, gradient._values(), offsets, mode="sum")
    return rows.long(), sums
