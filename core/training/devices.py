"""Which device a run computes on."""

import contextlib
from pathlib import Path

import torch

from core.errors import BadInput


def choose_device(requested: str) -> torch.device:
    """`auto` is the first GPU when there is one, else the CPU; `cuda` without a GPU is refused."""
    if requested == "cuda" and not torch.cuda.is_available():
        raise BadInput(
            "Device 'cuda' was asked for, but torch sees no GPU here; choose device auto or cpu."
        )
    if requested == "cuda" or (requested == "auto" and torch.cuda.is_available()):
        return torch.device("cuda")
    return torch.device("cpu")


def device_name(device: torch.device) -> str:
    """A name to record with results, such as "NVIDIA H100" or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def reset_peak_memory() -> None:
    """Starts the measurement of `peak_memory` anew."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    # Linux alone keeps a peak that can be forgotten; elsewhere `peak_memory` is None.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory(device: torch.device) -> int | None:
    """Most bytes held since `reset_peak_memory`: of the GPU's memory, or of this process's; None
    where unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        Path("/proc/self/clear_refs").stat()
    except OSError:
        return None
    return next(
        (int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")),
        None,
    )
