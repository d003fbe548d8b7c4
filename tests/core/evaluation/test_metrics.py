"""Metrics compared with scikit-learn, on random and on degenerate input."""

import numpy as np
import pytest
from sklearn import metrics as reference

from core.errors import BadInput
from core.evaluation.metrics import compute_metrics


def sample(seed: int, rows: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    scores = generator.random(rows)
    labels = (generator.random(rows) < scores**2).astype(np.float32)
    labels[:2] = (0, 1)
    return labels, np.round(scores, 1) if ties else scores


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rows", [2, 3, 17, 1000])
@pytest.mark.parametrize("ties", [False, True])
def test_metrics_equal_scikit_learn(seed: int, rows: int, ties: bool) -> None:
    labels, scores = sample(seed, rows, ties)
    threshold = 0.4
    predicted = scores >= threshold
    got = compute_metrics(labels, scores, threshold)
    wanted = {
        "accuracy": reference.accuracy_score(labels, predicted),
        "precision": reference.precision_score(labels, predicted, zero_division=0),
        "recall": reference.recall_score(labels, predicted),
        "f1": reference.f1_score(labels, predicted, zero_division=0),
        "auc": reference.roc_auc_score(labels, scores),
        "pr_auc": reference.average_precision_score(labels, scores),
        "log_loss": reference.log_loss(labels, np.clip(scores, 1e-7, 1 - 1e-7)),
        "always_no_accuracy": reference.accuracy_score(labels, np.zeros(rows)),
        "click_rate": labels.mean(),
        "predicted_over_actual": scores.sum() / labels.sum(),
    }
    for name, value in wanted.items():
        assert getattr(got, name) == pytest.approx(value, rel=1e-9), name
    base = reference.log_loss(labels, np.full(rows, labels.mean(dtype=np.float64)))
    assert got.normalised_entropy == pytest.approx(got.log_loss / base, rel=1e-6)


def test_ece_equals_a_loop_over_equal_mass_bins() -> None:
    labels, scores = sample(7, 1500, ties=False)
    order = np.argsort(scores)
    error = 0.0
    for place in range(15):
        rows = order[place * 100 : (place + 1) * 100]
        error += 100 / 1500 * abs(scores[rows].mean() - labels[rows].mean())
    assert compute_metrics(labels, scores, 0.5).ece == pytest.approx(error)


def test_lift_at_ten_percent() -> None:
    labels, scores = sample(8, 1000, ties=False)
    best = np.argsort(-scores)[:100]
    assert compute_metrics(labels, scores, 0.5).lift_at_10 == pytest.approx(
        labels[best].mean() / labels.mean()
    )
    assert compute_metrics(labels, np.full(1000, 0.3), 0.5).lift_at_10 == pytest.approx(1.0)


def test_scores_of_exactly_zero_and_one_cost_the_logarithm_of_1e_7() -> None:
    labels, scores = np.array([0, 1, 1, 0]), np.array([0.0, 1.0, 0.0, 1.0])
    wanted = (2 * -np.log1p(-1e-7) + 2 * -np.log(1e-7)) / 4
    assert compute_metrics(labels, scores, 0.5).log_loss == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_leaves_ranking_metrics_undefined(label: int) -> None:
    got = compute_metrics(np.full(5, label), np.linspace(0.1, 0.9, 5), 0.5)
    assert np.isnan([got.auc, got.auc_low, got.pr_auc, got.normalised_entropy]).all()
    assert got.log_loss > 0 and got.click_rate == label
    assert got.as_dict()["auc"] is None


def test_no_rows_and_all_scores_equal() -> None:
    empty = compute_metrics(np.zeros(0), np.zeros(0), 0.5)
    assert (
        empty.rows == 0 and np.isnan([empty.accuracy, empty.auc, empty.log_loss, empty.ece]).all()
    )
    equal = compute_metrics(np.array([0, 1, 0, 1]), np.full(4, 0.5), 0.5)
    assert (equal.auc, equal.accuracy, equal.recall) == (0.5, 0.5, 1.0)


@pytest.mark.parametrize(
    ("labels", "scores", "sentence"),
    [
        ([0, 1], [0.5], "do not belong together"),
        ([0, 2], [0.5, 0.5], "Row 2 has the label 2;"),
        ([0, 1], [0.5, float("nan")], "Row 2 has the score nan"),
        ([0, 1], [float("inf"), 0.1], "Row 1 has the score inf"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    labels: list[int], scores: list[float], sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        compute_metrics(np.array(labels), np.array(scores), 0.5)
