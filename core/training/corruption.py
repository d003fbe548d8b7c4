"""What both pretext objectives need to corrupt rows and to read the network's outputs."""

import numpy as np
import torch
from torch import Tensor, nn

from core.models.network import Activations, flatten_state

VALIDATION_STEP = -1
"""The step whose random numbers corrupt validation rows, in every epoch the same."""


def step_generator(seed: int, step: int, device: torch.device) -> torch.Generator:
    """Return a generator whose numbers depend on the seed and the optimiser step alone."""
    # SeedSequence mixes the two, so that neighbouring steps have unrelated numbers.
    words = np.random.SeedSequence([seed, step + 1]).generate_state(1)
    return torch.Generator(device).manual_seed(int(words[0]))


def flatten_normalised(state: Activations) -> Tensor:
    """Return the tensors of a state side by side, each row at mean 0 and variance 1.

    Without it (the paper's code has none) a network lowers its loss by ever larger outputs. A new
    head on top of those starts with confident nonsense, which few target rows cannot correct
    (docs/decisions.md).

    Returns:
        float32 ``(rows, features)``.
    """
    values = flatten_state(state)
    return nn.functional.layer_norm(values, values.shape[1:])
