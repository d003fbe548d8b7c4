"""Reading and preparing a Criteo file, compared with the peers (docs/performance.md).

`python -m benchmarks.speed_ingest` writes its section of docs/performance.md.

A simulated file, plain and gzipped, every way in a process of its own, the peers in their
environment.
"""

import argparse
import gzip
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.page_section import put_section
from benchmarks.parity import peer_python
from benchmarks.timing import alternate, ceilings, machine, ratio_text
from core.data.schema import FIELDS, LABEL
from core.data.simulate import simulate
from core.workspace import PROJECT

HEADING = "Reading and preparing a file"
PEERS = ("deepctr", "fuxictr")


class Bench:
    """The files, and how a way is run on them; remembers every way's highest peak."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.peaks: dict[str, float] = {}

    def run(self, way: str, file: str, name: str = "") -> Callable[[], float]:
        """A contestant: seconds of one run of `way` on `file`."""

        def work() -> float:
            python = peer_python() if way in PEERS else Path(sys.executable)
            place = self.folder / ("fuxictr" if way == "fuxictr" else "workspace")
            command = [
                str(python),
                "-m",
                "benchmarks.ingest_ways",
                way,
                str(self.folder / file),
                str(place),
            ]
            done = subprocess.run(
                command, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True
            )
            answer = json.loads(done.stdout.splitlines()[-1])
            self.peaks[name or way] = max(self.peaks.get(name or way, 0.0), answer["peak"])
            return answer["seconds"]

        return work


def write_files(folder: Path, rows: int) -> None:
    """rows.tsv, the same gzipped, and rows.csv: the same with the header that FuxiCTR needs."""
    simulate(folder / "rows.tsv", rows, "both")
    with (
        (folder / "rows.tsv").open("rb") as source,
        gzip.open(folder / "rows.tsv.gz", "wb", compresslevel=4) as packed,
    ):
        shutil.copyfileobj(source, packed, 2**22)
    with (folder / "rows.tsv").open("rb") as source, (folder / "rows.csv").open("wb") as target:
        target.write("\t".join([LABEL, *FIELDS]).encode() + b"\n")
        shutil.copyfileobj(source, target, 2**22)


def measure(folder: Path, rows: int, rounds: int, large: int) -> str:
    """Everything, as the section's text."""
    stand, limits, bench = machine(), ceilings(), Bench(folder)
    write_files(folder, rows)
    plain = {"thaw": bench.run("thaw", "rows.tsv"), "known": bench.run("known", "rows.tsv")}
    plain |= {"load": bench.run("load", "rows.tsv")}
    plain |= {
        "deepctr": bench.run("deepctr", "rows.tsv"),
        "fuxictr": bench.run("fuxictr", "rows.csv"),
    }
    taken = alternate(plain, rounds)
    packed = {name: bench.run(name, "rows.tsv.gz", f"{name} gz") for name in ("thaw", "deepctr")}
    taken_packed = alternate(packed, rounds)
    simulate(folder / "large.tsv", large, "both")
    large_seconds = bench.run("thaw", "large.tsv", "large")()
    text_bytes = (folder / "rows.tsv").stat().st_size

    def row(what: str, expected: str, observed: str) -> str:
        return f"| {what} | {expected} | {observed} |"

    middle = {name: statistics.median(values) for name, values in taken.items()}
    middle_packed = {name: statistics.median(values) for name, values in taken_packed.items()}
    lines = [
        (
            f"Made by `python -m benchmarks.speed_ingest` on {datetime.now(UTC):%Y-%m-%d}"
            f" ({stand}). Simulated rows: {rows:,} ({text_bytes / 1e6:.0f} MB of text), {rounds}"
            " rounds, all variants in turn, each in its own process; seconds of the work without"
            " imports (ours load compiled loops, 0.4 s), medians; ratios are the peer's seconds"
            " over Thaw's in the same round, median (lowest to highest). Ceilings in the same run:"
            f" {limits}."
        ),
        "",
        "| what | expected | observed |",
        "|---|---|---|",
        row(
            "against DeepCTR-Torch's Criteo example (pandas, LabelEncoder, MinMaxScaler), plain"
            " file",
            "10x",
            f"{ratio_text(taken['thaw'], taken['deepctr'])}: {middle['thaw']:.2f} s,"
            f" {middle['deepctr']:.2f} s",
        ),
        row(
            "the same, gzipped file",
            "10x",
            f"{ratio_text(taken_packed['thaw'], taken_packed['deepctr'])}:"
            f" {middle_packed['thaw']:.2f} s, {middle_packed['deepctr']:.2f} s",
        ),
        row(
            "against FuxiCTR's preprocessing, plain file (it reads no gzip)",
            "12x",
            f"{ratio_text(taken['thaw'], taken['fuxictr'])}: {middle['thaw']:.2f} s,"
            f" {middle['fuxictr']:.2f} s",
        ),
        row(
            "peak memory",
            "under 1 GB",
            ", ".join(
                f"{name} {peak:,.0f} MiB" for name, peak in bench.peaks.items() if name in plain
            ),
        ),
        row(
            f"{large:,} rows, plain file",
            "under 3 GB",
            f"{large_seconds:.1f} s, peak {bench.peaks['large']:,.0f} MiB",
        ),
        row("prepared rows loaded into memory", "under 0.3 s", f"{middle['load']:.2f} s"),
        row(
            "a file read and encoded by a known vocabulary, against reading and preparing it",
            "faster",
            f"{ratio_text(taken['known'], taken['thaw'])}: {middle['known']:.2f} s",
        ),
    ]
    return "\n".join(lines)


def main() -> None:
    """Measures in a temporary folder and writes the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--large", type=int, default=10_000_000, help="rows of the file for bounded memory"
    )
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "performance.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = measure(Path(folder), options.rows, options.rounds, options.large)
    put_section(options.out, HEADING, text)
    print(text)


if __name__ == "__main__":
    main()
