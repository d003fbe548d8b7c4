"""The power cut 100 times while a workspace is in use: whatever is listed is complete afterwards.

`python -m benchmarks.power_cuts [--count 100] [--seed 1]`, as root, writes its section of
docs/reliability.md; see tests/faults/power.py for what is done and checked, and
tests/faults/recorded_disk.py for the disk.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

from benchmarks.reliability import write_section
from core.workspace import PROJECT

PAUSE = "1.1"
ALL = "99"


def main() -> int:
    """Runs the campaign and writes the section; 1 when something was wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "tests.faults.power",
            folder,
            str(options.count),
            str(options.seed),
            PAUSE,
            ALL,
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        ended = subprocess.run(
            command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
    counts = json.loads(ended.stdout)
    wrong = [f"- {one}" for one in counts["wrong"]]
    write_section(
        "Power cuts",
        "python -m benchmarks.power_cuts",
        [
            (
                f"{len(counts['steps'])} pieces of work on a disk that records every write,"
                f" {counts['writes']:,} writes and flushes of {counts['megabytes']} MB:"
                f" {', '.join(counts['steps'])}. Then the power was cut {counts['cuts']} times, at"
                " random writes and right after each step that was reported as done; of every"
                " other disk, writes since its last flush are lost at random as well. ext4 with"
                " `noauto_da_alloc,data=writeback,commit=1`, which commits names every second,"
                " whether or not what they name has reached the disk."
            ),
            "",
            "| after the cut | cuts |",
            "|---|---|",
            (
                "| everything listed is whole, everything said to be done is there, nothing"
                f" deleted is back, nothing is left half-written | {counts['cuts'] - len(wrong)} |"
            ),
            f"| anything else | {len(wrong)} |",
            (
                "| of the former, those after which all of the work was done again, to the same"
                f" end | {counts['redone']} |"
            ),
            "",
            f"{counts['seconds']} s.",
            *(["", "Findings:", *wrong] if wrong else []),
        ],
    )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
