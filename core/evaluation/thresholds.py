"""The threshold of a run, chosen on validation rows only."""

import numpy as np

from core.evaluation.curves import threshold_table


def best_f1_threshold(y_true: np.ndarray, y_score: np.ndarray) -> float:
    """The threshold with the highest F1; the highest of them on ties, 0.5 without a click.

    Args:
        y_true: labels 0 or 1 of validation rows, shape ``(n_rows,)``.
        y_score: scores, shape ``(n_rows,)``.

    >>> best_f1_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
    0.35
    """
    table = threshold_table(y_true, y_score)
    if not table.positives:
        return 0.5
    f1 = 2 * table.tp / (table.tp + table.fp + table.positives)
    return float(table.thresholds[int(np.argmax(f1))])
