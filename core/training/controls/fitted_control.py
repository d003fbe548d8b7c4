"""What a control is fitted on, and what comes of it."""

import math
from dataclasses import dataclass
from typing import Any

from core.errors import BadInput
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

    def require_both_classes(self) -> None:
        """Raise BadInput if the training rows hold a single label."""
        clicks = int(self.train.labels.sum())
        if clicks in (0, len(self.train)):
            raise BadInput(
                f"All {len(self.train):,} training rows of this control have the label"
                f" {int(clicks > 0)}, so there is nothing to fit; take more target rows, or fit it"
                " on source rows too (--rows both)."
            )

    @property
    def constant_auc(self) -> float:
        """AUC of equal scores on the validation rows: 0.5; NaN if they hold a single label."""
        clicks = int(self.validation.labels.sum())
        return 0.5 if 0 < clicks < len(self.validation) else math.nan

    def constant_losses(self) -> list[Point]:
        """Return points of step 0: predicting the click rate of the training rows for all."""
        points: list[Point] = []
        clicks = float(self.train.labels.double().mean())
        for name, rows in (("train_loss", self.train), ("validation_loss", self.validation)):
            share = float(rows.labels.double().mean())
            loss = -share * math.log(clicks) - (1 - share) * math.log(1 - clicks)
            points.append((0, name, loss))
        return [*points, (0, "validation_auc", self.constant_auc)]


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
