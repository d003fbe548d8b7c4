"""The 39 features of a row as a small picture, for networks of images.

Every field is one cell of a grid of 8 columns and 5 rows, in file order from the top left. A cell
is 4 pixels wide and 6 high. The picture is 32 x 32, the smallest that VGG and ResNet take: it has a
black line above and below, and its 40th cell is black. Cells are 4 pixels wide so that the first
two halvings of these networks never mix two columns. What a cell shows, from 0 to 1:

red, the value itself: of a numeric field its standardised number z as 1 / (1 + exp(-z)), which
bounds outliers; of a categorical field, whose values have no order, how frequent its value is:
ln(1 + count) / ln(1 + rows).

green, what the value says about clicks, by bucket for numeric fields: its click rate p, shrunk
towards the rate c of all rows by PRIOR_ROWS further rows of that rate, as p / (1 - p) over the sum
of p / (1 - p) and c / (1 - c). So 0.5 means an average value, whatever c is. A convolution could
not learn this from an id, which is why the picture shows it.

blue, how much is known: 0 missing, 0.5 a value that is not in the vocabulary, 1 a known value.

Counts and rates come from the rows given to `fit`, and from no others. In the green of these rows
is their own label, as one of at least min_count + PRIOR_ROWS rows where the vocabulary was fitted
on the same rows. Rows without a label (NaN) count as values and in no rate.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from core.data.preprocessing import MISSING, UNSEEN
from core.data.schema import FIELDS, NUMERIC
from core.errors import BadInput

SIZE = 32
"""Pixels along each edge."""
COLUMNS, ROWS, WIDTH, HEIGHT = 8, 5, 4, 6
PRIOR_ROWS = 20
IMAGENET_MEAN = (103.939, 116.779, 123.68)
"""Of blue, green and red, 0 to 255: what Keras' preprocess_input subtracts for both networks."""


class FeatureImage(nn.Module):
    """Draws rows as pictures.

    Maps ids ``(n_rows, 39)`` and numerics ``(n_rows, dense)`` to ``(n_rows, 3, 32, 32)``, as VGG
    and ResNet expect them. Of the numerics the first 13 are drawn; target statistics after them
    would say again what green says. Until `fit`, no value has been seen and each is average.

    Args:
        field_sizes: number of values of each of the 39 fields.

    Raises:
        BadInput: there are not 39 fields.
    """

    common: Tensor
    lift: Tensor
    offsets: Tensor
    cells: Tensor
    mean: Tensor

    def __init__(self, field_sizes: Sequence[int]) -> None:
        super().__init__()
        if len(field_sizes) != len(FIELDS):
            raise BadInput(
                f"A picture shows the {len(FIELDS)} fields of a Criteo row; these rows have"
                f" {len(field_sizes)}."
            )
        self.field_sizes = tuple(field_sizes)
        offsets = torch.tensor([0, *field_sizes[:-1]], dtype=torch.int64).cumsum(0)
        self.register_buffer("common", torch.zeros(sum(field_sizes)))
        self.register_buffer("lift", torch.full((sum(field_sizes),), 0.5))
        self.register_buffer("offsets", offsets, persistent=False)
        self.register_buffer("cells", _cell_of_pixels(), persistent=False)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)

    def fit(self, ids: Tensor, labels: Tensor) -> None:
        """Count values and clicks.

        Args:
            ids: shape ``(n_rows, 39)``.
            labels: 0.0, 1.0 or NaN for a row without one, shape ``(n_rows,)``.
        """
        known = ~labels.isnan()
        labelled, clicks = int(known.sum()), float(labels[known].sum(dtype=torch.float64))
        counts, seen, clicked = [], [], []
        # A field at a time: all fields of many rows at once would double their memory.
        for field, size in enumerate(self.field_sizes):
            column = ids[:, field].long()
            counts.append(column.bincount(minlength=size))
            seen.append(column[known].bincount(minlength=size))
            clicked.append(column[known].bincount(labels[known].double(), minlength=size))
        self.common.copy_(
            torch.log1p(torch.cat(counts).double())
            / torch.log1p(torch.tensor(float(len(ids))).double())
        )
        if not 0 < clicks < labelled:
            self.lift.fill_(0.5)
            return
        base = clicks / labelled
        rate = (torch.cat(clicked) + PRIOR_ROWS * base) / (torch.cat(seen) + PRIOR_ROWS)
        odds = rate / (1 - rate)
        self.lift.copy_(odds / (odds + base / (1 - base)))

    def channels(self, ids: Tensor, numerics: Tensor) -> Tensor:
        """Red, green and blue of every field, 0 to 1, shape ``(n_rows, 3, 39)``."""
        indices = ids + self.offsets
        numbers = numerics[:, : len(NUMERIC)]
        red = torch.cat([numbers.sigmoid(), self.common[indices[:, len(NUMERIC) :]]], dim=1)
        blue = torch.where(ids == MISSING, 0.0, torch.where(ids == UNSEEN, 0.5, 1.0))
        return torch.stack([red, self.lift[indices], blue], dim=1)

    def forward(self, ids: Tensor, numerics: Tensor) -> Tensor:
        """Pictures as Keras' preprocess_input returns them.

        Blue, green, red from 0 to 255, minus ImageNet's mean.
        """
        cells = nn.functional.pad(self.channels(ids, numerics), (0, 1))
        picture = cells[:, :, self.cells].unflatten(2, (SIZE, SIZE))
        return picture.flip(1) * 255 - self.mean


def _cell_of_pixels() -> Tensor:
    """The field that each pixel shows, row by row; 39 for black."""
    blank = len(FIELDS)
    grid = torch.arange(COLUMNS * ROWS).clamp(max=blank).view(ROWS, COLUMNS)
    cells = grid.repeat_interleave(HEIGHT, 0).repeat_interleave(WIDTH, 1)
    margin = (SIZE - ROWS * HEIGHT) // 2
    return nn.functional.pad(cells, (0, 0, margin, margin), value=blank).flatten()
