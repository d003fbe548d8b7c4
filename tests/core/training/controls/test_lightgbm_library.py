"""LightGBM loads where the system has no libgomp, as on a fresh machine."""

import os
import subprocess
import sys

import pytest

from core.workspace import PROJECT

SCRIPT = """
import sys
sys.path.insert(0, {project!r})
from core.training.controls.lightgbm_library import load_lightgbm
lightgbm = load_lightgbm()
maps = open("/proc/self/maps").read()
print({{line.split()[-1] for line in maps.splitlines() if "libgomp.so.1" in line}})
assert lightgbm.Dataset
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the wheels of other systems differ")
def test_it_takes_the_library_that_torch_brings() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(project=str(PROJECT))],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # Only one OpenMP of that name, and it is torch's: the system's is never looked for.
    assert "torch/lib/libgomp.so.1" in done.stdout and "/usr/lib" not in done.stdout
