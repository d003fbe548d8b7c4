"""Strangers' files by the ten thousand: damaged binaries, and texts against an independent reader.

`python -m benchmarks.torture_files [--count 20000] [--first 0]` writes its two sections of
docs/reliability.md. All are read as `ingest` reads them, in children of
core.data.reading.reader_server, many by each child; one that ends its child is read once more on
its own, by the very function that `ingest` calls. So what would have ended the app is counted, and
this process is the proof that nothing did.
"""

import argparse
import collections
import os
import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.fuzz import normalise_outcome
from benchmarks.reliability import write_section
from benchmarks.torture_batches import ReadOutcome, read_all
from benchmarks.torture_binaries import damaged_file
from benchmarks.torture_texts import OURS, MadeFile, make_file, read_independently
from core.data.archives.containers import open_rows
from core.data.columns.dictionary_file import dictionary_decode, memory_map_rows
from core.data.samples import ROWS_FILE

BATCH = 100
SLOW_SECONDS = 10.0


def torture_binaries(seeds: range) -> list[tuple[str, ReadOutcome]]:
    """(what the file was, how it ended) of damaged binaries."""
    with tempfile.TemporaryDirectory(prefix="thaw-torture-") as name:
        folder, files, kinds = Path(name), [], []
        for seed in seeds:
            kind, data = damaged_file(seed)
            path = folder / f"{seed}"
            path.write_bytes(data)
            files.append(
                {
                    "seed": seed,
                    "path": str(path),
                    "folder": name,
                    "skip": bool(seed % 2),
                    "block": 7 * 2**20,
                }
            )
            kinds.append(kind)
        return list(zip(kinds, read_all(files), strict=True))


def torture_texts(seeds: range) -> list[ReadOutcome]:
    """Return the outcome of each text.

    It is "!" if the values differ from those of the independent reader.
    """
    with tempfile.TemporaryDirectory(prefix="thaw-torture-") as name:
        files, made_files = [], {}
        for seed in seeds:
            made_files[seed] = made_file = make_file(seed)
            folder = Path(name) / f"{seed}"
            folder.mkdir()
            (folder / "file").write_bytes(made_file.data)
            files.append(
                {
                    "seed": seed,
                    "path": str(folder / "file"),
                    "folder": str(folder),
                    "skip": made_file.skip,
                }
            )
            files[-1]["block"] = made_file.block
        return [
            _compare_with_expected(
                outcome, made_files[outcome.seed], Path(name) / f"{outcome.seed}"
            )
            for outcome in read_all(files)
        ]


FINDINGS = "Findings:"


def _compare_with_expected(outcome: ReadOutcome, made_file: MadeFile, folder: Path) -> ReadOutcome:
    if outcome.outcome.startswith("!") or outcome.died:
        return outcome
    with open_rows(folder / "file") as stream:
        expected = read_independently(made_file, stream.read())
    wrong = ""
    if outcome.outcome == "rows":
        # A file without a row that ends in a sentence only later.
        got = (
            [
                list(row.values())
                for row in dictionary_decode(memory_map_rows(folder / ROWS_FILE))
                .select(OURS)
                .to_pylist()
            ]
            if outcome.rows
            else []
        )
        if not made_file.skip and expected.bad:
            wrong = f"read, although row {expected.bad[0]} is bad"
        elif outcome.bad != len(expected.bad):
            wrong = (
                f"{outcome.bad} bad rows, and {len(expected.bad)} by the independent reader"
                f" ({expected.bad[:5]})"
            )
        elif len(got) != len(expected.rows):
            wrong = f"{len(got)} rows, and {len(expected.rows)} by the independent reader"
        elif got != expected.rows:
            wrong = "; ".join(_differences(got, expected.rows)[:3])
    elif made_file.sound or (
        made_file.skip and expected.rows and not _may_be_refused(outcome.outcome)
    ):
        wrong = f"refused: {outcome.outcome}"
    elif not expected.bad and not _may_be_refused(outcome.outcome):
        wrong = f"refused without a bad row: {outcome.outcome}"
    elif named := re.search(r"^Row ([\d,]+) of", outcome.outcome):
        number = int(named[1].replace(",", ""))
        if number not in expected.bad and not _may_be_refused(outcome.outcome):
            wrong = (
                f"names row {number}, where the bad ones are {expected.bad[:5]}: {outcome.outcome}"
            )
    return ReadOutcome(outcome.seed, f"!{wrong}", outcome.seconds) if wrong else outcome


def _may_be_refused(outcome: str) -> bool:
    """Return whether the format was not recognised, which damage to the first rows may explain."""
    return (
        outcome.startswith("?")
        or "names the columns anew" in outcome
        or "Criteo rows have 40" in outcome
    )


def _differences(got: list[list[object]], wanted: list[list[object]]) -> list[str]:
    return [
        f"row {number} {name}: {ours!r} for {theirs!r}"
        for number, (one, other) in enumerate(zip(got, wanted, strict=True), 1)
        for name, ours, theirs in zip(OURS, one, other, strict=True)
        if ours != theirs
    ]


def _in_batches(work: Any, first: int, count: int, title: str) -> tuple[list[Any], float]:
    began = time.monotonic()
    ranges = [
        range(start, min(start + BATCH, first + count))
        for start in range(first, first + count, BATCH)
    ]
    outcomes: list[Any] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for ends in pool.map(work, ranges):
            outcomes += ends
            rate = len(outcomes) / (time.monotonic() - began)
            print(
                f"{title}: {len(outcomes):,} of {count:,}, {rate:.0f} a second",
                file=sys.stderr,
                flush=True,
            )
    return outcomes, time.monotonic() - began


def binaries_section(count: int, first: int) -> list[str]:
    """The lines about damaged binaries."""
    found, seconds = _in_batches(torture_binaries, first, count, "binaries")
    outcomes = [outcome for _, outcome in found]
    died = collections.Counter(outcome.died for outcome in outcomes if outcome.died)
    strange = [outcome for outcome in outcomes if outcome.outcome.startswith("!")]
    sentences = [
        outcome.outcome
        for outcome in outcomes
        if outcome.outcome != "rows" and outcome not in strange
    ]
    families = collections.Counter(kind.partition(",")[0] for kind, _ in found)
    deaths = ", ".join(f"{number:,} by {cause}" for cause, number in died.most_common())
    return [
        (
            f"{count:,} files:"
            f" {', '.join(f'{number:,} {kind}' for kind, number in families.most_common())}; of"
            " every codec, encoding and version of pages, encrypted ones too. One to four of: bits"
            " flipped, bytes and words overwritten, put in, taken out, cut off, pieces of other"
            " files put in; anywhere, or at the beginning, the end or in the footer. Every other"
            " one with bad rows skipped."
        ),
        "",
        "| outcome | files |",
        "|---|---|",
        (
            "| read: the damage took nothing that is needed, or bad rows were skipped |"
            f" {_count(outcomes, 'rows'):,} |"
        ),
        f"| refused in a sentence | {len(sentences):,} |",
        (
            f"| … of these it ended the process that read it ({deaths or '–'}) |"
            f" {sum(died.values()):,} |"
        ),
        f"| an exception that no sentence was written for | {len(strange):,} |",
        "| the calling process ended | 0 |",
        f"| longer than {SLOW_SECONDS:.0f} s "
        f"| {sum(outcome.seconds > SLOW_SECONDS for outcome in outcomes):,} |",
        "",
        (
            f"The slowest took {max(outcome.seconds for outcome in outcomes):.1f} s;"
            f" {count / seconds:.0f}"
            " files a second."
        ),
        *_findings(strange),
        "",
        "The most frequent messages:",
        "",
        *(
            f"- {n:,} × {kind}"
            for kind, n in collections.Counter(map(normalise_outcome, sentences)).most_common(10)
        ),
    ]


def texts_section(count: int, first: int) -> list[str]:
    """The lines about texts."""
    outcomes, seconds = _in_batches(torture_texts, first, count, "texts")
    strange = [outcome for outcome in outcomes if outcome.outcome.startswith("!") or outcome.died]
    read = [outcome for outcome in outcomes if outcome.outcome == "rows"]
    return [
        (
            f"{count:,} files of 60 rows, tab-separated as Kaggle's or with a header and one of"
            " four delimiters, columns in any order, every kind of line end, quoted cells with"
            " line ends, delimiters and quotation marks in them, plain or packed; seven in ten"
            " spoilt in cells and widths. Half of them are read in blocks hardly longer than the"
            " longest row, so that blocks end everywhere. Beside it a reader of Python's csv"
            " module and 40 lines, which shares no code with ours: every value, the number of bad"
            " rows and the row that a refusal names were compared."
        ),
        "",
        "| outcome | files |",
        "|---|---|",
        f"| read, and every value as by the independent reader | {len(read):,} |",
        (
            "| … of these with bad rows skipped, as many as by it |"
            f" {sum(outcome.bad > 0 for outcome in read):,} |"
        ),
        (
            "| refused, and so by the independent reader, or its form could not be told | "
            f"{len(outcomes) - len(read) - len(strange):,} |"
        ),
        f"| anything else | {len(strange):,} |",
        "",
        (
            f"{sum(outcome.rows for outcome in read):,} rows were compared;"
            f" {count / seconds:.0f} files a"
            " second."
        ),
        *_findings(strange),
    ]


def _count(outcomes: list[ReadOutcome], outcome: str) -> int:
    return sum(one.outcome == outcome for one in outcomes)


def _findings(outcomes: list[ReadOutcome]) -> list[str]:
    listed = [
        f"- seed {outcome.seed}: {outcome.outcome[1:300]} {outcome.died}".rstrip()
        for outcome in outcomes[:40]
    ]
    return ["", FINDINGS, "", *listed] if outcomes else []


def main() -> int:
    """Runs both campaigns and writes their sections; 1 when there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--only", choices=("binaries", "texts"))
    parser.add_argument("--dry", action="store_true", help="write no section")
    options = parser.parse_args()
    command, found = "python -m benchmarks.torture_files", False
    if options.only != "texts":
        lines = binaries_section(options.count, options.first)
        found |= FINDINGS in lines
        (
            print("\n".join(lines))
            if options.dry
            else write_section("Damaged binaries", command, lines)
        )
    if options.only != "binaries":
        lines = texts_section(options.count, options.first)
        found |= FINDINGS in lines
        title = "Texts against an independent reader"
        print("\n".join(lines)) if options.dry else write_section(title, command, lines)
    return found


if __name__ == "__main__":
    sys.exit(main())
