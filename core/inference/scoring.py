"""Score the rows of a sample with a network and write the predictions as CSV."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import torch

from core.data.drift import drift_counts
from core.data.preprocessing import Preprocessing
from core.data.samples import Sample, file_row_numbers, read_dictionary_table
from core.data.schema import FIELDS, LABEL
from core.evaluation.recalibration import RecalibrationMap
from core.inference.blend_weights import blend_scores
from core.models.network import Network
from core.training.batches import RowTensors
from core.training.devices import tf32_products
from core.training.losses import predict

BATCH_ROWS = 65536
"""Rows that are encoded and scored at a time."""
ROW, SCORE, CLICK = "row", "score", "predicted_click"
"""Columns of the predictions. The file's id column, if it has one, comes after `row`, under its
own name."""


@dataclass(frozen=True)
class Scorer:
    """What is needed to score rows.

    Args:
        network: on `device`.
        preprocessing: of its inputs.
        threshold: score from which a click is predicted.
        device: to compute on.
        tf32: whether a GPU multiplies in TF32, as the run did.
    """

    network: Network
    preprocessing: Preprocessing
    threshold: float
    device: torch.device
    tf32: bool = False

    def score(self, batch: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Return scores, float32 ``(rows,)``, and ids, int32 ``(rows, 39)``, of rows."""
        encoded = self.preprocessing.encode(batch)
        inputs = (
            torch.from_numpy(encoded.ids).to(self.device),
            torch.from_numpy(encoded.numerics).to(self.device),
        )
        no_labels = torch.zeros(len(encoded.ids), device=self.device)
        with tf32_products(self.tf32):
            return predict(self.network, RowTensors(inputs, no_labels)), encoded.ids


@dataclass(frozen=True)
class BlendScorer:
    """What is needed to score rows with a blend.

    Args:
        scorers: of its runs, calibrated where the blend was fitted on calibrated scores.
        weights: of their logits.
        threshold: score of the blend from which a click is predicted.
    """

    scorers: "tuple[Scorer | CalibratedScorer, ...]"
    weights: np.ndarray
    threshold: float

    @property
    def preprocessing(self) -> Preprocessing:
        """That of the first run, by which values are called unknown."""
        return self.scorers[0].preprocessing

    def score(self, batch: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Return scores of the blend, and ids by the preprocessing of its first run."""
        scored = [scorer.score(batch) for scorer in self.scorers]
        return blend_scores(np.stack([scores for scores, _ in scored]), self.weights), scored[0][1]


@dataclass(frozen=True)
class CalibratedScorer:
    """What is needed to score rows with calibrated probabilities.

    Args:
        scorer: gives the scores as trained.
        calibration: map from these to calibrated ones.
    """

    scorer: Scorer | BlendScorer
    calibration: RecalibrationMap

    @property
    def preprocessing(self) -> Preprocessing:
        """That of the model."""
        return self.scorer.preprocessing

    @property
    def threshold(self) -> float:
        """Calibrated score from which a click is predicted: the same rows as without."""
        return self.calibration.apply_to(self.scorer.threshold)

    def score(self, batch: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Return calibrated scores, float32 ``(rows,)``, and ids of rows."""
        scores, ids = self.scorer.score(batch)
        return self.calibration.apply(scores), ids


AnyScorer = Scorer | BlendScorer | CalibratedScorer


@dataclass(frozen=True)
class FileScores:
    """Scores of a sample's rows.

    Args:
        scores: click probabilities, float32 ``(rows,)``.
        labels: int8 ``(rows,)``, -1 for a row without a label; None without a label column.
        counts: int64 ``(39, bins)``, see `core.data.drift.drift_counts`.
    """

    scores: np.ndarray
    labels: np.ndarray | None
    counts: np.ndarray


def write_predictions(
    path: Path,
    sample: Sample,
    scorer: AnyScorer,
    on_progress: Callable[[float], None] | None = None,
) -> FileScores:
    """Score a sample and write one line per row, in file order.

    Columns: the row's number in its file, its id if the sample has ids, score, predicted_click.

    Args:
        path: CSV file to write.
        sample: rows to score.
        scorer: network, preprocessing and threshold.
        on_progress: called with the share of the rows that is done, 0 to 1.
    """
    rows, numbers = read_dictionary_table(sample), file_row_numbers(sample)
    schema = _schema(sample.id_column)
    # The counts of no rows have the right shape.
    counts = drift_counts(np.zeros((0, len(FIELDS)), np.int32)).astype(np.int64)
    scores, labels = [], []
    with pyarrow.csv.CSVWriter(path, schema) as writer:
        for start in range(0, sample.rows, BATCH_ROWS):
            batch = rows.slice(start, BATCH_ROWS)
            batch_scores, ids = scorer.score(batch)
            row_numbers = numbers[start : start + len(batch_scores)]
            columns = [pa.array(row_numbers, pa.int64())]
            if sample.id_column:
                columns.append(_as_strings(batch[sample.id_column]))
            clicks = (batch_scores >= scorer.threshold).astype(np.int8)
            writer.write_table(pa.table([*columns, batch_scores, clicks], schema=schema))
            scores.append(batch_scores)
            counts += drift_counts(ids)
            if sample.labelled:
                labels.append(batch[LABEL].to_numpy())
            if on_progress:
                on_progress(min(1.0, (start + BATCH_ROWS) / sample.rows))
    return FileScores(np.concatenate(scores), np.concatenate(labels) if labels else None, counts)


def _schema(id_column: str) -> pa.Schema:
    fields = [(ROW, pa.int64()), (SCORE, pa.float32()), (CLICK, pa.int8())]
    if id_column:
        # The file's id column may have the name of one of our own columns.
        taken = id_column in (ROW, SCORE, CLICK)
        fields.insert(1, (f"id_{id_column}" if taken else id_column, pa.string()))
    return pa.schema(fields)


def _as_strings(column: pa.ChunkedArray) -> pa.Array:
    """Return a column of strings, dictionary-encoded or not, as one array."""
    strings = column.cast(pa.string()).combine_chunks()
    # A column of no chunks or of very long strings stays chunked.
    return pa.concat_arrays(strings.chunks) if isinstance(strings, pa.ChunkedArray) else strings
