"""Workers and commands killed 200 times, in every kind of job (docs/reliability.md).

The campaign checks that nothing is lost, duplicated or different.

`python -m benchmarks.kills [--count 200] [--seed 1]` writes its section of docs/reliability.md; see
tests/faults/kills.py and tests/faults/command_kills.py for what is done and compared. Results are
stored in a file, so that an interrupted campaign resumes with the next round, as long as the code
is the same.
"""

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.reliability import write_section
from core.data.prepare import prepare
from core.data.reading.ingest import ingest
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.jobs.store import RunStore
from core.runs.dispatch import code_hash
from core.workspace import PROJECT, Workspace, open_workspace
from tests.core.training.helpers import pretrained
from tests.faults.command_kills import COMMANDS

COMMANDS_ROUND = "commands"
SHARES = {
    "strategies": 0.26,
    "pretrainings and a mixing": 0.12,
    "sweep with halving": 0.12,
    "heads trained together": 0.1,
    "arms in processes": 0.08,
    COMMANDS_ROUND: 0.32,
}
"""Shares of the kills: rounds of tests/faults/kill_rounds.py, and the commands of
tests/faults/command_kills.py."""


def workspace_with_a_backbone(root: Path) -> Workspace:
    """Return a workspace with a dataset and a backbone pretrained on it, but no runs.

    The dataset is called tiny and has 3,000 simulated rows.
    """
    workspace = open_workspace(root)
    path = workspace.uploads / "tiny.tsv"
    simulate(path, 3000, "both", seed=3)
    prepare(
        workspace, ingest(workspace, path, "tiny", simulated=True), SplitSpec(), "tiny", min_count=5
    )
    pretrained(workspace, "dnn")
    for run in RunStore(workspace).list():
        RunStore(workspace).delete(run.id)
    return workspace


def in_process(module: str, folder: str, kills: int, seed: int, *rest: str) -> dict[str, Any]:
    """Return the results of one campaign of tests/faults; "failed" if it ended with a finding."""
    command = [sys.executable, "-m", f"tests.faults.{module}", folder, str(kills), str(seed), *rest]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # Files and not pipes, which a process that outlives the campaign would keep open.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        status = subprocess.run(
            command, cwd=PROJECT, env=environment, stdout=out, stderr=errors, check=False
        ).returncode
        out.seek(0)
        errors.seek(0)
        answer, why = out.read(), errors.read()
    if status:
        print(why[-4000:], file=sys.stderr)
        return {
            "kills": {},
            "seconds": 0,
            "failed": (why.strip().splitlines() or [f"status {status}"])[-1][:600],
        }
    results: dict[str, Any] = json.loads(answer)
    return results


def campaign(count: int, seed: int, kept: Path) -> dict[str, dict[str, Any]]:
    """Return the results of each round; rounds that are in the file `kept` are not run again."""
    parts: dict[str, dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else {}
    for name, share in SHARES.items():
        if name in parts:
            continue
        with tempfile.TemporaryDirectory() as folder:
            workspace_with_a_backbone(Path(folder))
            kills = max(1, round(count * share))
            if name == COMMANDS_ROUND:
                parts[name] = in_process("command_kills", folder, max(kills, len(COMMANDS)), seed)
            else:
                parts[name] = in_process("kills", folder, kills, seed, name)
        print(f"{name}: {parts[name]}", file=sys.stderr, flush=True)
        if "failed" not in parts[name]:
            kept.write_text(
                json.dumps({one: part for one, part in parts.items() if "failed" not in part})
            )
    return parts


def main() -> int:
    """Runs the campaign and writes the section."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    name = f"thaw-kills-{code_hash()[:12]}-{options.count}-{options.seed}.json"
    kept = Path(tempfile.gettempdir()) / name
    parts = campaign(options.count, options.seed, kept)
    places: collections.Counter[str] = collections.Counter()
    for part in parts.values():
        places.update(part["kills"])
    apps = places.pop("of an app", 0)
    failed = [f"- {name}: {part['failed']}" for name, part in parts.items() if "failed" in part]
    compared = sum(part.get("runs_compared", 0) for part in parts.values())
    jobs = {
        one: sum(n for k, n in part["kills"].items() if k != "of an app")
        for one, part in parts.items()
    }
    write_section(
        "Crash",
        "python -m benchmarks.kills",
        [
            (
                f"Workers and commands were killed by SIGKILL {places.total()} times and started"
                " again, in one of ten rounds with a second worker trying to take over and two"
                f" apps watching, one of which was killed {apps} times; a checkpoint is written"
                " every 20 ms."
            ),
            "",
            "| job | killed |",
            "|---|---|",
            *(f"| {job} | {count} |" for job, count in jobs.items()),
            "",
            "| place, or command | killed |",
            "|---|---|",
            *(f"| {place} | {count} |" for place, count in sorted(places.items())),
            "",
            (
                f"{compared} runs came to their end. Each had the weights of the unbroken run byte"
                " for byte, the same metrics, predictions and points of every curve: none missing,"
                " none doubled. No run was lost, and none ran twice at once (each held a"
                " lock of its own while it ran). A command that was killed, given again, made what"
                " the unbroken one makes, and lost nothing that was there. Nothing half-written"
                " was left once the next worker had started."
                f" {sum(part['seconds'] for part in parts.values()):,} s."
                if not failed
                else "What did not hold:"
            ),
            *failed,
        ],
    )
    if not failed:
        kept.unlink(missing_ok=True)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
