"""The fields of the training settings, filled by a preset.

Pretraining, Fine-tune and Sweep use them.
"""

import dataclasses
from contextlib import suppress
from typing import Any, TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.errors import BadInput
from core.jobs.requests import DECAY_SCOPES, DEVICES, TrainSettings
from core.training.default_settings import (
    AUTO,
    FINE_TUNING,
    PRESET_NAMES,
    PRESET_PURPOSES,
    default_reason,
    default_settings,
    presets_for,
    settings_sentence,
)
from pages.components.shared import url_state
from pages.components.shared.widget_sync import reapply_unseen, set_value

PRESET_FIELDS = (
    "epochs",
    "batch_size",
    "learning_rate",
    "validation_share",
    "early_stopping",
    "plateau",
    "weight_decay",
    "decay_scope",
    "cosine",
    "ema",
    "validations_per_epoch",
    "head_learning_rate",
    "min_steps",
)
"""The fields that a preset fills."""
MORE_FIELDS = ("seed", "device", "amp", "tf32")
MIN_LEARNING_RATE, VALIDATION_SHARE_RANGE = 1e-7, (0.01, 0.9)
"""Bounds of the fields, narrower than those of TrainSettings."""
N = TypeVar("N", int, float)
DEVICE_TITLES = {"auto": "auto", "cuda": "GPU", "cpu": "CPU"}
DECAY_TITLES = {"all": "all weights", "matrices": "linear layers only"}


def training_fields(
    prefix: str,
    rows: int,
    objective: str = FINE_TUNING,
    with_seed: bool = True,
    in_url: bool = False,
    default_share: float | None = None,
    advanced: DeltaGenerator | None = None,
) -> TrainSettings:
    """Draw the fields and return the settings.

    Args:
        prefix: of the widget keys.
        rows: training rows; with the objective they decide the default preset and the values of
            "auto".
        objective: of pretraining, else FINE_TUNING.
        with_seed: whether there is a field for the seed, which is 0 otherwise.
        in_url: whether the URL carries what differs from the default preset.
        default_share: validation share of the presets, see
            `core.training.default_settings.target_rows_and_share`.
        advanced: expander for the fields that few change, where the form has others of them; None
            for one below the fields.

    Raises:
        BadInput: a value that cannot be used.
    """
    default_preset, _ = default_settings(rows, objective)
    # Callbacks run before the script, so they need the rows and objective of the previous run.
    presets_key = f"{prefix}_presets_for"
    presets_args = rows, objective, default_share
    changed = st.session_state.get(presets_key) not in (None, presets_args)
    st.session_state[presets_key] = presets_args
    if suggest_value(f"{prefix}_preset", default_preset) or (
        changed and st.session_state[f"{prefix}_preset"] == AUTO
    ):
        _apply_preset(prefix)
    if in_url:
        _read_url(prefix)
    preset = st.segmented_control(
        "Preset",
        PRESET_NAMES,
        key=f"{prefix}_preset",
        on_change=_apply_preset,
        args=(prefix,),
        persist_state="session",
        help="Fills the fields below; change any of them afterwards.\n\n"
        + "\n".join(f"- **{name}**: {purpose}" for name, purpose in PRESET_PURPOSES.items()),
    )
    st.caption(
        _describe_preset(preset, rows, objective, presets_for(*presets_args)[default_preset])
    )
    with st.grid(3, min_column_width=150):
        epochs = _number(
            prefix,
            "epochs",
            "Epochs",
            1,
            1000,
            "Maximum number of passes over the rows; the weights of the best epoch are kept.",
        )
        batch_size = _number(
            prefix,
            "batch_size",
            "Batch size",
            1,
            1_000_000,
            "Rows per step; fewer give noisier steps.",
        )
        learning_rate = st.number_input(
            "Learning rate",
            min_value=MIN_LEARNING_RATE,
            max_value=1.0,
            step=1e-4,
            format="%g",
            key=f"{prefix}_learning_rate",
            on_change=_select_matching_preset,
            args=(prefix,),
            persist_state="session",
            help=(
                "Adam's step size. A larger one learns faster and forgets more; too large a "
                "one never converges."
            ),
        )
        stopping = (
            "Epochs without a lower validation loss before the run stops; 0 never. The best epoch"
            " is kept."
        )
        early_stopping = _number(
            prefix, "early_stopping", "Early stopping, epochs", 0, 1000, stopping
        )
        validation_share = st.number_input(
            "Validation share",
            min_value=VALIDATION_SHARE_RANGE[0],
            max_value=VALIDATION_SHARE_RANGE[1],
            step=0.05,
            placeholder="as prepared",
            key=f"{prefix}_validation_share",
            on_change=_select_matching_preset,
            args=(prefix,),
            persist_state="session",
            help=(
                "Share of the training and validation rows used for validation: they choose the "
                "best epoch and, in a sweep, learning rates. Empty: as the dataset was split."
            ),
        )
        seed = _seed(prefix) if with_seed else 0
    with advanced or st.expander("Advanced"):
        advanced_values = _advanced_fields(prefix, objective)
    settings = TrainSettings(
        epochs=_required(epochs, "number of epochs"),
        batch_size=_required(batch_size, "batch size"),
        learning_rate=_required(learning_rate, "learning rate"),
        validation_share=validation_share,
        early_stopping=_required(early_stopping, "early stopping, 0 for never"),
        seed=_required(seed, "seed"),
        **advanced_values,
    )
    if in_url:
        url_state.write(
            "training",
            format_training(settings, presets_for(*presets_args), preset),
            default_preset,
        )
    return settings


def _advanced_fields(prefix: str, objective: str) -> dict[str, Any]:
    """Draw the fields that few change; return their values by name."""
    shared: dict[str, Any] = {
        "on_change": _select_matching_preset,
        "args": (prefix,),
        "persist_state": "session",
    }
    cosine = st.toggle(
        "Let the learning rate fall to zero along a cosine",
        key=f"{prefix}_cosine",
        help="Over all steps, instead of falling on a plateau.",
        **shared,
    )
    ema = st.toggle(
        "Keep averaged weights",
        key=f"{prefix}_ema",
        help=(
            "Validates and keeps a moving average of the weights instead of those of the last"
            " step, which are noisier."
        ),
        **shared,
    )
    amp = st.toggle(
        "Mixed precision (bfloat16)",
        key=f"{prefix}_amp",
        persist_state="session",
        help=(
            "Training multiplies matrices in bfloat16: about twice as fast where the "
            "processor or GPU has instructions for it, slower elsewhere. The AUC differs in "
            "the fourth digit at most; scoring stays in float32."
        ),
    )
    st.session_state.setdefault(f"{prefix}_tf32", True)
    tf32 = st.toggle(
        "TF32 on a GPU",
        key=f"{prefix}_tf32",
        persist_state="session",
        help=(
            "A GPU multiplies float32 matrices with factors rounded to 10 bits of mantissa, in"
            " training and in scoring: several times faster. A CPU ignores it. Turn it off to"
            " compare with runs from before version 0.14."
        ),
    )
    with st.grid(3, min_column_width=150):
        plateau = _number(
            prefix,
            "plateau",
            "Plateau, epochs",
            0,
            1000,
            "Epochs without a lower validation loss before the learning rate falls to a tenth; 0"
            " never.",
            disabled=cosine,
        )
        weight_decay = st.number_input(
            "Weight decay",
            min_value=0.0,
            max_value=10.0,
            step=0.01,
            format="%g",
            key=f"{prefix}_weight_decay",
            help=(
                "Shrinks weights towards zero, decoupled from the gradient (AdamW); 0 for "
                "none. Frozen stages are not affected."
            ),
            **shared,
        )
        decay_scope = st.selectbox(
            "Weights that decay",
            DECAY_SCOPES,
            format_func=DECAY_TITLES.__getitem__,
            key=f"{prefix}_decay_scope",
            help="Linear layers only: embeddings, biases and normalisation layers do not shrink.",
            **shared,
        )
        validations = _number(
            prefix,
            "validations_per_epoch",
            "Validations per epoch",
            1,
            100,
            "At equal distances within an epoch; the weights of the best one are kept.",
        )
        head_rate = st.session_state[f"{prefix}_head_learning_rate"]
        # In pretraining the stages are as new as the head, and have its rate.
        if objective == FINE_TUNING:
            head_rate = st.number_input(
                "Rate of a new head",
                min_value=MIN_LEARNING_RATE,
                max_value=100.0,
                step=1e-3,
                format="%g",
                placeholder="the same",
                key=f"{prefix}_head_learning_rate",
                help=(
                    "A new head on pretrained stages has everything to learn, so it may need a"
                    " higher learning rate than they do. Empty: the same rate. A kept head always"
                    " has the same rate."
                ),
                **shared,
            )
        min_steps = _number(
            prefix,
            "min_steps",
            "Minimum steps",
            0,
            1_000_000,
            "Optimiser steps before early stopping may end a run with a new head or new stages;"
            " epochs are added where the rows give too few steps. A run in which nothing is new"
            " has no minimum.",
        )
        device = st.selectbox(
            "Device",
            DEVICES,
            format_func=DEVICE_TITLES.__getitem__,
            key=f"{prefix}_device",
            persist_state="session",
            help="auto takes a GPU when there is one. Results agree to rounding.",
        )
    return {
        "cosine": cosine,
        "ema": ema,
        "amp": amp,
        "tf32": tf32,
        "plateau": 0 if cosine else _required(plateau, "plateau, 0 for never"),
        "weight_decay": _required(weight_decay, "weight decay, 0 for none"),
        "decay_scope": decay_scope,
        "validations_per_epoch": _required(validations, "validations per epoch"),
        "head_learning_rate": head_rate,
        "min_steps": _required(min_steps, "minimum number of steps, 0 for none"),
        "device": device,
    }


def format_training(
    settings: TrainSettings, presets: dict[str, TrainSettings], marked: str | None = None
) -> str:
    """Format the settings as the nearest preset and what differs from it, as in "small,epochs=7".

    Args:
        presets: the settings of each preset for these rows.
        marked: the preset the user chose; it is named if two are equally near.
    """
    values = {name: getattr(settings, name) for name in PRESET_FIELDS + MORE_FIELDS}

    def others(preset: str) -> list[str]:
        return [
            f"{name}={value}"
            for name, value in values.items()
            if value != getattr(presets[preset], name)
        ]

    nearest = min(presets, key=lambda preset: (len(others(preset)), preset != marked))
    return ",".join([nearest, *others(nearest)])


def parse_training(text: str, presets: dict[str, TrainSettings]) -> TrainSettings:
    """Parse what `format_training` returns.

    Raises:
        BadInput: any other text.
    """
    preset, *pairs = text.split(",")
    if preset not in presets:
        raise BadInput(f"There is no preset {preset[:40]!r}; the presets are {', '.join(presets)}.")
    settings = dataclasses.replace(presets[preset], **dict(_parse_setting(pair) for pair in pairs))
    low, high = VALIDATION_SHARE_RANGE
    if (
        settings.learning_rate < MIN_LEARNING_RATE
        or not low <= (settings.validation_share or low) <= high
    ):
        raise BadInput(
            f"The fields take learning rates from {MIN_LEARNING_RATE:g}, and validation "
            f"shares {low} to {high}."
        )
    return settings


def _parse_setting(pair: str) -> tuple[str, Any]:
    name, _, value = pair.partition("=")
    if name in PRESET_FIELDS + MORE_FIELDS:
        optional = name in ("validation_share", "head_learning_rate")
        if optional and value == "None":
            return name, None
        kind = float if optional else type(getattr(TrainSettings, name))
        with suppress(ValueError):
            return name, value == "True" if kind is bool else kind(value)
    raise BadInput(f"{pair[:40]!r} is not a training setting.")


def _read_url(prefix: str) -> None:
    """Fill the fields from the URL."""
    text = url_state.read_new("training")
    if text is None:
        return
    try:
        settings = parse_training(text, _presets(prefix))
    except BadInput as error:
        url_state.warn_ignored(text, error)
        return
    for name in PRESET_FIELDS + MORE_FIELDS:
        set_value(f"{prefix}_{name}", getattr(settings, name))
    _select_matching_preset(prefix, text.partition(",")[0])


def suggest_value(key: str, value: str) -> bool:
    """Initialise the widget `key` with `value`, or update it unless the user has changed it.

    A value that the user changed after the last suggestion is kept.

    Returns:
        Whether the widget's value changed.
    """
    remembered = f"{key}_suggested"
    state = st.session_state
    changed = key not in state or state[key] == state.get(remembered) != value
    if changed:
        set_value(key, value)
    state[remembered] = value
    return changed


def parse_widths(text: str, what: str) -> tuple[int, ...]:
    """Parse layer widths from a text such as "64, 32"; an empty text gives none.

    Args:
        what: names the field in the error.

    Raises:
        BadInput: the text is not a list of whole numbers.
    """
    try:
        return tuple(int(part) for part in text.replace(" ", ",").split(",") if part)
    except ValueError:
        raise BadInput(
            f"{what} are {text[:40]!r}; write whole numbers with commas between, such as 64, 32."
        ) from None


def _number(
    prefix: str, name: str, label: str, low: int, high: int, help_text: str, disabled: bool = False
) -> int | None:
    return st.number_input(
        label,
        min_value=low,
        max_value=high,
        step=1,
        key=f"{prefix}_{name}",
        on_change=_keep_epochs if name == "epochs" else _select_matching_preset,
        args=(prefix,),
        persist_state="session",
        help=help_text,
        disabled=disabled,
    )


def _keep_epochs(prefix: str) -> None:
    """Let the number of epochs that was entered hold, as a command does that names it."""
    reapply_unseen()
    set_value(f"{prefix}_min_steps", 0)
    _select_matching_preset(prefix)


def _seed(prefix: str) -> int | None:
    st.session_state.setdefault(f"{prefix}_seed", 0)
    return st.number_input(
        "Seed",
        min_value=0,
        max_value=2**31 - 1,
        step=1,
        key=f"{prefix}_seed",
        persist_state="session",
        help=(
            "Random seed of new weights, row order and dropout. Other seeds show how much "
            "is training noise."
        ),
    )


def _required(value: N | None, what: str) -> N:
    if value is None:
        raise BadInput(f"Enter the {what}.")
    return value


def _presets(prefix: str) -> dict[str, TrainSettings]:
    """Return the settings of every preset for what the user saw last."""
    return presets_for(*st.session_state[f"{prefix}_presets_for"])


def _describe_preset(preset: str | None, rows: int, objective: str, settings: TrainSettings) -> str:
    """Say what the chosen preset is for; for "auto", its values and why.

    Args:
        settings: the settings of the default preset.
    """
    if preset is None:
        return "your own settings"
    if preset != AUTO:
        return f"{preset}: {PRESET_PURPOSES[preset]}"
    sentence = settings_sentence(AUTO, settings, rows, objective)
    return f"{sentence} {default_reason(rows, objective)}"


def _apply_preset(prefix: str) -> None:
    """Put the chosen preset's values into the fields.

    "auto" is replaced where another preset is the default.
    """
    reapply_unseen()
    presets = _presets(prefix)
    chosen = st.session_state[f"{prefix}_preset"]
    if chosen == AUTO and AUTO not in presets:
        chosen = next(iter(presets))
        set_value(f"{prefix}_preset", chosen)
    if chosen:
        for name in PRESET_FIELDS:
            set_value(f"{prefix}_{name}", getattr(presets[chosen], name))


def _select_matching_preset(prefix: str, wanted: str = "") -> None:
    """Select the preset that matches the fields, or none.

    Args:
        wanted: the preset to select if several match.
    """
    reapply_unseen()
    values = {name: st.session_state[f"{prefix}_{name}"] for name in PRESET_FIELDS}
    alike = [
        name
        for name, preset in _presets(prefix).items()
        if values.items() <= dataclasses.asdict(preset).items()
    ]
    set_value(f"{prefix}_preset", wanted if wanted in alike else next(iter(alike), None))
