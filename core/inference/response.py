"""Response curves: partial dependence of the score on one field (Friedman 2001).

Every sampled row gets one value after another; the mean score at each is the curve.
"""

import numpy as np
import pyarrow as pa

from core.data.datasets import find_dataset
from core.data.schema import NUMERIC
from core.inference.click_model import ClickModel, load_backbone_model, load_click_model
from core.inference.explanation_files import Response, Value, require_field, response_key, store
from core.inference.importance import measured_rows
from core.inference.raw_rows import frequent_values, known_numbers, read_rows, with_value
from core.jobs.store import Run
from core.read_only import require_writable
from core.workspace import Workspace

MAX_ROWS = 1000
"""Test rows that are sampled, evenly spaced."""
GRID = 20
"""Quantiles of a numeric field; equal ones are one value."""
TOP_VALUES = 10
"""Most frequent values of a category."""
LINES = 20
"""Rows whose own curve is stored."""


def compute_response(workspace: Workspace, run: Run, field: str) -> Response:
    """Compute the response of a run's score to a field on target test rows, and store it.

    Args:
        workspace: of the run.
        run: that is done and scores clicks.
        field: I1 to I13, C1 to C26.

    Raises:
        BadInput: there is no such field, or the run scores no clicks.
    """
    require_writable()
    require_field(field)
    dataset = find_dataset(workspace, run.dataset)
    tests = read_rows(workspace, dataset, measured_rows(dataset))
    values, shares = response_values(tests, field)
    n_rows = min(MAX_ROWS, tests.num_rows)
    sample = tests.take(np.linspace(0, tests.num_rows - 1, n_rows).astype(np.int64))
    scores = scores_at(load_click_model(workspace, run), sample, field, values)
    backbone = load_backbone_model(workspace, run)
    before = None
    if backbone:
        before = tuple(scores_at(backbone, sample, field, values).mean(axis=0).tolist())
    mean = scores.mean(axis=0)
    half = 1.96 * scores.std(axis=0, ddof=1) / n_rows**0.5 if n_rows > 1 else 0 * mean
    lines = scores[np.linspace(0, n_rows - 1, min(LINES, n_rows)).astype(int)]
    found = Response(
        run.id,
        field,
        tuple(values),
        tuple(shares),
        tuple(mean.tolist()),
        tuple((mean - half).tolist()),
        tuple((mean + half).tolist()),
        before,
        tuple(tuple(one) for one in lines.tolist()),
        n_rows,
    )
    store(workspace, run.id, response_key(field), found)
    return found


def response_values(table: pa.Table, field: str) -> tuple[list[Value], list[float]]:
    """Return the values that a field is set to, and the share of rows of each category."""
    if field in NUMERIC:
        known = known_numbers(table, field)
        if not len(known):
            return [None], [1.0]
        grid = np.quantile(known, np.linspace(0, 1, GRID), method="lower")
        distinct = np.unique(grid).tolist()
        return distinct, [0.0] * len(distinct)
    top = frequent_values(table, field, TOP_VALUES)
    return [value for value, _ in top], [count / table.num_rows for _, count in top]


def scores_at(model: ClickModel, table: pa.Table, field: str, values: list[Value]) -> np.ndarray:
    """Return every row's score at each value, float64 ``(n_rows, n_values)``."""
    columns = [model.score(with_value(table, field, value)) for value in values]
    return np.stack(columns, axis=1).astype(np.float64)
