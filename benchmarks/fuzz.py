"""Ten thousand damaged files: each becomes a dataset or a sentence, never anything else.

`python -m benchmarks.fuzz [--files 10000]` writes its section of docs/reliability.md. Every 200
files are read in a process of their own, so that a crash of the interpreter is one finding and does
not end the campaign.
"""

import argparse
import collections
import json
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from benchmarks.reliability import write_section
from core.workspace import PROJECT, open_workspace
from tests.faults.mutations import bring_in, spoilt_file

FILES_PER_PROCESS = 200
SECONDS_PER_MEGABYTE = 10.0


def print_outcomes(first: int, count: int) -> None:
    """Print two lines of JSON for each file: before it is read, and how it ended."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = open_workspace(Path(folder) / "workspace")
        path = Path(folder) / "file"
        for seed in range(first, first + count):
            path.write_bytes(spoilt_file(seed))
            print(json.dumps({"seed": seed}), flush=True)
            began = time.monotonic()
            try:
                outcome = bring_in(workspace, path, ("reject", "skip")[seed % 2])
            except Exception as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                outcome = (
                    f"!{type(error).__name__}: {error} at"
                    f" {Path(place.filename).name}:{place.lineno}"
                )
            seconds = time.monotonic() - began
            print(
                json.dumps(
                    {
                        "seed": seed,
                        "outcome": outcome,
                        "seconds": seconds,
                        "bytes": path.stat().st_size,
                    }
                )
            )


def campaign(files: int) -> list[dict[str, object]]:
    """Return the outcome of every file; for one that ended its process, "!" and how it ended."""
    outcomes: dict[int, dict[str, object]] = {}
    first = 0
    while first < files:
        count = min(FILES_PER_PROCESS, files - first)
        command = [sys.executable, "-m", "benchmarks.fuzz", "--slice", str(first), str(count)]
        limit = count * SECONDS_PER_MEGABYTE
        try:
            ended = subprocess.run(
                command, cwd=PROJECT, capture_output=True, text=True, timeout=limit, check=False
            )
            lines, why = (
                ended.stdout,
                f"!the process ended with {ended.returncode}: {ended.stderr[-300:]}",
            )
        except subprocess.TimeoutExpired as error:
            lines, why = (error.stdout or b"").decode(), f"!nothing came back in {limit:.0f} s"
        for line in lines.splitlines():
            entry = json.loads(line)
            outcomes[entry["seed"]] = {"outcome": why, "seconds": 0.0, "bytes": 1} | entry
        done = len([one for one in outcomes if one >= first])
        first += done or count
        print(f"{first:,} of {files:,}", file=sys.stderr, flush=True)
    return [outcomes[seed] | {"seed": seed} for seed in sorted(outcomes)]


def normalise_outcome(outcome: str) -> str:
    """Return a sentence without what is particular to one file."""
    text = re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", "…", outcome)
    text = re.sub(r"\([^)]*\)", "(…)", re.sub(r"\b[IC]\d+\b|\blabel\b", "COLUMN", text))
    return re.sub(r"[\d,]*\d", "N", text)[:110]


def main() -> int:
    """Runs the campaign and writes the section; 1 when there is a finding."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", "--count", type=int, default=10_000)
    parser.add_argument("--slice", type=int, nargs=2)
    options = parser.parse_args()
    if options.slice:
        print_outcomes(*options.slice)
        return 0
    results = campaign(options.files)
    outcomes = [str(one["outcome"]) for one in results]
    faults = [one for one in results if str(one["outcome"]).startswith("!")]
    samples = sum(one.startswith("sample, but") for one in outcomes)
    datasets = outcomes.count("dataset")
    sentences = [
        one
        for one in outcomes
        if one != "dataset" and one[0] != "!" and not one.startswith("sample, but")
    ]
    slow = [one for one in results if float(str(one["seconds"])) > SECONDS_PER_MEGABYTE]
    named = sum(bool(re.search(r"\brows? \d|\bbyte \d", one, re.IGNORECASE)) for one in sentences)
    kinds = collections.Counter(map(normalise_outcome, sentences)).most_common(12)
    write_section(
        "Bad input, fuzzed",
        "python -m benchmarks.fuzz",
        [
            (
                f"{len(results):,} files of five dialects (Kaggle train and test, 1TB, CSV,"
                " Parquet) in every container, one to eleven faults each in cells, lines, bytes"
                " before packing and bytes after it; every other one with bad rows skipped. Each"
                " was ingested, profiled, drawn, previewed, split and prepared."
            ),
            "",
            "| outcome | files |",
            "|---|---|",
            f"| a dataset | {datasets:,} |",
            f"| a sample, and a sentence on why it cannot be split so | {samples:,} |",
            f"| refused in a sentence, workspace unchanged | {len(sentences):,} |",
            f"| … of these with the number of the row or byte | {named:,} |",
            f"| any other exception, a crash, or a changed workspace | {len(faults):,} |",
            f"| longer than {SECONDS_PER_MEGABYTE:.0f} s | {len(slow):,} |",
            "",
            (
                f"The slowest took {max(float(str(one['seconds'])) for one in results):.1f} s. The"
                " commonest sentences:"
            ),
            "",
            *(f"- {count:,} × {kind}" for kind, count in kinds),
            *(["", f"Slow: seeds {[one['seed'] for one in slow]}."] if slow else []),
            *(
                ["", "Findings:", *(f"- seed {one['seed']}: {one['outcome']}" for one in faults)]
                if faults
                else []
            ),
        ],
    )
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
