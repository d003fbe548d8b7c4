"""Dictionary-encoded rows compared with the plain ones, and the Parquet files of earlier
versions."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.data.columns import dictionary_file
from core.data.columns.dictionary_file import (
    dictionary_decode,
    dictionary_encode,
    memory_map_rows,
    open_row_writer,
)
from core.data.dataset_rows import load_encoded
from core.data.prepare import prepare
from core.data.preprocessing import fit_preprocessing, load_preprocessing
from core.data.reading.ingest import ingest
from core.data.samples import read_sample_rows
from core.data.schema import CATEGORICAL, FIELDS, LABEL, NUMERIC
from core.data.split import SplitSpec
from core.errors import BadInput
from core.workspace import Workspace
from tests.core.data.helpers import rows, text, write


def table(count: int, labelled: bool = True) -> pa.Table:
    lines = rows(count, 7)
    columns = {LABEL: pa.array([int(line[0]) for line in lines], pa.int8())} if labelled else {}
    for place, field in enumerate(FIELDS, start=1):
        values = [line[place] or None for line in lines]
        columns[field] = pa.array(values, pa.string())
        if field in NUMERIC:
            columns[field] = columns[field].cast(pa.float64())
    return pa.table(columns)


@pytest.mark.parametrize("labelled", [True, False])
def test_what_is_written_is_read(
    labelled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dictionary_file, "BATCH_ROWS", 64)
    rows_in = table(300, labelled)
    with open_row_writer(tmp_path / "rows.arrow", labelled) as writer:
        for batch in dictionary_encode(rows_in):
            assert batch.num_rows <= 64
            writer.write_batch(batch)
    mapped = memory_map_rows(tmp_path / "rows.arrow")
    assert dictionary_decode(mapped).equals(rows_in)
    assert dictionary_decode(mapped.slice(50, 100)).equals(rows_in.slice(50, 100))


def test_integers_and_minus_zero_become_the_same_floats() -> None:
    rows_in = table(4)
    numbers = pa.array([3, None, 0, -2], pa.int64())
    (batch,) = dictionary_encode(rows_in.set_column(1, "I1", numbers))
    assert dictionary_decode(pa.Table.from_batches([batch]))["I1"].to_pylist() == [
        3.0,
        None,
        0.0,
        -2.0,
    ]
    (batch,) = dictionary_encode(rows_in.set_column(1, "I1", pa.array([-0.0, 0.0, None, 1.5])))
    assert not np.signbit(
        dictionary_decode(pa.Table.from_batches([batch]))["I1"].drop_null().to_numpy()
    ).any()


def test_fit_and_encode_do_not_care_how_rows_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dictionary_file, "BATCH_ROWS", 64)
    rows_in = table(300)
    coded = pa.Table.from_batches(dictionary_encode(rows_in))
    chosen = np.random.default_rng(0).random(300) < 0.6
    fitted = fit_preprocessing(coded, 3, chosen)
    assert fitted.hash == fit_preprocessing(rows_in.filter(pa.array(chosen)), 3).hash
    assert fitted.fitted_rows == chosen.sum()
    for part in (coded, coded.slice(30, 150), coded.slice(0, 0)):
        got, wanted = fitted.encode(part), fitted.encode(dictionary_decode(part))
        np.testing.assert_array_equal(got.ids, wanted.ids)
        np.testing.assert_array_equal(got.numerics, wanted.numerics)


@pytest.mark.parametrize("place", [-1, 3, 2**15 - 1])
@pytest.mark.parametrize("field", ["I3", "C3"])
def test_indices_without_a_value_are_reported_as_damage(field: str, place: int) -> None:
    rows_in = table(300)
    fitted, (batch,) = fit_preprocessing(rows_in, 3), dictionary_encode(rows_in)
    values = batch[field].dictionary.slice(0, 3)
    damaged = pa.DictionaryArray.from_arrays(
        pa.array([0] * 299 + [place], pa.int16()), values, safe=False
    )
    coded = pa.Table.from_batches([batch])
    coded = coded.set_column(coded.column_names.index(field), field, damaged)
    for use in (fit_preprocessing, fitted.encode):
        with pytest.raises(BadInput, match="stored rows of this sample are damaged"):
            use(coded)


def test_a_sample_read_before_rows_were_coded_still_works(
    workspace: Workspace, tmp_path: Path
) -> None:
    sample = ingest(workspace, write(tmp_path, text(rows(600, seed=9))), "hand made")
    dataset = prepare(workspace, sample, SplitSpec(), "new", min_count=3)
    before = load_encoded(workspace, dataset, load_preprocessing(dataset.folder / "preprocessing"))
    wanted = read_sample_rows(sample)
    pq.write_table(wanted, sample.folder / "rows.parquet", row_group_size=100)
    sample.rows_path.unlink()
    assert sample.rows_path.name == "rows.parquet"
    assert read_sample_rows(sample).equals(wanted)
    assert read_sample_rows(sample, [LABEL, CATEGORICAL[0]], 7).equals(
        wanted.select([LABEL, "C1"]).slice(0, 7)
    )
    again = prepare(workspace, sample, SplitSpec(), "new", min_count=3)
    assert dataclasses.replace(again, created="") == dataclasses.replace(dataset, created="")
    after = load_encoded(workspace, again, load_preprocessing(again.folder / "preprocessing"))
    np.testing.assert_array_equal(before.ids, after.ids)
    np.testing.assert_array_equal(before.numerics, after.numerics)
