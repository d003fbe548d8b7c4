"""Default training settings: one function of the number of training rows, for commands, pages, sweeps and the demo.

Nothing else decides which settings a training gets that nobody named: `default_settings` does, and whatever the user
names replaces single values of it. docs/defaults.md measures it against a grid of batch sizes and learning rates.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from core.data.datasets import Dataset
from core.errors import BadInput
from core.training.settings import PRESETS, TrainSettings

AUTO = "auto"
"""Name of the preset whose values depend on the number of training rows."""
PRESET_NAMES = (AUTO, *PRESETS)
PRESET_PURPOSES = {
    AUTO: "batch size, learning rate and epochs chosen by the number of training rows",
    "fast": "large samples: large batches, ends early, lowers the rate on a plateau",
    "small": "small samples: batches of 256 and a lower rate, ends early",
    "article": "to repeat the source article: batches of 32, 10 epochs, to the end",
    "map": "pretraining by RFD or MFP as in the MAP paper: AdamW with weight decay, a cosine schedule, to the end",
}
"""What each preset is for."""
PRETEXTS = ("rfd", "mfp")
"""Objectives that learn features without labels; "map" is their default."""

STEPS_PER_EPOCH = 200
"""Optimiser steps that an epoch should have, about; the batch grows with the rows to keep it near this."""
SMALLEST_BATCH, LARGEST_BATCH = 16, 4096
SMALL_BATCH, SMALL_BATCH_RATE = 128, 3e-4
"""Up to this batch size the learning rate is this one; above it, it grows with the root of the batch size."""
LARGEST_RATE = 1e-3
FEWEST_STEPS, MOST_EPOCHS = 600, 100
"""Optimiser steps that all epochs together should allow: few rows get more epochs, at most so many."""


def default_settings(training_rows: int, objective: str = "supervised") -> tuple[str, TrainSettings]:
    """The default preset's name and its settings for so many training rows.

    The name is "auto" for what learns clicks and "map" for the objectives "rfd" and "mfp". With "auto" the batch size
    is the power of two, from 16 to 4,096, that comes closest to STEPS_PER_EPOCH steps per epoch; the learning rate
    grows with it from 3e-4 to 1e-3; and where even batches of 16 make few steps there are more epochs than 20. Early
    stopping and the plateau are those of "fast".
    """
    if objective in PRETEXTS:
        return "map", PRESETS["map"]
    usual = PRESETS["fast"]
    batch_size = 2 ** round(math.log2(max(1, training_rows) / STEPS_PER_EPOCH))
    batch_size = min(LARGEST_BATCH, max(SMALLEST_BATCH, batch_size))
    rate = SMALL_BATCH_RATE * max(1.0, batch_size / SMALL_BATCH) ** 0.5
    steps = math.ceil(max(1, training_rows) / batch_size)
    return AUTO, dataclasses.replace(
        usual,
        batch_size=batch_size,
        # Two digits, so that the rate can be read and typed.
        learning_rate=min(LARGEST_RATE, float(f"{rate:.1e}")),
        epochs=min(MOST_EPOCHS, max(usual.epochs, math.ceil(FEWEST_STEPS / steps))),
    )


def preset_settings(preset: str, training_rows: int, objective: str = "supervised") -> TrainSettings:
    """The settings of a preset by name; "auto" is the default for so many training rows.

    Raises:
        BadInput: there is no preset of that name.
    """
    if preset not in PRESET_NAMES:
        raise BadInput(f"There is no preset {preset[:40]!r}; the presets are {[*PRESET_NAMES]}.")
    return default_settings(training_rows, objective)[1] if preset == AUTO else PRESETS[preset]


def presets_for(training_rows: int, objective: str = "supervised") -> dict[str, TrainSettings]:
    """Every preset's settings for so many training rows, by name; the default comes first."""
    name, settings = default_settings(training_rows, objective)
    return {name: settings, **{other: PRESETS[other] for other in PRESETS if other != name}}


def count_training_rows(dataset: Dataset, domain: str, validation_share: float | None = None, last: int = 0) -> int:
    """How many rows of "source" or "target" train, without reading them.

    They are cut as core.data.datasets.training_rows cuts them. validation_share: of training and validation rows; None
    for the dataset's own cut. last: how many of the last training and validation rows are used, 0 for all.
    """
    rows = {part.part: part.rows for part in dataset.parts}
    train, validation = rows[f"{domain}_train"], rows[f"{domain}_validation"]
    if validation_share is None and not last:
        return train
    share = validation / (train + validation) if validation_share is None else validation_share
    both = min(last, train + validation) or train + validation
    return both - max(1, round(both * share))


def settings_by_size(dataset: Dataset, sizes: Sequence[int], preset: str, given: dict[str, Any]) -> list[TrainSettings]:
    """The settings of every target size of a sweep: the preset for that many target rows, with the given values.

    sizes: numbers of target rows, 0 for all. given: fields of TrainSettings that the user named.
    """
    return [
        dataclasses.replace(preset_settings(preset, count_training_rows(dataset, "target", last=size)), **given)
        for size in sizes
    ]


def settings_sentence(preset: str, settings: TrainSettings, training_rows: int, objective: str = "supervised") -> str:
    """What a training starts with and why, in one sentence.

    >>> settings_sentence("small", PRESETS["small"], 20_000)
    'Preset small: batch 256, learning rate 0.0003, at most 10 epochs.'
    """
    default, _ = default_settings(training_rows, objective)
    if preset != AUTO:
        why = ""
    elif default == AUTO:
        why = f" for {training_rows:,} training row{'s' if training_rows != 1 else ''}"
    else:
        preset, why = default, f", the default for {objective.upper()}"
    return f"Preset {preset}{why}: {in_words(settings)}."


def default_reason(training_rows: int) -> str:
    """Why "auto" chose its batch size, in a sentence."""
    batch_size = default_settings(training_rows)[1].batch_size
    steps = math.ceil(max(1, training_rows) / batch_size)
    bound = {SMALLEST_BATCH: "the smallest batch", LARGEST_BATCH: "the largest batch"}.get(batch_size)
    size = f"{bound} it chooses" if bound else "this batch size"
    return f"With {size} an epoch takes {steps:,} optimiser step{'s' if steps != 1 else ''}."


def in_words(settings: TrainSettings) -> str:
    """What a preset mainly sets: "batch 256, learning rate 0.001, at most 20 epochs"."""
    epochs = f"at most {settings.epochs} epochs" if settings.early_stopping else f"{settings.epochs} epochs"
    epochs = epochs.removesuffix("s") if settings.epochs == 1 else epochs
    return f"batch {settings.batch_size:,}, learning rate {settings.learning_rate:g}, {epochs}"
