"""Thaw in Python: how much of a pretrained click model should stay frozen when you fine-tune it?

>>> import thaw
>>> ws = thaw.Workspace()                                           # doctest: +SKIP
>>> data = ws.ingest("train.txt").prepare(source_share=0.6)         # doctest: +SKIP
>>> run = ws.finetune(data, "Simulated DCNv2", freeze_depth=2).wait()   # doctest: +SKIP
>>> run.metrics.target_test.auc                                     # doctest: +SKIP
0.7812

A `Workspace` is the folder that the app and the command line use too: what one of them makes, the
others show. Every action checks its arguments and words its errors as they do. Importing thaw loads
neither torch nor streamlit.
"""

from thaw._paths import add_root

add_root()

# The command `thaw` imports this package first: the process that reads files starts meanwhile.
import core.cli.start_reader  # noqa: E402, F401 - before the slow imports
from core.errors import BadInput, RunError, ThawError  # noqa: E402 - needs the path
from core.program import VERSION  # noqa: E402
from thaw.backbone import Backbone  # noqa: E402
from thaw.data import Dataset, Sample, simulate  # noqa: E402
from thaw.run import Run  # noqa: E402
from thaw.sweep import Sweep  # noqa: E402
from thaw.workspace import Workspace  # noqa: E402

__version__ = VERSION

__all__ = [
    "Backbone",
    "BadInput",
    "Dataset",
    "Run",
    "RunError",
    "Sample",
    "Sweep",
    "ThawError",
    "Workspace",
    "__version__",
    "simulate",
]
