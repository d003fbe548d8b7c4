"""Statistics of a preprocessing against groups of a plain table, and what damage to them says."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from core.data.columns.dictionary_file import dictionary_decode
from core.data.dataset_rows import load_encoded, read_dataset_rows
from core.data.datasets import Dataset, load_labels, select_training_rows
from core.data.fit_statistics import StatisticsRows, fit_statistics, out_of_fold_columns
from core.data.fitted_statistics import FOLD_SEED
from core.data.integrity import find_preprocessing_fault
from core.data.preprocessing import Preprocessing, load_preprocessing
from core.data.schema import CATEGORICAL, FIELDS, NUMERIC
from core.data.target_statistics import assign_folds, count_dense
from core.errors import BadInput
from core.workspace import Workspace, open_workspace

Fitted = tuple[Preprocessing, StatisticsRows, pd.DataFrame]


@pytest.fixture(scope="module")
def fitted(tiny_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """A preprocessing with 4 pairs, what it was fitted on, and all rows as a plain table."""
    from core.data.datasets import find_dataset

    root = shutil.copytree(tiny_template, tmp_path_factory.mktemp("statistics") / "workspace")
    workspace = open_workspace(root)
    dataset = find_dataset(workspace, "tiny")
    plain = load_preprocessing(dataset.folder / "preprocessing")
    rows = training_rows(workspace, dataset, plain)
    return fit_statistics(plain, rows, 4), rows, dictionary_decode(rows.table).to_pandas()


def training_rows(
    workspace: Workspace, dataset: Dataset, preprocessing: Preprocessing
) -> StatisticsRows:
    mask = np.zeros(dataset.rows, dtype=bool)
    mask[select_training_rows(dataset, "source", None)[0]] = True
    ids = load_encoded(workspace, dataset, preprocessing).ids[mask]
    labels = np.asarray(load_labels(dataset)[mask], np.float64)
    return StatisticsRows(read_dataset_rows(workspace, dataset), mask, ids, labels)


def slow_groups(fitted: Fitted, field: str) -> pd.Series:
    """What rows are grouped by: a category seen twice in training, else one group for all others;
    the bucket of a number by its id."""
    preprocessing, rows, table = fitted
    if field in NUMERIC:
        return pd.Series(preprocessing.encode(rows.table).ids[:, FIELDS.index(field)]).astype(str)
    column = table[field]
    frequent = column[rows.mask].value_counts()
    known = set(frequent[frequent >= 2].index)
    return column.map(lambda value: value if value in known else "rest").where(
        column.notna(), "missing"
    )


def slow_statistic(fitted: Fitted, groups: pd.Series, min_rows: int = 1) -> np.ndarray:
    _, rows, table = fitted
    labels, base = table["label"][rows.mask], table["label"][rows.mask].mean()
    by_group = labels.groupby(groups[rows.mask])
    clicks, n_rows = by_group.sum(), by_group.count()
    enough = n_rows >= min_rows
    clicks = groups.map(clicks[enough]).fillna(0)
    rate = (clicks + 10 * base) / (groups.map(n_rows[enough]).fillna(0) + 10)
    return np.log(rate / (1 - rate)).to_numpy()


def unscaled(fitted: Fitted) -> np.ndarray:
    preprocessing, rows, _ = fitted
    statistics = preprocessing.statistics
    assert statistics is not None
    columns = preprocessing.encode(rows.table).numerics[:, len(NUMERIC) :]
    return columns * statistics.std + statistics.mean


def test_rows_get_the_statistics_and_counts_of_their_groups(fitted: Fitted) -> None:
    found, rows = unscaled(fitted), fitted[1]
    for k, field in enumerate(CATEGORICAL):
        groups = slow_groups(fitted, field)
        assert found[:, k] == pytest.approx(slow_statistic(fitted, groups), abs=1e-4)
        counts = groups.map(groups[rows.mask].value_counts()).fillna(0)
        assert found[:, 26 + k] == pytest.approx(np.log1p(counts), abs=1e-4)


def test_rows_get_the_statistics_of_their_pairs(fitted: Fitted) -> None:
    found, statistics = unscaled(fitted), fitted[0].statistics
    assert statistics is not None and len(statistics.pairs) == 4
    for k, (first, second) in enumerate(statistics.pairs):
        groups = slow_groups(fitted, first) + " & " + slow_groups(fitted, second)
        assert found[:, 52 + k] == pytest.approx(slow_statistic(fitted, groups, 2), abs=1e-4)


def test_training_rows_never_meet_their_own_label(fitted: Fitted) -> None:
    preprocessing, rows, _ = fitted
    assert preprocessing.statistics is not None
    before = out_of_fold_columns(preprocessing, rows)
    assert before.mean(axis=0) == pytest.approx(0, abs=1e-4)
    folds = assign_folds(len(rows.labels), FOLD_SEED)
    # Other labels in one fold leave what its rows get as it was.
    own = folds == 4
    labels = rows.labels.copy()
    labels[own] = labels[own][::-1]
    assert (labels != rows.labels).any()
    changed = StatisticsRows(rows.table, rows.mask, rows.ids, labels)
    after = out_of_fold_columns(preprocessing, changed)
    assert np.array_equal(before[own], after[own])
    assert not np.array_equal(before[~own], after[~own])
    # And they are the statistics of the other folds: those of a group, by a loop.
    groups = slow_groups(fitted, "C7")[rows.mask].to_numpy()
    std, mean, base = preprocessing.statistics.std, preprocessing.statistics.mean, labels.mean()
    for row in range(0, len(labels), 97):
        others = (groups == groups[row]) & (folds != folds[row])
        rate = (rows.labels[others].sum() + 10 * base) / (others.sum() + 10)
        assert before[row, 6] * std[6] + mean[6] == pytest.approx(
            np.log(rate / (1 - rate)), abs=1e-4
        )
        assert before[row, 32] * std[32] + mean[32] == pytest.approx(
            np.log((groups == groups[row]).sum()), abs=1e-4
        )


def test_batches_and_plain_columns_give_the_same_encoding(fitted: Fitted) -> None:
    preprocessing, rows, _ = fitted
    whole = preprocessing.encode(rows.table)
    parts = [preprocessing.encode(rows.table.slice(start, 700)) for start in range(0, 3000, 700)]
    decoded = preprocessing.encode(dictionary_decode(rows.table))
    for encoded in (np.concatenate([part.numerics for part in parts]), decoded.numerics):
        assert np.array_equal(encoded, whole.numerics)
    assert whole.numerics.shape == (3000, preprocessing.n_dense)
    assert [count_dense(name) for name in ("none", "fields", "pairs")] == [13, 65, 95]


def test_stored_statistics_are_the_same_and_part_of_the_hash(
    fitted: Fitted, tmp_path: Path
) -> None:
    preprocessing, rows, _ = fitted
    preprocessing.save(tmp_path)
    loaded = load_preprocessing(tmp_path)
    assert loaded.hash == preprocessing.hash
    assert np.array_equal(
        loaded.encode(rows.table).numerics, preprocessing.encode(rows.table).numerics
    )
    fields_only = fit_statistics(
        Preprocessing(
            loaded.mean, loaded.std, loaded.vocabularies, loaded.min_count, loaded.fitted_rows
        ),
        rows,
        0,
    )
    assert fields_only.n_dense == 65
    plain = load_preprocessing_without_statistics(tmp_path)
    assert len({plain.hash, fields_only.hash, loaded.hash}) == 3
    assert np.array_equal(plain.encode(rows.table).ids, loaded.encode(rows.table).ids)
    assert np.array_equal(
        plain.encode(rows.table).numerics, loaded.encode(rows.table).numerics[:, :13]
    )


def load_preprocessing_without_statistics(folder: Path) -> Preprocessing:
    loaded = load_preprocessing(folder)
    return Preprocessing(
        loaded.mean, loaded.std, loaded.vocabularies, loaded.min_count, loaded.fitted_rows
    )


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("clicks", 10**6, "out of order or out of range"),
        ("first_id", 7, "out of order|not complete"),
        ("rows", 5, "does not match its hash|out of range"),
    ],
)
def test_changed_statistics_are_refused(
    column: str, value: int, sentence: str, fitted: Fitted, tmp_path: Path
) -> None:
    fitted[0].save(tmp_path)
    path = tmp_path / "statistics.parquet"
    table = pq.read_table(path).to_pandas()
    table.loc[2, column] = value
    pq.write_table(pq.read_table(path).from_pandas(table, preserve_index=False), path)
    with pytest.raises(BadInput, match=sentence):
        load_preprocessing(tmp_path)


def test_missing_or_cut_statistics_are_a_fault(fitted: Fitted, tmp_path: Path) -> None:
    fitted[0].save(tmp_path)
    assert find_preprocessing_fault(tmp_path) == ""
    path = tmp_path / "statistics.parquet"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert "statistics.parquet is not a Parquet file" in find_preprocessing_fault(tmp_path)
    path.unlink()
    assert find_preprocessing_fault(tmp_path) == "statistics.parquet is missing"
    with pytest.raises(BadInput, match=r"statistics\.parquet"):
        load_preprocessing(tmp_path)


def test_wrong_numbers_of_statistics_are_refused(fitted: Fitted, tmp_path: Path) -> None:
    fitted[0].save(tmp_path)
    path = tmp_path / "preprocessing.json"
    values = json.loads(path.read_text())
    for name, wrong, sentence in (
        ("base_rate", 1.0, "out of its range"),
        ("std", [0.0] * 56, "do not describe 56 columns"),
        ("mean", [0.0], "do not describe 56 columns"),
        ("pairs", [["C1", "C99"]], "a field 'C99'"),
    ):
        path.write_text(json.dumps(values | {"statistics": values["statistics"] | {name: wrong}}))
        with pytest.raises(BadInput, match=sentence):
            load_preprocessing(tmp_path)
