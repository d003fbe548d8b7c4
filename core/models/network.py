"""What every backbone is made of: stages in order from the input, and a head on top."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.errors import BadInput
from core.models.card import HeadSettings

State = tuple[Tensor, ...]
"""What one stage hands to the next: tensors whose first dimension is the rows."""

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


class Stage(nn.Module):
    """The smallest unit that freezes. `name` is its id in cards and files, `title` what a page shows.

    Subclasses map a State to a State; the first stage gets (ids int (rows, fields), numerics float (rows, 13)).
    """

    def __init__(self, name: str, title: str) -> None:
        super().__init__()
        self.name = name
        self.title = title

    def forward(self, state: State) -> State:
        raise TypeError(f"{type(self).__name__} must define forward")


class Embedding(Stage):
    """One vector per field value, all fields in one table; hands on (embeddings and numerics side by side,).

    field_sizes: values per field, so ids of field f lie in 0..field_sizes[f]-1. size: floats a vector. The output is
    (rows, fields * size + numerics). Weights start normal with deviation 0.01.
    """

    offsets: Tensor

    def __init__(self, field_sizes: Sequence[int], size: int) -> None:
        super().__init__("embedding", "Embedding")
        offsets = torch.tensor([0, *field_sizes[:-1]], dtype=torch.int64).cumsum(0)
        self.register_buffer("offsets", offsets, persistent=False)
        self.table = nn.Embedding(sum(field_sizes), size)
        nn.init.normal_(self.table.weight, std=0.01)

    def vectors(self, ids: Tensor) -> Tensor:
        """Embeddings (rows, fields, size) of `ids` (rows, fields)."""
        return self.table(ids + self.offsets)

    def forward(self, state: State) -> State:
        ids, numerics = state
        return (torch.cat([self.vectors(ids).flatten(1), numerics], dim=1),)


@dataclass(frozen=True)
class BlockSettings:
    """widths: outputs of the blocks. dropout: share of activations dropped after each. batch_norm: after each layer."""

    widths: tuple[int, ...]
    dropout: float
    batch_norm: bool

    def __post_init__(self) -> None:
        if not 1 <= len(self.widths) <= 8 or any(not 1 <= width <= 4096 for width in self.widths):
            raise BadInput(f"Block widths {list(self.widths)} cannot be used: take 1 to 8 widths of 1 to 4096.")
        if not 0 <= self.dropout < 1:
            raise BadInput(f"Dropout is {self.dropout!r}; it must be at least 0 and below 1.")


class Block(Stage):
    """A fully connected layer, BatchNorm where asked for (Ioffe and Szegedy 2015), ReLU and dropout.

    Acts on the last tensor of the state, (rows, inputs) to (rows, outputs); the ones before pass by untouched.
    """

    def __init__(self, number: int, inputs: int, outputs: int, settings: BlockSettings) -> None:
        super().__init__(f"block{number}", f"Block {number}")
        norm = [nn.BatchNorm1d(outputs)] if settings.batch_norm else []
        self.layers = nn.Sequential(nn.Linear(inputs, outputs), *norm, nn.ReLU(), nn.Dropout(settings.dropout))

    def forward(self, state: State) -> State:
        return (*state[:-1], self.layers(state[-1]))


def perceptron(inputs: int, settings: BlockSettings) -> list[Stage]:
    """Blocks of the given widths on top of `inputs` floats."""
    sizes = [inputs, *settings.widths]
    return [Block(i, sizes[i - 1], sizes[i], settings) for i in range(1, len(sizes))]


class Head(nn.Module):
    """Fully connected layers from the concatenated state to one or two outputs a row, Xavier-uniform, zero biases."""

    def __init__(self, representation: int, settings: HeadSettings) -> None:
        super().__init__()
        self.settings = settings
        widths = settings.widths(representation)
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            layers += [_ACTIVATIONS[settings.activation](), nn.Linear(inputs, outputs)]
        self.layers = nn.Sequential(*layers[1:])
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, state: State) -> Tensor:
        """Raw outputs (rows, classes)."""
        return self.layers(torch.cat(state, dim=1))


class Network(nn.Module):
    """Stages, then a head. Indices count stages from the input; the head is not among them."""

    def __init__(self, stages: Iterable[Stage], representation: int, head: HeadSettings) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.representation = representation
        self.head = Head(representation, head)

    def ordered(self) -> list[Stage]:
        """The stages from the input up."""
        return [stage for stage in self.stages if isinstance(stage, Stage)]

    def replace_head(self, settings: HeadSettings) -> None:
        """Puts a new, freshly initialised head on."""
        self.head = Head(self.representation, settings)

    def run_stages(self, state: State, first: int, last: int) -> State:
        """The state after stages `first` to `last - 1`, given the state before `first`."""
        for stage in self.ordered()[first:last]:
            state = stage(state)
        return state

    def forward(self, state: State, first: int = 0) -> Tensor:
        """The head's raw outputs (rows, classes) from the state before stage `first`."""
        return self.head(self.run_stages(state, first, len(self.stages)))


def loss_of(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy of raw head outputs (rows, 1 or 2) against labels (rows,) of 0.0 and 1.0."""
    if outputs.shape[1] == 1:
        return nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], labels)
    return nn.functional.cross_entropy(outputs, labels.long())


def scores_of(outputs: Tensor) -> Tensor:
    """Click probabilities (rows,) from raw head outputs (rows, 1 or 2)."""
    if outputs.shape[1] == 1:
        return outputs[:, 0].sigmoid()
    return outputs.softmax(dim=1)[:, 1]
