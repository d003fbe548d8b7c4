"""Validation of the (y_true, y_score) pair that every metric takes."""

import numpy as np

from core.errors import BadInput


def validate_scores(y_true: np.ndarray, y_score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float64 arrays of shape ``(n_rows,)``.

    Args:
        y_true: labels, 0 or 1.
        y_score: scores, such as click probabilities.

    Raises:
        BadInput: shapes differ or are not one-dimensional, a label is not 0 or 1, or a score is not
            finite; the message names the first such row, counted from 1.

    >>> validate_scores([0, 1], [0.2, 0.9])
    (array([0., 1.]), array([0.2, 0.9]))
    """
    y_true = np.asarray(y_true, dtype=np.float64)
    y_score = np.asarray(y_score, dtype=np.float64)
    if y_true.ndim != 1 or y_true.shape != y_score.shape:
        raise BadInput(
            f"Labels of shape {y_true.shape} and scores of shape {y_score.shape} do not belong"
            " together."
        )
    is_label = (y_true == 0) | (y_true == 1)
    if not is_label.all():
        row = int(np.argmin(is_label))
        raise BadInput(f"Row {row + 1} has the label {y_true[row]:g}; labels must be 0 or 1.")
    if not np.isfinite(y_score).all():
        row = int(np.flatnonzero(~np.isfinite(y_score))[0])
        raise BadInput(
            f"Row {row + 1} has the score {y_score[row]:g}; scores must be finite numbers."
        )
    return y_true, y_score
