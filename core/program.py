"""Where Thaw's own files are, and how its command line is called there."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
"""The folder of `app.py`, `core`, `pages` and `assets`: a checkout, or thaw/_app where Thaw is
installed."""
INSTALLED = PROJECT.name == "_app"
"""Whether this is an installed Thaw and not a checkout."""
COMMAND = ("thaw",) if INSTALLED else ("python", "-m", "core")
"""The words that begin a command in messages and on pages."""
PROGRAM = " ".join(COMMAND)
VERSION = "0.11.0"


def default_workspace() -> Path:
    """./workspace: below the current folder where Thaw is installed, below the project in a
    checkout."""
    return (Path.cwd() if INSTALLED else PROJECT) / "workspace"
