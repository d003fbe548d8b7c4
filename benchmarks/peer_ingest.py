"""How the peers prepare a Criteo file, in their own environment: `python -m benchmarks.peer_ingest WAY FILE FOLDER`.

Prints seconds of the work itself, without imports, and the process's peak memory, as one JSON object.
"""

import json
import logging
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

LABEL = "label"
NUMERIC = [f"I{number}" for number in range(1, 14)]
CATEGORICAL = [f"C{number}" for number in range(1, 27)]


def deepctr(file: Path, folder: Path) -> Callable[[], None]:
    """As DeepCTR-Torch's Criteo example does it, to the model's input arrays; the file has no header here."""
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
        assert all(len(part) == 39 for part in ({name: rows[name] for name in names} for rows in (train, test)))

    return work


def fuxictr(file: Path, folder: Path) -> Callable[[], None]:
    """FuxiCTR's own preprocessing of one CSV with a header into one Parquet file; ray runs before the clock starts."""
    from fuxictr.preprocess import FeatureProcessor
    from fuxictr.preprocess.build_dataset import build_dataset, init_ray

    logging.disable(logging.INFO)
    columns = [
        {"name": NUMERIC, "active": True, "dtype": "float", "type": "numeric", "normalizer": "StandardScaler"},
        {"name": CATEGORICAL, "active": True, "dtype": "str", "type": "categorical", "na_value": ""},
    ]
    label = {"name": LABEL, "dtype": "float"}
    init_ray()

    def work() -> None:
        shutil.rmtree(folder / "criteo", ignore_errors=True)
        processor = FeatureProcessor(columns, label, dataset_id="criteo", data_root=str(folder))
        build_dataset(processor, train_data=str(file), data_format="csv", sep="\t", min_categr_count=10)

    return work


WAYS = {"deepctr": deepctr, "fuxictr": fuxictr}


def main() -> None:
    """Runs one way once."""
    way, file, folder = sys.argv[1:4]
    work = WAYS[way](Path(file), Path(folder))
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**10
    print(json.dumps({"seconds": seconds, "peak": peak}))


if __name__ == "__main__":
    main()
