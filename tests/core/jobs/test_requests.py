"""What a request holds has the declared types, so that a stored run can be read again."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from core.data.split import SplitSpec
from core.errors import BadInput
from core.jobs.requests import (
    FinetuneRequest,
    InterpolateRequest,
    PretrainRequest,
    TrainSettings,
    request_from_json,
    request_to_json,
)
from core.models.card import HeadSettings
from core.models.registry import complete_settings
from core.runs.sweep import Arm, SweepSpec
from core.training.default_settings import preset_settings, presets_for

DEPTH = Arm("depth", 1)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: TrainSettings(batch_size=256.0),  # type: ignore[arg-type]
            r"batch size is 256\.0; it must be a whole number",
        ),
        (lambda: TrainSettings(epochs=1.0), "epochs is 1.0; it must be a whole"),  # type: ignore[arg-type]
        (lambda: TrainSettings(epochs=True), "epochs is True"),
        (lambda: TrainSettings(epochs="3"), "epochs is '3'"),  # type: ignore[arg-type]
        (lambda: TrainSettings(early_stopping=1.5), "early stopping is 1.5"),  # type: ignore[arg-type]
        (lambda: TrainSettings(amp=3), "amp is 3; it must be True or False"),  # type: ignore[arg-type]
        (lambda: TrainSettings(learning_rate="fast"), "learning rate is 'fast'"),  # type: ignore[arg-type]
        (lambda: TrainSettings(learning_rate=True), "learning rate is True"),
        (
            lambda: TrainSettings(validation_share="a"),  # type: ignore[arg-type]
            r"validation share is 'a'; it must be a number \(float\) or None",
        ),
        (lambda: FinetuneRequest("d", "b", freeze_depth=1.5), "freeze depth is 1.5"),  # type: ignore[arg-type]
        (lambda: FinetuneRequest("d", "b", freeze_depth=True), "freeze depth is True"),
        (
            lambda: FinetuneRequest("d", "b", freeze_depth=np.float64(1)),  # type: ignore[arg-type]
            r"freeze depth is np.float64\(1.0\)",
        ),
        (lambda: FinetuneRequest("d", "b", rates=(1e-3, "x")), "rates is"),  # type: ignore[arg-type]
        (lambda: FinetuneRequest("d", "b", train=None), "train is None"),  # type: ignore[arg-type]
        (lambda: PretrainRequest("d", "dnn", 3), "name is 3"),  # type: ignore[arg-type]
        (lambda: PretrainRequest("d", "dnn", "n", mask_share="x"), "mask share is 'x'"),  # type: ignore[arg-type]
        (lambda: InterpolateRequest("d", None), "run is None"),  # type: ignore[arg-type]
        (
            lambda: HeadSettings(hidden=(1.5,)),  # type: ignore[arg-type]
            r"hidden is \(1\.5,\); it must be a list, each entry a whole number",
        ),
        (lambda: HeadSettings(hidden=8), "hidden is 8"),  # type: ignore[arg-type]
        (lambda: Arm("depth", 1.5), "freeze depth is 1.5"),  # type: ignore[arg-type]
        (lambda: SweepSpec("d", "b", (DEPTH,), seeds=(0.5,)), "seeds is"),  # type: ignore[arg-type]
        (lambda: SweepSpec("d", "b", (DEPTH,), halving=2.0), "halving is 2.0"),  # type: ignore[arg-type]
        (lambda: SplitSpec(seed=0.5), "seed is 0.5"),  # type: ignore[arg-type]
    ],
)
def test_a_value_of_another_type_is_refused_with_its_field(
    make: Callable[[], Any], sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        make()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"widths": 8}, "Block widths is 8; it must be a list of whole numbers"),
        ({"widths": [8, 1.5]}, r"Block widths is \[8, 1.5\]"),
        ({"widths": "8"}, "Block widths is '8'"),
        ({"embedding": 8.0}, "Embedding size is 8.0; it must be a whole number of 1 to 256"),
        ({"embedding": True}, "Embedding size is True"),
        ({"batch_norm": 1}, "BatchNorm in the blocks is 1; it must be True or False"),
        ({"dropout": "a"}, "Dropout is 'a'; it must be 0 to 0.95"),
    ],
)
def test_settings_of_an_architecture_have_the_types_of_its_defaults(
    settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        complete_settings("dnn", settings)
    assert complete_settings("dnn", {"widths": (8,), "dropout": 0})["widths"] == (8,)


def test_numbers_of_numpy_become_pythons_and_are_read_again() -> None:
    settings = TrainSettings(
        epochs=np.int64(3),  # type: ignore[arg-type]
        learning_rate=np.float64(0.5),
        weight_decay=1,
        amp=np.bool_(True),  # type: ignore[arg-type]
    )
    assert [type(one) for one in (settings.epochs, settings.learning_rate, settings.amp)] == [
        int,
        float,
        bool,
    ]
    head = HeadSettings(hidden=[np.int64(8), 4])  # type: ignore[arg-type]
    assert head == HeadSettings(hidden=np.array([8, 4])) == HeadSettings(hidden=(8, 4))  # type: ignore[arg-type]
    request = FinetuneRequest("d", "b", freeze_depth=np.int64(1), head=head, train=settings)  # type: ignore[arg-type]
    assert request_from_json(json.loads(json.dumps(request_to_json(request)))) == request


def test_new_runs_multiply_in_tf32_and_stored_ones_keep_float32() -> None:
    assert all(settings.tf32 for settings in presets_for(1_000).values())
    assert all(preset_settings("auto", rows, "supervised").tf32 for rows in (1_000, 10**6))
    values = request_to_json(FinetuneRequest("d", "b", train=preset_settings("auto", 1_000)))
    assert request_from_json(values).train.tf32
    del values["train"]["tf32"]
    assert not request_from_json(values).train.tf32
