"""Give a network vectors for more values, without changing what it computes for any row."""

from collections.abc import Sequence

import torch
from torch import Tensor

from core.data.preprocessing import UNSEEN
from core.models.backbone import build_network
from core.models.card import BackboneCard
from core.models.layers import EmbeddingTable
from core.models.network import Network


def extend_embeddings(
    card: BackboneCard, network: Network, before: Sequence[int], after: Sequence[int]
) -> Network:
    """Return a network whose vocabularies have grown; all other weights are those of `network`.

    A known value keeps its vector bit for bit. A new one starts with the vector of UNSEEN, which it
    had so far, so every row has the outputs that it had.

    Args:
        card: of the network.
        network: with the card's own head.
        before: number of ids of each field, so far.
        after: the same with the new values, whose ids follow those of the known ones.
    """
    extended = build_network(card.architecture, card.settings, after, card.head, card.n_dense)
    weights = network.state_dict()
    for name, module in extended.named_modules():
        # First-order weights are tables as well, of one number a value.
        if isinstance(module, EmbeddingTable) and module.num_embeddings == sum(after):
            weights[f"{name}.weight"] = _extend_table(weights[f"{name}.weight"], before, after)
    extended.load_state_dict(weights)
    return extended.eval()


def _extend_table(table: Tensor, before: Sequence[int], after: Sequence[int]) -> Tensor:
    """Return the table with the UNSEEN row of each field repeated after the field's own rows."""
    parts = []
    for rows, size in zip(table.split([*before]), after, strict=True):
        parts += [rows, rows[UNSEEN : UNSEEN + 1].expand(size - len(rows), -1)]
    return torch.cat(parts)
