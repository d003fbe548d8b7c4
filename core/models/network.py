"""What every backbone is made of: stages in order from the input, and a head on top.

Shapes: `n_rows` rows of a batch, `n_fields` fields of a row, `size` floats of an embedding.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.errors import BadInput
from core.models.card import HeadSettings
from core.models.layers import EmbeddingTable, Linear

Activations = tuple[Tensor, ...]
"""What one stage returns and the next one takes: tensors whose first dimension is rows."""

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


class Stage(nn.Module):
    """The smallest unit that freezes.

    Subclasses map a state to a state. The first stage takes ``(ids, numerics)``: int ids of shape
    ``(n_rows, n_fields)`` and float numerics of shape ``(n_rows, dense)``: the 13 standardised
    numbers and, where the preprocessing has them, target statistics.

    Args:
        name: its id in cards and in the names of weights, such as "block1".
        title: its name on a page, such as "Block 1".
        parts: titles of parallel parts, which freeze together; none for a plain stage.
    """

    def __init__(self, name: str, title: str, parts: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.name = name
        self.title = title
        self.parts = parts

    def forward(self, state: Activations) -> Activations:
        raise TypeError(f"{type(self).__name__} must define forward")

    def fit_preprocessing(self, state: Activations, labels: Tensor) -> None:
        """Fit statistics of the input before pretraining; most stages have none.

        Called once, on the first stage alone.

        Args:
            state: ``(ids, numerics)`` of the training rows.
            labels: 0.0 or 1.0, shape ``(n_rows,)``.
        """


class Embedding(Stage):
    """One vector for each value of each field, all fields in one table.

    Maps ``(ids, numerics)`` to ``(x,)``: the embeddings of a row, concatenated with its numerics,
    shape ``(n_rows, n_fields * size + dense)``. Weights start normal with standard deviation 0.01.

    Args:
        field_sizes: number of values of each field; ids of field f lie in 0..field_sizes[f] - 1.
        size: floats of a vector.
    """

    offsets: Tensor

    def __init__(self, field_sizes: Sequence[int], size: int) -> None:
        super().__init__("embedding", "Embedding")
        offsets = torch.tensor([0, *field_sizes[:-1]], dtype=torch.int64).cumsum(0)
        self.register_buffer("offsets", offsets, persistent=False)
        self.table = EmbeddingTable(sum(field_sizes), size)
        nn.init.normal_(self.table.weight, std=0.01)

    def reset_parameters(self) -> None:
        """Draw every weight anew, as the constructor does."""
        nn.init.normal_(self.table.weight, std=0.01)

    def vectors(self, ids: Tensor) -> Tensor:
        """Embeddings, shape ``(n_rows, n_fields, size)``, of ids, ``(n_rows, n_fields)``."""
        return self.table(ids + self.offsets)

    def forward(self, state: Activations) -> Activations:
        ids, numerics = state
        return (concat_features(self.vectors(ids), numerics),)


def concat_features(vectors: Tensor, numerics: Tensor) -> Tensor:
    """Concatenate the vectors and numerics of each row.

    Args:
        vectors: shape ``(n_rows, n_fields, size)``.
        numerics: shape ``(n_rows, dense)``.

    Returns:
        Shape ``(n_rows, n_fields * size + dense)``.
    """
    return torch.cat([vectors.flatten(1), numerics], dim=1)


def concat_width(fields: int, embedding: int, dense: int) -> int:
    """Number of columns that `concat_features` returns."""
    return fields * embedding + dense


@dataclass(frozen=True)
class BlockSettings:
    """Settings of fully connected blocks.

    Args:
        widths: outputs of each block.
        dropout: share of activations dropped after each block.
        batch_norm: whether BatchNorm follows each linear layer.

    Raises:
        BadInput: more than 8 blocks, a width outside 1..4096, or a dropout outside [0, 1).
    """

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
    """Settings of an embedding with blocks on top.

    Args:
        embedding: floats of an embedding vector.
        widths, dropout, batch_norm: of the blocks, see BlockSettings.
    """

    embedding: int
    widths: tuple[int, ...]
    dropout: float
    batch_norm: bool

    @property
    def blocks(self) -> BlockSettings:
        """The settings of the blocks alone."""
        return BlockSettings(self.widths, self.dropout, self.batch_norm)


def dense_layer(inputs: int, outputs: int, settings: BlockSettings) -> nn.Sequential:
    """Linear layer, BatchNorm (Ioffe and Szegedy 2015) if set, ReLU and dropout."""
    norm = [nn.BatchNorm1d(outputs)] if settings.batch_norm else []
    # BatchNorm subtracts any bias again, so its gradient is rounding noise, which Adam would scale
    # up to full steps.
    linear = Linear(inputs, outputs, bias=not settings.batch_norm)
    return nn.Sequential(linear, *norm, nn.ReLU(), nn.Dropout(settings.dropout))


class Block(Stage):
    """A dense layer on the last tensor of the state; the others are returned unchanged."""

    def __init__(self, number: int, inputs: int, outputs: int, settings: BlockSettings) -> None:
        super().__init__(f"block{number}", f"Block {number}")
        self.layers = dense_layer(inputs, outputs, settings)

    def forward(self, state: Activations) -> Activations:
        return (*state[:-1], self.layers(state[-1]))


def mlp_stages(inputs: int, settings: BlockSettings) -> list[Stage]:
    """Blocks of the given widths on top of `inputs` columns: a multilayer perceptron."""
    sizes = [inputs, *settings.widths]
    return [Block(i, sizes[i - 1], sizes[i], settings) for i in range(1, len(sizes))]


class ParallelLayers(Stage):
    """One layer of each of several parallel towers; they freeze together.

    Args:
        number: the height, from 1.
        towers: a layer for each tensor of the state; None returns the tensor unchanged.
        titles: one for each tensor; that of a None is not shown.
    """

    def __init__(
        self, number: int, towers: Sequence[nn.Module | None], titles: Sequence[str]
    ) -> None:
        parts = tuple(
            title for title, tower in zip(titles, towers, strict=True) if tower is not None
        )
        super().__init__(f"towers{number}", " ‖ ".join(parts), parts if len(parts) > 1 else ())
        self.towers = nn.ModuleList(nn.Identity() if tower is None else tower for tower in towers)

    def forward(self, state: Activations) -> Activations:
        return tuple(tower(tensor) for tower, tensor in zip(self.towers, state, strict=True))


def parallel_stages(towers: Sequence[Sequence[nn.Module]], titles: Sequence[str]) -> list[Stage]:
    """Stages of several towers side by side: stage k holds layer k of each tower.

    Args:
        towers: the layers of each tower, from the input up; a shorter tower's output is passed on.
        titles: of each tower's layers; the number of the layer is appended.
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
    """A linear layer of its own for each member of an ensemble.

    Maps shape ``(n_rows, members, inputs)`` to ``(n_rows, members, outputs)``.
    """

    matrix_names = ("weight",)

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
    """Fully connected layers from the last state to one or two outputs per row.

    Weights are Xavier-uniform, biases 0. With several members the state has the shape
    ``(n_rows, members, representation)``, and every member has layers of its own.

    Args:
        representation: columns of the last state, per member.
        settings: hidden widths, activation and outputs.
        members: of an ensemble, else 1.
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

    def forward(self, state: Activations) -> Tensor:
        """Logits, shape ``(n_rows, classes)`` or ``(n_rows, members, classes)``."""
        if self.members > 1:
            return self.layers(state[0])
        return self.layers(flatten_state(state))


def flatten_state(state: Activations) -> Tensor:
    """The tensors of a state concatenated, shape ``(n_rows, columns)``."""
    # Concatenating a single tensor would copy it: a tenth of the time of training the head alone.
    return (
        state[0].flatten(1)
        if len(state) == 1
        else torch.cat([tensor.flatten(1) for tensor in state], dim=1)
    )


class Network(nn.Module):
    """Stages, then a head.

    Indices count stages from the input; the head is not among them.

    Args:
        stages: from the input up.
        representation: columns that the last stage passes to the head, per member.
        head: settings of the head.
        members: of an ensemble, else 1.
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
        """Put on a new head with random weights."""
        self.head = Head(self.representation, settings, self.members)

    def run_stages(self, state: Activations, first: int, last: int) -> Activations:
        """Run stages `first` to `last - 1` on the state that stage `first` takes."""
        for stage in self.stage_list()[first:last]:
            state = stage(state)
        return state

    def forward(self, state: Activations, first: int = 0) -> Tensor:
        """Logits of the head, given the state that stage `first` takes."""
        return self.head(self.run_stages(state, first, len(self.stages)))


def click_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy of logits against labels, in nats.

    Every member of an ensemble learns on its own: the mean is over members too (TabM, Gorishniy
    et al., ICLR 2025).

    Args:
        outputs: logits, shape ``(n_rows, classes)`` or ``(n_rows, members, classes)``, with one
            class (binary cross entropy) or two (softmax).
        labels: 0.0 or 1.0, shape ``(n_rows,)``.
    """
    if outputs.ndim == 3:
        labels = labels.repeat_interleave(outputs.shape[1])
        outputs = outputs.flatten(0, 1)
    if outputs.shape[1] == 1:
        return nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], labels)
    return nn.functional.cross_entropy(outputs, labels.long())


def click_probabilities(outputs: Tensor) -> Tensor:
    """Click probabilities, shape ``(n_rows,)``, of logits as `click_loss` takes them.

    Of an ensemble, the mean of the members' probabilities.
    """
    scores = (
        outputs[..., 0].sigmoid() if outputs.shape[-1] == 1 else outputs.softmax(dim=-1)[..., 1]
    )
    return scores.mean(dim=1) if scores.ndim == 2 else scores


_NORMS = (nn.BatchNorm1d, nn.LayerNorm)


def biases_and_norms(module: nn.Module) -> list[nn.Parameter]:
    """What BitFit trains: biases, and all parameters of normalisation layers, in order.

    A parameter is a bias by its name, "b" or "bias".
    """
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


def matrices(module: nn.Module) -> list[nn.Parameter]:
    """What weight decay reaches with the scope "matrices": weights of linear layers, in order.

    Neither embeddings nor biases nor normalisation layers. A module other than nn.Linear names its
    matrices in `matrix_names`; the kernels of Keras layers are matrices too.
    """
    return [
        parameter
        for part in module.modules()
        for name, parameter in part.named_parameters(recurse=False)
        if name == "kernel"
        or name in getattr(part, "matrix_names", ("weight",) if isinstance(part, nn.Linear) else ())
    ]


def linear_layers(module: nn.Module) -> list[nn.Linear]:
    """What LoRA adapts: every linear layer, in order."""
    return [part for part in module.modules() if isinstance(part, nn.Linear)]
