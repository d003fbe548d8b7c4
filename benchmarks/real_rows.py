"""The real Criteo rows for benchmarks, and commands of Thaw on them."""

import json
import os
import shlex
import subprocess
import sys
from typing import Any

from core.workspace import PROJECT, Workspace

ROWS = PROJECT.parent / "shared" / "data" / "criteo_real_100k.tsv.gz"
INGEST = (
    f"ingest {os.path.relpath(ROWS, PROJECT)} --name real --source-test-share 0.05"
    " --source-validation-share 0.04"
)
PRETRAIN = "--batch-size 256 --lr 5e-4 --early-stopping 2"
"""How the benchmarks of version 0.9 pretrained, whose pages are still there."""


def thaw(workspace: Workspace, command: str, printed: list[str]) -> dict[str, Any]:
    """Run one command of Thaw, add it to `printed` for the page, and return its JSON."""
    printed.append(f"python -m core {command}")
    done = subprocess.run(
        [sys.executable, "-m", "core", *shlex.split(command), "--json"],
        cwd=PROJECT,
        env={**os.environ, "THAW_HOME": str(workspace.root)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)
