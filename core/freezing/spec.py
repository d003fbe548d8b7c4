"""What a strategy decides: which stages train, from which epoch, how fast, and what inside them."""

from dataclasses import dataclass
from typing import Literal

Scope = Literal["all", "biases and norms", "adapters"]
"""What may train inside a stage: everything, what BitFit trains, or LoRA's additions."""
Schedule = Literal["none", "auto-rgn", "autofreeze"]
"""What may change while it trains: nothing, the rates of stages, or which stages train."""


@dataclass(frozen=True)
class FreezeSpec:
    """The decision of a strategy about the stages of a backbone, from the input up.

    The head is not among the stages; it always trains, at the full learning rate.

    Args:
        trainable: whether each stage trains, one a stage.
        from_epoch: first epoch (from 0) in which each stage trains; all from the first when empty.
        lr_scales: the part of the learning rate for each stage; 1 when empty.
        scope: what trains inside a stage.
        rank: of the additions, with the scope "adapters".
        l2_sp: strength of the pull towards the weights that training starts from (L2-SP); 0 for
            none.
        head_decay: strength of the pull of a new head towards zero, where `l2_sp` is not 0.
        schedule: what changes while it trains.
        reset_embeddings: whether the embedding stage starts anew in each epoch after the first.
        reinitialise: whether all stages start from random weights.
        probe_first: whether the head trains alone until its validation loss no longer falls; the
            stages join then, not before `from_epoch`.
    """

    trainable: tuple[bool, ...]
    from_epoch: tuple[int, ...] = ()
    lr_scales: tuple[float, ...] = ()
    scope: Scope = "all"
    rank: int = 0
    l2_sp: float = 0.0
    schedule: Schedule = "none"
    reset_embeddings: bool = False
    reinitialise: bool = False
    head_decay: float = 0.0
    probe_first: bool = False
