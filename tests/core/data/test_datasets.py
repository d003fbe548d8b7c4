"""Datasets: fitted on training rows only, all or nothing, found again."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from core.data import datasets
from core.data.datasets import (
    Dataset,
    coverage,
    delete_dataset,
    encoded,
    find_dataset,
    labels_of,
    list_datasets,
    parts_of,
    prepare,
    preview_split,
    require_labels,
    training_rows,
)
from core.data.datasets import test_rows as rows_to_test
from core.data.ingest import ingest
from core.data.preprocessing import MISSING, UNSEEN, fit, load_preprocessing
from core.data.profile import drift
from core.data.samples import Sample, find_sample, read_rows
from core.data.schema import FIELDS, LABEL
from core.data.split import PARTS, SplitSpec
from core.errors import BadInput
from core.workspace import Workspace, open_workspace, read_json, write_json
from tests.core.data.helpers import fingerprint, rows, text, write


@pytest.fixture
def sample(workspace: Workspace, tmp_path: Path) -> Sample:
    return ingest(workspace, write(tmp_path, text(rows(600, seed=9))), "hand made")


def test_fitted_on_training_rows_only(workspace: Workspace, sample: Sample, tmp_path: Path) -> None:
    dataset = prepare(workspace, sample, SplitSpec(), "one", min_count=3)
    train = read_rows(sample).filter((parts_of(dataset) == PARTS.index("source_train")).tolist())
    assert load_preprocessing(dataset.folder / "preprocessing").hash == fit(train, 3).hash == dataset.preprocessing_hash

    lines = rows(600, seed=9)
    for line in lines[350:]:
        line[1:] = [*(["77777"] * 13), *(["changed"] * 26)]
    other = prepare(workspace, ingest(workspace, write(tmp_path, text(lines)), "x"), SplitSpec(), "two", min_count=3)
    assert other.preprocessing_hash == dataset.preprocessing_hash
    lines[0][20] = "changed"
    lines[1][3] = "123456"
    third = prepare(workspace, ingest(workspace, write(tmp_path, text(lines)), "y"), SplitSpec(), "three", min_count=3)
    assert third.preprocessing_hash != dataset.preprocessing_hash


def test_without_a_source_domain_the_target_training_rows_fit(workspace: Workspace, sample: Sample) -> None:
    dataset = prepare(workspace, sample, SplitSpec(source_share=0), "target only", min_count=3)
    assert not dataset.has_source and len(rows_to_test(dataset, "source")) == 0
    train = read_rows(sample).slice(0, dataset.parts[3].rows)
    assert dataset.preprocessing_hash == fit(train, 3).hash


def test_a_sample_without_labels_gives_source_rows_alone(workspace: Workspace, tmp_path: Path) -> None:
    sample = ingest(workspace, write(tmp_path, text(rows(600, seed=9, labelled=False))), "no labels")
    spec = SplitSpec(source_share=0.3, source_validation_share=0.1)
    assert preview_split(sample, spec) == prepare(workspace, sample, spec, "one", min_count=3).parts
    dataset = find_dataset(workspace, "one")
    assert not dataset.labelled and dataset.has_source
    assert [part.rows for part in dataset.parts] == [540, 60, 0, 0, 0, 0]
    assert np.isnan(labels_of(dataset)).all() and len(labels_of(dataset)) == 600
    assert dataset.preprocessing_hash == fit(read_rows(sample).slice(0, 540), 3).hash
    assert prepare(workspace, sample, SplitSpec(source_validation_share=0.1), "same", min_count=3).id == dataset.id
    preprocessing = load_preprocessing(dataset.folder / "preprocessing")
    with pytest.raises(BadInput, match="'one' has no labels and so no target rows"):
        coverage(workspace, dataset, preprocessing)
    with pytest.raises(BadInput, match="'one' has no labels and so no target domain"):
        drift(workspace, dataset)
    with pytest.raises(BadInput, match=r"'one' has no labels \(39 columns\): only pretraining by RFD or MFP"):
        require_labels(dataset)
    with pytest.raises(BadInput, match="no column can tell"):
        prepare(workspace, sample, SplitSpec(method="column", column="C1", target_values=("a",)), "two")


def test_a_dataset_prepared_before_there_were_any_without_labels_has_them(workspace: Workspace, sample: Sample) -> None:
    dataset = prepare(workspace, sample, SplitSpec(), "one", min_count=3)
    values = read_json(dataset.folder / "dataset.json")
    assert values.pop("labelled") is True
    write_json(dataset.folder / "dataset.json", values)
    assert find_dataset(workspace, "one") == dataset
    require_labels(dataset)


def test_encoded_rows_equal_encoding_at_once_and_are_kept_per_preprocessing(
    workspace: Workspace, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = prepare(workspace, sample, SplitSpec(), "one", min_count=3)
    whole = read_rows(sample)
    np.testing.assert_array_equal(labels_of(dataset), whole[LABEL].to_numpy())
    other = fit(whole, 2)
    for preprocessing in (load_preprocessing(dataset.folder / "preprocessing"), other):
        wanted = preprocessing.encode(whole)
        got = encoded(workspace, dataset, preprocessing)
        np.testing.assert_array_equal(got.ids, wanted.ids)
        np.testing.assert_array_equal(got.numerics, wanted.numerics)
        assert (got.ids < np.array(preprocessing.field_sizes)).all()
    monkeypatch.setattr(datasets, "_encode", None)
    encoded(workspace, dataset, other)


def test_coverage_counts_what_a_vocabulary_does_not_know(workspace: Workspace, sample: Sample) -> None:
    dataset = prepare(workspace, sample, SplitSpec(), "one", min_count=3)
    preprocessing = load_preprocessing(dataset.folder / "preprocessing")
    ids = preprocessing.encode(read_rows(sample)).ids[training_rows(dataset, "target", None)[0]]
    for place, field in enumerate(coverage(workspace, dataset, preprocessing)):
        assert field.field == FIELDS[place]
        assert field.unseen_share == pytest.approx(float((ids[:, place] == UNSEEN).mean()))
        assert field.missing_share == pytest.approx(float((ids[:, place] == MISSING).mean()))


def test_split_by_column(workspace: Workspace, sample: Sample) -> None:
    values = read_rows(sample, ["C9"])["C9"].to_pylist()
    chosen = [next(value for value in values if value), ""]
    spec = SplitSpec(method="column", column="C9", target_values=tuple(chosen), target_validation_share=0.3)
    dataset = prepare(workspace, sample, spec, "by column", min_count=3)
    in_target = np.array([(value or "") in chosen for value in values])
    assert ((parts_of(dataset) >= 3) == in_target).all()
    with pytest.raises(BadInput, match="No row of column C9 holds one of"):
        preview_split(sample, dataclasses.replace(spec, target_values=("nobody has this",)))
    numeric = SplitSpec(method="column", column="I4", target_values=tuple(str(v) for v in range(-2, 200)))
    numbers = read_rows(sample, ["I4"])["I4"].to_pylist()
    counts = preview_split(sample, numeric)
    assert sum(part.rows for part in counts[3:]) == sum(v is not None and v < 200 for v in numbers)


def test_validation_share_cuts_the_same_rows_anew(workspace: Workspace, sample: Sample) -> None:
    dataset = prepare(workspace, sample, SplitSpec(method="random", seed=3), "random", min_count=3)
    train, validation = training_rows(dataset, "target", None)
    pool = np.concatenate([train, validation])
    again_train, again_validation = training_rows(dataset, "target", 0.25)
    np.testing.assert_array_equal(np.concatenate([again_train, again_validation]), pool)
    assert len(again_validation) == round(len(pool) * 0.25)
    assert not set(pool) & set(rows_to_test(dataset, "target"))
    with pytest.raises(BadInput, match=r"validation share of 0.999 leaves no target row"):
        training_rows(dataset, "target", 0.999)


def test_all_or_nothing(workspace: Workspace, sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(workspace)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(datasets, "_encode", full_disk)
    with pytest.raises(OSError, match="No space left"):
        prepare(workspace, sample, SplitSpec(), "one", min_count=3)
    assert fingerprint(workspace) == before
    with pytest.raises(BadInput, match="without rows"):
        prepare(workspace, sample, SplitSpec(target_test_share=0.999), "one", min_count=3)
    assert fingerprint(workspace) == before


def test_same_content_is_the_same_dataset_and_is_found_after_a_restart(workspace: Workspace, sample: Sample) -> None:
    first = prepare(workspace, sample, SplitSpec(), "one", min_count=3)
    second = prepare(workspace, sample, SplitSpec(), "two", min_count=3)
    third = prepare(workspace, sample, SplitSpec(source_share=0.5), "three", min_count=3)
    assert first.id == second.id != third.id
    again = open_workspace(workspace.root)
    assert {dataset.name for dataset in list_datasets(again)} == {"two", "three"}
    assert find_dataset(again, "two") == second == find_dataset(again, second.id)
    with pytest.raises(BadInput, match="no dataset 'one'"):
        find_dataset(again, "one")
    with pytest.raises(BadInput, match="already a dataset named 'two'"):
        prepare(workspace, sample, SplitSpec(source_share=0.4), "two", min_count=3)
    delete_dataset(second)
    assert [dataset.name for dataset in list_datasets(again)] == ["three"]


def test_encoding_anew_without_the_sample_says_so(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, dataset = tiny
    sample = find_sample(workspace, dataset.sample_id)
    other = fit(read_rows(sample), 2)
    (sample.folder / "sample.json").unlink()
    with pytest.raises(BadInput, match="There is no sample"):
        encoded(workspace, dataset, other)
