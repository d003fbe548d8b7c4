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
    """Import `core` from ROOT, and put ROOT at the end of the module search path.

    Raises:
        ImportError: another package named `core` is imported in this process already, so that
        Thaw's cannot be.
    """
    added = str(ROOT) not in sys.path
    if added:
        # First, since `core` is a common name.
        sys.path.insert(0, str(ROOT))
    core = import_module("core")
    if added:
        # Once `core` is loaded its modules are found by its own path. At the end, ROOT hides no
        # module of the user that is called app, pages or assets; joblib's processes, which import
        # `core` anew, get this path as well.
        sys.path.remove(str(ROOT))
        sys.path.append(str(ROOT))
    if ROOT / "core" not in [Path(folder).resolve() for folder in core.__path__]:
        raise ImportError(
            "Thaw's package 'core' cannot be imported, since another one of that name is loaded"
            f" already ({next(iter(core.__path__))}). Import thaw first, or use it in a process of"
            " its own (the command `thaw`)."
        )
