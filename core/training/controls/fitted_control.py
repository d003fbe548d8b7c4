"""What a control is fitted on, and what comes of it."""

import math
from dataclasses import dataclass
from typing import Any

from core.jobs.reporter import Point
from core.models.card import HeadSettings
from core.models.network import Network
from core.training.batches import RowTensors
from core.training.loop import FitResult


@dataclass(frozen=True)
class ControlRows:
    """Rows of a control, encoded by a preprocessing that was fitted on its training rows.

    Args:
        train: rows to fit on.
        validation: target rows that choose the penalty, the number of trees or the best epoch.
        field_sizes: number of values of each field.
        dense: floats of a row beside its ids, see Preprocessing.n_dense.
    """

    train: RowTensors
    validation: RowTensors
    field_sizes: tuple[int, ...]
    dense: int

    def constant_losses(self) -> list[Point]:
        """Return points of step 0: predicting the click rate of the training rows for all."""
        points: list[Point] = []
        clicks = float(self.train.labels.double().mean())
        for name, rows in (("train_loss", self.train), ("validation_loss", self.validation)):
            share = float(rows.labels.double().mean())
            loss = -share * math.log(clicks) - (1 - share) * math.log(1 - clicks)
            points.append((0, name, loss))
        return [*points, (0, "validation_auc", 0.5)]


@dataclass(frozen=True)
class FittedControl:
    """A fitted control, as a network that computes it.

    Args:
        network: with the fitted weights.
        architecture, settings: as in BackboneCard; `build_network` makes the network of them.
        head: settings of its head.
        result: how fitting ended.
        learner: what fitted it and how, for its card: library, version and what was chosen.
    """

    network: Network
    architecture: str
    settings: dict[str, Any]
    head: HeadSettings
    result: FitResult
    learner: str
