"""Groups of command-line options, and the settings of the core that they stand for.

Each ``add_…_options`` declares options on a parser; the function after it reads the parsed values
back into the dataclass that the core takes."""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from core.data.paths import clean_path
from core.data.read_options import ON_BAD_ROWS, ReadOptions, load_mapping, parse_names
from core.errors import BadInput
from core.evaluation.recalibration import NONE
from core.freezing.heads import HEAD_CHOICES, choose_head
from core.freezing.strategies import STRATEGIES
from core.inference.run_calibration import METHOD_CHOICES
from core.jobs.requests import DECAY_SCOPES, DEVICES, FINETUNE_INPUTS, TrainSettings
from core.models.card import ACTIVATIONS, HEAD_OUTPUTS, BackboneCard, HeadSettings
from core.models.registry import ARCHITECTURES, SETTING_FIELDS
from core.training.default_settings import (
    AS_PREPARED,
    AUTO,
    FINE_TUNING,
    PRESET_NAMES,
    PRESET_PURPOSES,
    preset_settings,
    replace_settings,
    settings_sentence,
)


def local_path(text: str) -> Path:
    """Return the path that was pasted or typed, as argparse's ``type``; see `core.data.paths`."""
    try:
        return clean_path(text)
    except BadInput as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_calibration_options(command: argparse.ArgumentParser, several: bool = False) -> None:
    """Add ``--calibration`` and ``--no-calibration``, which end up in `calibration`.

    Args:
        command: the command's parser.
        several: whether one method for each run can be named; `calibration` is then a list.
    """
    group = command.add_mutually_exclusive_group()
    methods = "auto, none, temperature, platt or isotonic"
    words: dict[str, Any] = {"choices": METHOD_CHOICES, "help": f"{methods} (default: as stored)"}
    if several:
        words = {
            "type": comma_separated,
            "help": f"{methods}; one for all runs, or one for each (default: what each run uses)",
        }
    group.add_argument("--calibration", metavar="METHOD", **words)
    group.add_argument(
        "--no-calibration",
        action="store_const",
        const=[NONE] if several else NONE,
        dest="calibration",
        help="the probabilities as trained",
    )


def comma_separated(text: str) -> tuple[str, ...]:
    """Return the items of ``"a, b"``, stripped, without empty ones; argparse's ``type``."""
    return tuple(word for part in text.split(",") if (word := part.strip()))


def integers(text: str) -> tuple[int, ...]:
    """Return the whole numbers of ``"64,32"``; argparse's ``type``."""
    try:
        return tuple(int(part) for part in comma_separated(text))
    except ValueError:
        message = f"{text!r} is not a list of whole numbers such as 64,32"
        raise argparse.ArgumentTypeError(message) from None


def floats(text: str) -> tuple[float, ...]:
    """Return the numbers of ``"1e-3,3e-4"``; argparse's ``type``."""
    try:
        return tuple(float(part) for part in comma_separated(text))
    except ValueError:
        message = f"{text!r} is not a list of numbers such as 1e-3,3e-4"
        raise argparse.ArgumentTypeError(message) from None


def _validation_share(text: str) -> float | str:
    """Return the share, or AS_PREPARED; argparse's ``type``."""
    if text == AS_PREPARED:
        return text
    try:
        return float(text)
    except ValueError:
        message = f"{text!r} is neither a number such as 0.2 nor {AS_PREPARED}"
        raise argparse.ArgumentTypeError(message) from None


def add_read_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how a file is read: bad rows, archive member, columns."""
    parser.add_argument(
        "--on-bad-rows", choices=ON_BAD_ROWS, default="reject", help="default reject"
    )
    group = parser.add_argument_group("how the file is read, where it does not show that by itself")
    group.add_argument("--member", default="", help="of an archive: the file that holds the rows")
    group.add_argument(
        "--columns",
        default="",
        metavar="JSON",
        help='which column is which: a JSON file, or {"label": "clicked", "I1": 2, "C26": null} '
        "itself; names of the header, positions from 1, null for a column that the file lacks",
    )
    group.add_argument(
        "--keep",
        help="columns beyond label and features to keep, for splits and slices: day,domain "
        "(default: all)",
    )


def read_options(options: argparse.Namespace) -> ReadOptions:
    """Return how to read the file, from the options of `add_read_options`."""
    columns = load_mapping(options.columns) if options.columns else None
    keep = None if options.keep is None else parse_names(options.keep)
    return ReadOptions(options.member, columns, keep)


def add_architecture_options(parser: argparse.ArgumentParser) -> None:
    """Add one option for every setting of any architecture."""
    group = parser.add_argument_group(
        "architecture (each has some of these, with its own defaults)"
    )
    for name, field in SETTING_FIELDS.items():
        flag = f"--{name.replace('_', '-')}"
        types = {type(one.defaults[name]) for one in ARCHITECTURES.values() if name in one.defaults}
        if types == {bool}:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=field.description)
        else:
            group.add_argument(
                flag, type=integers if types == {list} else types.pop(), help=field.description
            )


def architecture_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of the architecture that were given; lists stay JSON-ready."""
    given = {name: getattr(options, name) for name in SETTING_FIELDS}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in given.items()
        if value is not None
    }


def add_training_options(parser: argparse.ArgumentParser, seed: bool = True) -> None:
    """Add the preset and one option for each training setting that can replace a preset's value.

    Args:
        parser: the command's parser.
        seed: whether to offer ``--seed``; a sweep has ``--seeds`` instead.
    """
    purposes = "; ".join(f"{name}: {purpose}" for name, purpose in PRESET_PURPOSES.items())
    group = parser.add_argument_group(
        "training",
        "An option that is given replaces that value of the preset; without any, the preset auto "
        "chooses all of them by the number of training rows, and the command says what it chose.",
    )
    group.add_argument(
        "--preset", choices=PRESET_NAMES, default=AUTO, help=f"default auto. {purposes}"
    )
    group.add_argument("--epochs", type=int, help="at most this many (default: the preset's)")
    group.add_argument("--batch-size", type=int, help="rows per step (default: the preset's)")
    group.add_argument(
        "--lr",
        type=float,
        dest="learning_rate",
        help="learning rate of Adam (default: the preset's)",
    )
    group.add_argument(
        "--validation-share",
        type=_validation_share,
        help="split training and validation rows anew, this share for validation, or "
        f"{AS_PREPARED}: as the dataset was split (default: fine-tuning validates on a share that "
        "grows as target rows get few; otherwise as prepared)",
    )
    group.add_argument(
        "--early-stopping",
        type=int,
        help="epochs without improvement before training stops, 0 never (default: the preset's)",
    )
    group.add_argument(
        "--plateau",
        type=int,
        help="epochs without improvement before the learning rate falls to a tenth, 0 never "
        "(default: the preset's)",
    )
    if seed:
        group.add_argument(
            "--seed", type=int, help="of the head's weights, the row order and dropout (default 0)"
        )
    group.add_argument("--device", choices=DEVICES, help="default auto: a GPU when there is one")
    group.add_argument(
        "--weight-decay", type=float, help="decoupled, as in AdamW (default: the preset's)"
    )
    group.add_argument(
        "--decay-scope",
        choices=DECAY_SCOPES,
        help="what weight decay reaches: all parameters, or only the weights of linear layers "
        "(default: the preset's)",
    )
    group.add_argument(
        "--ema",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="validate and keep a moving average of the weights (default: the preset's)",
    )
    group.add_argument(
        "--validations-per-epoch",
        type=int,
        help="at equal distances; the best of them is kept (default: the preset's)",
    )
    group.add_argument(
        "--head-learning-rate",
        type=float,
        help="learning rate of a new head on pretrained stages (default: the preset's)",
    )
    group.add_argument(
        "--min-steps",
        type=int,
        help="optimiser steps that a new head or new stages train for at least (default: the "
        "preset's)",
    )
    group.add_argument(
        "--cosine",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="let the learning rate fall to 0 along half a cosine (default: the preset's)",
    )
    group.add_argument(
        "--amp", action="store_true", default=None, help="bfloat16 autocast (default off)"
    )
    group.add_argument(
        "--tf32",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="float32 products in TF32 on a GPU (default on)",
    )


def given_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the training settings named on the command line, by field of `TrainSettings`."""
    names = [field.name for field in dataclasses.fields(TrainSettings)]
    given = {
        name: getattr(options, name) for name in names if getattr(options, name, None) is not None
    }
    if given.get("validation_share") == AS_PREPARED:
        given["validation_share"] = None
    return given


def train_settings(
    options: argparse.Namespace,
    training_rows: int,
    objective: str = FINE_TUNING,
    validation_share: float | None = None,
) -> TrainSettings:
    """Return the preset's settings for this many training rows, with the given ones in their place.

    Args:
        options: parsed options of `add_training_options`.
        training_rows: rows that will train; the preset "auto" chooses by them.
        objective: of pretraining, a key of `core.models.objectives.OBJECTIVES`.
        validation_share: the default one of a fine-tuning run.
    """
    settings = preset_settings(options.preset, training_rows, objective, validation_share)
    return replace_settings(settings, given_settings(options))


def print_settings(
    options: argparse.Namespace,
    settings: TrainSettings,
    training_rows: int,
    objective: str = FINE_TUNING,
) -> None:
    """Print to standard error which settings training starts with, and from how many rows."""
    print(settings_sentence(options.preset, settings, training_rows, objective), file=sys.stderr)


def add_head_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the head; `head_settings` reads them."""
    group = parser.add_argument_group("head")
    group.add_argument(
        "--head",
        choices=HEAD_CHOICES,
        help="keep: go on from the backbone's own head; new: put a new one on (default keep where "
        "the backbone learnt clicks and the head has the shape asked for; new with the preset "
        "article)",
    )
    group.add_argument(
        "--head-hidden", type=integers, help="hidden layers of a new head: 64,32 (default none)"
    )
    group.add_argument("--head-activation", choices=ACTIVATIONS, help="default relu")
    group.add_argument("--head-output", choices=HEAD_OUTPUTS, help="default logit")


def head_settings(
    options: argparse.Namespace, card: BackboneCard, preset: str
) -> tuple[bool, HeadSettings]:
    """Return whether the backbone's head is kept, and the settings of the head that trains.

    Args:
        options: parsed options of `add_head_options`.
        card: the backbone.
        preset: of the training settings; the article's asks for a new head.
    """
    named = {
        "hidden": options.head_hidden,
        "activation": options.head_activation,
        "output": options.head_output,
    }
    given = {name: value for name, value in named.items() if value is not None}
    return choose_head(card, HeadSettings(**given) if given else None, options.head, preset)


def add_inputs_option(parser: argparse.ArgumentParser) -> None:
    """Add the choice of vocabulary and statistics."""
    parser.add_argument(
        "--inputs",
        choices=FINETUNE_INPUTS,
        default="kept",
        help="vocabulary and statistics: kept, the backbone's own, or refitted, extended by the "
        "target's training rows (default kept; controls ignore it)",
    )


def add_strategy_options(parser: argparse.ArgumentParser) -> None:
    """Add one option for each option of a freezing strategy."""
    group = parser.add_argument_group("options of the strategies")
    options = {
        name: one for strategy in STRATEGIES.values() for name, one in strategy.options.items()
    }
    for name, option in options.items():
        owners = [key for key, strategy in STRATEGIES.items() if name in strategy.options]
        group.add_argument(
            f"--{name.replace('_', '-')}",
            type=comma_separated if name == "stages" else type(option.default),
            choices=option.choices or None,
            help=f"{option.description} ({', '.join(owners)})",
        )


def strategy_options(options: argparse.Namespace, strategy: str = "") -> dict[str, Any]:
    """Return the options of strategies that were given.

    Args:
        options: parsed options of `add_strategy_options`.
        strategy: return only the options that this strategy has; "" returns those of all.
    """
    names = dict.fromkeys(
        name for key, one in STRATEGIES.items() for name in one.options if strategy in ("", key)
    )
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def add_dry_run_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--dry-run``; see `core.cli.dry_run`."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="say what would train and how long it would take; queue nothing",
    )
