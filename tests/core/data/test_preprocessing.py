"""Preprocessing compared with scikit-learn and with counting in plain Python."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.preprocessing import StandardScaler

from core.data.preprocessing import (
    MISSING,
    UNSEEN,
    bucketize,
    fit_preprocessing,
    load_preprocessing,
)
from core.data.schema import CATEGORICAL, FIELDS, NUMERIC
from core.errors import BadInput
from tests.core.data.helpers import rows


def table(count: int, seed: int) -> pa.Table:
    lines = rows(count, seed, labelled=False)
    columns = {}
    for place, field in enumerate(FIELDS):
        values = [line[place] or None for line in lines]
        columns[field] = (
            pa.array([None if v is None else float(v) for v in values], pa.float64())
            if field in NUMERIC
            else pa.array(values, pa.string())
        )
    return pa.table(columns)


TRAIN, LATER = table(400, 1), table(200, 2)


def bucket_by_hand(value: float) -> float:
    return value if value <= 2 else float(int(np.log(value) ** 2)) + 2


def test_numerics_equal_scikit_learn() -> None:
    fitted = fit_preprocessing(TRAIN, 5)
    for source in (TRAIN, LATER):
        for place, field in enumerate(NUMERIC):
            raw = [
                np.array([np.nan if v is None else v for v in t[field].to_pylist()])
                for t in (TRAIN, source)
            ]
            logs = [(np.sign(values) * np.log1p(np.abs(values)))[:, None] for values in raw]
            wanted = np.nan_to_num(StandardScaler().fit(logs[0]).transform(logs[1])[:, 0])
            np.testing.assert_allclose(fitted.encode(source).numerics[:, place], wanted, atol=1e-6)


def test_ids_equal_counting_by_hand() -> None:
    fitted = fit_preprocessing(TRAIN, 5)
    for source in (TRAIN, LATER):
        ids = fitted.encode(source).ids
        for place, field in enumerate(FIELDS):
            values = TRAIN[field].to_pylist()
            others = source[field].to_pylist()
            if field in NUMERIC:
                values = [None if v is None else bucket_by_hand(v) for v in values]
                others = [None if v is None else bucket_by_hand(v) for v in others]
            counts = Counter(value for value in values if value is not None)
            known = sorted((v for v, n in counts.items() if n >= 5), key=lambda v: (-counts[v], v))
            wanted = [
                MISSING if value is None else known.index(value) + 2 if value in known else UNSEEN
                for value in others
            ]
            assert ids[:, place].tolist() == wanted, field
            assert fitted.field_sizes[place] == len(known) + 2


def test_buckets_keep_small_values_and_never_mix_them_with_large_ones() -> None:
    values = np.array([-3, -1, 0, 1, 2, 3, 4, 10, 100, 1e6, np.nan])
    got = bucketize(values)
    assert got[:5].tolist() == [-3, -1, 0, 1, 2]
    assert (got[5:10] > 2).all() and (np.diff(got[5:10]) >= 0).all() and np.isnan(got[10])


def test_same_rows_in_another_order_fit_the_same() -> None:
    shuffled = TRAIN.take(np.random.default_rng(0).permutation(400))
    assert fit_preprocessing(shuffled, 5).vocabularies == fit_preprocessing(TRAIN, 5).vocabularies
    assert fit_preprocessing(LATER, 5).hash != fit_preprocessing(TRAIN, 5).hash


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    fitted = fit_preprocessing(TRAIN, 3)
    fitted.save(tmp_path)
    loaded = load_preprocessing(tmp_path)
    assert loaded.hash == fitted.hash and loaded.field_sizes == fitted.field_sizes
    np.testing.assert_array_equal(loaded.encode(LATER).ids, fitted.encode(LATER).ids)
    np.testing.assert_array_equal(loaded.encode(LATER).numerics, fitted.encode(LATER).numerics)


def test_damaged_files_get_a_message(tmp_path: Path) -> None:
    fit_preprocessing(TRAIN, 5).save(tmp_path)
    values = json.loads((tmp_path / "preprocessing.json").read_text())
    values["mean"][0] += 1
    (tmp_path / "preprocessing.json").write_text(json.dumps(values))
    with pytest.raises(BadInput, match="does not match its hash"):
        load_preprocessing(tmp_path)
    (tmp_path / "vocabulary.parquet").write_bytes(b"junk")
    with pytest.raises(BadInput, match="cannot be read"):
        load_preprocessing(tmp_path)


def test_columns_without_a_value_and_constant_ones() -> None:
    columns = {field: TRAIN[field] for field in FIELDS}
    columns["I1"] = pa.chunked_array([pa.nulls(400, pa.float64())])
    columns["I2"] = pa.chunked_array([pa.array([5.0] * 400)])
    columns["C1"] = pa.chunked_array([pa.nulls(400, pa.string())])
    fitted = fit_preprocessing(pa.table(columns), 5)
    encoded = fitted.encode(pa.table(columns))
    assert np.abs(encoded.numerics[:, :2]).max() < 1e-6
    assert not encoded.ids[:, [0, FIELDS.index("C1")]].any()
    assert fitted.encode(LATER).ids[:, 0].max() == UNSEEN
    assert np.isfinite(fitted.encode(LATER).numerics).all()
    assert len(CATEGORICAL) + len(NUMERIC) == encoded.ids.shape[1]


def test_minimum_count_below_one_is_refused() -> None:
    with pytest.raises(BadInput, match="minimum count is 0"):
        fit_preprocessing(TRAIN, 0)
