"""The command `app`: start the Streamlit app."""

import argparse
import json
import os
import sys
from typing import NoReturn

from core.cli.targets import AddCommand
from core.errors import BadInput
from core.files.permissions import user_umask
from core.program import PROJECT
from core.workspace import Workspace

APP = PROJECT / "app.py"
DEFAULT_PORT = 8501
LAST_PORT = 65535


def add_app_command(add: AddCommand) -> None:
    """Add the command to the parser."""
    command = add("app", "Start the app, and open it in the browser; Ctrl-C stops it.", app)
    command.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"default {DEFAULT_PORT}")
    command.add_argument("--headless", action="store_true", help="do not open a browser")


def app(workspace: Workspace, options: argparse.Namespace) -> NoReturn:
    """Replace this process by Streamlit's; does not return.

    As the process stays the same one, Ctrl-C and signals reach Streamlit, and its exit status is
    the command's.

    Raises:
        BadInput: the port is none.
    """
    if not 1 <= options.port <= LAST_PORT:
        raise BadInput(f"The port is {options.port}; it must be 1 to {LAST_PORT}.")
    url = f"http://127.0.0.1:{options.port}"
    data = {"url": url, "workspace": str(workspace.root)}
    text = f"Thaw is starting at {url}; its files are in {workspace.root}."
    print(json.dumps(data, ensure_ascii=False) if options.json else text, flush=True)
    words = [sys.executable, "-m", "streamlit", "run", str(APP)]
    words += ["--server.port", str(options.port)]
    # Without the option Streamlit decides: on a machine without a display it opens no browser
    # either.
    words += ["--server.headless", "true"] if options.headless else []
    # The server makes private files by itself; outputs have the permissions of the user's umask.
    os.umask(user_umask())
    # Streamlit reads its configuration from the current folder.
    os.chdir(PROJECT)
    os.execve(sys.executable, words, {**os.environ, "THAW_HOME": str(workspace.root)})
