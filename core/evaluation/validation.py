"""The door of every measure: labels and scores that fit together."""

import numpy as np

from core.errors import BadInput


def validate_scores(y_true: np.ndarray, y_score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(labels, scores) as float64 (rows,); BadInput on other shapes, other labels, infinite
    scores."""
    y_true = np.asarray(y_true, dtype=np.float64)
    y_score = np.asarray(y_score, dtype=np.float64)
    if y_true.ndim != 1 or y_true.shape != y_score.shape:
        raise BadInput(
            f"Labels of shape {y_true.shape} and scores of shape {y_score.shape} do not belong"
            " together."
        )
    known = (y_true == 0) | (y_true == 1)
    if not known.all():
        row = int(np.argmin(known))
        raise BadInput(f"Row {row + 1} has the label {y_true[row]:g}; labels must be 0 or 1.")
    if not np.isfinite(y_score).all():
        row = int(np.flatnonzero(~np.isfinite(y_score))[0])
        raise BadInput(
            f"Row {row + 1} has the score {y_score[row]:g}; scores must be finite numbers."
        )
    return y_true, y_score
