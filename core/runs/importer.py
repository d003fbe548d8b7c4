"""Importing a backbone from a page: in a process of its own, since the check needs torch and a page has none."""

import json
import os
import subprocess
import sys
from pathlib import Path

from core.errors import BadInput, RunError
from core.models.card import BackboneCard, load_card
from core.workspace import PROJECT, Workspace

_SAID = "thaw: "


def import_in_subprocess(workspace: Workspace, path: Path, name: str = "") -> BackboneCard:
    """What core.models.importing.import_backbone does, by the command line; it takes some seconds.

    BadInput with the sentence why the backbone was refused (it calls `path` by its file name); RunError when the
    process ended in another way.
    """
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "core",
            f"--workspace={workspace.root}",
            "import-backbone",
            str(path.resolve()),
            f"--name={name}",
            "--json",
        ],
        cwd=PROJECT,
        env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode == 0:
        return load_card(Path(json.loads(done.stdout)["backbone"]["folder"]))
    said = [line.removeprefix(_SAID) for line in done.stderr.splitlines() if line.startswith(_SAID)]
    if done.returncode == 2 and said:
        raise BadInput(said[-1])
    raise RunError(
        f"The import of {path.name!r} ended with status {done.returncode} and stored nothing; a backbone too large for "
        "this machine's memory ends so."
    )
