"""Random rows whose clicks depend on their values, for controls."""

import numpy as np
import torch

from core.training.batches import RowTensors
from core.training.controls.fitted_control import ControlRows

FIELD_SIZES = (5, 7, 3)


def random_control_rows(train: int = 400, validation: int = 200, dense: int = 4) -> ControlRows:
    """Return rows of three fields and `dense` numerics."""
    generator = np.random.default_rng(0)
    n_rows = train + validation
    ids = np.stack([generator.integers(0, size, n_rows) for size in FIELD_SIZES], 1)
    numerics = generator.normal(size=(n_rows, dense)).astype(np.float32)
    logits = 0.8 * numerics[:, 0] - (ids[:, 1] == 2) + numerics[:, 1] * (numerics[:, 2] > 0)
    labels = generator.random(n_rows) < 1 / (1 + np.exp(1 - logits))
    rows = RowTensors(
        (torch.from_numpy(ids.astype(np.int32)), torch.from_numpy(numerics)),
        torch.from_numpy(labels.astype(np.float32)),
    )
    first, last = torch.arange(train), torch.arange(train, n_rows)
    return ControlRows(rows.take(first), rows.take(last), FIELD_SIZES, dense)
