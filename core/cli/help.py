"""What `python -m core --help` shows: every command with what it does, by what one wants to do."""

import shutil
import textwrap
from collections.abc import Mapping

from core.program import PROGRAM

COMMAND_GROUPS: dict[str, tuple[str, ...]] = {
    "the app": ("app",),
    "data": ("ingest", "prepare", "samples", "datasets", "profile", "drift", "simulate"),
    "backbones": (
        "pretrain",
        "costs",
        "backbones",
        "vocabulary",
        "import-backbone",
        "export-backbone",
    ),
    "fine-tuning": ("finetune", "sweep", "demo"),
    "runs": ("runs", "sweeps", "watch", "cancel", "resume", "tag", "note"),
    "results": (
        "evaluate",
        "compare",
        "threshold",
        "slices",
        "interpolate",
        "moved",
        "verify",
        "report",
        "export-tracking",
    ),
    "using a model": ("score", "scored", "delete-scored", "export"),
    "samples, datasets, backbones, runs and sweeps alike": ("rename", "delete"),
}
"""Commands by what they are for, in the order in which the help lists them; each is in one
group."""
_COLUMN = 19


def format_command_list(summaries: Mapping[str, str]) -> str:
    """The list for the end of the help. about: what each command does, in a sentence, by its
    name."""
    width = max(shutil.get_terminal_size().columns - 2, 40)
    lines = []
    for title, names in COMMAND_GROUPS.items():
        lines += ["", f"{title}:"]
        for name in names:
            first, rest = f"  {name}".ljust(_COLUMN), " " * _COLUMN
            lines += textwrap.wrap(
                summaries[name], width, initial_indent=first, subsequent_indent=rest
            )
    end = f"`{PROGRAM} COMMAND --help` says what a command takes; all take --json."
    return "\n".join(["commands:", *lines, "", *textwrap.wrap(end, width)])
