"""What every backbone is made of: stages in order from the input, and a head on top."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.data.schema import NUMERIC
from core.errors import BadInput
from core.models.card import HeadSettings
from core.models.layers import EmbeddingTable, Linear

State = tuple[Tensor, ...]
"""What one stage hands to the next: tensors whose first dimension is the rows."""

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


class Stage(nn.Module):
    """The smallest unit that freezes. `name` is its id in cards and files, `title` what a page
    shows.

    parts: titles of the parallel parts it holds, which freeze together; none for a plain stage.
    Subclasses map a State to a State; the first stage gets (ids int (rows, fields), numerics float
    (rows, 13)).
    """

    def __init__(self, name: str, title: str, parts: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.name = name
        self.title = title
        self.parts = parts

    def forward(self, state: State) -> State:
        raise TypeError(f"{type(self).__name__} must define forward")

    def fit_preprocessing(self, state: State, labels: Tensor) -> None:
        """Called on the first stage, once, with the rows a backbone is about to be pretrained on;
        most learn nothing.

        state: ids (rows, fields) and numerics (rows, 13) of training rows. labels: (rows,) of 0.0
        and 1.0.
        """


class Embedding(Stage):
    """One vector per field value, all fields in one table; hands on (embeddings and numerics side
    by side,).

    field_sizes: values per field, so ids of field f lie in 0..field_sizes[f]-1. size: floats a
    vector. The output is (rows, fields * size + numerics). Weights start normal with deviation
    0.01.
    """

    offsets: Tensor

    def __init__(self, field_sizes: Sequence[int], size: int) -> None:
        super().__init__("embedding", "Embedding")
        offsets = torch.tensor([0, *field_sizes[:-1]], dtype=torch.int64).cumsum(0)
        self.register_buffer("offsets", offsets, persistent=False)
        self.table = EmbeddingTable(sum(field_sizes), size)
        nn.init.normal_(self.table.weight, std=0.01)

    def reset_parameters(self) -> None:
        """Draws every weight anew, as the constructor does."""
        nn.init.normal_(self.table.weight, std=0.01)

    def vectors(self, ids: Tensor) -> Tensor:
        """Embeddings (rows, fields, size) of `ids` (rows, fields)."""
        return self.table(ids + self.offsets)

    def forward(self, state: State) -> State:
        ids, numerics = state
        return (concat_features(self.vectors(ids), numerics),)


def concat_features(vectors: Tensor, numerics: Tensor) -> Tensor:
    """Vectors (rows, fields, size) and numerics (rows, 13) as one vector a row, (rows, fields *
    size + 13)."""
    return torch.cat([vectors.flatten(1), numerics], dim=1)


def concat_width(fields: int, embedding: int) -> int:
    """Floats a row of `concat_features`."""
    return fields * embedding + len(NUMERIC)


@dataclass(frozen=True)
class BlockSettings:
    """widths: outputs of the blocks. dropout: share of activations dropped after each. batch_norm:
    after each layer."""

    widths: tuple[int, ...]
    dropout: float
    batch_norm: bool

    def __post_init__(self) -> None:
        if not 1 <= len(self.widths) <= 8 or any(not 1 <= width <= 4096 for width in self.widths):
            raise BadInput(
                f"Block widths {list(self.widths)} cannot be used: take 1 to 8 widths of 1 to 4096."
            )
        if not 0 <= self.dropout < 1:
            raise BadInput(f"Dropout is {self.dropout!r}; it must be at least 0 and below 1.")


@dataclass(frozen=True)
class DeepSettings:
    """embedding: floats a vector. widths, dropout, batch_norm: of the blocks (BlockSettings)."""

    embedding: int
    widths: tuple[int, ...]
    dropout: float
    batch_norm: bool

    @property
    def blocks(self) -> BlockSettings:
        """What the blocks need of these settings."""
        return BlockSettings(self.widths, self.dropout, self.batch_norm)


def dense_layer(inputs: int, outputs: int, settings: BlockSettings) -> nn.Sequential:
    """A fully connected layer, BatchNorm where asked for (Ioffe and Szegedy 2015), ReLU and
    dropout."""
    norm = [nn.BatchNorm1d(outputs)] if settings.batch_norm else []
    # BatchNorm takes a bias out again; its gradient is rounding noise, which Adam would blow up to
    # full steps.
    linear = Linear(inputs, outputs, bias=not settings.batch_norm)
    return nn.Sequential(linear, *norm, nn.ReLU(), nn.Dropout(settings.dropout))


class Block(Stage):
    """A dense layer on the last tensor of the state, (rows, inputs) to (rows, outputs); those
    before pass by."""

    def __init__(self, number: int, inputs: int, outputs: int, settings: BlockSettings) -> None:
        super().__init__(f"block{number}", f"Block {number}")
        self.layers = dense_layer(inputs, outputs, settings)

    def forward(self, state: State) -> State:
        return (*state[:-1], self.layers(state[-1]))


def mlp_stages(inputs: int, settings: BlockSettings) -> list[Stage]:
    """Blocks of the given widths on top of `inputs` floats."""
    sizes = [inputs, *settings.widths]
    return [Block(i, sizes[i - 1], sizes[i], settings) for i in range(1, len(sizes))]


class ParallelLayers(Stage):
    """Parallel parts at one height, which freeze together: each maps its own tensor of the state,
    None passes it by.

    titles: one a tensor of the state; a part that is None has no title to show.
    """

    def __init__(
        self, number: int, towers: Sequence[nn.Module | None], titles: Sequence[str]
    ) -> None:
        parts = tuple(
            title for title, tower in zip(titles, towers, strict=True) if tower is not None
        )
        super().__init__(f"towers{number}", " ‖ ".join(parts), parts if len(parts) > 1 else ())
        self.towers = nn.ModuleList(nn.Identity() if tower is None else tower for tower in towers)

    def forward(self, state: State) -> State:
        return tuple(tower(tensor) for tower, tensor in zip(self.towers, state, strict=True))


def parallel_stages(towers: Sequence[Sequence[nn.Module]], titles: Sequence[str]) -> list[Stage]:
    """Stages of equally high layers of several towers, from the input up; a tower that has ended
    passes by.

    titles: of each tower's layers; the layer's number is put behind.
    """
    heights = range(1, max(len(tower) for tower in towers) + 1)
    return [
        ParallelLayers(
            height,
            [tower[height - 1] if height <= len(tower) else None for tower in towers],
            [f"{title} {height}" for title in titles],
        )
        for height in heights
    ]


class MemberLinear(nn.Module):
    """A linear layer of its own for each of `members`: (rows, members, inputs) to (rows, members,
    outputs)."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(members, outputs))
        bound = math.sqrt(6 / (inputs + outputs))
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("rmi,mio->rmo", x, self.weight) + self.bias


def xavier_linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer with Xavier-uniform weights (Glorot and Bengio 2010) and zero biases."""
    layer = Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Head(nn.Module):
    """Fully connected layers from the concatenated state to one or two outputs a row,
    Xavier-uniform, zero biases.

    With several members the state is (rows, members, representation) and every member has layers of
    its own.
    """

    def __init__(self, representation: int, settings: HeadSettings, members: int = 1) -> None:
        super().__init__()
        self.settings = settings
        self.members = members
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(settings.widths(representation)):
            linear = (
                xavier_linear(inputs, outputs)
                if members == 1
                else MemberLinear(members, inputs, outputs)
            )
            layers += [_ACTIVATIONS[settings.activation](), linear]
        self.layers = nn.Sequential(*layers[1:])

    def forward(self, state: State) -> Tensor:
        """Raw outputs (rows, classes), or (rows, members, classes)."""
        if self.members > 1:
            return self.layers(state[0])
        return self.layers(flatten_state(state))


def flatten_state(state: State) -> Tensor:
    """The tensors of a state side by side, (rows, floats)."""
    # Joining one would copy it, a tenth of an epoch of the head alone.
    return (
        state[0].flatten(1)
        if len(state) == 1
        else torch.cat([tensor.flatten(1) for tensor in state], dim=1)
    )


class Network(nn.Module):
    """Stages, then a head. Indices count stages from the input; the head is not among them.

    representation: floats a row, and a member, that the last stage hands to the head.
    """

    def __init__(
        self, stages: Iterable[Stage], representation: int, head: HeadSettings, members: int = 1
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.representation = representation
        self.members = members
        self.head: nn.Module = Head(representation, head, members)

    def stage_list(self) -> list[Stage]:
        """The stages from the input up."""
        return [stage for stage in self.stages if isinstance(stage, Stage)]

    def replace_head(self, settings: HeadSettings) -> None:
        """Puts a new, freshly initialised head on."""
        self.head = Head(self.representation, settings, self.members)

    def run_stages(self, state: State, first: int, last: int) -> State:
        """The state after stages `first` to `last - 1`, given the state before `first`."""
        for stage in self.stage_list()[first:last]:
            state = stage(state)
        return state

    def forward(self, state: State, first: int = 0) -> Tensor:
        """The head's raw outputs (rows, classes) from the state before stage `first`."""
        return self.head(self.run_stages(state, first, len(self.stages)))


def click_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy of raw head outputs (rows, [members,] 1 or 2) against labels (rows,) of
    0.0 and 1.0.

    Members learn on their own: the mean is over them too (Gorishniy et al., TabM, ICLR 2025).
    """
    if outputs.ndim == 3:
        labels = labels.repeat_interleave(outputs.shape[1])
        outputs = outputs.flatten(0, 1)
    if outputs.shape[1] == 1:
        return nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], labels)
    return nn.functional.cross_entropy(outputs, labels.long())


def click_probabilities(outputs: Tensor) -> Tensor:
    """Click probabilities (rows,) from raw head outputs (rows, [members,] 1 or 2); the mean of the
    members'."""
    scores = (
        outputs[..., 0].sigmoid() if outputs.shape[-1] == 1 else outputs.softmax(dim=-1)[..., 1]
    )
    return scores.mean(dim=1) if scores.ndim == 2 else scores


_NORMS = (nn.BatchNorm1d, nn.LayerNorm)


def biases_and_norms(module: nn.Module) -> list[nn.Parameter]:
    """What BitFit trains: parameters called b or bias, and every parameter of a normalisation
    layer, in order."""
    norms = {
        id(one)
        for part in module.modules()
        if isinstance(part, _NORMS)
        for one in part.parameters()
    }
    return [
        parameter
        for name, parameter in module.named_parameters()
        if id(parameter) in norms or name.rpartition(".")[2] in ("b", "bias")
    ]


def linear_layers(module: nn.Module) -> list[nn.Linear]:
    """What LoRA adapts: every linear layer, in order."""
    return [part for part in module.modules() if isinstance(part, nn.Linear)]
