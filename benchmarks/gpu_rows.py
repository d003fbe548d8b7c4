"""Rows to measure a GPU on, drawn on the GPU itself: no file, no network, no text to read.

Ids are as skewed as those of click logs. Labels are drawn from a logistic regression on them, so
that an epoch has an AUC to compare.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from core.training.batches import RowTensors

N_FIELDS, N_NUMERICS = 26, 13
LARGE_FIELDS = 5
"""Fields that hold nearly all ids."""
SKEW = 4.0
"""Ids are ``floor(size * u ** SKEW)`` of uniform u, so that the first hundredth of a field's ids is
in a third of the rows."""


@dataclass(frozen=True)
class GpuRows:
    """Rows to train and to test on, on the device.

    Args:
        train: training rows.
        test: rows from the same distribution.
        field_sizes: number of ids of each field.
    """

    train: RowTensors
    test: RowTensors
    field_sizes: tuple[int, ...]


def draw_rows(n_train: int, n_test: int, n_ids: int, device: torch.device) -> GpuRows:
    """Draw rows with `n_ids` ids in all fields together; about a quarter are clicks."""
    generator = torch.Generator(device).manual_seed(0)
    small = tuple(10 * (field + 1) for field in range(N_FIELDS - LARGE_FIELDS))
    field_sizes = (*small, *[(n_ids - sum(small)) // LARGE_FIELDS] * LARGE_FIELDS)
    n_rows = n_train + n_test
    logits = torch.full((n_rows,), -1.5, device=device)
    ids = torch.empty(n_rows, N_FIELDS, dtype=torch.int32, device=device)
    for field, size in enumerate(field_sizes):
        uniform = torch.rand(n_rows, generator=generator, device=device)
        column = (uniform.pow_(SKEW) * size).long().clamp_max_(size - 1)
        weights = 0.3 * torch.randn(size, generator=generator, device=device)
        logits += weights[column]
        ids[:, field] = column
    numerics = torch.randn(n_rows, N_NUMERICS, generator=generator, device=device)
    logits += numerics @ (0.2 * torch.randn(N_NUMERICS, generator=generator, device=device))
    labels = torch.bernoulli(logits.sigmoid_(), generator=generator)

    def part(first: int, last: int) -> RowTensors:
        state: tuple[Tensor, ...] = (ids[first:last].clone(), numerics[first:last].clone())
        return RowTensors(state, labels[first:last].clone())

    return GpuRows(part(0, n_train), part(n_train, n_rows), field_sizes)
