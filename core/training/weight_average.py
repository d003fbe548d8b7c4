"""Average the weights over training: validated and kept in place of the last ones.

The average after step t is ``d * average + (1 - d) * weights`` with the decay
``d = min(0.999, (1 + t) / (10 + t))``, which forgets the first steps quickly (Polyak and Juditsky:
Acceleration of stochastic approximation by averaging, 1992; the decay is that of TensorFlow's
ExponentialMovingAverage). Training itself goes on from the raw weights.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

MAX_DECAY = 0.999
FULL_DECAY_STEP = 8990
"""First step whose decay is MAX_DECAY: from there on (1 + t) / (10 + t) is larger."""


def decay_at(step: int) -> float:
    """Return the decay of a step, counted from 1.

    >>> [round(decay_at(step), 3) for step in (1, 10, 100_000)]
    [0.182, 0.55, 0.999]
    """
    return min(MAX_DECAY, (1 + step) / (10 + step))


def log_decay_product(steps: Tensor) -> Tensor:
    """Return the logarithm of the product of the decays of the first `steps` steps, float64.

    The product of (1 + i) / (10 + i) for i from 1 to t is (t + 1)! 10! / (t + 10)!.
    """
    rising = steps.double().clamp_max(FULL_DECAY_STEP - 1)
    product = torch.lgamma(rising + 2) + math.lgamma(11) - torch.lgamma(rising + 11)
    return product + (steps.double() - rising) * math.log(MAX_DECAY)


class WeightAverage:
    """The exponential moving average of the parameters that train.

    Of a large embedding table with sparse gradients, a step changes few rows; averaging all of them
    would read and write the whole table. A row that stays constant for some steps has an average in
    closed form, ``w + (average - w) * product of the decays``, so it is computed only when the row
    changes or the average is needed.

    Statistics of normalisation layers are not averaged: the network's own are used.

    Args:
        parameters: by name.
        sparse: names of tables with sparse gradients. `rows_change` is called before their rows
            change.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], sparse: Sequence[str] = ()) -> None:
        self._parameters = dict(parameters)
        self._values = {name: one.detach().clone() for name, one in parameters.items()}
        # Steps before the average of a parameter started.
        self._start = dict.fromkeys(parameters, 0)
        self._step = 0
        # Of each row of a sparse table, the last step that its average includes.
        self._included = {
            name: torch.zeros(len(parameters[name]), dtype=torch.int32) for name in sparse
        }
        self._table_names = {id(parameters[name]): name for name in sparse}
        self._group_by_start()

    @torch.no_grad()
    def update(self) -> None:
        """Add the weights after an optimiser step."""
        self._step += 1
        for start, values, parameters in self._groups:
            torch._foreach_lerp_(values, parameters, 1 - decay_at(self._step - start))

    @torch.no_grad()
    def rows_change(self, table: Tensor, rows: Tensor) -> None:
        """Average the rows of a sparse table up to now; call it before a step changes them.

        Args:
            table: the parameter, ``(table_rows, size)``.
            rows: row numbers, ``(n,)``.
        """
        name = self._table_names[id(table)]
        values, included = self._values[name], self._included[name]
        # [n, size]
        averages, weights = values.index_select(0, rows), table.index_select(0, rows)
        self._age(name, averages, weights, included.index_select(0, rows))
        values.index_copy_(0, rows, averages)
        included.index_fill_(0, rows, self._step - self._start[name])

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average in place of the weights, and the weights back at the end.

        Tensors are swapped, not copied, so a captured CUDA graph finds its addresses unchanged.
        """
        for name, included in self._included.items():
            self._age(name, self._values[name], self._parameters[name].detach(), included)
            included.fill_(self._step - self._start[name])
        weights = {name: parameter.data for name, parameter in self._parameters.items()}
        for name, parameter in self._parameters.items():
            parameter.data = self._values[name]
        try:
            yield
        finally:
            for name, parameter in self._parameters.items():
                parameter.data = weights[name]

    @torch.no_grad()
    def restart(self, prefix: str = "") -> None:
        """Start anew from the present weights of the parameters whose name begins so."""
        for name, parameter in self._parameters.items():
            if name.startswith(prefix):
                self._values[name].copy_(parameter)
                self._start[name] = self._step
                if name in self._included:
                    self._included[name].zero_()
        self._group_by_start()

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` restores.

        Rows of sparse tables as they stand: bringing them up to date would round another way than
        an uninterrupted run does.
        """
        return {
            "values": self._values,
            "start": self._start,
            "step": self._step,
            "included": self._included,
        }

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Restore an average in place."""
        for kept, stored in (
            (self._values, values["values"]),
            (self._included, values["included"]),
        ):
            for name, tensor in kept.items():
                tensor.copy_(stored[name])
        self._start, self._step = dict(values["start"]), values["step"]
        self._group_by_start()

    def _group_by_start(self) -> None:
        """Group the dense parameters by their start: one kernel averages all of a group."""
        dense = [name for name in self._parameters if name not in self._included]
        self._groups: list[tuple[int, list[Tensor], list[Tensor]]] = [
            (
                start,
                [self._values[name] for name in dense if self._start[name] == start],
                [self._parameters[name] for name in dense if self._start[name] == start],
            )
            for start in sorted({self._start[name] for name in dense})
        ]

    def _age(self, name: str, averages: Tensor, weights: Tensor, included: Tensor) -> None:
        """Average in place over the steps since `included`, in which the weights stayed."""
        now = torch.tensor(self._step - self._start[name])
        shares = (log_decay_product(now) - log_decay_product(included)).exp()
        averages.sub_(weights).mul_(shares[:, None].to(averages.dtype)).add_(weights)


def average_weights(network: nn.Module, groups: Sequence[Mapping[str, Any]]) -> WeightAverage:
    """Return an average of what trains, which begins as the present weights.

    Args:
        network: names the parameters; some of its embedding tables may have sparse gradients.
        groups: of the optimiser.
    """
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    sparse_tables = {
        id(module.weight)
        for module in network.modules()
        if isinstance(module, nn.Embedding) and module.sparse
    }
    parameters = {name: one for name, one in network.named_parameters() if id(one) in trained}
    return WeightAverage(
        parameters,
        [name for name, parameter in parameters.items() if id(parameter) in sparse_tables],
    )
