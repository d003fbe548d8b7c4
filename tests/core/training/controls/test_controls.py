"""Controls end to end: a run each, its rows, its model and what can be done with it."""

from pathlib import Path

import numpy as np
import pytest

from core.data.datasets import Dataset, select_test_rows, select_training_rows
from core.errors import BadInput
from core.inference.evaluate_run import evaluate_on
from core.inference.export import export_model
from core.inference.run_model import describe_learner, load_model_card
from core.inference.weight_drift import measure_weight_drift
from core.jobs.requests import FinetuneRequest
from core.runs.submit import submit_interpolation
from core.training.controls.fitted_inputs import fit_inputs
from core.training.target_inputs import hide_own_labels
from core.training.training_rows import encode_row_numbers, request_rows
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
    assert str(card.trained_on["learner"]) in describe_learner(workspace, run)
    with pytest.raises(BadInput, match="of its own"):
        submit_interpolation(workspace, run)
    with pytest.raises(BadInput, match="of its own"):
        measure_weight_drift(workspace, run)
    assert run.result.trained_parameters == sum(stage.parameters for stage in run.result.stages) > 0
    print(
        strategy,
        run.result.metrics["target_test"]["auc"],
        run.result.seconds,
        card.trained_on["learner"],
    )


@pytest.mark.parametrize("strategy", ["logistic-regression", "gradient-boosting"])
def test_labels_of_test_rows_change_nothing_and_those_of_training_rows_do(
    tiny: tuple[Workspace, Dataset], strategy: str
) -> None:
    workspace, dataset = tiny
    options = {"rows": "target"}
    request = FinetuneRequest(dataset.id, "simulated-dnn", strategy, train=QUICK, options=options)
    train = request_rows(dataset, request)[0]
    test = np.concatenate([select_test_rows(dataset, one) for one in ("target", "source")])
    assert not set(train) & set(test)

    def fit() -> tuple[str, str]:
        card = load_model_card(workspace, run_request(workspace, request))
        return card.weights_sha256, card.preprocessing_hash

    def flip(rows: np.ndarray) -> None:
        labels = np.load(dataset.folder / "labels.npy")
        labels[rows] = 1 - labels[rows]
        np.save(dataset.folder / "labels.npy", labels)

    first = fit()
    flip(test)
    assert fit() == first
    flip(train[:20])
    assert fit()[0] != first[0]


def test_training_rows_do_not_meet_their_own_label_in_their_statistics(
    tiny: tuple[Workspace, Dataset],
) -> None:
    """Flipping a row's label changes the inputs of others with its values, and never its own."""
    workspace, dataset = tiny
    train = select_training_rows(dataset, "target", None)[0]

    def inputs() -> np.ndarray:
        fitted = fit_inputs(workspace, dataset, train, "fields")
        rows = encode_row_numbers(workspace, dataset, fitted, train)
        hide_own_labels(workspace, dataset, fitted, rows, train)
        assert fitted.statistics is not None
        # Before they are standardised, which all rows together decide.
        return (
            rows.state[1].numpy()[:, 13:39] * fitted.statistics.std[:26]
            + (fitted.statistics.mean[:26])
        )

    before = inputs()
    labels = np.load(dataset.folder / "labels.npy")
    positive = np.flatnonzero(labels[train] == 1)[0]
    negative = np.flatnonzero(labels[train] == 0)[0]
    # Two rows, so that the click rate of all rows stays.
    labels[train[[positive, negative]]] = [0, 1]
    np.save(dataset.folder / "labels.npy", labels)
    after = inputs()
    order = np.argsort(np.argsort(train))
    changed = np.abs(after - before).max(1) > 1e-4
    assert changed.sum() > 20
    own = order[[positive, negative]]
    # The other row of the pair may share values with it, in some fields.
    shared = np.isclose(before[own], after[own], atol=1e-4).mean(1)
    assert (shared > 0.5).all()


def test_boosted_trees_are_exported_as_onnx_and_score_the_same(
    tiny: tuple[Workspace, Dataset], tmp_path: Path
) -> None:
    workspace, dataset = tiny
    request = FinetuneRequest(
        dataset.id, "simulated-dnn", "gradient-boosting", train=QUICK, options={"rows": "target"}
    )
    run = run_request(workspace, request)
    exported = export_model(workspace, run, tmp_path / "out")
    assert exported["onnx"]["checked"] and exported["onnx"]["largest_difference"] < 1e-5
