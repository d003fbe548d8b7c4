"""Target statistics against a slow independent computation: pandas groups and plain loops."""

import math

import numpy as np
import pandas as pd
import pytest

from core.data.pair_mining import fit_additive_logits, pair_gains, score_test
from core.data.target_statistics import (
    assign_folds,
    count_keys,
    log_counts_without_self,
    out_of_fold_statistics,
    pair_keys,
    smoothed_logit,
)


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keys of very different frequency, labels and folds of 500 rows."""
    generator = np.random.default_rng(5)
    keys = (40 * generator.random(500) ** 3).astype(np.int64) - 3
    return keys, (generator.random(500) < 0.3).astype(np.float64), assign_folds(500, 7)


def test_the_statistic_of_a_key_is_the_closed_form(rows: tuple[np.ndarray, ...]) -> None:
    keys, labels, _ = rows
    counts, base = count_keys(keys, labels), labels.mean()
    groups = pd.DataFrame({"key": keys, "label": labels}).groupby("key")["label"]
    for key, clicks, n_rows in zip(groups.sum().index, groups.sum(), groups.count(), strict=True):
        rate = (clicks + 10 * base) / (n_rows + 10)
        statistic, count = (
            counts.target_statistics(np.array([key]), base),
            counts.log_counts(np.array([key])),
        )
        assert statistic == pytest.approx(math.log(rate / (1 - rate)))
        assert count == pytest.approx(math.log(1 + n_rows))


def test_an_unknown_key_has_the_base_rate_and_no_count(rows: tuple[np.ndarray, ...]) -> None:
    keys, labels, _ = rows
    counts = count_keys(keys, labels)
    unknown = np.array([10**12, -(10**12), 41])
    assert counts.target_statistics(unknown, 0.25) == pytest.approx(math.log(0.25 / 0.75))
    assert not counts.log_counts(unknown).any()


def test_out_of_fold_values_are_those_of_a_loop_over_rows(rows: tuple[np.ndarray, ...]) -> None:
    keys, labels, folds = rows
    base = float(labels.mean())
    found = out_of_fold_statistics(keys, labels, folds, base)
    for row in range(0, 500, 7):
        others = (folds != folds[row]) & (keys == keys[row])
        rate = (labels[others].sum() + 10 * base) / (others.sum() + 10)
        assert found[row] == pytest.approx(math.log(rate / (1 - rate)))


def test_labels_of_a_rows_own_fold_do_not_change_its_value(rows: tuple[np.ndarray, ...]) -> None:
    keys, labels, folds = rows
    own = folds == 3
    shuffled = labels.copy()
    shuffled[own] = np.random.default_rng(1).permutation(labels[own])
    assert (shuffled != labels).any()
    before = out_of_fold_statistics(keys, labels, folds, 0.3)
    after = out_of_fold_statistics(keys, shuffled, folds, 0.3)
    assert (before[own] == after[own]).all()
    assert (before[~own] != after[~own]).any()


def test_the_count_of_a_training_row_leaves_it_out(rows: tuple[np.ndarray, ...]) -> None:
    keys = rows[0]
    n_rows = pd.Series(keys).map(pd.Series(keys).value_counts()).to_numpy()
    assert log_counts_without_self(keys) == pytest.approx(np.log1p(n_rows - 1))


def test_folds_are_random_seeded_and_of_one_size() -> None:
    folds = assign_folds(1003, 5)
    assert np.bincount(folds).tolist() == [101] * 3 + [100] * 7
    assert (folds == assign_folds(1003, 5)).all()
    assert (folds != assign_folds(1003, 6)).any()
    assert abs(np.corrcoef(folds, np.arange(1003))[0, 1]) < 0.1


def test_pairs_of_ids_have_keys_of_their_own() -> None:
    ids = np.random.default_rng(0).integers(0, 50, (400, 3)).astype(np.int32)
    keys = pair_keys(ids, 0, 2)
    distinct = {(int(row[0]), int(row[2])) for row in ids}
    assert len(np.unique(keys)) == len(distinct)


def test_a_smoothed_logit_is_that_of_its_rate() -> None:
    assert smoothed_logit(3, 20, 0.2) == pytest.approx(math.log(5 / 25))


def test_an_interaction_is_found_among_pairs_of_noise() -> None:
    generator = np.random.default_rng(2)
    ids = generator.integers(0, 6, (4000, 5)).astype(np.int32)
    # Clicks depend on whether two fields agree: neither alone says anything.
    labels = generator.random(4000) < np.where(ids[:, 1] % 2 == ids[:, 3] % 2, 0.5, 0.2)
    gains = pair_gains(ids, labels.astype(float))
    assert len(gains) == 10
    assert max(gains, key=lambda pair: gains[pair]) == (1, 3)
    assert gains.pop((1, 3)) > 5 * max(gains.values())


def test_the_additive_model_is_the_ridge_optimum() -> None:
    generator = np.random.default_rng(3)
    columns = generator.integers(0, 4, (3, 800)).astype(np.int32)
    labels = (generator.random(800) < 0.2 + 0.1 * columns[0]).astype(np.float64)
    mask = generator.random(800) < 0.7
    logits = fit_additive_logits(columns, labels, mask)
    # At the optimum the gradient of every weight is the penalty's, and a field's penalties add up
    # to the gradient of a shift of all its weights, which is the same for every field.
    residuals = mask * (labels - 1 / (1 + np.exp(-logits)))
    one_hot = np.concatenate([columns == value for value in range(4)])
    weights = one_hot @ residuals / 20
    base = labels[mask].mean()
    assert logits == pytest.approx(np.log(base / (1 - base)) + weights @ one_hot, abs=2e-3)


def test_the_score_test_is_the_gain_of_refitting() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    generator = np.random.default_rng(4)
    logits = generator.normal(-1, 1, 20_000)
    column = 0.5 * logits + generator.normal(0, 1, 20_000)
    labels = (generator.random(20_000) < 1 / (1 + np.exp(-logits - 0.05 * column))).astype(float)

    def loss(*columns: np.ndarray) -> float:
        inputs = np.stack(columns, axis=1)
        model = LogisticRegression(C=1e6).fit(inputs, labels)
        return float(log_loss(labels, model.predict_proba(inputs)[:, 1], normalize=False))

    gain = score_test(column, logits, labels)
    assert gain == pytest.approx(loss(logits) - loss(logits, column), rel=0.2)
    assert score_test(-column, logits, labels) == pytest.approx(-gain)
    assert score_test(logits, logits, labels) == pytest.approx(0, abs=1e-6)
