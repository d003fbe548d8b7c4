"""The device that a run computes on, and the memory that it takes there."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch

from core.errors import BadInput


def choose_device(requested: str) -> torch.device:
    """Return the device to compute on.

    Args:
        requested: "auto" for the first GPU if there is one, else the CPU; "cuda" or "cpu".

    Raises:
        BadInput: "cuda" was requested and there is no GPU.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if requested == "cuda" and not torch.cuda.is_available():
        raise BadInput(
            "Device 'cuda' was asked for, but torch sees no GPU here; choose device auto or cpu."
        )
    if requested == "cuda" or (requested == "auto" and torch.cuda.is_available()):
        return torch.device("cuda")
    return torch.device("cpu")


def same_device(name: str) -> torch.device:
    """Return a device of the type of the one with this name, which `device_name` gave.

    The CPU for "cpu"; for a GPU, the GPU that is here, or the CPU where there is none.

    >>> same_device("cpu")
    device(type='cpu')
    """
    return choose_device("cpu" if name == "cpu" else "auto")


def device_name(device: torch.device) -> str:
    """Return a name to record with results, such as "NVIDIA H100" or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


@contextlib.contextmanager
def tf32_products(enabled: bool) -> Iterator[None]:
    """Let a GPU multiply float32 matrices in TF32 meanwhile, or keep it from that.

    TF32 keeps float32's range and rounds the factors, not the sums, to 10 bits of mantissa. It
    changes nothing on a CPU, in bfloat16, and in convolutions, for which cuDNN uses it anyway.

    Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#tf32-on-ampere
    """
    products = torch.backends.cuda.matmul
    before = products.fp32_precision
    products.fp32_precision = "tf32" if enabled else "ieee"
    try:
        yield
    finally:
        products.fp32_precision = before


def reset_peak_memory() -> None:
    """Set the measurement of `peak_memory` back to the memory held now."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    # Linux alone keeps a peak that can be forgotten; elsewhere `peak_memory` is None.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory(device: torch.device) -> int | None:
    """Return the largest memory held since `reset_peak_memory`, in bytes.

    Of the GPU if `device` is one, else of this process; None if the system does not record it.
    """
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
