"""The end of ``--help``: every command with its summary, grouped by what it is for."""

import shutil
import textwrap
from collections.abc import Mapping

from core.program import PROGRAM

_COLUMN = 19


def format_command_list(summaries: Mapping[str, Mapping[str, str]]) -> str:
    """Return the list of commands, wrapped to the terminal's width.

    Args:
        summaries: by group title, one sentence for each command by its name.
    """
    width = max(shutil.get_terminal_size().columns - 2, 40)
    lines = []
    for title, commands in summaries.items():
        lines += ["", f"{title}:"]
        for name, summary in commands.items():
            first, rest = f"  {name}".ljust(_COLUMN), " " * _COLUMN
            lines += textwrap.wrap(summary, width, initial_indent=first, subsequent_indent=rest)
    end = f"`{PROGRAM} COMMAND --help` lists a command's options; every command takes --json."
    return "\n".join(["commands:", *lines, "", *textwrap.wrap(end, width)])
