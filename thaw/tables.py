"""Convert pandas DataFrames to files that Thaw reads, and what Thaw lists to DataFrames."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from core.data.datasets import Dataset
from core.data.samples import Sample
from core.errors import BadInput
from core.models.card import BackboneCard
from core.runs.sweep import Sweep

FILE = "DataFrame.parquet"
"""The name of a table in messages about its rows."""


def write_rows(frame: pd.DataFrame, folder: Path) -> Path:
    """Write a table as a file that Thaw reads; its path. The index is left out.

    Raises:
        BadInput: there are no rows, a column name is not a string, or a column holds values of
            several kinds.
    """
    if not len(frame):
        raise BadInput("The DataFrame has no rows.")
    path = folder / FILE
    try:
        frame.to_parquet(path, index=False)
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise BadInput(f"The DataFrame cannot be converted: {error}") from error
    return path


def read_scores(path: Path) -> pd.DataFrame:
    """Read predictions that Thaw wrote: row, id if there is one, score, predicted_click."""
    types = {"row": "int64", "score": "float32", "predicted_click": "int8"}
    names = pd.read_csv(path, nrows=0).columns
    # Ids are texts, whose leading zeros belong to them.
    return pd.read_csv(path, dtype={name: types.get(name, "str") for name in names})


def samples_table(samples: Sequence[Sample]) -> pd.DataFrame:
    """A row per sample."""
    names = ("id", "name", "rows", "click_rate", "bad_rows", "simulated", "source", "created")
    return pd.DataFrame([{name: getattr(one, name) for name in names} for one in samples])


def datasets_table(datasets: Sequence[Dataset]) -> pd.DataFrame:
    """A row per dataset."""
    return pd.DataFrame(map(_dataset_row, datasets))


def backbones_table(cards: Sequence[BackboneCard]) -> pd.DataFrame:
    """A row per backbone; its AUC on test rows of the domain that it was trained on."""
    return pd.DataFrame(
        {
            "id": [one.id for one in cards],
            "name": [one.name for one in cards],
            "architecture": [one.architecture for one in cards],
            "stages": [len(one.stages) for one in cards],
            "parameters": [one.parameters for one in cards],
            "AUC": [one.metrics.get("auc") if one.scores_clicks else None for one in cards],
            "simulated": [bool(one.trained_on.get("simulated")) for one in cards],
            "created": [one.created for one in cards],
        }
    )


def sweeps_table(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """A row per sweep."""
    return pd.DataFrame(
        {
            "id": [one.id for one in sweeps],
            "name": [one.name for one in sweeps],
            "arms": [len(one.spec.arms) for one in sweeps],
            "seeds": [len(one.spec.seeds) for one in sweeps],
            "created": [one.created for one in sweeps],
        }
    )


def _dataset_row(dataset: Dataset) -> dict[str, Any]:
    parts = {part.part: part.rows for part in dataset.parts}
    row: dict[str, Any] = {"id": dataset.id, "name": dataset.name, "rows": dataset.rows, **parts}
    row |= {"sample": dataset.sample_name, "simulated": dataset.simulated}
    return row | {"created": dataset.created}
