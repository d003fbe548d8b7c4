"""What a control is fitted on, and what comes of it."""

from dataclasses import dataclass
from typing import Any

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
    """

    train: RowTensors
    validation: RowTensors
    field_sizes: tuple[int, ...]


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
