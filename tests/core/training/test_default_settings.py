"""Default settings: one function of the number of training rows, and no other place that decides
them."""

import ast
import dataclasses
import itertools
import math
from collections.abc import Iterator

import pytest

from core.data.datasets import Dataset, select_training_rows
from core.errors import BadInput
from core.jobs.requests import TrainSettings
from core.training.default_settings import (
    AUTO,
    PRESET_NAMES,
    PRESET_PURPOSES,
    PRESETS,
    count_training_rows,
    default_reason,
    default_settings,
    default_validation_share,
    preset_settings,
    presets_for,
    settings_by_size,
    settings_sentence,
    target_rows_and_share,
)
from core.workspace import PROJECT, Workspace

SIZES = sorted({round(10 ** (exponent / 20)) for exponent in range(161)} | {120, 6_686, 45_840_617})
"""From 1 row to 100 million, a tenth apart."""


def test_an_epoch_has_enough_steps_at_any_size() -> None:
    for rows in SIZES:
        name, settings = default_settings(rows)
        steps = math.ceil(rows / settings.batch_size)
        assert name == AUTO
        # A hundred steps per epoch, or as many as batches of 16 allow, and hundreds for tens of
        # thousands of rows; and some hundreds in all where rows are few.
        assert steps >= min(100, rows / 16), rows
        assert rows < 100_000 or steps >= 1_000
        assert steps * settings.epochs >= min(600, 5 * rows), rows
        # Tens of millions of rows take the largest batch, which a GPU needs to be busy.
        assert rows < 20_000_000 or settings.batch_size == 4096
        assert 1e-4 <= settings.learning_rate <= 3e-4 < (settings.head_learning_rate or 0)


def test_pretraining_has_settings_of_its_own() -> None:
    for rows in SIZES:
        _, settings = default_settings(rows, "supervised")
        assert settings.ema and settings.head_learning_rate is None and not settings.min_steps
        assert rows < 200_000 or settings.learning_rate == 1e-3


def test_neighbouring_sizes_have_neighbouring_settings() -> None:
    found = [default_settings(rows)[1] for rows in SIZES]
    for before, after in itertools.pairwise(found):
        assert 1 <= after.batch_size / before.batch_size <= 2
        assert 0.5 <= after.learning_rate / before.learning_rate <= 2
        assert 0.5 <= after.epochs / before.epochs <= 1
        same = dataclasses.replace(
            after,
            batch_size=before.batch_size,
            learning_rate=before.learning_rate,
            epochs=before.epochs,
        )
        assert same == before


def test_names_and_values_of_stored_presets_stay() -> None:
    kept = (
        "epochs",
        "batch_size",
        "learning_rate",
        "early_stopping",
        "plateau",
        "weight_decay",
        "cosine",
    )
    values = {
        name: tuple(getattr(settings, one) for one in kept) for name, settings in PRESETS.items()
    }
    assert values == {
        "fast": (20, 4096, 1e-3, 3, 1, 0.0, False),
        "small": (10, 256, 3e-4, 2, 1, 0.0, False),
        "article": (10, 32, 1e-3, 0, 0, 0.0, False),
        "map": (20, 256, 1e-3, 0, 0, 5e-2, True),
    }
    assert PRESET_NAMES == (AUTO, *PRESETS) == tuple(PRESET_PURPOSES)


def test_features_are_learnt_by_the_preset_map() -> None:
    for objective in ("rfd", "mfp"):
        assert default_settings(5_000, objective) == ("map", PRESETS["map"])
        assert preset_settings(AUTO, 5_000, objective) == PRESETS["map"]
        assert [*presets_for(5_000, objective)] == ["map", "fast", "small", "article"]
    assert [*presets_for(5_000)] == [AUTO, *PRESETS]


def test_an_unknown_preset_is_named_in_a_message() -> None:
    with pytest.raises(BadInput, match="no preset 'warp'; the presets are"):
        preset_settings("warp", 5_000)


@pytest.mark.parametrize(
    ("share", "last"),
    [(None, 0), (0.25, 0), (0.001, 0), (None, 100), (None, 600), (0.4, 77), (0.5, 2)],
)
def test_rows_are_counted_as_they_are_split(
    share: float | None, last: int, tiny: tuple[Workspace, Dataset]
) -> None:
    for domain in ("source", "target"):
        cut = select_training_rows(tiny[1], domain, share, last)[0]
        assert count_training_rows(tiny[1], domain, share, last) == len(cut)


def test_more_rows_than_there_are_count_as_all(tiny: tuple[Workspace, Dataset]) -> None:
    assert count_training_rows(tiny[1], "target", last=10**9) == count_training_rows(
        tiny[1], "target", last=600
    )


def test_every_size_gets_its_own_default_and_what_the_user_gave(
    tiny: tuple[Workspace, Dataset],
) -> None:
    given = {"epochs": 7, "device": "cpu"}
    found = settings_by_size(tiny[1], (100, 0), AUTO, given)
    for settings, rows in zip(found, (70, 420), strict=True):
        wanted = default_settings(rows)[1]
        # A bound on epochs that the user gave is not extended.
        wanted = dataclasses.replace(wanted, validation_share=0.3, min_steps=0, **given)  # type: ignore[arg-type]
        assert settings == wanted
    least = settings_by_size(tiny[1], (0,), AUTO, given | {"min_steps": 90})
    assert least[0].min_steps == 90
    assert len({*settings_by_size(tiny[1], (100, 0), "small", {})}) == 1


def test_few_target_rows_validate_on_a_larger_share(tiny: tuple[Workspace, Dataset]) -> None:
    shares = [default_validation_share(rows) for rows in (10, 1_000, 5_000, 20_000, 10**7)]
    assert shares == sorted(shares, reverse=True) and (shares[0], shares[-1]) == (0.3, 0.1)
    _, dataset = tiny
    assert target_rows_and_share(dataset) == (420, 0.3)
    # The article's preset follows the article; a dataset that validates on more rows keeps them.
    assert preset_settings("article", 420, validation_share=0.3) == PRESETS["article"]
    parts = {part.part: part for part in dataset.parts}
    halves = [
        dataclasses.replace(parts[name], rows=300) for name in ("target_train", "target_validation")
    ]
    others = [
        part for name, part in parts.items() if name not in ("target_train", "target_validation")
    ]
    even = dataclasses.replace(dataset, parts=(*halves, *others))
    assert target_rows_and_share(even) == (300, None)


def test_the_choice_is_reported() -> None:
    settings = TrainSettings(epochs=1, batch_size=1024, learning_rate=3e-4)
    said = settings_sentence(AUTO, settings, 20_000)
    assert (
        said == "Preset auto for 20,000 training rows: batch 1,024, learning rate 0.0003, at most 1"
        " epoch."
    )
    assert "for 1 training row:" in settings_sentence(AUTO, settings, 1)
    assert (
        settings_sentence("article", PRESETS["article"], 5)
        == "Preset article: batch 32, learning rate 0.001, 10 epochs."
    )
    assert settings_sentence(AUTO, PRESETS["map"], 5, "rfd").startswith(
        "Preset map, the default for RFD: batch 256"
    )
    assert (
        default_reason(7000 * 4096)
        == "With the largest batch it chooses, an epoch takes 7,000 optimiser steps."
    )
    assert (
        default_reason(3) == "With the smallest batch it chooses, an epoch takes 1 optimiser step."
    )


def trees(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """(path from the project's root, syntax tree) of every file of these folders."""
    for folder in folders:
        for path in sorted((PROJECT / folder).rglob("*.py")):
            yield path.relative_to(PROJECT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def name_of(node: ast.expr) -> str:
    return (
        node.attr
        if isinstance(node, ast.Attribute)
        else node.id
        if isinstance(node, ast.Name)
        else ""
    )


def test_no_other_place_decides_a_preset() -> None:
    named, made = set(), set()
    for path, tree in trees("core", "pages"):
        for node in ast.walk(tree):
            if name_of(node) == "PRESETS" if isinstance(node, ast.Name | ast.Attribute) else False:
                named.add(path)
            if isinstance(node, ast.ImportFrom) and any(
                one.name == "PRESETS" for one in node.names
            ):
                named.add(path)
            if isinstance(node, ast.Call) and name_of(node.func) == "TrainSettings":
                made.add(path)
    assert named == {"core/training/default_settings.py"}
    assert made == {
        # The presets themselves.
        "core/training/pretraining_defaults.py",
        "core/training/default_settings.py",
        # The fields of a form, each as the user left it.
        "pages/components/shared/training_fields.py",
        # A mixing trains nothing; only the device of these is read.
        "core/runs/submit.py",
    }


def test_no_request_is_made_without_its_settings() -> None:
    found = 0
    for path, tree in trees("core", "pages"):
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or name_of(node.func) not in (
                "FinetuneRequest",
                "PretrainRequest",
                "SweepSpec",
            ):
                continue
            found += 1
            place = {"FinetuneRequest": 5, "PretrainRequest": 3, "SweepSpec": 7}[name_of(node.func)]
            given = len(node.args) > place or any(one.arg == "train" for one in node.keywords)
            assert given, f"{path}:{node.lineno} leaves the settings to the class"
    assert found >= 7
