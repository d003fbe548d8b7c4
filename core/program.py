"""Where Thaw's own files are, and how its command line and its extras are called there."""

from pathlib import Path

VERSION = "0.14.0"

PROJECT = Path(__file__).resolve().parent.parent
"""The folder of app.py, core, pages and assets: a checkout, or thaw/_app of an installed Thaw."""
INSTALLED = PROJECT.name == "_app"
"""Whether this is an installed Thaw and not a checkout."""
COMMAND = ("thaw",) if INSTALLED else ("python", "-m", "core")
"""The words that begin a command in messages and on pages."""
PROGRAM = " ".join(COMMAND)


def default_workspace() -> Path:
    """Return ./workspace: of the current folder if Thaw is installed, of the project otherwise."""
    return (Path.cwd() if INSTALLED else PROJECT) / "workspace"


def install_command(extra: str) -> str:
    """Return the command that installs an extra, such as "keras", beside this Thaw."""
    what = f'"thaw[{extra}]"' if INSTALLED else f"-r requirements-{extra}.txt"
    return f"python -m pip install {what}"
