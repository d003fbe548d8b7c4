"""Which vocabulary and statistics a fine-tuning run reads: the backbone's, or refitted ones."""

from core.errors import BadInput
from core.freezing.strategies import is_control
from core.jobs.requests import FinetuneRequest
from core.models.card import BackboneCard
from core.models.registry import find_architecture

REFITTED_SENTENCE = (
    "Vocabulary and statistics are extended by the target's training rows, so the embeddings that"
    " train are more than the backbone's; controls keep theirs."
)

INPUT_TITLES = {
    "kept": "the backbone's",
    "refitted": "extended by the target's training rows",
}
"""Titles of FINETUNE_INPUTS."""


def inputs_of_strategy(strategy: str, inputs: str) -> str:
    """Return which inputs a strategy takes where a run or sweep asks for `inputs`.

    Controls ignore the choice: zero-shot is the backbone as it is, and the others fit inputs of
    their own.

    >>> [inputs_of_strategy(name, "refitted") for name in ("depth", "zero-shot")]
    ['refitted', 'kept']
    """
    return "kept" if is_control(strategy) else inputs


def check_inputs(card: BackboneCard, inputs: str) -> None:
    """Raise BadInput if a backbone cannot have these inputs, one of FINETUNE_INPUTS."""
    architecture = find_architecture(card.architecture)
    if inputs == "refitted" and architecture is not None and architecture.required_package:
        raise BadInput(
            f"The backbone {card.name!r} ({card.architecture}) draws its inputs as pictures, which"
            " have no vectors of values to add to; keep its vocabulary and statistics."
        )


def check_same_inputs(request: FinetuneRequest, run_id: str) -> None:
    """Raise BadInput if a run's weights cannot be laid beside its backbone's, value by value."""
    if request.inputs == "refitted":
        raise BadInput(
            f"Run {run_id} refitted its vocabulary and statistics, so its embeddings and inputs"
            " are not those of its backbone; choose a run that kept them."
        )
