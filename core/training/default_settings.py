"""Default training settings, as one function of the number of training rows.

Commands, pages, sweeps and the demo all call `default_settings`; what the user names replaces
single values of it. docs/defaults.md compares it with a grid of batch sizes and learning rates.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from core.data.datasets import Dataset, count_validation_rows, select_training_rows
from core.errors import BadInput
from core.jobs.requests import TrainSettings
from core.training.pretraining_defaults import find_pretraining_defaults

_NEW = TrainSettings(tf32=True)
"""What every preset starts from; `TrainSettings()` itself is what stored requests leave out."""
PRESETS: dict[str, TrainSettings] = {
    "fast": _NEW,
    "small": dataclasses.replace(
        _NEW, epochs=10, batch_size=256, learning_rate=3e-4, early_stopping=2
    ),
    "article": dataclasses.replace(_NEW, epochs=10, batch_size=32, early_stopping=0, plateau=0),
    "map": dataclasses.replace(
        _NEW,
        epochs=20,
        batch_size=256,
        early_stopping=0,
        plateau=0,
        weight_decay=5e-2,
        cosine=True,
    ),
}
"""Fixed settings by name; PRESET_PURPOSES says what each is for."""
FINE_TUNING = "fine-tuning"
"""What is given as the objective where a backbone is fine-tuned, and not pretrained."""
AS_PREPARED = "dataset"
"""What the command line and the API call the validation share None: the dataset's own split."""
ARTICLE = "article"
"""Name of the preset that repeats the source article."""
AUTO = "auto"
"""Name of the preset whose values depend on the number of training rows."""
PRESET_NAMES = (AUTO, *PRESETS)
PRESET_PURPOSES = {
    AUTO: "batch size, learning rate and epochs chosen by the number of training rows",
    "fast": "many millions of rows, or speed before quality: batches of 4,096, ends early",
    "small": "small samples: batches of 256 and a lower rate, ends early",
    "article": "to repeat the source article: batches of 32, 10 epochs, to the end",
    "map": (
        "pretraining by RFD or MFP as in the MAP paper: AdamW with weight decay, a cosine "
        "schedule, to the end"
    ),
}
"""What each preset is for, in one line."""
PRETEXT_OBJECTIVES = ("rfd", "mfp")
"""Objectives that learn features without labels; "map" is their default preset."""

MIN_BATCH_SIZE, BASE_BATCH_SIZE, MAX_BATCH_SIZE = 16, 64, 4096
SMALL_EPOCH_STEPS, LARGE_EPOCH_STEPS = 200, 4_000
"""Optimiser steps of an epoch from which the batch size grows with the rows: up to BASE_BATCH_SIZE,
and beyond it."""
MIN_LEARNING_RATE, MIN_LEARNING_RATE_ROWS, MAX_LEARNING_RATE = 1e-4, 9_000, 3e-4
"""The learning rate up to MIN_LEARNING_RATE_ROWS rows; above, it grows with the square root of
their number up to MAX_LEARNING_RATE."""
LARGE_PRETRAINING_RATE = 1e-3
"""Learning rate of pretraining on more rows than the table of pretraining_defaults has."""
RATE_FACTORS = (0.3, 3.0, 10.0)
"""What the default rate is multiplied by for further rates to choose from. Full fine-tuning chooses
low ones, a head alone or biases alone high ones."""
_EXACT_COUNT_ROWS = 200_000
VALIDATION_SHARES, VALIDATION_SHARE_ROWS = (0.1, 0.3), 1_000
"""Smallest and largest default validation share of target rows, and the number of rows from which
it falls."""
AUTO_EPOCHS, MIN_TOTAL_STEPS, MAX_EPOCHS = 30, 600, 100
"""The bound on epochs, which early stopping should not reach, and the optimiser steps that all
epochs together should have: few rows get more epochs, up to MAX_EPOCHS."""
NEW_RATE, NEW_STEPS = 1e-3, 300
"""Learning rate of whatever is new in fine-tuning, a head or a whole network, and the steps that it
trains for at least."""


def default_settings(training_rows: int, objective: str = FINE_TUNING) -> tuple[str, TrainSettings]:
    """Return the name of the default preset and its settings.

    The name is "map" for the objectives "rfd" and "mfp", and "auto" for others. Pretraining on
    clicks has the settings of `core.training.pretraining_defaults`, as far as its table goes. Else,
    for "auto":

    - The batch size is a power of two. Up to 64 it gives an epoch about 200 steps; it stays 64
      until an epoch has about 4,000 steps, and then keeps it there, up to 4,096. The smallest is
      16.
    - The learning rate of pretrained stages is 1e-4 up to 9,000 rows and grows with the square root
      of their number to 3e-4 at 81,000. What is new, a head or all stages of "scratch", has 1e-3.
    - If batches of 16 make few steps, there are more epochs than 30. Early stopping and plateau are
      those of "fast", so the number of epochs is an upper bound.
    - An average of the weights is validated and kept. What is new trains for 300 steps at least.

    >>> name, settings = default_settings(100_000)
    >>> name, settings.batch_size, settings.learning_rate, settings.epochs
    ('auto', 64, 0.0003, 30)
    """
    if objective in PRETEXT_OBJECTIVES:
        return "map", PRESETS["map"]
    entry = find_pretraining_defaults(training_rows) if objective != FINE_TUNING else None
    if entry is not None:
        return AUTO, entry.train
    usual, rows = PRESETS["fast"], max(1, training_rows)
    wanted = max(min(BASE_BATCH_SIZE, rows / SMALL_EPOCH_STEPS), rows / LARGE_EPOCH_STEPS)
    batch_size = min(MAX_BATCH_SIZE, max(MIN_BATCH_SIZE, 2 ** round(math.log2(wanted))))
    rate = min(
        MAX_LEARNING_RATE, MIN_LEARNING_RATE * max(1.0, rows / MIN_LEARNING_RATE_ROWS) ** 0.5
    )
    new_parts: dict[str, Any] = {"head_learning_rate": NEW_RATE, "min_steps": NEW_STEPS}
    if objective != FINE_TUNING:
        # All of it is new, and `learning_rate` is its rate.
        rate, new_parts = LARGE_PRETRAINING_RATE, {}
    steps = math.ceil(rows / batch_size)
    return AUTO, dataclasses.replace(
        usual,
        batch_size=batch_size,
        # Two digits, so that the rate can be read and typed.
        learning_rate=float(f"{rate:.1e}"),
        epochs=min(MAX_EPOCHS, max(AUTO_EPOCHS, math.ceil(MIN_TOTAL_STEPS / steps))),
        ema=True,
        **new_parts,
    )


def replace_settings(settings: TrainSettings, given: Mapping[str, Any]) -> TrainSettings:
    """Return a preset's settings with those that were given in their place.

    A number of epochs that is given holds: the least number of steps extends it only if that is
    given too.

    >>> replace_settings(default_settings(1_000)[1], {"epochs": 1}).min_steps
    0
    """
    return dataclasses.replace(settings, **implied_settings(given))


def implied_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given settings and what follows from them, see `replace_settings`."""
    return {"min_steps": 0, **given} if "epochs" in given else {**given}


def preset_settings(
    preset: str,
    training_rows: int,
    objective: str = FINE_TUNING,
    validation_share: float | None = None,
) -> TrainSettings:
    """Return the settings of a preset.

    Args:
        preset: one of `PRESET_NAMES`; "auto" depends on the number of training rows.
        training_rows: number of training rows.
        objective: of a pretraining run, else FINE_TUNING.
        validation_share: of a fine-tuning run, see `target_rows_and_share`; the article's preset
            keeps the dataset's own.

    Raises:
        BadInput: there is no preset of that name.
    """
    if preset not in PRESET_NAMES:
        raise BadInput(
            f"There is no preset {preset[:40]!r}; the presets are {', '.join(PRESET_NAMES)}."
        )
    settings = default_settings(training_rows, objective)[1] if preset == AUTO else PRESETS[preset]
    if preset == ARTICLE:
        return settings
    return dataclasses.replace(settings, validation_share=validation_share)


def presets_for(
    training_rows: int, objective: str = FINE_TUNING, validation_share: float | None = None
) -> dict[str, TrainSettings]:
    """Return the settings of every preset by name, the default first; args of `preset_settings`."""
    default, _ = default_settings(training_rows, objective)
    names = [default, *(name for name in PRESETS if name != default)]
    return {
        name: preset_settings(name, training_rows, objective, validation_share) for name in names
    }


def default_validation_share(rows: int) -> float:
    """Return which share of this many training and validation rows of the target validates.

    Validation rows choose the best epoch, the learning rate and the leading arm, and a tenth of few
    rows cannot: docs/validation.md has what was measured. The share falls with the cube root of the
    number of rows.

    >>> [default_validation_share(rows) for rows in (1_000, 5_000, 20_000, 100_000)]
    [0.3, 0.18, 0.11, 0.1]
    """
    low, high = VALIDATION_SHARES
    share = high * (VALIDATION_SHARE_ROWS / max(1, rows)) ** (1 / 3)
    return round(min(high, max(low, share)), 2)


def target_rows_and_share(dataset: Dataset, last: int = 0) -> tuple[int, float | None]:
    """Return (target rows that train by default, validation share by default).

    The share is that of `default_validation_share`; None, the dataset's own, where that is as
    large, or where the validation rows are a file of their own.

    Args:
        dataset: prepared sample.
        last: how many of the last training and validation rows are used; 0 for all.
    """
    rows = {part.part: part.rows for part in dataset.parts}
    train, validation = rows["target_train"], rows["target_validation"]
    n_rows = min(last, train + validation) or train + validation
    share: float | None = default_validation_share(n_rows)
    own_file = any(sample.role == "target_validation" for sample in dataset.samples)
    if own_file or validation >= (share or 0) * (train + validation):
        share = None
    return count_training_rows(dataset, "target", share, last), share


def rate_grid(rate: float) -> tuple[float, ...]:
    """Return the learning rates that every arm of a sweep chooses from: around a default rate.

    >>> rate_grid(1e-4)
    (3e-05, 0.0001, 0.0003, 0.001)
    """
    # Two digits, so that rates can be read and typed.
    others = {min(1.0, float(f"{rate * factor:.1e}")) for factor in RATE_FACTORS}
    return tuple(sorted(others | {rate}))


def rates_to_try(
    named: Sequence[float], default_rate: float, choose_rate: bool
) -> tuple[tuple[float, ...], bool]:
    """Return the learning rates of a new sweep, and whether each arm's is chosen from them.

    Args:
        named: rates that the user named; none for those around the default.
        default_rate: of the settings.
        choose_rate: whether the user wants rates chosen. A single rate leaves nothing to choose.
    """
    if named:
        return tuple(named), choose_rate and len(named) > 1
    return (rate_grid(default_rate), True) if choose_rate else ((), False)


def count_training_rows(
    dataset: Dataset, domain: str, validation_share: float | None = None, last: int = 0
) -> int:
    """Return how many rows train, without reading their labels if there are many.

    Counts what `core.data.datasets.select_training_rows` selects. That function looks at labels to
    leave both classes for validation; with more than _EXACT_COUNT_ROWS rows, both are there anyhow.

    Args:
        dataset: prepared sample.
        domain: "source" or "target".
        validation_share: of training and validation rows; None for the dataset's own cut.
        last: how many of the last training and validation rows are used; 0 for all.
    """
    rows = {part.part: part.rows for part in dataset.parts}
    train, validation = rows[f"{domain}_train"], rows[f"{domain}_validation"]
    if validation_share is None and not last:
        return train
    share = validation / (train + validation) if validation_share is None else validation_share
    last = min(last, train + validation)
    n_rows = last or train + validation
    n_validation = count_validation_rows(n_rows, share)
    if n_validation < n_rows <= _EXACT_COUNT_ROWS:
        return len(select_training_rows(dataset, domain, validation_share, last)[0])
    return n_rows - n_validation


def settings_by_size(
    dataset: Dataset, sizes: Sequence[int], preset: str, overrides: dict[str, Any]
) -> list[TrainSettings]:
    """Return the settings of every target size of a sweep.

    Args:
        dataset: of the sweep.
        sizes: numbers of target rows, 0 for all.
        preset: chosen by its name, for the training rows of each size.
        overrides: fields of TrainSettings that the user named.
    """
    found = []
    for size in sizes:
        rows, share = target_rows_and_share(dataset, size)
        settings = preset_settings(preset, rows, validation_share=share)
        found.append(replace_settings(settings, overrides))
    return found


def settings_sentence(
    preset: str, settings: TrainSettings, training_rows: int, objective: str = FINE_TUNING
) -> str:
    """Return what a training starts with and why, in one sentence.

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
    return f"Preset {preset}{why}: {describe_settings(settings)}."


def default_reason(training_rows: int, objective: str = FINE_TUNING) -> str:
    """Return why "auto" chose its batch size, in a sentence."""
    batch_size = default_settings(training_rows, objective)[1].batch_size
    steps = math.ceil(max(1, training_rows) / batch_size)
    bound = {MIN_BATCH_SIZE: "the smallest batch", MAX_BATCH_SIZE: "the largest batch"}.get(
        batch_size
    )
    size = f"{bound} it chooses" if bound else "this batch size"
    return f"With {size}, an epoch takes {steps:,} optimiser step{'s' if steps != 1 else ''}."


def describe_settings(settings: TrainSettings) -> str:
    """Return what a preset mainly sets.

    >>> describe_settings(PRESETS["fast"])
    'batch 4,096, learning rate 0.001, at most 20 epochs'
    """
    epochs = (
        f"at most {settings.epochs} epochs"
        if settings.early_stopping
        else f"{settings.epochs} epochs"
    )
    epochs = epochs.removesuffix("s") if settings.epochs == 1 else epochs
    share = settings.validation_share
    validation = f", {100 * share:.0f} % of the rows validate" if share else ""
    return (
        f"batch {settings.batch_size:,}, learning rate {settings.learning_rate:g}, {epochs}"
        f"{validation}"
    )
