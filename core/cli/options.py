"""From what the command line was given to the settings that the core takes."""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from core.data.paths import clean_path
from core.data.read_options import ReadOptions, load_mapping, parse_names
from core.errors import BadInput
from core.freezing.strategies import STRATEGIES
from core.jobs.requests import TrainSettings
from core.models.card import HeadSettings
from core.models.registry import SETTING_FIELDS
from core.training.default_settings import preset_settings, settings_sentence


def local_path(text: str) -> Path:
    """A path as people paste it, for argparse; see core.data.paths."""
    try:
        return clean_path(text)
    except BadInput as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def read_options(options: argparse.Namespace) -> ReadOptions:
    columns = load_mapping(options.columns) if options.columns else None
    keep = None if options.keep is None else parse_names(options.keep)
    return ReadOptions(options.member, columns, keep)


def architecture_settings(options: argparse.Namespace) -> dict[str, Any]:
    given = {
        name: getattr(options, name)
        for name in SETTING_FIELDS
        if getattr(options, name) is not None
    }
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in given.items()
    }


def given_settings(options: argparse.Namespace) -> dict[str, Any]:
    """The training settings that the command names, by field of TrainSettings; they replace the
    preset's values."""
    names = [field.name for field in dataclasses.fields(TrainSettings)]
    return {
        name: getattr(options, name) for name in names if getattr(options, name, None) is not None
    }


def train_settings(
    options: argparse.Namespace, training_rows: int, objective: str = "supervised"
) -> TrainSettings:
    """The preset's settings for so many training rows, "auto" where no preset is named, with the
    values given."""
    settings = preset_settings(options.preset, training_rows, objective)
    return dataclasses.replace(settings, **given_settings(options))


def print_settings(
    options: argparse.Namespace,
    settings: TrainSettings,
    training_rows: int,
    objective: str = "supervised",
) -> None:
    """Says on standard error which settings a training starts with, and by how many rows they were
    chosen."""
    print(settings_sentence(options.preset, settings, training_rows, objective), file=sys.stderr)


def head_settings(options: argparse.Namespace) -> HeadSettings:
    return HeadSettings(options.head_hidden, options.head_activation, options.head_output)


def strategy_options(options: argparse.Namespace, strategy: str = "") -> dict[str, Any]:
    """Options of strategies that were given; only those that `strategy` has, where one is named."""
    names = [
        name for one, about in STRATEGIES.items() for name in about.options if strategy in ("", one)
    ]
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}
