"""The door of every measure: labels and scores that fit together."""

import numpy as np

from core.errors import BadInput


def check(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(labels, scores) as float64 (rows,); BadInput on other shapes, other labels, infinite
    scores."""
    labels = np.asarray(labels, dtype=np.float64)
    scores = np.asarray(scores, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise BadInput(
            f"Labels of shape {labels.shape} and scores of shape {scores.shape} do not belong"
            " together."
        )
    known = (labels == 0) | (labels == 1)
    if not known.all():
        row = int(np.argmin(known))
        raise BadInput(f"Row {row + 1} has the label {labels[row]:g}; labels must be 0 or 1.")
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise BadInput(
            f"Row {row + 1} has the score {scores[row]:g}; scores must be finite numbers."
        )
    return labels, scores
