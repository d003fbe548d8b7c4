"""Writes simulated Criteo files; Thaw labels them *simulated* everywhere.

`core.data.generative_model` states what their rows are drawn from.
"""

import functools
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from core.data.generative_model import RECIPES, GenerativeModel
from core.errors import BadInput
from core.files.outputs import check_output, write_output

_OTHER_ENDINGS = (
    *(".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".zst"),
    *(".parquet", ".feather", ".arrow"),
)
"""Of names that promise a format which simulated rows are not written in."""
SIMULATED_DOMAINS = ("source", "target", "both")
SIMULATED_RECIPES = tuple(RECIPES)
SOURCE_SHARE = 0.6
"""Share of source rows, which come first, in a file with both domains."""
CHUNK_ROWS = 50_000
"""Number of rows drawn at once. It is part of the model: another number gives other rows."""


def simulate(
    path: Path,
    rows: int,
    domain: str = "source",
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
    recipe: str = "ordinary",
) -> None:
    """Write simulated rows in the form of Kaggle's train.txt, gzipped if the name ends in .gz.

    The same arguments write the same bytes.

    Args:
        path: the file to write.
        rows: number of rows.
        domain: "source", "target", or "both" (60 % source rows, then 40 % target rows).
        seed: of the rows; the model that generates them is always the same.
        progress: called with 0 to 1.
        recipe: how the target domain differs from the source domain: "ordinary", a little, as a
            week later; or "transfer", much, so that adapting a backbone pays.

    Raises:
        BadInput: an argument has no valid value, or the name ends as those of another format do.
    """
    ending = next((one for one in _OTHER_ENDINGS if path.name.lower().endswith(one)), "")
    if ending:
        raise BadInput(
            f"The output {str(path)!r} ends in {ending}, but simulated rows are written as text, "
            "or gzipped for a name that ends in .gz; name it .tsv or .tsv.gz."
        )
    if seed < 0:
        raise BadInput(f"The seed is {seed!r}; it must be 0 or more.")
    check_output(path)
    if rows < 1:
        raise BadInput(f"The number of rows is {rows!r}; it must be at least 1.")
    if domain not in SIMULATED_DOMAINS:
        raise BadInput(f"The domain is {domain!r}; choose one of {list(SIMULATED_DOMAINS)}.")
    if recipe not in SIMULATED_RECIPES:
        raise BadInput(f"The recipe is {recipe!r}; choose one of {list(SIMULATED_RECIPES)}.")
    source_rows = {"source": rows, "target": 0, "both": round(rows * SOURCE_SHARE)}[domain]
    generator = np.random.default_rng([seed, 20_140])
    model = _model(recipe)
    report = progress or (lambda share: None)

    def write(new_path: Path) -> None:
        with _open(new_path, packed=path.name.endswith(".gz")) as stream:
            done = 0
            while done < rows:
                in_source = done < source_rows
                count = min(CHUNK_ROWS, (source_rows if in_source else rows) - done)
                table = model.sample_rows(generator, count, "source" if in_source else "target")
                options = pyarrow.csv.WriteOptions(
                    include_header=False, delimiter="\t", quoting_style="none"
                )
                pyarrow.csv.write_csv(table, pa.PythonFile(stream, "w"), options)
                done += count
                report(done / rows)

    write_output(path, write)


@functools.cache
def _model(recipe: str) -> GenerativeModel:
    return GenerativeModel(recipe)


def _open(path: Path, packed: bool):  # type: ignore[no-untyped-def]
    if not packed:
        return path.open("wb")
    # Without time stamp and name in the header the same rows give the same bytes.
    return gzip.GzipFile(filename="", fileobj=path.open("wb"), mode="wb", mtime=0, compresslevel=4)
