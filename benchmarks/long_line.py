"""A line of 1 GB without an end: refused in a sentence, in bounded memory.

`python -m benchmarks.long_line` writes its section of docs/reliability.md. Each file is ingested by
command in a process of its own, with bad rows rejected and skipped; one file at a time is on the
disk.
"""

import gzip
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reliability import write_section
from core.data.read_options import ON_BAD_ROWS
from core.data.reading.textblocks import BLOCK_BYTES
from core.workspace import PROJECT, open_workspace
from tests.core.data.helpers import fingerprint, rows, text

BLOCK, BLOCKS = 2**20, 1024
GOOD = text(rows(200))


@dataclass(frozen=True)
class Ended:
    """How a command ended; `seconds` of processor time, `peak` bytes of memory."""

    status: int
    said: str
    seconds: float
    peak: int


def long_line_parts(letters: bytes, before: bytes) -> Iterator[bytes]:
    """Yield `before`, then `letters` until there is 1 GB of them, without a line end."""
    if before:
        yield before
    for _ in range(BLOCKS):
        yield letters


def write_plain(path: Path, letters: bytes, before: bytes) -> None:
    """The file as it is."""
    with path.open("wb") as stream:
        stream.writelines(long_line_parts(letters, before))


def write_gzip(path: Path, letters: bytes, before: bytes) -> None:
    """Write the file gzipped in members, which unpack as one stream.

    The block of letters is compressed only once, because every block is the same.
    """
    packed = gzip.compress(letters)
    with path.open("wb") as stream:
        stream.writelines(
            packed if part is letters else gzip.compress(part)
            for part in long_line_parts(letters, before)
        )


def ingest(workspace: Path, path: Path, on_bad_rows: str) -> Ended:
    """`python -m core ingest` of that file."""
    command = [
        sys.executable,
        "-m",
        "core",
        "--workspace",
        str(workspace),
        "ingest",
        str(path),
        "--name",
        "long",
    ]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as error_output:
        child = subprocess.Popen(
            [*command, "--on-bad-rows", on_bad_rows],
            cwd=PROJECT,
            stdout=subprocess.DEVNULL,
            stderr=error_output,
        )
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        error_output.seek(0)
        sentence = next(
            (
                line
                for line in reversed(error_output.read().splitlines())
                if line.startswith("thaw: ")
            ),
            "",
        )
    return Ended(child.returncode, sentence, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def measure_files(folder: Path) -> Iterator[tuple[str, Ended]]:
    """Yield (kind of file, how its ingest ended), each with bad rows rejected and skipped."""
    workspace = open_workspace(folder / "workspace").root
    dice = random.Random(0)
    hex_digits = "".join(dice.choices("0123456789abcdef", k=BLOCK)).encode()
    kinds = (
        ("one line of hex digits", write_plain, hex_digits, b""),
        ("one line of hex digits, gzipped", write_gzip, hex_digits, b""),
        ("one line of the same letter, gzipped", write_gzip, b"a" * BLOCK, b""),
        ("200 good rows, then the line", write_plain, hex_digits, GOOD),
        ("200 good rows, then the line, gzipped", write_gzip, hex_digits, GOOD),
    )
    before = fingerprint(open_workspace(workspace))
    for kind, write, letters, good in kinds:
        path = folder / "file"
        write(path, letters, good)
        size = path.stat().st_size
        for on_bad_rows in ON_BAD_ROWS:
            outcome = ingest(workspace, path, on_bad_rows)
            assert outcome.status == 2 and outcome.said, f"{kind}, {on_bad_rows}: {outcome}"
            assert fingerprint(open_workspace(workspace)) == before, (
                f"{kind}, {on_bad_rows}: something is left"
            )
            yield f"{kind} | {size / 1e6:,.0f} | {on_bad_rows}", outcome
        path.unlink()


def measure_good_rows(folder: Path) -> Ended:
    """Ingest the 200 good rows alone, which shows the memory that the program needs anyway."""
    path = folder / "good"
    path.write_bytes(GOOD)
    outcome = ingest(folder / "of good rows", path, "reject")
    assert outcome.status == 0, outcome
    return outcome


def main() -> None:
    """Measures every file and writes the section."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outcomes = list(measure_files(folder))
        alone = measure_good_rows(folder)
    sentences = dict.fromkeys(outcome.said.removeprefix("thaw: ") for _, outcome in outcomes)
    write_section(
        "A line without an end",
        "python -m benchmarks.long_line",
        [
            (
                f"Files with a line of {BLOCK * BLOCKS:,} bytes that never ends, by `python -m core"
                " ingest`: refused with a message and exit status 2, and nothing is left in the"
                " workspace. Processor seconds, importing Python's packages among them, and the"
                " most memory that the process held; the 200 good rows alone took"
                f" {alone.seconds:.1f} s and {alone.peak / 2**20:.0f} MiB. A row may have"
                f" {BLOCK_BYTES:,} bytes."
            ),
            "",
            "| file | MB | bad rows | seconds | MiB |",
            "|---|---|---|---|---|",
            *(
                f"| {kind} | {outcome.seconds:.1f} | {outcome.peak / 2**20:.0f} |"
                for kind, outcome in outcomes
            ),
            "",
            "The messages:",
            "",
            *(f"- {sentence}" for sentence in sentences),
        ],
    )


if __name__ == "__main__":
    main()
