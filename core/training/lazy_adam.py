"""AdamW that updates only the rows of an embedding table that a batch looked up.

A dense step reads and writes every row of a table and of its two moments, though a batch looks up
a few of them; with a million rows that is a third of the training time.

On a GPU the step can be part of a CUDA graph: its learning rates lie in the device's memory.
"""

import itertools
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

SPARSE_MIN_ROWS = 2**18
"""Rows from which a table gets sparse gradients. Below, the dense step costs little, and is plain
Adam."""
RATE_DEVICES: tuple[str, ...] = ("cuda",)
"""Device types on which a step reads its learning rates from a tensor."""


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

    Groups with the same numbers are updated together, though they are listed one by one: stages
    freeze and are logged by group, and a GPU needs one kernel where there would be one a group.

    `before_rows_change`, if set, is called with a table and the numbers of its rows (distinct,
    int64) before a step changes them.
    """

    before_rows_change: Callable[[Tensor, Tensor], None] | None = None

    def __init__(self, groups: Any, **options: Any) -> None:
        super().__init__(groups, **options)
        self._uploaded: list[float] = []
        # [groups], float32
        self._device_rates: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step. Sparse gradients are removed."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    rows, gradient = coalesce_rows(parameter.grad)
                    parameter.grad = None
                    self._step_rows(parameter, rows, gradient, group)
        self.upload_rates()
        for indices in self._alike():
            self._step_dense(indices)

    def rate(self, index: int) -> float | Tensor:
        """Return the learning rate of the group `index`: on a GPU a tensor, which a graph reads."""
        if self._device_rates is None:
            return float(self.param_groups[index]["lr"])
        return self._device_rates[index]

    def upload_rates(self) -> None:
        """Copy the groups' learning rates to the GPU if they have changed.

        `step` does it, but not while it is captured or replayed: then call it before.
        """
        device = self.param_groups[0]["params"][0].device
        if device.type not in RATE_DEVICES:
            return
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            return
        rates = [float(group["lr"]) for group in self.param_groups]
        if self._device_rates is None:
            self._device_rates = torch.zeros(len(rates), device=device)
        if rates != self._uploaded:
            self._device_rates.copy_(torch.tensor(rates), non_blocking=True)
            self._uploaded = rates

    def layout(self) -> Hashable:
        """Return what a captured step depends on: how groups are merged, and where the state is."""
        return (
            tuple(map(tuple, self._alike())),
            tuple(
                tensor.data_ptr()
                for state in self.state.values()
                for tensor in state.values()
                if torch.is_tensor(tensor)
            ),
        )

    def _alike(self) -> Iterator[list[int]]:
        """Yield the indices of groups with the same numbers, so that one kernel updates them all.

        The scale of their learning rate must be the same too: then the rates stay equal.
        """

        def numbers(index: int) -> tuple[Any, ...]:
            group = self.param_groups[index]
            names = ("lr", "weight_decay", "betas", "eps")
            return (group.get("lr_scale", 1.0), *(group[name] for name in names))

        ordered = sorted(range(len(self.param_groups)), key=numbers)
        for _, indices in itertools.groupby(ordered, key=numbers):
            yield list(indices)

    def _step_dense(self, indices: list[int]) -> None:
        """Update all parameters with a gradient of some groups with the same numbers."""
        parameters = [
            parameter
            for index in indices
            for parameter in self.param_groups[index]["params"]
            if parameter.grad is not None
        ]
        if not parameters:
            return
        states = [self._state_of(parameter) for parameter in parameters]
        group = self.param_groups[indices[0]]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            parameters,
            [parameter.grad for parameter in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            lr=self.rate(indices[0]),
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    def _state_of(self, weight: Tensor) -> dict[str, Any]:
        """Return the step and the moments of a parameter, zero at first, as torch names them."""
        state: dict[str, Any] = self.state[weight]
        if not state:
            state["step"] = torch.zeros((), device=weight.device)
            state["exp_avg"] = torch.zeros_like(weight)
            state["exp_avg_sq"] = torch.zeros_like(weight)
        return state

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
        state = self._state_of(weight)
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
