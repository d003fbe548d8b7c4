"""Importance, one row and response curves against scikit-learn, loops and closed forms."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.inspection import permutation_importance

from core.data.datasets import Dataset, load_labels, select_test_rows
from core.data.schema import FIELDS
from core.errors import BadInput
from core.inference.attribution import explain_row
from core.inference.blend_weights import logits_of
from core.inference.click_model import encode_inputs, load_backbone_model, load_click_model
from core.inference.explanation_files import Response, read, response_key
from core.inference.importance import (
    _field_importance,
    _Scorer,
    compute_importance,
    estimate,
    measure_fields,
)
from core.inference.importance_files import read_importance
from core.inference.raw_rows import make_table, read_rows, take_rows, with_value
from core.inference.response import compute_response
from core.jobs.requests import FinetuneRequest, PretrainRequest
from core.workspace import Workspace
from tests.core.training.helpers import QUICK, pretrained, run_request

Tiny = tuple[Workspace, Dataset]


class _RowIndexModel(ClassifierMixin, BaseEstimator):
    """Takes, per field, the number of the row whose value it gets."""

    def __init__(self, model: object, table: pa.Table) -> None:
        self.model, self.table = model, table
        self.orders: dict[str, list[np.ndarray]] = {field: [] for field in FIELDS}

    def fit(self, x: np.ndarray, y: np.ndarray) -> "_RowIndexModel":
        self.classes_ = np.array([0, 1])
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        for k in np.flatnonzero((x != np.arange(len(x))[:, None]).any(axis=0)):
            known = self.orders[FIELDS[k]]
            if not known or not np.array_equal(known[-1], x[:, k]):
                known.append(x[:, k].copy())
        columns = {field: self.table[field].take(x[:, k]) for k, field in enumerate(FIELDS)}
        scores = self.model.score(pa.table(columns)).astype(float)  # type: ignore[attr-defined]
        return np.stack([1 - scores, scores], axis=1)


def test_importance_is_that_of_scikit_learn_for_the_same_permutations(tiny: Tiny) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    run = run_request(workspace, FinetuneRequest(dataset.id, card.id, "depth", 1, train=QUICK))
    rows = select_test_rows(dataset, "target")
    labels = np.asarray(load_labels(dataset)[rows]).astype(int)
    x = np.tile(np.arange(len(rows))[:, None], (1, len(FIELDS)))
    model, table = load_click_model(workspace, run), read_rows(workspace, dataset, rows)
    wrapped = _RowIndexModel(model, table).fit(x, labels)
    scoring = ("neg_log_loss", "roc_auc")
    theirs = permutation_importance(wrapped, x, labels, scoring=scoring, n_repeats=2)
    scorer = _Scorer([model], table)
    for k, field in enumerate(FIELDS):
        orders = wrapped.orders[field]
        assert len(orders) == 2
        scores = [scorer.permuted(field, order) for order in orders]
        ours = _field_importance(field, labels, scorer.base, scores, orders, (1.0,))
        assert ours.auc is not None
        for one, metric in zip((ours.log_loss, ours.auc), scoring, strict=True):
            assert one.value == pytest.approx(theirs[metric].importances_mean[k], abs=2e-6)


def test_a_difference_is_that_of_two_importances_with_the_same_permutations(tiny: Tiny) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    run = run_request(workspace, FinetuneRequest(dataset.id, card.id, "depth", 1, train=QUICK))
    found = compute_importance(workspace, run, permutations=1)
    assert read_importance(workspace, run.id) == found
    difference = compute_importance(workspace, run, "backbone", permutations=1)
    assert read_importance(workspace, run.id, "backbone") == difference
    rows = select_test_rows(dataset, "target")
    backbone = load_backbone_model(workspace, run)
    assert backbone is not None
    labels = np.asarray(load_labels(dataset)[rows], float)
    before = measure_fields([backbone], read_rows(workspace, dataset, rows), labels, 1, 0)
    for one, after, earlier in zip(difference.fields, found.fields, before, strict=True):
        assert one.auc and after.auc and earlier.auc
        expected = after.log_loss.value - earlier.log_loss.value
        assert one.log_loss.value == pytest.approx(expected, abs=1e-7)
        assert one.auc.value == pytest.approx(after.auc.value - earlier.auc.value, abs=1e-6)
    with pytest.raises(BadInput, match="at least 1"):
        compute_importance(workspace, run, permutations=0)


def test_permuted_inputs_are_those_of_permuted_raw_rows(tiny: Tiny) -> None:
    workspace, dataset = tiny
    run = run_request(
        workspace,
        PretrainRequest(dataset.id, "dnn", "with pairs", train=QUICK, statistics="pairs"),
    )
    model = load_click_model(workspace, run)
    table = read_rows(workspace, dataset, select_test_rows(dataset, "target"))
    preprocessing = model.members[0].preprocessing
    inputs = encode_inputs(preprocessing, table)
    order = np.random.default_rng(1).permutation(table.num_rows)
    assert preprocessing.statistics and preprocessing.statistics.pairs
    for k, field in enumerate(FIELDS):
        raw = table.set_column(k, field, table[field].take(order))
        expected = encode_inputs(preprocessing, raw)
        moved, changed = inputs.permuted(field, order)
        ids, numerics = inputs.ids.copy(), inputs.numerics.copy()
        ids[changed], numerics[changed] = moved.ids, moved.numerics
        np.testing.assert_array_equal(ids, expected.ids)
        np.testing.assert_array_equal(numerics, expected.numerics)


def test_intervals_cover_the_truth_and_are_not_too_wide() -> None:
    """Loss (x - y)^2 with y = x + e: permuting x gives 2 var(x) more, in closed form."""
    rng = np.random.default_rng(7)
    for permutations in (1, 5):
        covered, lengths, values = 0, [], []
        for _ in range(600):
            x = rng.exponential(size=300)
            y = x + rng.normal(size=300)
            orders = [rng.permutation(300) for _ in range(permutations)]
            permuted = np.stack([(x[order] - y) ** 2 for order in orders])
            base = (x - y) ** 2
            one = estimate(permuted.mean(axis=1) - base.mean(), permuted, base, orders)
            assert one.low is not None and one.high is not None
            covered += one.low <= 2.0 <= one.high
            lengths.append(one.high - one.low)
            values.append(one.value)
        # The length is that of the spread which the estimates have.
        assert 0.85 < np.mean(lengths) / (2 * 1.96 * np.std(values)) < 1.15
        assert 0.90 <= covered / 600 <= 0.98


@pytest.mark.parametrize("architecture", ["dcnv2", "deepfm", "fttransformer", "tabm"])
def test_integrated_gradients_are_complete(tiny: Tiny, architecture: str) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, architecture)
    run = run_request(workspace, FinetuneRequest(dataset.id, card.id, "depth", 1, train=QUICK))
    row = int(select_test_rows(dataset, "target")[3])
    found = explain_row(workspace, run, row)
    logit, reference = logits_of(np.array([found.score, found.reference_score]))
    total = sum(one.gradient or 0.0 for one in found.fields)
    assert found.completeness_gap is not None and abs(found.completeness_gap) < 5e-3
    assert total == pytest.approx(logit - reference, abs=6e-3)
    assert found.score_before is not None and found.label in (0, 1)
    same = explain_row(workspace, run, None, {"I1": 5.0})
    assert same.changed == ("I1",) and same.label is None
    assert [one.field for one in same.fields if one.occlusion] in ([], ["I1"])


def test_response_is_a_loop_over_values(tiny: Tiny) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    run = run_request(workspace, FinetuneRequest(dataset.id, card.id, "depth", 1, train=QUICK))
    rows = read_rows(workspace, dataset, select_test_rows(dataset, "target"))
    model = load_click_model(workspace, run)
    for field in ("I2", "C9"):
        found = compute_response(workspace, run, field)
        assert found == read(Response, workspace, run.id, response_key(field))
        assert found.rows == rows.num_rows and found.before is not None
        for value, mean in zip(found.values, found.mean, strict=True):
            assert model.score(with_value(rows, field, value)).mean() == pytest.approx(mean)
    with pytest.raises(BadInput, match="no field"):
        compute_response(workspace, run, "I99")


@pytest.mark.parametrize("strategy", ["gradient-boosting", "logistic-regression", "lora"])
def test_controls_and_lora_have_importances(tiny: Tiny, strategy: str) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    run = run_request(workspace, FinetuneRequest(dataset.id, card.id, strategy, train=QUICK))
    found = compute_importance(workspace, run, "backbone", permutations=1)
    assert len(found.fields) == 39 and found.fields[0].log_loss.permutation_error is None
    explained = explain_row(workspace, run, int(select_test_rows(dataset, "target")[0]))
    assert (explained.completeness_gap is None) == (strategy == "gradient-boosting")


def test_rows_are_taken_from_batches_whose_dictionaries_hold_nulls() -> None:
    blank = dict.fromkeys(FIELDS)
    batches = []
    for value in ("a", "b"):
        table = make_table([{**blank, "C1": value}, {**blank, "C1": None}])
        dictionary = pa.DictionaryArray.from_arrays(
            pa.array([0, 1], pa.int32()), pa.array([value, None], pa.string())
        )
        place = table.column_names.index("C1")
        batches.append(table.set_column(place, "C1", dictionary))
    taken = take_rows(pa.concat_tables(batches), np.array([3, 2, 0, 2]))
    assert taken["C1"].to_pylist() == [None, "b", "a", "b"]
