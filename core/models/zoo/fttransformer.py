"""FT-Transformer: a transformer over feature tokens.

Gorishniy et al.: Revisiting Deep Learning Models, 2021.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.errors import BadInput
from core.models.card import HeadSettings
from core.models.layers import Linear
from core.models.network import Activations, Embedding, Network, Stage


@dataclass(frozen=True)
class Settings:
    """Settings of FT-Transformer.

    Args:
        embedding: floats of a token; a multiple of `heads`.
        layers: transformer blocks.
        heads: attention heads of each block.
        hidden: units of the feed-forward part.
        dropout: of attention weights, and inside the feed-forward part.
    """

    embedding: int
    layers: int
    heads: int
    hidden: int
    dropout: float

    def __post_init__(self) -> None:
        if self.embedding % self.heads:
            raise BadInput(
                f"{self.heads} attention heads cannot share {self.embedding} floats; take a "
                "divisor of it."
            )


class FeatureTokenizer(Embedding):
    """Turns every feature into a token; the class token comes first.

    Each field has its vector; each numeric also gives ``x * w + b``, as in the paper.
    Returns ``(tokens,)`` of shape ``(n_rows, 1 + n_fields + dense, size)``.
    """

    def __init__(self, field_sizes: Sequence[int], size: int, dense: int) -> None:
        super().__init__(field_sizes, size)
        self.title = "Feature tokens"
        self.weight = nn.Parameter(torch.empty(dense, size))
        self.bias = nn.Parameter(torch.empty(dense, size))
        self.class_token = nn.Parameter(torch.empty(1, size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every weight anew, as the constructor does."""
        bound = 1 / math.sqrt(self.class_token.shape[1])
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, state: Activations) -> Activations:
        ids, numerics = state
        scaled = numerics.unsqueeze(2) * self.weight + self.bias
        # shape[0], not len(): a trace would record that as the number of rows of its example.
        return (
            torch.cat(
                [self.class_token.expand(ids.shape[0], 1, -1), self.vectors(ids), scaled], dim=1
            ),
        )


class Attention(nn.Module):
    """Multi-head attention of `queries` over `tokens` (Vaswani et al. 2017).

    Maps ``(n_rows, n_queries, size)`` and ``(n_rows, n_tokens, size)`` to the shape of the queries.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        size = settings.embedding
        self.heads, self.dropout = settings.heads, settings.dropout
        self.query, self.key, self.value, self.out = (Linear(size, size) for _ in range(4))

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        def split(x: Tensor) -> Tensor:
            return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

        mixed = nn.functional.scaled_dot_product_attention(
            split(self.query(queries)),
            split(self.key(tokens)),
            split(self.value(tokens)),
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.out(mixed.transpose(1, 2).flatten(2))


class TransformerBlock(Stage):
    """A pre-norm block: attention, then a feed-forward part with ReGLU, each with a residual.

    The first block has no norm before its attention, as in the paper. The last one computes the
    class token alone and returns ``ReLU(LayerNorm(class token))``, shape ``(n_rows, size)``.
    """

    def __init__(self, number: int, settings: Settings) -> None:
        super().__init__(f"block{number}", f"Transformer {number}")
        size = settings.embedding
        self.last = number == settings.layers
        self.attention_norm = nn.Identity() if number == 1 else nn.LayerNorm(size)
        self.attention = Attention(settings)
        self.forward_norm = nn.LayerNorm(size)
        self.up = Linear(size, 2 * settings.hidden)
        self.dropout = nn.Dropout(settings.dropout)
        self.down = Linear(settings.hidden, size)
        self.close = nn.LayerNorm(size) if self.last else nn.Identity()

    def forward(self, state: Activations) -> Activations:
        (tokens,) = state
        normed = self.attention_norm(tokens)
        kept = slice(0, 1) if self.last else slice(None)
        x = tokens[:, kept] + self.attention(normed[:, kept], normed)
        value, gate = self.up(self.forward_norm(x)).chunk(2, dim=2)
        x = x + self.down(self.dropout(value * torch.relu(gate)))
        return (torch.relu(self.close(x[:, 0])),) if self.last else (x,)


def build(
    settings: Settings, field_sizes: Sequence[int], head: HeadSettings, dense: int
) -> Network:
    """Stages embedding (the tokenizer), block1, block2, …; the head reads the class token.

    Args:
        settings: see Settings.
        field_sizes: number of values of each field.
        head: settings of the head.
        dense: floats of a row beside its ids.
    """
    blocks = [TransformerBlock(number, settings) for number in range(1, settings.layers + 1)]
    return Network(
        [FeatureTokenizer(field_sizes, settings.embedding, dense), *blocks],
        settings.embedding,
        head,
    )
