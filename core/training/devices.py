"""Which device a run computes on."""

import torch

from core.errors import BadInput


def choose_device(wanted: str) -> torch.device:
    """`auto` is the first GPU when there is one, else the CPU; `cuda` without a GPU is refused."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise BadInput("Device 'cuda' was asked for, but torch sees no GPU here; choose device auto or cpu.")
    if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()):
        return torch.device("cuda")
    return torch.device("cpu")


def device_name(device: torch.device) -> str:
    """A name to record with results, such as "NVIDIA H100" or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
