"""Whether a fine-tuning run goes on from the backbone's own head or puts a new one on."""

from typing import Literal

from core.errors import BadInput
from core.freezing.strategies import is_control
from core.jobs.requests import FinetuneRequest
from core.models.card import BackboneCard, HeadSettings

HeadChoice = Literal["keep", "new"]
HEAD_CHOICES: tuple[HeadChoice, ...] = ("keep", "new")
"""What a user may ask for: the backbone's own head, or a new one."""
NEW_HEAD_PRESETS = ("article",)
"""Presets that put a new head on unless told otherwise: the source article does."""


def same_shape(one: HeadSettings, other: HeadSettings) -> bool:
    """Whether weights of one head fit into the other and mean the same there.

    The activation lies between hidden layers, so without any it makes no difference.

    >>> same_shape(HeadSettings(activation="relu"), HeadSettings(activation="tanh"))
    True
    """
    layers_alike = (one.hidden, one.output) == (other.hidden, other.output)
    return layers_alike and (not one.hidden or one.activation == other.activation)


def default_keep_head(card: BackboneCard, head: HeadSettings | None = None) -> bool:
    """Whether a backbone's own head is kept where the user does not say.

    It is kept where the backbone learnt clicks and the head has the shape that is asked for.

    Args:
        card: the backbone.
        head: the head that is asked for; None for whichever there is.
    """
    return card.scores_clicks and (head is None or same_shape(head, card.head))


def choose_head(
    card: BackboneCard, head: HeadSettings | None, choice: str | None, preset: str
) -> tuple[bool, HeadSettings]:
    """Return `keep_head` and `head` of a request.

    Args:
        card: the backbone.
        head: the shape that the user asked for; None where nothing was said about it.
        choice: one of HEAD_CHOICES; None for the default.
        preset: of the training settings; one of NEW_HEAD_PRESETS makes "new" the default.

    Raises:
        BadInput: the choice is unknown, or a head shall be kept that is not there or has another
            shape.
    """
    if choice not in (None, *HEAD_CHOICES):
        raise BadInput(f"head is {choice!r}; it must be one of {list(HEAD_CHOICES)}.")
    if choice is None:
        keep = preset not in NEW_HEAD_PRESETS and default_keep_head(card, head)
    else:
        keep = choice == "keep"
    if not keep:
        return False, head or HeadSettings()
    check_kept_head(card, head or card.head)
    return True, card.head


def keeps_head(request: FinetuneRequest) -> bool:
    """Whether a run trains the backbone's own head; controls train a new one or none."""
    return request.keep_head and not is_control(request.strategy)


def check_kept_head(card: BackboneCard, head: HeadSettings) -> None:
    """Check that a backbone has a head that training can go on from.

    Args:
        card: the backbone.
        head: the shape that is asked for.

    Raises:
        BadInput: it has none trained on click labels, or one of another shape.
    """
    if not card.scores_clicks:
        raise BadInput(
            f"The backbone {card.name!r} has no head trained on click labels, so there is none to"
            " keep; choose a new head."
        )
    if not same_shape(head, card.head):
        raise BadInput(
            f"The head of the backbone {card.name!r} has {_describe(card.head)}, and one with"
            f" {_describe(head)} was asked for; keep the head as it is, or choose a new one."
        )


def _describe(head: HeadSettings) -> str:
    output = "two classes" if head.output == "softmax" else "one logit"
    if not head.hidden:
        return f"no hidden layers and {output}"
    return f"hidden layers {list(head.hidden)} ({head.activation}) and {output}"
