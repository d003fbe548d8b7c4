"""Files of every dialect and container, damaged at random but reproducibly, and what Thaw does with
them."""

import io
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from core.data.datasets import delete_dataset, list_datasets
from core.data.prepare import prepare
from core.data.profile import profile_columns
from core.data.reading.ingest import ingest
from core.data.samples import list_samples, read_sample_rows
from core.data.schema import CATEGORICAL, FIELDS, LABEL, NUMERIC
from core.data.split import SplitSpec
from core.errors import BadInput
from core.report.data_figures import column_figure
from core.workspace import Workspace
from tests.core.data.helpers import PACK, fingerprint, rows, text

ROWS = 60
SPLIT = SplitSpec(
    method="random", target_validation_share=0.3, source_test_share=0.3, source_validation_share=0.3
)
NASTY = (
    *(
        "",
        " ",
        "-",
        "--1",
        "+",
        "+1",
        "1.",
        ".5",
        "1e5",
        "1e308",
        "-1e308",
        "1e999",
        "inf",
        "-inf",
        "nan",
        "NaN",
        "0x1f",
    ),
    *(
        "NULL",
        "None",
        "null",
        "True",
        "-1",
        "2",
        "1.0",
        "0.0",
        "01",
        "9" * 400,
        "-0",
        "1,5",
        "1_000",
        "٣",
        "é",
    ),
    *(
        "\x00",
        "\x01",
        "\x1a",
        "\x7f",
        "\ufeff",
        "\u202e",
        "\u2028",
        "\x85",
        "\xa0",
        "\x0b",
        "\x0c",
        "\r",
        "\n",
        "\r\n",
    ),
    *(
        '"',
        '""',
        "'",
        "\\",
        "\\N",
        "a" * 5000,
        "<script>alert(1)</script>",
        "=1+1",
        "'; DROP TABLE runs; --",
        "../x",
    ),
    *(
        "label",
        "Label",
        "I1",
        "C26",
        "Id",
        "label\tI1",
        "#",
        "$x^2$",
        ":material/home:",
        "%s",
        "{0}",
        "\ud7ff",
        "😀",
    ),
)
"""Cells that readers, databases, pages or spreadsheets have stumbled over."""


def parquet_columns(lines: list[list[str]]) -> dict[str, pa.Array]:
    """Rows of strings, label first, as Parquet columns: label int64, the rest text, empty as
    null."""
    columns = {LABEL: pa.array([int(line[0]) for line in lines])}
    for place, field in enumerate(FIELDS, start=1):
        columns[field] = pa.array([line[place] or None for line in lines])
    return columns


def parquet_file(columns: dict[str, pa.Array]) -> bytes:
    """A Parquet file's bytes."""
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


def spoilt_file(seed: int) -> bytes:
    """A file of a dialect and container that `seed` chooses, with one to eleven faults."""
    dice = random.Random(seed)
    lines = rows(ROWS, seed % 7)
    dialect = dice.choice(("kaggle-train", "kaggle-test", "criteo-1tb", "csv", "parquet"))
    if dialect == "parquet":
        return _spoilt_parquet(dice, lines)
    if dialect == "criteo-1tb":
        lines = [[*line[:33], f"{dice.getrandbits(32):08x}", *line[34:]] for line in lines]
    if dialect == "kaggle-test":
        lines = [line[1:] for line in lines]
    if dialect == "csv":
        lines = [[LABEL, *FIELDS], *lines]
    stages = dice.choice(((_spoil_cells,), (_spoil_lines,), (_spoil_cells, _spoil_lines)))
    for spoil in stages:
        for _ in range(dice.randint(1, 3)):
            spoil(dice, lines)
    data = text(lines, dice.choice(("\n", "\n", "\r\n", "\r")))
    if dialect == "csv":
        data = data.replace(b"\t", b",")
    if dice.random() < 0.3:
        data = _spoil_bytes(dice, data)
    if dice.random() < 0.05:
        data = data.decode("utf-8", "replace").encode(
            dice.choice(("utf-16", "utf-16-le", "utf-8-sig", "utf-7"))
        )
    data = PACK[dice.choice([*PACK])](data)
    return _spoil_bytes(dice, data) if dice.random() < 0.4 else data


def _spoil_cells(dice: random.Random, lines: list[list[str]]) -> None:
    line = dice.choice(lines)
    if line:
        line[dice.randrange(len(line))] = dice.choice(NASTY)


def _spoil_lines(dice: random.Random, lines: list[list[str]]) -> None:
    place = dice.randrange(len(lines))
    line = lines[place]
    kinds: list[Callable[[], object]] = [
        lambda: lines.insert(place, [*line]),
        lambda: lines.insert(place, []),
        lambda: lines.insert(place, [LABEL, *FIELDS]),
        lambda: lines.insert(place, ["#", "a comment"]),
        lambda: lines.reverse(),
        lambda: line.append(dice.choice(NASTY)),
        lambda: line.pop() if line else None,
        lambda: line.clear(),
        lambda: line.sort(),
        lambda: lines.__setitem__(
            slice(None), [[str(number), *one] for number, one in enumerate(lines)]
        ),
        lambda: [one.pop() for one in lines if one],
        lambda: [one.__setitem__(0, "1") for one in lines if one],
    ]
    dice.choice(kinds)()


def _spoil_bytes(dice: random.Random, data: bytes) -> bytes:
    spoilt = bytearray(data)
    for _ in range(dice.randint(1, 5)):
        # Heads and tails hold what readers trust: magic, sizes, footers.
        low, high = dice.choice(((0, 64), (0, len(spoilt)), (len(spoilt) - 256, len(spoilt))))
        place = min(max(0, dice.randint(low, max(low, high))), len(spoilt))
        kind = dice.randrange(6)
        if kind == 0:
            spoilt[place : place + 1] = bytes([dice.randrange(256)])
        elif kind == 1:
            spoilt[place:place] = dice.randbytes(dice.randint(1, 20))
        elif kind == 2:
            del spoilt[place : place + dice.randint(1, 200)]
        elif kind == 3:
            del spoilt[place:]
        elif kind == 4:
            spoilt[place : place + 4] = dice.choice(
                (b"\xff" * 4, b"\x00" * 4, b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80")
            )
        else:
            spoilt[place:place] = spoilt[place // 2 : place // 2 + dice.randint(1, 2000)]
    return bytes(spoilt)


def _spoilt_parquet(dice: random.Random, lines: list[list[str]]) -> bytes:
    columns, count = parquet_columns(lines), len(lines)
    others: list[Callable[[], pa.Array]] = [
        lambda: pa.array([dice.choice(NASTY) for _ in range(count)]),
        lambda: pa.array([dice.uniform(-1e9, 1e9) for _ in range(count)]),
        lambda: pa.array([dice.getrandbits(63) for _ in range(count)]),
        lambda: pa.array([float("nan")] * count),
        lambda: pa.nulls(count),
        lambda: pa.array([dice.random() < 0.5 for _ in range(count)]),
        lambda: pa.array([dice.randbytes(8) for _ in range(count)]),
        lambda: pa.array([[1, 2]] * count),
        lambda: pa.array([{"C1": "x"}] * count),
        lambda: pa.array([0] * count, pa.timestamp("us")),
        lambda: pa.array(["a"] * count).dictionary_encode(),
    ]
    for _ in range(dice.randint(0, 2)):
        columns[dice.choice((LABEL, *NUMERIC, *CATEGORICAL))] = dice.choice(others)()
    if dice.random() < 0.2:
        del columns[dice.choice([*columns])]
    stream = io.BytesIO()
    compression = dice.choice(("snappy", "zstd", "gzip", "none", "lz4"))
    pq.write_table(
        pa.table(columns), stream, row_group_size=dice.choice((7, 60)), compression=compression
    )
    data = stream.getvalue()
    return _spoil_bytes(dice, data) if dice.random() < 0.7 else data


def bring_in(workspace: Workspace, path: Path, on_bad_rows: str) -> str:
    """What the page Data does with a file, to the figures: "dataset", "sample" with why no dataset,
    or the sentence.

    Raises AssertionError where a refusal changed the workspace. Leaves the workspace as it found
    it.
    """
    before = fingerprint(workspace)
    try:
        sample = ingest(workspace, path, "fuzzed", on_bad_rows)
    except BadInput as error:
        assert fingerprint(workspace) == before, "a refused file changed the workspace"
        return str(error)
    try:
        profiles = profile_columns(sample)
        for profile in (profiles[0], profiles[-1]):
            column_figure(profile, sample.rows).to_json()
        read_sample_rows(sample, limit=50).to_pandas()
        sampled = fingerprint(workspace)
        try:
            prepare(workspace, sample, SPLIT, "fuzzed", min_count=1)
        except BadInput as error:
            assert fingerprint(workspace) == sampled, "a refused split changed the workspace"
            return f"sample, but {error}"
        return "dataset"
    finally:
        for one in list_samples(workspace):
            shutil.rmtree(one.folder)
        for dataset in list_datasets(workspace):
            delete_dataset(dataset)
