"""Cards: a description of each backbone, stage by stage.

They are plain data that a page can read without importing torch.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data.schema import CATEGORICAL, FIELDS, NUMERIC
from core.errors import BadInput
from core.files.typed_json import check_types
from core.stored import check_timestamp, load_stored, parse_stored
from core.workspace import write_json

CARD_FILE, WEIGHTS_FILE = "card.json", "model.safetensors"
PREPROCESSING_FILES = ("preprocessing/preprocessing.json", "preprocessing/vocabulary.parquet")
REPAIR_ADVICE = "put a copy of it back, or rebuild or import the backbone again"
"""What to do about a damaged file of a backbone."""

ACTIVATIONS = ("relu", "gelu", "tanh")
HEAD_OUTPUTS = {
    "logit": "one logit, binary cross entropy",
    "softmax": "two classes, softmax cross entropy",
}


@dataclass(frozen=True)
class HeadSettings:
    """The fully connected layers on top of the last stage, Xavier-initialised.

    Args:
        hidden: widths of the hidden layers; none by default, at most 4 of 1 to 4096.
        activation: between the layers, one of ACTIVATIONS.
        output: "logit" (one output, binary cross entropy) or "softmax" (two, cross entropy).

    Raises:
        BadInput: a value is not among these, or has another type.
    """

    hidden: tuple[int, ...] = ()
    activation: str = "relu"
    output: str = "logit"

    def __post_init__(self) -> None:
        check_types(self)
        if self.activation not in ACTIVATIONS:
            raise BadInput(
                f"Head activation {self.activation!r} is unknown; choose one of"
                f" {list(ACTIVATIONS)}."
            )
        if self.output not in HEAD_OUTPUTS:
            raise BadInput(
                f"Head output {self.output!r} is unknown; choose one of {list(HEAD_OUTPUTS)}."
            )
        if len(self.hidden) > 4 or any(not 1 <= width <= 4096 for width in self.hidden):
            raise BadInput(
                f"Head layers {list(self.hidden)} cannot be used: up to 4 layers of 1 to 4096"
                " units."
            )

    @property
    def classes(self) -> int:
        """Outputs of the last layer: 1 for a logit, 2 for softmax."""
        return 2 if self.output == "softmax" else 1

    def widths(self, representation: int) -> tuple[int, ...]:
        """Layer widths, from the representation to the outputs."""
        return (representation, *self.hidden, self.classes)

    def parameters(self, representation: int, members: int = 1) -> int:
        """Weights and biases of the head, of all members together."""
        widths = self.widths(representation)
        return members * sum((a + 1) * b for a, b in itertools.pairwise(widths))

    def flops(self, representation: int, members: int = 1) -> int:
        """Floating-point operations per row of the forward pass; a multiply-add counts as two."""
        widths = self.widths(representation)
        return members * sum(2 * a * b for a, b in itertools.pairwise(widths))


@dataclass(frozen=True)
class StageCard:
    """One stage of a backbone in plain data.

    Args:
        name: its id, such as "block1".
        title: its name on a page, such as "Block 1".
        parameters: scalars of the stage.
        flops: floating-point operations per row of the forward pass.
        outputs: floats per row that it returns.
        parts: titles of parallel parts, which freeze together; none for a plain stage.
        origin: what its weights come from, a key of core.models.objectives.ORIGINS.
        biases_norms: scalars in biases and normalisation layers; None on cards of older versions.
        linear_widths: inputs plus outputs of its linear layers, which is the number of scalars per
            rank of LoRA; None on cards of older versions.
    """

    name: str
    title: str
    parameters: int
    flops: int
    outputs: int
    parts: tuple[str, ...] = ()
    origin: str = "supervised"
    biases_norms: int | None = None
    linear_widths: int | None = None


@dataclass(frozen=True)
class BackboneCard:
    """A pretrained backbone in plain data.

    Stored as card.json beside model.safetensors and preprocessing/.

    Args:
        id: its id, which is the name of its folder.
        name: its name, unique in a workspace.
        architecture, settings: a key of ARCHITECTURES, and values for all of its settings.
        stages: from the input up, without the head.
        representation: floats per row, and per member, that the last stage returns.
        head: settings of its own head.
        trained_on: the rows it was trained on: "dataset", "content_hash", "rows", "simulated" and
            "domain"; of a fine-tuned network since version 0.13 also "head": "kept" or "new", and
            "inputs" where they were "refitted"; of a control "learner": what fitted it and how.
        metrics: of its own head on the test rows of `test_domain`, if it was trained on click
            labels: "auc", "auc_low", "auc_high", "log_loss", "rows", "click_rate" and other metrics
            shown on cards. Else metrics of its objective on source validation rows, by title. Any
            may be None or not there.
        preprocessing_hash, weights_sha256: of the files beside the card.
        licence: under which the weights may be used.
        created: ISO time.
        members: of an ensemble, each with a representation and a head of its own; else 1.
        objective: what it was trained by, a key of core.models.objectives.OBJECTIVES.
        bundled: whether Thaw brings it along.
        earlier: what its weights were trained on before, each like trained_on, oldest first.
        imported: whether it came from a file, so that what the weights do not show (trained_on,
            earlier, objective, origins, metrics, licence) is as its maker stated it.
        n_dense: floats of a row beside its ids: the numeric fields, and any target statistics.
        folder: where it was read from; not stored.
    """

    id: str
    name: str
    architecture: str
    settings: dict[str, Any]
    stages: tuple[StageCard, ...]
    representation: int
    head: HeadSettings
    trained_on: dict[str, Any]
    metrics: dict[str, Any]
    preprocessing_hash: str
    weights_sha256: str
    licence: str
    created: str
    members: int = 1
    objective: str = "supervised"
    bundled: bool = False
    earlier: tuple[dict[str, Any], ...] = ()
    imported: bool = False
    n_dense: int = len(NUMERIC)
    folder: Path = Path()

    @property
    def scores_clicks(self) -> bool:
        """Whether its own head was trained on click labels, so that it can score rows as it is."""
        return self.objective == "supervised"

    @property
    def test_domain(self) -> str:
        """The domain of the test rows that `metrics` are of; for a control always the target."""
        return "target" if "learner" in self.trained_on else str(self.trained_on["domain"])

    @property
    def parameters(self) -> int:
        """Scalars in all stages, without the head."""
        return sum(stage.parameters for stage in self.stages)


def inputs_sentence(n_dense: int) -> str:
    """Say what a network reads of a row.

    Args:
        n_dense: floats of a row beside its ids.

    >>> inputs_sentence(13)
    '39 fields, 13 of them as numbers too'
    >>> inputs_sentence(65)
    '39 fields, 13 of them as numbers too, 26 target statistics, 26 counts'
    """
    words = [f"{len(FIELDS)} fields", f"{len(NUMERIC)} of them as numbers too"]
    if n_dense > len(NUMERIC):
        words += [f"{len(CATEGORICAL)} target statistics", f"{len(CATEGORICAL)} counts"]
    if pairs := n_dense - len(NUMERIC) - 2 * len(CATEGORICAL) * (len(words) > 2):
        words.append(f"statistics of {pairs} pairs of fields")
    return ", ".join(words)


def save_card(card: BackboneCard, folder: Path) -> None:
    """Write card.json into `folder`."""
    values = dataclasses.asdict(card)
    del values["folder"]
    write_json(folder / CARD_FILE, values)


def load_card(folder: Path, advice: str = REPAIR_ADVICE) -> BackboneCard:
    """Read card.json from `folder`.

    Raises:
        Damaged: a field is missing or of the wrong kind. The message ends with `advice`.
    """

    def make(values: dict[str, Any]) -> BackboneCard:
        card = dataclasses.replace(parse_stored(BackboneCard, values), folder=folder)
        if not card.stages:
            raise ValueError("it has no stages")
        for rows in (card.trained_on, *card.earlier):
            check_trained_on(rows)
        for name, number in card.metrics.items():
            if number is not None and (
                isinstance(number, bool) or not isinstance(number, int | float)
            ):
                raise ValueError(
                    f"its metric {name[:40]!r} is {str(number)[:40]!r}, which is not a number"
                )
        check_timestamp(card.created, "created")
        return card

    return load_stored(folder / CARD_FILE, advice, make)


def check_trained_on(trained_on: Mapping[str, Any]) -> None:
    """Raise ValueError unless `trained_on` has what BackboneCard.trained_on needs."""
    kinds = {"dataset": str, "rows": int, "simulated": bool, "domain": str}
    for name, kind in kinds.items():
        if not isinstance(trained_on.get(name), kind):
            raise ValueError(f"its trained_on.{name} is {str(trained_on.get(name))[:40]!r}")
