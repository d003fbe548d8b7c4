"""Choosing a threshold, on validation rows only."""

import numpy as np

from core.evaluation.curves import threshold_table


def best_f1_threshold(y_true: np.ndarray, y_score: np.ndarray) -> float:
    """The score whose use as threshold gives the highest F1; the highest such score on ties, 0.5
    without a click."""
    table = threshold_table(y_true, y_score)
    if not table.positives:
        return 0.5
    f1 = 2 * table.tp / (table.tp + table.fp + table.positives)
    return float(table.thresholds[int(np.argmax(f1))])
