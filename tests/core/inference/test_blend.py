"""Blends: the weights against other optimisers, validation rows alone, and which runs go
together."""

import dataclasses
import itertools
import json
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from core.data.datasets import Dataset, select_test_rows
from core.errors import BadInput
from core.inference.blend_members import check_blendable, distinct_titles
from core.inference.blend_weights import blend_scores, fit_weights, logits_of
from core.jobs.predictions import read_predictions
from core.jobs.requests import BlendRequest, FinetuneRequest
from core.jobs.run_result import result_from_json, result_to_json
from core.jobs.store import Run
from core.workspace import Workspace
from tests.core.inference.stored_runs import CPU, stored_run
from tests.core.training.helpers import run_request

Tiny = tuple[Workspace, Dataset]


def example(n_runs: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(7)
    labels = (generator.random(4000) < 0.3).astype(int)
    noise = generator.standard_normal((4000, n_runs)) * [1.0, 2.0, 3.0][:n_runs]
    return 2.0 * labels[:, None] - 1.4 + noise, labels


def loss_of(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    return log_loss(labels, expit(logits @ weights))


def two_weights(logits: np.ndarray, labels: np.ndarray) -> list[float]:
    """The best two weights by a search along the line between both runs."""

    def loss(share: float) -> float:
        return loss_of(logits, labels, np.array([share, 1 - share]))

    share = float(minimize_scalar(loss, bounds=(0, 1), options={"xatol": 1e-9}).x)
    return [share, 1 - share]


def test_the_weights_of_two_runs_are_those_of_a_search_between_them() -> None:
    logits, labels = example(2)
    found = fit_weights(logits, labels)
    np.testing.assert_allclose(found, two_weights(logits, labels), atol=1e-4)
    assert 0.5 < found[0] < 1 and found.sum() == pytest.approx(1)


def test_no_weights_around_the_fitted_ones_are_better() -> None:
    logits, labels = example(3)
    found = fit_weights(logits, labels)
    lowest = loss_of(logits, labels, found)
    assert (found > 0).all() and lowest < min(loss_of(logits, labels, one) for one in np.eye(3))
    # The loss is convex, so that no weights at all are better where none around these are.
    for one, other in itertools.permutations(range(3), 2):
        moved = found.copy()
        moved[[one, other]] += 0.01, -0.01
        assert loss_of(logits, labels, moved) > lowest


def test_a_run_that_would_get_a_negative_weight_gets_none() -> None:
    logits, labels = example(2)
    noisy = logits[:, 0] + np.random.default_rng(1).normal(size=len(labels))
    logits = np.column_stack([logits, noisy - 1.5 * labels])
    free = LogisticRegression(C=1e12, fit_intercept=False).fit(logits, labels).coef_[0]
    assert free[2] < -0.1
    found = fit_weights(logits, labels)
    assert found[2] == 0
    np.testing.assert_allclose(found[:2], two_weights(logits[:, :2], labels), atol=1e-4)


def test_equal_runs_share_their_weight_and_separated_classes_have_weights() -> None:
    logits, labels = example(1)
    pair = fit_weights(np.column_stack([logits, logits]), labels)
    np.testing.assert_allclose(pair, 0.5, atol=1e-6)
    separated = np.column_stack([logits, 5 * (2.0 * labels - 1)])
    np.testing.assert_allclose(fit_weights(separated, labels), [0, 1], atol=1e-3)
    with pytest.raises(BadInput, match="no validation rows"):
        fit_weights(np.zeros((0, 2)), np.zeros(0))


def test_logits_of_certain_scores_are_finite() -> None:
    assert np.isfinite(logits_of(np.array([0.0, 1.0, 1e-30], np.float32))).all()
    scores = np.array([0.01, 0.3, 0.999], np.float32)
    np.testing.assert_allclose(blend_scores(scores[None], np.array([1.0])), scores, rtol=1e-6)


def blended(workspace: Workspace, dataset: Dataset, *runs: Run) -> Run:
    return run_request(
        workspace,
        BlendRequest(dataset.id, tuple(run.id for run in runs), CPU, arms=("one", "two")),
    )


def test_a_blend_is_scored_on_every_part_and_stored_like_any_run(tiny: Tiny) -> None:
    workspace, dataset = tiny
    runs = [stored_run(workspace, dataset, number) for number in (1, 2)]
    blend = blended(workspace, dataset, *runs)
    assert blend.result is not None and blend.result.blend is not None
    arrays = [read_predictions(workspace, run.id) for run in runs]
    found = read_predictions(workspace, blend.id)
    logits = {
        part: np.log(scores / (1 - scores))
        for part in ("target_validation", "target_test", "source_test")
        for scores in [np.stack([one[f"{part}_score"] for one in arrays], 1).astype(np.float64)]
    }
    weights = [one.weight for one in blend.result.blend.runs]
    wanted = two_weights(logits["target_validation"], found["target_validation_label"])
    np.testing.assert_allclose(weights, wanted, atol=1e-4)
    for part, values in logits.items():
        np.testing.assert_allclose(found[f"{part}_score"], expit(values @ weights), atol=1e-6)
        labels = found[f"{part}_label"]
        auc = roc_auc_score(labels, found[f"{part}_score"])
        assert blend.result.metrics[part]["auc"] == pytest.approx(auc)
        mean = log_loss(labels, expit(values.mean(axis=1)))
        assert blend.result.blend.mean[part]["log_loss"] == pytest.approx(mean)
    losses = [run.result.metrics["target_validation"]["log_loss"] for run in runs if run.result]
    losses.append(blend.result.blend.mean["target_validation"]["log_loss"])
    assert blend.result.metrics["target_validation"]["log_loss"] < min(losses)
    assert not blend.result.stages
    stored = json.loads(json.dumps(result_to_json(blend.result)))
    assert result_from_json(stored) == blend.result


def test_test_labels_choose_neither_weights_nor_threshold(tiny: Tiny) -> None:
    workspace, dataset = tiny
    turned = 1 - np.asarray(
        read_predictions(workspace, stored_run(workspace, dataset, 1).id)["target_test_label"]
    )
    results = []
    for labels in (None, turned.tolist()):
        runs = [stored_run(workspace, dataset, one, test_labels=labels) for one in (1, 2)]
        result = blended(workspace, dataset, *runs).result
        assert result is not None and result.blend is not None
        results.append(result)
    first, second = results
    assert first.blend is not None and second.blend is not None
    assert [one.weight for one in first.blend.runs] == [one.weight for one in second.blend.runs]
    assert first.threshold == second.threshold
    assert first.metrics["target_test"] != second.metrics["target_test"]
    assert len(select_test_rows(dataset, "target")) == len(turned)


def test_runs_that_differ_in_their_rows_are_refused_by_what_differs(tiny: Tiny) -> None:
    workspace, dataset = tiny
    first = stored_run(workspace, dataset, 1)

    def refused(what: str, *others: Run) -> None:
        with pytest.raises(BadInput, match=what):
            check_blendable(dataset, [first, *others])

    def other(**changes: Any) -> Run:
        request = dataclasses.replace(FinetuneRequest(dataset.id, "b-1", train=CPU), **changes)
        return stored_run(workspace, dataset, 2, request)

    refused("1 was named")
    refused(r"numbers of target rows differ \(all and 500\)", other(target_rows=500))
    share = dataclasses.replace(CPU, validation_share=0.3)
    refused(r"validation shares differ \(as prepared and 0.3\)", other(train=share))
    alike = other()
    assert alike.result is not None
    refused("datasets differ", dataclasses.replace(alike, dataset="d-2"))
    changed = dataclasses.replace(alike.result, dataset_hash="f" * 64)
    refused("content of their dataset differ", dataclasses.replace(alike, result=changed))
    refused("is running", dataclasses.replace(alike, status="running", result=None))
    silent = dataclasses.replace(alike.result, threshold=None)
    refused("not trained on click labels", dataclasses.replace(alike, result=silent))
    refused("is a blend itself", blended(workspace, dataset, first, alike))
    check_blendable(dataset, [first, alike])


def test_a_run_with_other_labels_is_refused(tiny: Tiny) -> None:
    workspace, dataset = tiny
    first = stored_run(workspace, dataset, 1)
    labels = np.asarray(read_predictions(workspace, first.id)["target_test_label"])
    second = stored_run(workspace, dataset, 2, test_labels=(1 - labels).tolist())
    with pytest.raises(BadInput, match="labels of their target test rows differ"):
        blended(workspace, dataset, first, second)


def test_equal_titles_are_completed_by_what_differs(tiny: Tiny) -> None:
    workspace, dataset = tiny

    def run(**changes: Any) -> Run:
        train = dataclasses.replace(CPU, **changes)
        return stored_run(workspace, dataset, 1, FinetuneRequest(dataset.id, "b-1", train=train))

    first, second, faster = run(), run(seed=1), run(learning_rate=0.5)
    assert distinct_titles([first, second], ["a", "a"]) == ["a, seed 0", "a, seed 1"]
    assert distinct_titles([first, second], ["a", "b"]) == ["a, seed 0", "b, seed 1"]
    assert distinct_titles([first, faster], ["a", "a"]) == ["a, rate 0.001", "a, rate 0.5"]
    assert distinct_titles([first, faster], ["a", "b"]) == ["a", "b"]
    same = run()
    assert distinct_titles([first, same], ["a", "a"]) == [f"a, {first.id}", f"a, {same.id}"]
