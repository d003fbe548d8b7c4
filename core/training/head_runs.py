"""The linear heads of several learning rates as one linear layer, with a run's state for each."""

import copy
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.freezing.plan import Plan
from core.jobs.reporter import Point
from core.jobs.requests import TrainSettings
from core.models.card import HeadSettings
from core.models.network import Head, Network, flatten_state
from core.training.batches import RowTensors
from core.training.checkpoint import Progress
from core.training.epochs import initial_progress
from core.training.lazy_adam import LazyAdamW
from core.training.log_points import LogFn
from core.training.losses import CLICK_TASK
from core.training.param_groups import ParamGroup, split_by_decay
from core.training.weight_average import WeightAverage, average_weights
from core.workspace import write_atomic


@dataclass
class HeadRun:
    """The run of one learning rate.

    Args:
        settings: with its learning rate.
        epochs: upper bound of their number.
        network: its head on no stages. The head's weights are views of the rows of
            `BatchedHeads.weight`, so training one trains the other.
        progress: where it stands.
        points: everything it has logged.
        failure: the sentence for the user if its loss became NaN or infinite, else "".
        on_points: called with its points too.
        average: of its head's weights, with `TrainSettings.ema`.
    """

    settings: TrainSettings
    epochs: int
    network: Network
    progress: Progress
    points: list[Point] = field(default_factory=list)
    failure: str = ""
    on_points: LogFn | None = None
    average: WeightAverage | None = None

    @property
    def finished(self) -> bool:
        """Whether it trains no further."""
        return bool(self.failure) or self.progress.stopped or self.progress.epoch >= self.epochs

    @property
    def layer(self) -> nn.Linear:
        """The linear layer that is its head."""
        assert isinstance(self.network.head, Head)
        assert isinstance(self.network.head.layers[0], nn.Linear)
        return self.network.head.layers[0]

    def log(self, points: Sequence[Point]) -> None:
        """Keep points, and pass them on."""
        self.points += points
        if self.on_points:
            self.on_points(points)


class BatchedHeads:
    """The heads of all runs as one linear layer, and their optimiser.

    `weight` is ``(runs, inputs)`` and `bias` ``(runs,)``.

    `groups` holds a parameter group for each run; the optimiser has two of a run where only
    matrices decay, and "run" is the index of its run.

    Args:
        head: the linear head that all runs start from.
        settings: of each run.
        plan: trains the head alone; says whether that is new.
        epochs: upper bound of the number of epochs.
    """

    def __init__(
        self, head: nn.Module, settings: Sequence[TrainSettings], plan: Plan, epochs: int
    ) -> None:
        assert isinstance(head, Head) and isinstance(head.layers[0], nn.Linear)
        layer = head.layers[0]
        self.weight = layer.weight.detach().repeat(len(settings), 1).requires_grad_()
        self.bias = layer.bias.detach().repeat(len(settings)).requires_grad_()
        self.runs = [self._head_run(index, train, epochs) for index, train in enumerate(settings)]
        # A group per run: each has its own learning rate.
        self.groups: list[ParamGroup] = [
            {
                "params": [*run.layer.parameters()],
                "lr_scale": plan.with_settings(run.settings).stages[-1].lr_scale,
                "stage": 0,
                "run": index,
            }
            for index, run in enumerate(self.runs)
        ]
        groups = [
            part
            for run, group in zip(self.runs, self.groups, strict=True)
            for part in split_by_decay(run.network, [group], run.settings)
        ]
        self.optimiser = LazyAdamW(groups, weight_decay=settings[0].weight_decay, fused=True)
        if settings[0].ema:
            for run, group in zip(self.runs, self.groups, strict=True):
                run.average = average_weights(run.network, [group])

    def _head_run(self, index: int, settings: TrainSettings, epochs: int) -> HeadRun:
        network = Network([], self.weight.shape[1], HeadSettings())
        run = HeadRun(settings, epochs, network, Progress(0.0, {}, 0.0))
        weight, bias = (tensor.detach()[index : index + 1] for tensor in (self.weight, self.bias))
        run.layer.weight = nn.Parameter(weight, requires_grad=False)
        run.layer.bias = nn.Parameter(bias, requires_grad=False)
        return run

    def start(self, plan: Plan, validation: RowTensors) -> None:
        """Set the progress of every run before its first step.

        All start from the same head, so it is validated once.
        """
        first = self.runs[0]
        progress = initial_progress(
            first.network, plan, CLICK_TASK, validation, first.settings, first.log
        )
        for run in self.runs:
            run.progress = dataclasses.replace(
                copy.deepcopy(progress), learning_rate=run.settings.learning_rate
            )
            run.points = [*first.points]

    def forward_backward(self, rows: RowTensors) -> Tensor:
        """Give each run the gradient of its mean loss on `rows`; return the losses, ``(runs,)``."""
        # [batch_size, runs]
        outputs = nn.functional.linear(flatten_state(rows.state), self.weight, self.bias)
        labels = rows.labels[:, None].expand_as(outputs)
        losses = nn.functional.binary_cross_entropy_with_logits(
            outputs, labels, reduction="none"
        ).mean(0)
        # The runs share no parameter, so the gradient of the sum holds each run's own.
        weight_grad, bias_grad = torch.autograd.grad(losses.sum(), (self.weight, self.bias))
        for index, run in enumerate(self.runs):
            run.layer.weight.grad = weight_grad[index : index + 1]
            run.layer.bias.grad = bias_grad[index : index + 1]
        return losses.detach()

    def save(self, file: Path) -> None:
        """Write where all runs stand."""
        # Points as text: torch.load takes ten times as long for lists of numbers.
        runs = [(vars(run.progress), json.dumps(run.points), run.failure) for run in self.runs]
        averages = [run.average.state_dict() for run in self.runs if run.average is not None]
        weights = [self.weight.detach(), self.bias.detach()]
        values = {
            "arms": runs,
            "weights": weights,
            "optimiser": self.optimiser.state_dict(),
            "averages": averages,
        }
        write_atomic(file, lambda part: torch.save(values, part))

    def load(self, values: dict[str, Any]) -> None:
        """Restore what `save` wrote."""
        for tensor, saved in zip((self.weight, self.bias), values["weights"], strict=True):
            # Copied in place: the runs' own layers are views of these tensors.
            tensor.detach().copy_(saved)
        self.optimiser.load_state_dict(values["optimiser"])
        for run, (progress, points, failure) in zip(self.runs, values["arms"], strict=True):
            run.progress, run.failure = Progress(**progress), failure
            run.points = [(step, name, value) for step, name, value in json.loads(points)]
        for run, average in zip(self.runs, values["averages"], strict=False):
            assert run.average is not None
            run.average.load_state_dict(average)
