"""Splits of small and uneven samples: both classes in every part, or a message that says what would
work."""

import re
from dataclasses import replace

import numpy as np
import pytest

from core.data.split import SPLIT_PARTS, SplitSpec, assign_parts, summarise_parts
from core.data.split_adjust import Split, split_rows
from core.data.split_advice import describe_label_order


def clicks(rows: int, rate: float = 0.25, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(rows) < rate).astype(np.int8)


def fewest(split: Split) -> int:
    """Rows of the rarer class in the part that has the fewest, counted by hand."""
    return min(
        part.minority_rows
        for part in split.summaries
        if part.rows or part.part.startswith("target")
    )


@pytest.mark.parametrize("method", ["order", "random"])
def test_a_split_that_is_fine_is_left_alone(method: str) -> None:
    labels, spec = clicks(2000), SplitSpec(method=method, seed=3)
    split = split_rows(labels, spec)
    parts, order = assign_parts(2000, spec)
    np.testing.assert_array_equal(split.parts, parts)
    np.testing.assert_array_equal(split.order, order)
    assert not split.adjusted and split.notes == () and not split.refusal


@pytest.mark.parametrize("method", ["order", "random"])
@pytest.mark.parametrize("rows", [20, 50, 100, 200, 500])
@pytest.mark.parametrize("seed", range(10))
def test_small_samples_work_or_say_why_not(rows: int, method: str, seed: int) -> None:
    labels = clicks(rows, seed=seed)
    spec = SplitSpec(method=method, seed=seed)
    split = split_rows(labels, spec)
    assert split.summaries == summarise_parts(labels, split.parts)
    if split.refusal:
        assert rows <= 50 and re.search(
            r"clicks? among|Shares that would work|Use the random split", split.refusal
        )
        return
    assert fewest(split) >= 1
    plain = summarise_parts(labels, assign_parts(rows, spec)[0])
    if split.adjusted:
        assert any("so that" in note for note in split.notes)
        for place in (0, 3):
            assert split.summaries[place].rows >= plain[place].rows / 2
    if method == "order":
        # In row order every part is one stretch of rows.
        assert (np.diff([SPLIT_PARTS.index(SPLIT_PARTS[code]) for code in split.parts]) >= 0).all()


def test_a_share_is_widened_and_said_so() -> None:
    labels = np.tile([0, 0, 0, 1], 50).astype(np.int8)
    labels[144:164] = 0
    split = split_rows(labels, SplitSpec())
    assert split.adjusted and fewest(split) >= 1
    note = next(note for note in split.notes if "target validation" in note)
    shares = re.match(
        r"The target validation share was widened from 10 % to ([\d.]+) % \(4 to (\d+) rows\) so",
        note,
    )
    assert shares
    train, validation = split.summaries[3], split.summaries[4]
    assert validation.rows == int(shares[2])
    assert float(shares[1]) == pytest.approx(
        100 * validation.rows / (train.rows + validation.rows), abs=0.06
    )


def test_a_single_row_of_a_class_is_reported() -> None:
    labels = np.zeros(400, np.int8)
    labels[[10, 60, 120, 180, 232, 238, 270, 290, 300, 345, 390]] = 1
    split = split_rows(labels, SplitSpec())
    single = [
        part.part.replace("_", " ")
        for part in split.summaries
        if part.minority_rows == 1 and "train" not in part.part
    ]
    assert single and f"single row: {', '.join(single)}. Larger" in split.notes[-1]


def test_a_part_with_a_single_click_leaves_the_split_unchanged() -> None:
    labels = clicks(200, 0.3)
    labels[144:160], labels[155] = 0, 1
    spec = SplitSpec(target_validation_share=0.2)
    split = split_rows(labels, spec)
    assert min(part.minority_rows for part in split.summaries) == 1
    np.testing.assert_array_equal(split.parts, assign_parts(200, spec)[0])
    assert not split.adjusted and len(split.notes) == 1


def test_random_rows_are_stratified() -> None:
    labels = np.zeros(1000, np.int8)
    labels[:12] = 1
    spec = SplitSpec(method="random", seed=1)
    split = split_rows(labels, spec)
    assert fewest(split) == 2 and "stratified" in split.notes[0]
    plain = summarise_parts(labels, assign_parts(1000, spec)[0])
    assert all(
        abs(one.rows - two.rows) <= 6 for one, two in zip(split.summaries, plain, strict=True)
    )
    np.testing.assert_array_equal(split.parts, split_rows(labels, spec).parts)


@pytest.mark.parametrize("first", [0, 1])
def test_a_file_sorted_by_label_is_recognised(first: int) -> None:
    labels = np.repeat([first, 1 - first], 400).astype(np.int8)
    split = split_rows(labels, SplitSpec())
    assert (
        "This file is sorted by label: all 400" in split.refusal
        and "--split random" in split.refusal
    )
    assert split.remedy == SplitSpec(method="random")
    assert not split_rows(labels, split.remedy).refusal
    in_target = clicks(800, 0.4, 1).astype(bool)
    by_column = SplitSpec(method="column", column="C1", target_values=("a",))
    split = split_rows(labels, by_column, in_target)
    assert "--shuffle" in split.refusal and split.remedy == replace(by_column, shuffle=True)
    assert not split_rows(labels, split.remedy, in_target).refusal


def test_blocks_of_one_label_count_as_sorted_and_shuffled_rows_do_not() -> None:
    assert "in 6 blocks" in describe_label_order(np.repeat([0, 1] * 3, [300, 20] * 3))
    assert not any(describe_label_order(clicks(200, seed=seed)) for seed in range(50))
    assert (
        describe_label_order(np.array([0, 1, 0])) == "" and describe_label_order(np.zeros(5)) == ""
    )


@pytest.mark.parametrize("method", ["order", "random"])
def test_too_few_clicks_say_how_many_are_needed(method: str) -> None:
    labels = np.zeros(200, np.int8)
    labels[[50, 100, 150]] = 1
    split = split_rows(labels, SplitSpec(method=method))
    assert "There are 3 clicks among 200 source and target rows" in split.refusal
    assert "at least 6 clicks are needed" in split.refusal
    labels[:] = 1 - labels
    assert (
        "at least 6 rows without a click are needed"
        in split_rows(labels, SplitSpec(method=method)).refusal
    )
    one = np.zeros(31, np.int8)
    one[30] = 1
    assert "There is 1 click among 31" in split_rows(one, SplitSpec(method=method)).refusal


def test_the_source_domain_can_be_left_out_where_that_helps() -> None:
    labels = np.zeros(200, np.int8)
    labels[[20, 60, 95, 150]] = 1
    split = split_rows(labels, SplitSpec())
    assert "--source-share 0" in split.refusal
    assert not split_rows(labels, SplitSpec(source_share=0)).refusal


def test_shares_that_are_named_work() -> None:
    labels, in_target = clicks(600, 0.5), np.arange(600) >= 360
    # All target clicks are early: validation and test rows with clicks would take most of the
    # training rows.
    labels[360:] = 0
    labels[[362, 365, 400, 402, 410, 413]] = 1
    spec = SplitSpec(method="column", column="C1", target_values=("a",))
    split = split_rows(labels, spec, in_target)
    found = re.search(r"Shares that would work: (.*?)\. Or shuffle", split.refusal)
    assert found, split.refusal
    words = found[1].split()
    named = {
        flag[2:].replace("-", "_"): float(value)
        for flag, value in zip(words[::2], words[1::2], strict=True)
    }
    assert set(named) <= {"target_test_share", "target_validation_share"}
    again = split_rows(labels, replace(spec, **named), in_target)  # type: ignore[arg-type]
    assert not again.refusal and fewest(again) >= 1


def test_shares_that_leave_nothing_to_train_on_are_refused() -> None:
    split = split_rows(clicks(600, 0.5), SplitSpec(target_test_share=0.999))
    assert split.refusal.startswith(
        "This split leaves the part 'target train' without rows. Lower the target test"
    )


def test_a_file_of_one_class_is_named_by_its_part() -> None:
    labels = clicks(300, 0.5)
    labels[250:] = 0
    split = split_rows(
        labels, SplitSpec(method="files"), files={"source": 100, "target": 150, "target_test": 50}
    )
    assert split.refusal.startswith(
        "The part 'target test' holds only rows without a click (50 rows). It is a file"
    )


def test_files_are_cut_into_the_parts_that_have_no_file() -> None:
    labels, sizes = (
        clicks(1000, 0.5),
        {"source": 400, "target": 300, "target_validation": 100, "target_test": 200},
    )
    split = split_rows(labels, SplitSpec(method="files"), files=sizes)
    assert [part.rows for part in split.summaries] == [342, 18, 40, 300, 100, 200]
    np.testing.assert_array_equal(split.order, np.arange(1000))
    assert (np.diff(split.parts) >= 0).all()
    shuffled = split_rows(labels, SplitSpec(method="files", shuffle=True, seed=2), files=sizes)
    assert [part.rows for part in shuffled.summaries] == [342, 18, 40, 300, 100, 200]
    assert (shuffled.parts[:400] != split.parts[:400]).any() and (
        shuffled.parts[400:] == split.parts[400:]
    ).all()
