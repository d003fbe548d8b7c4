"""The control "logistic-regression": one weight per value, fitted to the optimum by L-BFGS.

The network "lr" of the zoo has the same weights, so that the fitted model is stored, scored and
exported as any network is.
"""

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import torch

from core.jobs.reporter import Reporter
from core.models.backbone import build_network
from core.models.card import HeadSettings
from core.models.network import Network
from core.training.batches import RowTensors
from core.training.controls.fitted_control import ControlRows, FittedControl
from core.training.loop import CancelledError, FitResult
from core.training.losses import CLICK_TASK

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

INVERSE_PENALTIES = (
    *(0.0001, 0.0003, 0.001, 0.003, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3),
    *(1.0, 3.0, 10.0, 30.0, 100.0),
)
"""scikit-learn's C to choose from, strongest penalty first. On the real rows the best one is 0.03
to 0.1 for 18,000 to 78,000 rows (docs/decisions.md); fewer rows, or inputs that say more, can ask
for any other. The weaker ones cost nothing where they are not reached."""
MAX_ITERATIONS, TOLERANCE = 1000, 1e-6
"""The default tolerance, 1e-4, ends before the optimum: the loss is a mean over many rows."""


def fit_logistic_regression(rows: ControlRows, reporter: Reporter) -> FittedControl:
    """Fit a logistic regression for each penalty; keep the one with the lowest validation loss.

    Args:
        rows: to fit on and to choose by.
        reporter: receives the validation loss of every penalty; says when to stop.

    Raises:
        CancelledError: the reporter asked to stop.
    """
    from sklearn.linear_model import LogisticRegression

    x, y = design_matrix(rows.train, rows.field_sizes), rows.train.labels.cpu().numpy()
    # Each fit starts from the weights of the stronger penalty before it.
    model = LogisticRegression(max_iter=MAX_ITERATIONS, tol=TOLERANCE, warm_start=True)
    best: tuple[float, int, Network] | None = None
    reporter.points(rows.constant_losses())
    total = len(INVERSE_PENALTIES)
    for number, inverse_penalty in enumerate(INVERSE_PENALTIES, start=1):
        if reporter.should_stop():
            raise CancelledError
        model.set_params(C=inverse_penalty).fit(x, y)
        network = to_network(model.coef_[0], float(model.intercept_[0]), rows.field_sizes)
        loss, auc = CLICK_TASK.validate(network, rows.validation)
        reporter.points([(number, "validation_loss", loss), (number, "validation_auc", auc)])
        reporter.progress(number, total, number, total)
        if best is not None and loss >= best[0]:
            # The loss falls and then rises along the path, whose later fits take longest.
            break
        best = loss, number, network
    assert best is not None
    _, chosen, network = best
    # Every penalty is fitted to its optimum, so that none is a training that was broken off.
    result = FitResult(chosen, number, True, best_step=chosen, steps_run=number)
    learner = _describe(chosen, number)
    return FittedControl(network, "lr", {}, HeadSettings(), result, learner)


def _describe(chosen: int, fitted: int) -> str:
    """Return what was fitted, for its card, and whether the choice is at an end of the grid.

    Args:
        chosen, fitted: numbers, from 1, of the penalty that was chosen and of the last one fitted.
    """
    grid = ", ".join(f"{one:g}" for one in INVERSE_PENALTIES[:fitted])
    ends = {1: "strongest", len(INVERSE_PENALTIES): "weakest"}
    end = f", where the {ends[chosen]} penalty was the best" if chosen in ends else ""
    return (
        f"scikit-learn {version('scikit-learn')}, LogisticRegression with C ="
        f" {INVERSE_PENALTIES[chosen - 1]:g}, chosen among {grid} on validation rows{end}"
    )


def design_matrix(rows: RowTensors, field_sizes: Sequence[int]) -> "csr_matrix":
    """Return the one-hot ids of every field, then the numerics, float64 ``(n_rows, n_columns)``."""
    # Here, as SciPy would make every worker start a fifth slower.
    from scipy.sparse import csr_matrix, hstack

    ids, numerics = (tensor.cpu().numpy() for tensor in rows.state)
    n_rows, n_fields = ids.shape
    columns = ids.astype(np.int64) + np.cumsum([0, *field_sizes[:-1]])
    one_hot = csr_matrix(
        (
            np.ones(ids.size),
            columns.ravel(),
            np.arange(0, ids.size + 1, n_fields),
        ),
        shape=(n_rows, sum(field_sizes)),
    )
    dense = csr_matrix(numerics.astype(np.float64))
    return hstack([one_hot, dense], format="csr")


def to_network(weights: np.ndarray, intercept: float, field_sizes: Sequence[int]) -> Network:
    """Return the network "lr" that has the weights of the columns of `design_matrix`."""
    n_values = sum(field_sizes)
    dense = len(weights) - n_values
    network = build_network("lr", {}, field_sizes, HeadSettings(), dense)
    values = torch.from_numpy(weights[:n_values, None].astype(np.float32))
    head = np.concatenate([[1.0], weights[n_values:]])[None].astype(np.float32)
    network.load_state_dict(
        {
            "stages.0.table.weight": values,
            "head.layers.0.weight": torch.from_numpy(head),
            "head.layers.0.bias": torch.tensor([intercept], dtype=torch.float32),
        }
    )
    return network.eval()
