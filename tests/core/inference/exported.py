"""Run an exported scoring script, and rows that are hard to score."""

import os
import subprocess
import sys
from pathlib import Path

from tests.core.data.helpers import rows


def run_exported_script(folder: Path, *words: Path | str) -> subprocess.CompletedProcess[str]:
    """The exported script, run where nothing of Thaw can be imported."""
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0],"
        " run_name='__main__');assert not {'torch', 'core'} & set(sys.modules)"
    )
    return subprocess.run(
        [sys.executable, "-c", code, str(folder / "score.py"), *map(str, words)],
        cwd=folder.parent,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def unusual_rows(count: int = 400) -> list[list[str]]:
    """Rows with missing, unseen, negative, fractional and huge values."""
    lines = rows(count, seed=11)
    lines[0][1:] = [""] * 39
    lines[1][1:14] = [
        "-3",
        "0",
        "1",
        "2",
        "2.0",
        "2.5",
        "3",
        "1e3",
        "99999999",
        "-0",
        "",
        "17.9",
        "+5",
    ]
    lines[2][14:] = ["never seen"] * 26
    lines[3][14] = "ünïcode\u2028 'quoted\" "
    return lines
