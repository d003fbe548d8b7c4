"""Controls end to end: a run each, its rows, its model and what can be done with it."""

import pytest

from core.data.datasets import Dataset
from core.inference.evaluate_run import evaluate_on
from core.inference.run_model import load_model_card
from core.jobs.requests import FinetuneRequest
from core.training.training_rows import request_rows
from core.workspace import Workspace
from tests.core.training.helpers import QUICK, ListReporter, run_request

FITTED = ("logistic-regression", "gradient-boosting", "retrain", "scratch")


@pytest.mark.parametrize("strategy", FITTED)
def test_a_control_is_a_run_like_any_other(tiny: tuple[Workspace, Dataset], strategy: str) -> None:
    workspace, dataset = tiny
    request = FinetuneRequest(dataset.id, "simulated-dnn", strategy, train=QUICK)
    reporter = ListReporter()
    run = run_request(workspace, request, reporter)
    assert run.result is not None and run.result.before is not None
    assert run.result.train_rows == len(request_rows(dataset, request)[0])
    assert "validation_loss" in {name for _, name, _ in reporter.rows}
    card = load_model_card(workspace, run)
    assert card.trained_on["domain"] == ("target" if strategy == "scratch" else "source and target")
    assert card.preprocessing_hash != dataset.preprocessing_hash
    assert evaluate_on(workspace, run, dataset) == run.result.metrics
    assert run.result.trained_parameters == sum(stage.parameters for stage in run.result.stages) > 0
    print(
        strategy,
        run.result.metrics["target_test"]["auc"],
        run.result.seconds,
        card.trained_on["learner"],
    )
