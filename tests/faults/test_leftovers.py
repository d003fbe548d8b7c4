"""The next command removes what a killed one left half-written in the workspace or beside an
output."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.data.datasets import Dataset
from core.files.leftovers import remove_leftovers_below
from core.files.outputs import check_output_folder
from core.workspace import PROJECT, Workspace, open_workspace


def stopped_in_writing(workspace: Workspace, *words: object) -> subprocess.Popen[bytes]:
    """A command, stopped right before the first thing that it writes gets its name."""
    code = (
        "import os, signal, sys\n"
        "from core.files import durable, outputs\n"
        "from core.cli.parser import main\n"
        "def stop(*given):\n"
        "    os.kill(os.getpid(), signal.SIGSTOP)\n"
        "for module in (durable, outputs):\n"
        "    module.publish_file = module.publish = stop\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = ("--workspace", workspace.root, *words)
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, words)], cwd=PROJECT)
    state = Path(f"/proc/{process.pid}/stat")
    while state.read_text().rpartition(")")[2].split()[0] != "T":
        assert process.poll() is None, "it ended without writing"
        time.sleep(0.02)
    return process


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(".part-*"))


@pytest.mark.parametrize("where", ["beside an output", "in the workspace"])
def test_the_next_command_removes_the_leftovers_of_a_killed_one(
    tiny: tuple[Workspace, Dataset], tmp_path: Path, where: str
) -> None:
    workspace, _ = tiny
    out = tmp_path / "out"
    out.mkdir()
    words = ["simulate", "--rows", "20", "--out", out / "rows.tsv"]
    folder = out
    if where == "in the workspace":
        words, folder = (
            ["ingest", workspace.uploads / "tiny.tsv", "--name", "another"],
            workspace.samples,
        )
    process = stopped_in_writing(workspace, *words)
    assert len(left(folder)) == 2, "a folder and its lock"

    def next_command() -> None:
        """Another one that writes there."""
        if where == "in the workspace":
            open_workspace(workspace.root)
            remove_leftovers_below(workspace.root)
        else:
            again = ["simulate", "--rows", "20", "--out", str(out / "others.tsv")]
            subprocess.run(
                [sys.executable, "-m", "core", *again], cwd=PROJECT, check=True, capture_output=True
            )

    for path in folder.rglob("*"):
        os.utime(path, (0, 0))
    next_command()
    assert len(left(folder)) == 2, "it is only stopped"
    process.send_signal(signal.SIGKILL)
    process.wait()
    next_command()
    assert left(folder) == []


def test_an_empty_folder_with_a_leftover_in_it_is_still_empty(tmp_path: Path) -> None:
    (tmp_path / ".part-thaw-0123456789abcdef" / "new").mkdir(parents=True)
    check_output_folder(tmp_path)
    assert not [*tmp_path.iterdir()]
