"""LightGBM, loaded so that it works on a machine without a system library libgomp."""

from types import ModuleType


def load_lightgbm() -> ModuleType:
    """Return the module ``lightgbm``.

    Its wheel needs libgomp.so.1 and does not bring it along. That of torch does, under this very
    name, so that importing torch first lets the loader find it where the system has none.
    """
    import torch  # noqa: F401

    import lightgbm  # isort: skip

    return lightgbm
