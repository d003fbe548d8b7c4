"""Put Thaw's own modules on the module search path.

`core` lies beside this package in a checkout, and in its folder `_app` where it is installed.
"""

import sys
from importlib import import_module
from pathlib import Path

_HERE = Path(__file__).resolve().parent
ROOT = _HERE / "_app" if (_HERE / "_app").is_dir() else _HERE.parent
"""The folder that holds app.py, core, pages and assets."""


def add_root() -> None:
    """Puts ROOT on the module search path.

    Raises:
        ImportError: another package named `core` is imported in this process already, so that
        Thaw's cannot be.
    """
    if str(ROOT) not in sys.path:
        # First, since `core` is a common name; with Thaw's loaded once, its place in the path no
        # longer matters.
        sys.path.insert(0, str(ROOT))
    core = import_module("core")
    if ROOT / "core" not in [Path(folder).resolve() for folder in core.__path__]:
        raise ImportError(
            "Thaw's package 'core' cannot be imported, since another one of that name is loaded"
            f" already ({next(iter(core.__path__))}). Import thaw first, or use it in a process of"
            " its own (the command `thaw`)."
        )
