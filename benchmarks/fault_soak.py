"""Five thousand runs among kills, sleep, clock steps, full disks and swapped workspaces.

`python -m benchmarks.fault_soak [--count 5000] [--seed 1]` writes a section of docs/reliability.md;
see tests/faults/soak.py for the faults and for what must hold. Results are stored in a file, so
that an interrupted campaign resumes where it stopped, as long as the code is the same. Exit status
1 if something did not hold.
"""

import argparse
import collections
import json
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from benchmarks.reliability import write_section
from core.runs.dispatch import code_hash
from tests.faults.processes import FAKETIME, Processes
from tests.faults.soak import Soak
from tests.faults.soak_world import DISK_MEGABYTES, ROWS, STRATEGIES, make_template

SEQUENCES, RULES = 5, 50
"""Workspaces in one part of the campaign, and faults in each of them."""
COUNTED_EVENTS = (
    *(
        "sleeps",
        "clock steps",
        "full disks",
        "workspaces swapped",
        "backups",
        "workers started",
        "workers killed",
    ),
    *(
        "apps killed",
        "commands killed",
        "commands done",
        "cancels",
        "deletions",
        "refused on a full disk",
    ),
    "refused while another process slept",
    *("settled", "runs compared"),
)


def run_part(seed: int) -> dict[str, Any]:
    """Return what happened in SEQUENCES workspaces, with the finding if there is one."""
    began = time.monotonic()
    Soak.counted.clear()
    many = settings(
        max_examples=SEQUENCES,
        stateful_step_count=RULES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    machine = hypothesis.seed(seed)(type("Soak", (Soak,), {}))
    finding = ""
    try:
        run_state_machine_as_test(machine, settings=many)
    except Exception:
        # The state machine's trail too, since what depends on the moment may not come back when it
        # is tried again.
        finding = traceback.format_exc() + "\n".join(Soak.trail[-200:])
    seconds = round(time.monotonic() - began, 1)
    return {"seed": seed, "counted": dict(Soak.counted), "seconds": seconds, "finding": finding}


def campaign(count: int, seed: int, result_file: Path) -> list[dict[str, Any]]:
    """Run parts until `count` runs have been made.

    Parts that are already in `result_file` are not run again.
    """
    parts = (
        [json.loads(line) for line in result_file.read_text().splitlines()]
        if result_file.exists()
        else []
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "processes").mkdir()
        processes = Processes(Path(folder) / "processes")
        Soak.template, Soak.processes, Soak.folder = (
            make_template(Path(folder), processes),
            processes,
            Path(folder),
        )
        while (made := count_runs(parts)) < count:
            print(
                f"{made:,} of {count:,} runs, {len(collect_findings(parts))} findings",
                file=sys.stderr,
                flush=True,
            )
            parts.append(run_part(seed + len(parts)))
            with result_file.open("a") as stream:
                stream.write(json.dumps(parts[-1]) + "\n")
        processes.close()
    return parts


def count_runs(parts: list[dict[str, Any]]) -> int:
    """Return the number of submitted runs in all parts."""
    return sum(part["counted"].get("runs", 0) for part in parts)


def collect_findings(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the parts in which something did not hold."""
    return [part for part in parts if part["finding"]]


def main() -> int:
    """Runs the campaign and writes the section."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    kept = Path(tempfile.gettempdir()) / f"thaw-fault-soak-{code_hash()[:12]}-{options.seed}.jsonl"
    parts = campaign(options.count, options.seed, kept)
    counted = sum(
        (collections.Counter(part["counted"]) for part in parts), collections.Counter[str]()
    )
    findings, seconds = collect_findings(parts), sum(part["seconds"] for part in parts)
    for part in findings:
        print(f"seed {part['seed']}:\n{part['finding']}", file=sys.stderr)
    write_section(
        "Soak",
        "python -m benchmarks.fault_soak",
        [
            f"{counted['runs']:,} runs in {counted['settled']:,} stretches, each until all runs had"
            f" ended and were compared. All of them are real runs ({', '.join(STRATEGIES)}, on"
            f" {ROWS} rows, some 0.03 s each) by real worker processes. What befell them came in"
            " random order from a state machine (`tests/faults/soak.py`), while they trained, on"
            f" disks of {DISK_MEGABYTES} MB"
            + (":" if FAKETIME else "; the clock was not set, since libfaketime is not installed:"),
            "",
            "| what | times |",
            "|---|---|",
            *(f"| {what} | {counted[what]:,} |" for what in COUNTED_EVENTS),
            "",
            (
                "After each of these the listed runs were those that had been submitted. At the"
                " end of each stretch every run that was not deleted was done, with the weights,"
                " predictions, metrics and points of the run that nothing befell; none was begun"
                " again after it was done, and none ran twice at once; no half-written"
                " file, no checkpoint and no folder of a run that is not listed was left after the"
                " next worker had started; every sample and dataset that a command said it had"
                " made was listed, and all that were listed could be read in full. Findings:"
                f" {len(findings)}. {seconds / 60:.0f} minutes."
            ),
        ],
    )
    kept.unlink(missing_ok=True)
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main())
