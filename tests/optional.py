"""Skips for tests of packages that Thaw does not require, and of a GPU."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import TypeVar

import pytest
import torch

Test = TypeVar("Test", bound=Callable[..., None])


def on_gpu(test: Test) -> Test:
    """Mark the test "gpu", and skip it if there is none."""
    skip = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    return pytest.mark.gpu(skip(test))


def needs(package: str) -> pytest.MarkDecorator:
    """Skip the test if `package` is not installed; a mark for a test or a module's `pytestmark`."""
    return pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed")


def skip_without(package: str) -> None:
    """Skip from here on if `package` is not installed; for fixtures and for the top of a module.

    `pytest.importorskip` imports the package, and importing Keras before `import_keras` has chosen
    the torch backend fails for want of TensorFlow: every test of Keras would be skipped everywhere.
    """
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)
