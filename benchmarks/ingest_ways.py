"""One way to prepare a Criteo file, run once in a process of its own.

Usage: `python -m benchmarks.ingest_ways WAY FILE FOLDER`.

The peers' ways run in their environment, Thaw's in ours. Prints the work's seconds and processor
seconds, without imports, and peak memory in MiB (mapped files included), of the process that had
most: Thaw reads files in one of their own. One JSON object.
"""

import json
import logging
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

LABEL = "label"
NUMERIC = [f"I{number}" for number in range(1, 14)]
CATEGORICAL = [f"C{number}" for number in range(1, 27)]


def deepctr(file: Path, folder: Path) -> Callable[[], None]:
    """Return a function that prepares the file as DeepCTR-Torch's Criteo example does.

    The function goes as far as the model's input arrays. Unlike the example's file, this one has no
    header.
    """
    import pandas as pd
    from deepctr_torch.inputs import DenseFeat, SparseFeat, get_feature_names
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import LabelEncoder, MinMaxScaler

    def work() -> None:
        data = pd.read_csv(file, sep="\t", header=None, names=[LABEL, *NUMERIC, *CATEGORICAL])
        data[CATEGORICAL] = data[CATEGORICAL].fillna("-1")
        data[NUMERIC] = data[NUMERIC].fillna(0)
        for field in CATEGORICAL:
            data[field] = LabelEncoder().fit_transform(data[field])
        data[NUMERIC] = MinMaxScaler(feature_range=(0, 1)).fit_transform(data[NUMERIC])
        columns = [SparseFeat(field, data[field].nunique()) for field in CATEGORICAL]
        names = get_feature_names([*columns, *(DenseFeat(field, 1) for field in NUMERIC)])
        train, test = train_test_split(data, test_size=0.2)
        assert all(
            len(part) == 39
            for part in ({name: rows[name] for name in names} for rows in (train, test))
        )

    return work


def fuxictr(file: Path, folder: Path) -> Callable[[], None]:
    """Return a function that prepares a CSV with a header by FuxiCTR's own preprocessing.

    The function writes one Parquet file. Ray is started before the clock.
    """
    from fuxictr.preprocess import FeatureProcessor
    from fuxictr.preprocess.build_dataset import build_dataset, init_ray

    logging.disable(logging.INFO)
    columns = [
        {
            "name": NUMERIC,
            "active": True,
            "dtype": "float",
            "type": "numeric",
            "normalizer": "StandardScaler",
        },
        {
            "name": CATEGORICAL,
            "active": True,
            "dtype": "str",
            "type": "categorical",
            "na_value": "",
        },
    ]
    label = {"name": LABEL, "dtype": "float"}
    init_ray()

    def work() -> None:
        processor = FeatureProcessor(columns, label, dataset_id="criteo", data_root=str(folder))
        build_dataset(
            processor, train_data=str(file), data_format="csv", sep="\t", min_categr_count=10
        )

    return work


def thaw(file: Path, folder: Path) -> Callable[[], None]:
    """Return a function that prepares the file as `python -m core ingest` does.

    The file is checked, split into domains, fitted on the training rows, and encoded on disk.
    """
    from core.data.columns import (
        vocabulary_index,  # noqa: F401, imported before the clock starts
    )
    from core.data.prepare import prepare
    from core.data.reading import tokenizer  # noqa: F401, imported before the clock starts
    from core.data.reading.ingest import ingest
    from core.data.split import SplitSpec
    from core.workspace import open_workspace

    shown: list[float] = []
    import_readers()

    def work() -> None:
        workspace = open_workspace(folder)
        sample = ingest(workspace, file, "bench", progress=shown.append)
        assert shown == sorted(shown) and len(shown) > 10
        prepare(workspace, sample, SplitSpec(), "bench", progress=shown.append)

    return work


def import_readers() -> None:
    """Let the reader's process import its libraries before the clock starts, as ours does."""
    from contextlib import suppress

    from core.data.reading.read_rows import detect_file_format
    from core.errors import BadInput

    with suppress(BadInput):
        detect_file_format(Path("no such file"))


def encode_with_vocabulary(file: Path, folder: Path) -> Callable[[], None]:
    """Read and encode the file by a vocabulary that was fitted before, as scoring does."""
    import pyarrow as pa

    from core.data.columns import (
        vocabulary_index,  # noqa: F401, imported before the clock starts
    )
    from core.data.datasets import find_dataset
    from core.data.parallel import map_ordered
    from core.data.preprocessing import load_preprocessing
    from core.data.reading import tokenizer  # noqa: F401, imported before the clock starts
    from core.data.reading.ingest import ingest
    from core.data.samples import read_dictionary_table
    from core.workspace import open_workspace

    preprocessing = load_preprocessing(
        find_dataset(open_workspace(folder), "bench").folder / "preprocessing"
    )
    import_readers()

    def work() -> None:
        aside = open_workspace(folder / "aside")
        table = read_dictionary_table(ingest(aside, file, "bench"))
        batches = (pa.Table.from_batches([batch]) for batch in table.to_batches())
        assert (
            sum(len(rows.ids) for rows in map_ordered(preprocessing.encode, batches))
            == table.num_rows
        )

    return work


def load_dataset(file: Path, folder: Path) -> Callable[[], None]:
    """Return a function that loads a prepared dataset.

    The function finds the dataset by name, reads its vocabulary, and copies every encoded row into
    memory.
    """
    import numpy as np

    from core.data.dataset_rows import load_encoded
    from core.data.datasets import find_dataset, load_labels
    from core.data.preprocessing import load_preprocessing
    from core.workspace import open_workspace

    def work() -> None:
        workspace = open_workspace(folder)
        dataset = find_dataset(workspace, "bench")
        rows = load_encoded(
            workspace, dataset, load_preprocessing(dataset.folder / "preprocessing")
        )
        assert (
            len(np.array(rows.ids))
            == len(np.array(rows.numerics))
            == len(np.array(load_labels(dataset)))
        )

    return work


WAYS = {
    "deepctr": deepctr,
    "fuxictr": fuxictr,
    "thaw": thaw,
    "known": encode_with_vocabulary,
    "load": load_dataset,
}
FRESH = ("thaw", "fuxictr")
"""Ways that begin with an empty folder."""


def main() -> None:
    """Runs one way once."""
    way, file, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if way in FRESH:
        shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(folder / "aside", ignore_errors=True)
    work = WAYS[way](file, folder)
    began, busy = time.perf_counter(), time.process_time()
    work()
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    if "core.data.reading.reader_process" in sys.modules:
        sys.modules["core.data.reading.reader_process"].stop()
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**10
    peak = max(peak, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10)
    print(json.dumps({"seconds": seconds, "busy": busy, "peak": peak}))


if __name__ == "__main__":
    main()
