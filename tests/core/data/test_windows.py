"""Windows of target rows compared with a loop in plain Python."""

from pathlib import Path

import numpy as np
import pytest

from core.data.datasets import (
    Dataset,
    load_labels,
    load_parts,
    rows_of_part,
    select_test_rows,
    select_training_rows,
)
from core.data.prepare import prepare
from core.data.reading.ingest import ingest
from core.data.split import ALL_PARTS, SPLIT_PARTS, SplitSpec
from core.data.windows import (
    check_windows,
    cut_windows,
    overlap_note,
    select_window,
    summarise_windows,
)
from core.errors import BadInput
from core.workspace import Workspace
from tests.core.data.helpers import rows, text, with_segments, write

DAYS = [
    "2014-05-02",
    "2014-05-01",
    "2014-05-03",
    "2014-05-10",
    "2014-05-04",
    "2014-05-05",
    "2014-05-07",
]


@pytest.fixture
def dataset(workspace: Workspace, tmp_path: Path) -> Dataset:
    """601 rows, a click in every third; the values of the column day repeat in turn."""
    sample = ingest(workspace, write(tmp_path, text(rows(601, seed=4))), "hand made")
    sample = with_segments(sample, "day", [*DAYS])
    sample = with_segments(sample, "hour", ["9", "10", "11", "10", "9"])
    sample = with_segments(sample, "gaps", ["a", None])
    return prepare(workspace, sample, SplitSpec(), "one", min_count=3)


def loop_cut(target: list[int], windows: int) -> list[list[int]]:
    """Consecutive windows whose sizes differ by at most one, the larger ones first."""
    cut, start = [], 0
    for number in range(windows):
        size = len(target) // windows + (number < len(target) % windows)
        cut.append(target[start : start + size])
        start += size
    return cut


@pytest.mark.parametrize("windows", [2, 5, 7])
@pytest.mark.parametrize("share", [None, 0.3])
def test_windows_by_row_order_equal_the_loop(
    windows: int, share: float | None, workspace: Workspace, dataset: Dataset
) -> None:
    own = load_parts(dataset)
    target = [row for row in range(601) if SPLIT_PARTS[own[row]].startswith("target")]
    cut = loop_cut(target, windows)
    for number in range(1, windows):
        found = select_window(workspace, dataset, number, windows, "", share)
        assert found.id == dataset.id and found.content_hash == dataset.content_hash
        names: dict[int, str] = {}
        for earlier, wanted in enumerate(cut[:number], start=1):
            n_validation = max(1, round(len(wanted) * (share or 0.1)))
            kind = ("target_train", "target_validation")
            if earlier < number:
                kind = ("earlier_train", "earlier_windows")
            names |= dict.fromkeys(wanted[:-n_validation], kind[0])
            names |= dict.fromkeys(wanted[-n_validation:], kind[1])
        names |= dict.fromkeys(cut[number], "target_test")
        for row, code in enumerate(load_parts(found)):
            part = SPLIT_PARTS[own[row]]
            wanted_part = part if part.startswith("source") else names.get(row, "")
            assert (ALL_PARTS[code] if code >= 0 else "") == wanted_part, row
        train, validation = select_training_rows(found, "target", share)
        assert [*train, *validation] == cut[number - 1]
        assert select_test_rows(found, "target").tolist() == cut[number]
        sizes = {summary.part: summary.rows for summary in found.parts}
        assert sizes["target_train"] == len(train) and sizes["target_test"] == len(cut[number])
        # Nothing of a later window is in any part.
        later = [row for one in cut[number + 1 :] for row in one]
        assert (load_parts(found)[later] == -1).all()


def test_windows_by_a_column_hold_whole_days_in_their_order(
    workspace: Workspace, dataset: Dataset
) -> None:
    own = load_parts(dataset)
    cut = cut_windows(workspace, dataset, 3, "day")
    order = sorted(DAYS)
    for number, found in enumerate(cut):
        wanted = [
            row
            for day in (order[:3], order[3:5], order[5:])[number]
            for row in range(601)
            if DAYS[row % 7] == day and own[row] >= 3
        ]
        assert found.tolist() == wanted
    summaries = summarise_windows(workspace, dataset, 3, "day")
    assert [(one.first, one.last) for one in summaries] == [
        ("2014-05-01", "2014-05-03"),
        ("2014-05-04", "2014-05-05"),
        ("2014-05-07", "2014-05-10"),
    ]
    labels = load_labels(dataset)
    assert [one.clicks for one in summaries] == [int(labels[found].sum()) for found in cut]
    # Validation rows are the window's last ones in time, not in the file.
    window = select_window(workspace, dataset, 1, 3, "day")
    _, validation = select_training_rows(window, "target", None)
    assert {DAYS[row % 7] for row in validation} == {"2014-05-03"}
    assert rows_of_part(window, "earlier_windows").tolist() == []


def test_numbers_are_ordered_as_numbers(workspace: Workspace, dataset: Dataset) -> None:
    firsts = [one.first for one in summarise_windows(workspace, dataset, 3, "hour")]
    assert firsts == ["9", "10", "11"]


def test_source_rows_of_a_later_time_are_named(workspace: Workspace, dataset: Dataset) -> None:
    assert overlap_note(workspace, dataset, 3) == ""
    note = overlap_note(workspace, dataset, 3, "day")
    assert "reach to day 2014-05-10" in note and "begins at 2014-05-01" in note


def test_windows_that_cannot_be_are_refused(
    workspace: Workspace, dataset: Dataset, tmp_path: Path
) -> None:
    for windows in (1, 51, -2):
        with pytest.raises(BadInput, match="must be 2 to 50"):
            cut_windows(workspace, dataset, windows)
    with pytest.raises(BadInput, match=r"no column 'week'.*'day', 'hour', 'gaps'"):
        cut_windows(workspace, dataset, 3, "week")
    with pytest.raises(BadInput, match="7 different values.*at most 7"):
        cut_windows(workspace, dataset, 8, "day")
    with pytest.raises(BadInput, match="have no value in the column 'gaps'"):
        cut_windows(workspace, dataset, 2, "gaps")
    for number in (0, 3):
        with pytest.raises(BadInput, match=f"no window {number} to train on; of 3 windows"):
            select_window(workspace, dataset, number, 3)
    sample = ingest(workspace, write(tmp_path, text(rows(90, seed=1)), "short"), "short")
    shuffled = prepare(workspace, sample, SplitSpec(method="random"), "two", min_count=1)
    with pytest.raises(BadInput, match="were shuffled"):
        cut_windows(workspace, shuffled, 3)
    short = prepare(workspace, sample, SplitSpec(), "three", min_count=1)
    with pytest.raises(BadInput, match="both classes are needed. Ask for fewer windows"):
        check_windows(workspace, short, 30)


def test_the_column_of_a_window_has_both_classes_where_it_can(
    workspace: Workspace, dataset: Dataset
) -> None:
    """Clicks come in every third row: two validation rows would often hold none."""
    labels = load_labels(dataset)
    for number in range(1, 12):
        window = select_window(workspace, dataset, number, 12, "", 0.05)
        _, validation = select_training_rows(window, "target", 0.05)
        assert 0 < labels[validation].sum() < len(validation)
        assert np.array_equal(validation, rows_of_part(window, "target_validation"))
