"""Scores a Criteo file of rows with the model in this folder. Thaw is not needed, nor torch.

    pip install numpy pyarrow onnxruntime
    python score.py rows.tsv scores.csv

rows.tsv: 40 tab-separated columns (the label first, which is not read) or 39 without it, no header; plain or gzip.
scores.csv: row (from 1), score (the click probability), predicted_click (1 where the score reaches the threshold).
"""

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

FOLDER = Path(__file__).resolve().parent
NUMERIC = [f"I{number}" for number in range(1, 14)]
CATEGORICAL = [f"C{number}" for number in range(1, 27)]
FIELDS = NUMERIC + CATEGORICAL
MISSING, UNSEEN, FIRST = 0, 1, 2  # ids of a missing value, of an unknown one, and of the first known one


def load_preprocessing() -> tuple[np.ndarray, np.ndarray, dict[str, pa.Array]]:
    """(mean, deviation) of the transformed numbers, and the known values of each field in the order of their ids."""
    values = json.loads((FOLDER / "preprocessing" / "preprocessing.json").read_text(encoding="utf-8"))
    table = pq.read_table(FOLDER / "preprocessing" / "vocabulary.parquet")
    known = {name: table.filter(pc.equal(table["field"], name))["value"].combine_chunks() for name in FIELDS}
    known |= {name: known[name].cast(pa.float64()) for name in NUMERIC}
    return np.array(values["mean"]), np.array(values["std"]), known


def encode(
    rows: pa.RecordBatch, mean: np.ndarray, std: np.ndarray, known: dict[str, pa.Array]
) -> tuple[np.ndarray, np.ndarray]:
    """ids int32 (rows, 39) and standardised numbers float32 (rows, 13)."""
    ids = np.empty((rows.num_rows, len(FIELDS)), dtype=np.int32)
    numerics = np.empty((rows.num_rows, len(NUMERIC)), dtype=np.float32)
    for place, name in enumerate(FIELDS):
        column = rows.column(name)
        if name in NUMERIC:
            x = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
            if np.isinf(x).any() or np.isnan(x[column.is_valid().to_numpy(zero_copy_only=False)]).any():
                raise ValueError(f"column {name} holds something that is not a finite number")
            scaled = (np.sign(x) * np.log1p(np.abs(x)) - mean[place]) / std[place]
            numerics[:, place] = np.where(np.isnan(scaled), 0.0, scaled)
            # Values up to 2 are buckets of their own; above, the whole part of ln(x)^2.
            high = x > 2
            buckets = np.where(high, np.floor(np.log(np.where(high, x, 3.0)) ** 2) + 2, np.floor(x))
            column = pa.array(buckets + 0.0, from_pandas=True)  # adding 0 makes 0 of -0, which arrow tells apart
        found = pc.fill_null(pc.index_in(column, value_set=known[name]), -1).to_numpy(zero_copy_only=False)
        missing = column.is_null().to_numpy(zero_copy_only=False)
        ids[:, place] = np.where(missing, MISSING, np.where(found < 0, UNSEEN, found + FIRST))
    return ids, numerics


def unpacked(path: Path) -> Any:
    """The file's bytes as a stream."""
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else path.open("rb")


def read(path: Path) -> Iterator[pa.RecordBatch]:
    """The file's rows, some thousands at a time, every field as text."""
    with unpacked(path) as stream:
        width = stream.readline().count(b"\t") + 1
    if width not in (len(FIELDS), len(FIELDS) + 1):
        raise ValueError(f"the first line has {width} tab-separated columns, not 39 or 40")
    names = FIELDS if width == len(FIELDS) else ["label", *FIELDS]
    with unpacked(path) as stream:
        yield from pcsv.open_csv(
            stream,
            read_options=pcsv.ReadOptions(column_names=names, block_size=4 * 2**20),
            parse_options=pcsv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=pcsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=FIELDS,
                null_values=[""],
                strings_can_be_null=True,
            ),
        )


def main(source: Path, target: Path) -> int:
    """Writes the scores; how many."""
    threshold = json.loads((FOLDER / "run.json").read_text(encoding="utf-8"))["threshold"]
    session = onnxruntime.InferenceSession(str(FOLDER / "model.onnx"), providers=["CPUExecutionProvider"])
    preprocessing = load_preprocessing()
    done = 0
    schema = pa.schema([("row", pa.int64()), ("score", pa.float32()), ("predicted_click", pa.int8())])
    with pcsv.CSVWriter(target, schema) as writer:
        for batch in read(source):
            ids, numerics = encode(batch, *preprocessing)
            scores = session.run(None, {"ids": ids, "numerics": numerics})[0]
            row = np.arange(done + 1, done + 1 + len(scores))
            writer.write_table(pa.table([row, scores, (scores >= threshold).astype(np.int8)], schema=schema))
            done += len(scores)
    return done


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        count = main(Path(sys.argv[1]), Path(sys.argv[2]))
    except (OSError, ValueError) as error:
        sys.exit(f"{sys.argv[1]} cannot be scored: {error}")
    print(f"Wrote {count:,} scores to {sys.argv[2]}.")
