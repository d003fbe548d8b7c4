"""The device that is chosen, and how exactly it multiplies."""

import pytest
import torch

from core.training.devices import same_device, tf32_products


def test_a_cpu_result_is_repeated_on_the_cpu_and_a_gpu_one_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for available in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert same_device("cpu").type == "cpu"
        assert same_device("NVIDIA H100").type == ("cuda" if available else "cpu")


@pytest.mark.parametrize(("enabled", "precision"), [(True, "tf32"), (False, "ieee")])
def test_tf32_is_set_for_a_while_and_what_was_set_before_comes_back(
    enabled: bool, precision: str
) -> None:
    products = torch.backends.cuda.matmul
    before = products.fp32_precision
    with pytest.raises(ZeroDivisionError), tf32_products(enabled):
        assert products.fp32_precision == precision
        _ = 1 / 0
    assert products.fp32_precision == before
