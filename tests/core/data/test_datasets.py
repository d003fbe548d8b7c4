"""Datasets are fitted on training rows only, made completely or not at all, and found again."""

import dataclasses
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from core.data import dataset_rows
from core.data.dataset_rows import (
    load_encoded,
    measure_coverage,
    read_column,
    shared_extra_columns,
)
from core.data.datasets import (
    Dataset,
    delete_dataset,
    find_dataset,
    list_datasets,
    load_labels,
    load_parts,
    require_labels,
    select_training_rows,
)
from core.data.datasets import select_test_rows as rows_to_test
from core.data.drift import measure_drift
from core.data.prepare import prepare, prepare_files
from core.data.preprocessing import (
    MISSING,
    UNSEEN,
    default_min_count,
    fit_preprocessing,
    load_preprocessing,
)
from core.data.reading.ingest import ingest
from core.data.samples import Sample, delete_sample, find_sample, list_samples, read_sample_rows
from core.data.schema import FIELDS, LABEL
from core.data.split import SPLIT_PARTS, SplitSpec
from core.data.split_plan import plan_split
from core.errors import BadInput
from core.workspace import PROJECT, Workspace, hash_json, open_workspace, read_json, write_json
from tests.core.data.helpers import fingerprint, rows, text, with_segments, write


@pytest.fixture
def sample(workspace: Workspace, tmp_path: Path) -> Sample:
    return ingest(workspace, write(tmp_path, text(rows(600, seed=9))), "hand made")


def test_fitted_on_training_rows_only(workspace: Workspace, sample: Sample, tmp_path: Path) -> None:
    dataset = prepare(workspace, sample, SplitSpec(), "one", min_count=3)
    train = read_sample_rows(sample).filter(
        (load_parts(dataset) == SPLIT_PARTS.index("source_train")).tolist()
    )
    assert (
        load_preprocessing(dataset.folder / "preprocessing").hash
        == fit_preprocessing(train, 3).hash
        == dataset.preprocessing_hash
    )

    lines = rows(600, seed=9)
    for line in lines[350:]:
        line[1:] = [*(["77777"] * 13), *(["changed"] * 26)]
    other = prepare(
        workspace,
        ingest(workspace, write(tmp_path, text(lines)), "x"),
        SplitSpec(),
        "two",
        min_count=3,
    )
    assert other.preprocessing_hash == dataset.preprocessing_hash
    lines[0][20] = "changed"
    lines[1][3] = "123456"
    third = prepare(
        workspace,
        ingest(workspace, write(tmp_path, text(lines)), "y"),
        SplitSpec(),
        "three",
        min_count=3,
    )
    assert third.preprocessing_hash != dataset.preprocessing_hash


def test_without_a_source_domain_the_target_training_rows_fit(
    workspace: Workspace, sample: Sample
) -> None:
    dataset = prepare(workspace, sample, SplitSpec(source_share=0), "target only", min_count=3)
    assert not dataset.has_source and len(rows_to_test(dataset, "source")) == 0
    train = read_sample_rows(sample).slice(0, dataset.parts[3].rows)
    assert dataset.preprocessing_hash == fit_preprocessing(train, 3).hash


def test_a_sample_without_labels_gives_source_rows_alone(
    workspace: Workspace, tmp_path: Path
) -> None:
    sample = ingest(
        workspace, write(tmp_path, text(rows(600, seed=9, labelled=False))), "no labels"
    )
    spec = SplitSpec(source_share=0.3, source_validation_share=0.1)
    assert (
        plan_split(sample, spec).summaries
        == prepare(workspace, sample, spec, "one", min_count=3).parts
    )
    dataset = find_dataset(workspace, "one")
    assert not dataset.labelled and dataset.has_source
    assert [part.rows for part in dataset.parts] == [540, 60, 0, 0, 0, 0]
    assert np.isnan(load_labels(dataset)).all() and len(load_labels(dataset)) == 600
    assert (
        dataset.preprocessing_hash
        == fit_preprocessing(read_sample_rows(sample).slice(0, 540), 3).hash
    )
    assert (
        prepare(
            workspace, sample, SplitSpec(source_validation_share=0.1), "same", min_count=3
        ).content_hash
        == dataset.content_hash
    )
    preprocessing = load_preprocessing(dataset.folder / "preprocessing")
    with pytest.raises(BadInput, match="'one' has no labels and so no target rows"):
        measure_coverage(workspace, dataset, preprocessing)
    with pytest.raises(BadInput, match="'one' has no labels and so no target domain"):
        measure_drift(workspace, dataset)
    with pytest.raises(
        BadInput, match=r"'one' has no labels \(39 columns\): only pretraining by RFD or MFP"
    ):
        require_labels(dataset)
    with pytest.raises(BadInput, match="no column can tell"):
        prepare(
            workspace, sample, SplitSpec(method="column", column="C1", target_values=("a",)), "two"
        )


def test_a_dataset_prepared_before_there_were_any_without_labels_has_them(
    workspace: Workspace, sample: Sample
) -> None:
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
    whole = read_sample_rows(sample)
    np.testing.assert_array_equal(load_labels(dataset), whole[LABEL].to_numpy())
    other = fit_preprocessing(whole, 2)
    for preprocessing in (load_preprocessing(dataset.folder / "preprocessing"), other):
        wanted = preprocessing.encode(whole)
        got = load_encoded(workspace, dataset, preprocessing)
        np.testing.assert_array_equal(got.ids, wanted.ids)
        np.testing.assert_array_equal(got.numerics, wanted.numerics)
        assert (got.ids < np.array(preprocessing.field_sizes)).all()
    monkeypatch.setattr(dataset_rows, "encode_rows", None)
    load_encoded(workspace, dataset, other)


def test_coverage_counts_what_a_vocabulary_does_not_know(
    workspace: Workspace, sample: Sample
) -> None:
    dataset = prepare(workspace, sample, SplitSpec(), "one", min_count=3)
    preprocessing = load_preprocessing(dataset.folder / "preprocessing")
    ids = preprocessing.encode(read_sample_rows(sample)).ids[
        select_training_rows(dataset, "target", None)[0]
    ]
    for place, field in enumerate(measure_coverage(workspace, dataset, preprocessing)):
        assert field.field == FIELDS[place]
        assert field.unseen_share == pytest.approx(float((ids[:, place] == UNSEEN).mean()))
        assert field.missing_share == pytest.approx(float((ids[:, place] == MISSING).mean()))


def test_split_by_column(workspace: Workspace, sample: Sample) -> None:
    values = read_sample_rows(sample, ["C9"])["C9"].to_pylist()
    chosen = [next(value for value in values if value), ""]
    spec = SplitSpec(
        method="column", column="C9", target_values=tuple(chosen), target_validation_share=0.3
    )
    dataset = prepare(workspace, sample, spec, "by column", min_count=3)
    in_target = np.array([(value or "") in chosen for value in values])
    assert ((load_parts(dataset) >= 3) == in_target).all()
    with pytest.raises(BadInput, match="No row has 'nobody has this' in column C9, which holds"):
        plan_split(sample, dataclasses.replace(spec, target_values=("nobody has this",)))
    numeric = SplitSpec(
        method="column", column="I4", target_values=tuple(str(v) for v in range(-2, 200))
    )
    numbers = read_sample_rows(sample, ["I4"])["I4"].to_pylist()
    counts = plan_split(sample, numeric).summaries
    assert sum(part.rows for part in counts[3:]) == sum(v is not None and v < 200 for v in numbers)


def test_a_validation_share_splits_the_same_rows_again(
    workspace: Workspace, sample: Sample
) -> None:
    dataset = prepare(workspace, sample, SplitSpec(method="random", seed=3), "random", min_count=3)
    train, validation = select_training_rows(dataset, "target", None)
    pool = np.concatenate([train, validation])
    again_train, again_validation = select_training_rows(dataset, "target", 0.25)
    np.testing.assert_array_equal(np.concatenate([again_train, again_validation]), pool)
    assert len(again_validation) == round(len(pool) * 0.25)
    assert not set(pool) & set(rows_to_test(dataset, "target"))
    with pytest.raises(BadInput, match=r"validation share of 0.999 leaves no target row"):
        select_training_rows(dataset, "target", 0.999)


def test_all_or_nothing(
    workspace: Workspace, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(workspace)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.data.prepare.encode_rows", full_disk)
    with pytest.raises(OSError, match="No space left"):
        prepare(workspace, sample, SplitSpec(), "one", min_count=3)
    assert fingerprint(workspace) == before
    with pytest.raises(BadInput, match="without rows"):
        prepare(workspace, sample, SplitSpec(target_test_share=0.999), "one", min_count=3)
    assert fingerprint(workspace) == before


def test_same_content_is_the_same_dataset_and_is_found_after_a_restart(
    workspace: Workspace, sample: Sample
) -> None:
    first = prepare(workspace, sample, SplitSpec(), "one", min_count=3)
    second = prepare(workspace, sample, SplitSpec(), "two", min_count=3)
    third = prepare(workspace, sample, SplitSpec(source_share=0.5), "three", min_count=3)
    assert first.content_hash == second.content_hash != third.content_hash
    assert prepare(workspace, sample, SplitSpec(), "two", min_count=3).id == second.id != first.id
    again = open_workspace(workspace.root)
    assert {dataset.name for dataset in list_datasets(again)} == {"one", "two", "three"}
    assert find_dataset(again, "one") == first == find_dataset(again, first.id)
    delete_dataset(first)
    with pytest.raises(BadInput, match="no dataset 'one'"):
        find_dataset(again, "one")
    second = find_dataset(again, "two")
    assert second == find_dataset(again, second.id) and len(load_labels(second)) == second.rows
    with pytest.raises(BadInput, match="already a dataset named 'two'"):
        prepare(workspace, sample, SplitSpec(source_share=0.4), "two", min_count=3)
    delete_dataset(second)
    assert [dataset.name for dataset in list_datasets(again)] == ["three"]


def test_encoding_again_without_the_sample_is_refused(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, dataset = tiny
    sample = find_sample(workspace, dataset.sample_id)
    other = fit_preprocessing(read_sample_rows(sample), 2)
    (sample.folder / "sample.json").unlink()
    with pytest.raises(BadInput, match="There is no sample"):
        load_encoded(workspace, dataset, other)


@pytest.fixture
def months(workspace: Workspace, tmp_path: Path) -> dict[str, Sample]:
    """Three samples; the second starts with 40 rows of the first."""
    may, june, july = rows(600, seed=1), rows(400, seed=2), rows(200, seed=3)
    files = {"may": may, "june": may[:40] + june[40:], "july": july}
    return {
        name: ingest(workspace, write(tmp_path, text(lines), f"{name}.tsv"), name)
        for name, lines in files.items()
    }


def test_a_dataset_of_an_earlier_version_is_prepared_again_as_it_was(
    workspace: Workspace,
) -> None:
    """The sample of the oldest archive of tests/faults/workspaces: runs refer to datasets by hash
    and id."""
    with zipfile.ZipFile(PROJECT / "tests/faults/workspaces/schema-1.zip") as archive:
        kept = [name for name in archive.namelist() if name.startswith("samples/")]
        archive.extractall(workspace.root, kept)
    (sample,) = list_samples(workspace)
    dataset = prepare(workspace, sample, SplitSpec(), "kept", min_count=5)
    assert (
        dataset.content_hash == "3458ecf8e3fa6e2360ad8ac89f94e64ff916c61e8ed8a91104bd63f91b881331"
    )
    assert [part.clicks for part in dataset.parts] == [76, 7, 11, 24, 3, 19]
    # A part with a single click is no reason to change a split; as version 0.9.4 gave it.
    spec = SplitSpec("column", column="C6", target_values=("",))
    by_column = prepare(workspace, sample, spec, "by column", min_count=5)
    assert (
        by_column.content_hash == "bc09a23cf3c801685123e8bd32d314b9d7fa81ca2361d3386ae1738883108466"
    )
    assert "single row: target validation" in by_column.notes[0]


def test_the_hash_of_a_dataset_of_one_sample_is_what_it_always_was(
    workspace: Workspace, sample: Sample
) -> None:
    for name, spec in {
        "one": SplitSpec(),
        "two": SplitSpec(method="random", source_share=0.5, seed=7),
    }.items():
        dataset = prepare(workspace, sample, spec, name, min_count=3)
        values = dataclasses.asdict(spec)
        del values["shuffle"]
        assert dataset.content_hash == hash_json([sample.content_hash, values, 3, 600])
        assert set(read_json(dataset.folder / "dataset.json")) == STORED


STORED = {
    "id", "name", "sample_id", "sample_name", "simulated", "rows", "spec", "parts", "content_hash",
    "preprocessing_hash", "min_count", "created", "labelled",
}  # fmt: skip


def test_an_adjusted_split_has_another_hash_and_says_what_was_done(
    workspace: Workspace, tmp_path: Path
) -> None:
    lines = rows(200, seed=4)
    for line in lines[140:160]:
        line[0] = "0"
    sample = ingest(workspace, write(tmp_path, text(lines)), "small")
    dataset = prepare(workspace, sample, SplitSpec(), "small")
    plain = hash_json([sample.content_hash, SplitSpec().as_json(), dataset.min_count, 200])
    assert dataset.content_hash != plain and "target validation share was widened" in " ".join(
        dataset.notes
    )
    assert find_dataset(workspace, "small") == dataset
    assert prepare(workspace, sample, SplitSpec(), "again").content_hash == dataset.content_hash


def test_the_minimum_count_goes_by_the_training_rows_unless_it_is_given(
    workspace: Workspace, sample: Sample
) -> None:
    assert prepare(workspace, sample, SplitSpec(), "small").min_count == 2
    assert prepare(workspace, sample, SplitSpec(), "ten", min_count=10).min_count == 10
    assert [default_min_count(count) for count in (1999, 2000, 4999, 5000)] == [2, 5, 5, 10]


@pytest.mark.parametrize("min_count", [1.5, 2.0, True, 0, "3"])
def test_a_minimum_count_is_a_whole_number(
    min_count: Any, workspace: Workspace, sample: Sample
) -> None:
    for call in (
        lambda: prepare(workspace, sample, SplitSpec(), "odd", min_count),
        lambda: prepare_files(workspace, {"target": sample}, SplitSpec(), "odd", min_count),
    ):
        with pytest.raises(BadInput, match="minimum count is .*; it must be a whole number of 1"):
            call()
    assert list_datasets(workspace) == []
    found = prepare(workspace, sample, SplitSpec(), "even", np.int64(2))  # type: ignore[arg-type]
    assert find_dataset(workspace, "even").min_count == found.min_count == 2


def test_several_files_each_with_its_part(workspace: Workspace, months: dict[str, Sample]) -> None:
    files = {"target": months["june"], "target_test": months["july"], "source": months["may"]}
    dataset = prepare_files(workspace, files, SplitSpec(), "months", min_count=3)
    assert find_dataset(workspace, "months") == dataset and dataset.rows == 1200
    assert [(one.role, one.name, one.rows) for one in dataset.samples] == [
        ("source", "may", 600), ("target", "june", 400), ("target_test", "july", 200),
    ]  # fmt: skip
    assert [part.rows for part in dataset.parts] == [513, 27, 60, 360, 40, 200]
    whole = pd.concat(
        [read_sample_rows(months[name]).to_pandas() for name in ("may", "june", "july")],
        ignore_index=True,
    )
    np.testing.assert_array_equal(load_labels(dataset), whole[LABEL])
    np.testing.assert_array_equal(rows_to_test(dataset, "target"), np.arange(1000, 1200))
    # Fitted on the source's training rows alone, and all rows encoded by that.
    train = read_sample_rows(months["may"]).slice(0, 513)
    preprocessing = load_preprocessing(dataset.folder / "preprocessing")
    assert preprocessing.hash == fit_preprocessing(train, 3).hash == dataset.preprocessing_hash
    wanted = preprocessing.encode(
        pa.Table.from_pandas(whole.astype({LABEL: "int8"}), preserve_index=False)
    )
    np.testing.assert_array_equal(load_encoded(workspace, dataset, preprocessing).ids, wanted.ids)
    assert {(one.part, one.other, one.rows) for one in dataset.duplicates} == {
        ("target", "source", 40)
    }
    values = read_column(workspace, dataset, "C5").to_pylist()
    assert values == [None if value != value else value for value in whole["C5"]]
    again = prepare_files(workspace, files, SplitSpec(), "again", min_count=3)
    assert again.content_hash == dataset.content_hash
    assert (
        prepare_files(workspace, files, SplitSpec(target_validation_share=0.2), "x", min_count=3).id
        != dataset.id
    )
    delete_sample(months["july"])
    with pytest.raises(BadInput, match="There is no sample"):
        load_encoded(workspace, dataset, fit_preprocessing(train, 2))
    assert shared_extra_columns(workspace, dataset) == ()


def test_few_rows_of_a_dataset_with_a_validation_file_come_from_both_files(
    workspace: Workspace, months: dict[str, Sample]
) -> None:
    files = {"target": months["may"], "target_validation": months["june"]}
    dataset = prepare_files(workspace, files, SplitSpec(), "validated", min_count=3)
    assert (
        not dataset.has_source
        and dataset.preprocessing_hash
        == fit_preprocessing(read_sample_rows(months["may"]).slice(0, 300), 3).hash
    )
    train, validation = select_training_rows(dataset, "target", None)
    assert (len(train), len(validation)) == (300, 400)
    few, fewer = (select_training_rows(dataset, "target", None, last) for last in (70, 35))
    assert (len(few[0]), len(few[1]), len(fewer[0]), len(fewer[1])) == (30, 40, 15, 20)
    assert set(few[0]) < set(train) and set(few[1]) < set(validation)
    assert set(fewer[0]) < set(few[0]) and set(fewer[1]) < set(few[1])
    np.testing.assert_array_equal(
        np.concatenate(select_training_rows(dataset, "target", 0.5)), np.r_[train, validation]
    )


def test_files_that_make_no_dataset_are_refused(
    workspace: Workspace, months: dict[str, Sample], tmp_path: Path
) -> None:
    bare = ingest(workspace, write(tmp_path, text(rows(100, labelled=False)), "bare"), "bare")
    for files, sentence in (
        ({"source": months["may"]}, "needs a file with the target's training rows"),
        (
            {"source": months["may"], "target": months["may"]},
            "named as the source file and as the target file",
        ),
        ({"target": months["may"], "source_test": months["june"]}, "there is no source file"),
        ({"source": bare, "target": months["june"]}, r"'bare' \(the source file\) has no labels"),
        ({"target": months["may"], "middle": months["june"]}, "cannot be 'middle'"),
    ):
        with pytest.raises(BadInput, match=sentence):
            prepare_files(workspace, files, SplitSpec(), "none")
    assert list_datasets(workspace) == []


def test_a_segment_column_splits_and_slices(workspace: Workspace, sample: Sample) -> None:
    spec = SplitSpec(method="column", column="domain", target_values=("shop", ""))
    with pytest.raises(
        BadInput,
        match=r"has no column 'domain' to split by; its columns are I1 to I13 and C1 to C26\.",
    ):
        plan_split(sample, spec)
    sample = with_segments(sample, "domain", ["news", "shop", "mail", None])
    dataset = prepare(workspace, sample, spec, "by domain", min_count=3)
    np.testing.assert_array_equal(load_parts(dataset) >= 3, np.arange(600) % 2 == 1)
    assert shared_extra_columns(workspace, dataset) == ("domain",)
    assert read_column(workspace, dataset, "domain").to_pylist()[:5] == [
        "news",
        "shop",
        "mail",
        None,
        "news",
    ]
    with pytest.raises(BadInput, match="and domain beside them"):
        plan_split(sample, dataclasses.replace(spec, column="day"))
    with pytest.raises(BadInput, match="have no column 'day'"):
        read_column(workspace, dataset, "day")


def test_rows_split_again_validate_on_both_classes(workspace: Workspace, sample: Sample) -> None:
    """If the last rows hold a single class, more of them validate; compared with trying every
    cut."""
    dataset = prepare(workspace, sample, SplitSpec(), "recut")
    labels = load_labels(dataset)
    moved = 0
    for last in range(12, 60):
        train, validation = select_training_rows(dataset, "target", None, last)
        both = [set(labels[train]), set(labels[validation])]
        rows = np.concatenate([train, validation])
        cuts = [
            cut
            for cut in range(1, len(rows))
            if len(set(labels[rows[:cut]])) == len(set(labels[rows[cut:]])) == 2
        ]
        usual = len(rows) - max(1, round(last * 0.1))
        wanted = max((cut for cut in cuts if cut <= usual), default=usual)
        assert len(train) == wanted, (last, both)
        moved += wanted != usual
    assert moved
