"""How a backbone is pretrained on clicks where the user names nothing: one table by rows.

The values come from a network that matches gradient boosting on 54,000 and 75,000 real rows:
docs/pretraining.md has what was measured. Free of torch.
"""

import dataclasses
from dataclasses import dataclass

from core.jobs.requests import TrainSettings
from core.models.registry import ARCHITECTURES


@dataclass(frozen=True)
class PretrainingDefaults:
    """Defaults for some number of training rows.

    Args:
        rows: they hold below this many.
        statistics: one of core.jobs.requests.STATISTICS.
        train: training settings.
    """

    rows: int
    statistics: str
    train: TrainSettings


_AVERAGED = TrainSettings(
    epochs=30,
    ema=True,
    decay_scope="matrices",
    validations_per_epoch=2,
    weight_decay=1.0,
    tf32=True,
)
PRETRAINING_DEFAULTS = (
    PretrainingDefaults(
        10_000,
        "fields",
        dataclasses.replace(_AVERAGED, batch_size=64, learning_rate=3e-4),
    ),
    PretrainingDefaults(
        40_000,
        "pairs",
        dataclasses.replace(_AVERAGED, batch_size=64, learning_rate=4.5e-4),
    ),
    PretrainingDefaults(
        200_000,
        "pairs",
        dataclasses.replace(
            _AVERAGED,
            batch_size=256,
            learning_rate=3e-4,
            weight_decay=2.0,
            early_stopping=2,
            plateau=0,
        ),
    ),
)
"""By rising number of rows; from the last on, settings are those of
core.training.default_settings and there are no statistics."""


def find_pretraining_defaults(rows: int) -> PretrainingDefaults | None:
    """Return the entry of the table for this many training rows; None beyond it."""
    return next((entry for entry in PRETRAINING_DEFAULTS if rows < entry.rows), None)


def recommended_statistics(architecture: str, objective: str, rows: int) -> str:
    """Return which target statistics are among the inputs of a new backbone.

    Args:
        architecture: a key of core.models.registry.ARCHITECTURES. Networks on pictures have none:
            their pixels show each value's click rate already.
        objective: only "supervised" may have any.
        rows: training rows.

    >>> [recommended_statistics("dcnv2", "supervised", rows) for rows in (5_000, 54_000)]
    ['fields', 'pairs']
    >>> recommended_statistics("dcnv2", "rfd", 54_000)
    'none'
    """
    entry = find_pretraining_defaults(rows)
    on_pictures = architecture in ARCHITECTURES and ARCHITECTURES[architecture].required_package
    if entry is None or objective != "supervised" or on_pictures:
        return "none"
    return entry.statistics
