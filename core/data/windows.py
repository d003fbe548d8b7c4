"""Windows of a dataset's target rows in the order of time, for rolling evaluation.

The target rows are cut into consecutive windows. A run on window k trains on its rows, validates on
the last of them, and is tested on window k + 1 as a whole. The dataset's own split of the target
rows is not used; the source rows stay as they are. This is evaluation with a rolling origin
(Tashman, 2000), also called progressive validation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from core.data.dataset_rows import read_dataset_rows, shared_extra_columns
from core.data.datasets import (
    Dataset,
    count_validation_rows,
    cut_with_both_classes,
    load_labels,
    load_parts,
    require_labels,
)
from core.data.split import ALL_PARTS, EARLIER_PARTS, SPLIT_PARTS, PartSummary, summarise_parts
from core.errors import BadInput
from core.workspace import Workspace

MIN_WINDOWS, MAX_WINDOWS = 2, 50
OUTSIDE = -1
"""Part of rows that no part of a window holds: those of later windows."""


@dataclass(frozen=True)
class WindowedDataset(Dataset):
    """A dataset as a run on one of its windows sees it; nothing of it is stored.

    Attributes:
        window: number of the window that trains, from 1.
        windows: number of windows.
        window_parts: part of every row as an index into ALL_PARTS or OUTSIDE, int8 ``(n_rows,)``.
        window_order: all row numbers, those of the target in the order of time, int64.
    """

    window: int = 1
    windows: int = 2
    window_parts: np.ndarray = field(default_factory=lambda: np.zeros(0), compare=False, repr=False)
    window_order: np.ndarray = field(default_factory=lambda: np.zeros(0), compare=False, repr=False)

    def row_parts(self) -> np.ndarray:
        """See Dataset."""
        return self.window_parts

    def row_order(self) -> np.ndarray:
        """See Dataset."""
        return self.window_order


@dataclass(frozen=True)
class WindowSummary:
    """One window in numbers.

    Attributes:
        number: from 1.
        rows, clicks: of the window.
        first, last: first and last value of the column that the windows are cut by; "" where they
            are cut by row order.
    """

    number: int
    rows: int
    clicks: int
    first: str = ""
    last: str = ""


def count_window_runs(windows: int) -> int:
    """Return how many of the windows are trained on: the last one only tests.

    >>> count_window_runs(5)
    4
    """
    return windows - 1


def cut_windows(
    workspace: Workspace, dataset: Dataset, windows: int, column: str = ""
) -> tuple[np.ndarray, ...]:
    """Return the row numbers of every window, each in the order of time.

    Args:
        workspace: of the dataset.
        dataset: prepared sample with labels.
        windows: how many, MIN_WINDOWS to MAX_WINDOWS.
        column: an extra column of the dataset's samples whose values order the rows, such as a day;
            rows with the same value are in the same window, and every window has the same number of
            values as far as that is possible. "" cuts by row order into windows of equally many
            rows.

    Raises:
        BadInput: the rows are in no order of time, there is no such column, or there are too few
            rows or values; the message says what to do.
    """
    _check_cut(dataset, windows)
    rows = _target_rows(dataset)
    if not column:
        if len(rows) < windows:
            raise BadInput(
                f"The dataset {dataset.name!r} has {len(rows):,} target rows, too few for"
                f" {windows} windows; ask for fewer windows."
            )
        return tuple(np.array_split(rows, windows))
    codes, values = _ordered_values(workspace, dataset, column, rows)
    if len(values) < windows:
        raise BadInput(
            f"The column {column!r} has {len(values)} different values among the target rows,"
            f" too few for {windows} windows; ask for at most {len(values)}."
        )
    # Stable, so that rows of the same value stay in row order.
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum([len(one) for one in np.array_split(np.arange(len(values)), windows)])
    starts_of_next = np.searchsorted(codes[order], ends[:-1])
    return tuple(rows[part] for part in np.split(order, starts_of_next))


def select_window(
    workspace: Workspace,
    dataset: Dataset,
    number: int,
    windows: int,
    column: str = "",
    validation_share: float | None = None,
) -> WindowedDataset:
    """Return the dataset as a run on one window sees it.

    The rows of window `number` are "target_train" and "target_validation" (its last rows), those of
    the next window "target_test". Those of earlier windows are "earlier_train" and
    "earlier_windows" (their validation rows). Rows of later windows are in no part.

    Args:
        workspace, dataset, windows, column: see `cut_windows`.
        number: of the window that trains, 1 to ``windows - 1``.
        validation_share: share of the rows of a window that validates; None for the share that the
            dataset was prepared with. Where these hold a single class, more rows validate if that
            gives both.

    Raises:
        BadInput: see `cut_windows`; or there is no such window, or its training, validation or test
            rows hold a single class.
    """
    cut = cut_windows(workspace, dataset, windows, column)
    return window_of_cut(dataset, cut, number, validation_share)


def first_window(workspace: Workspace, dataset: Dataset, windows: int, column: str = "") -> Dataset:
    """Return the dataset as a run on its first window sees it; itself if `windows` is 0.

    Default settings that depend on the number of training rows are those of this window.
    """
    return select_window(workspace, dataset, 1, windows, column) if windows else dataset


def window_of_cut(
    dataset: Dataset,
    cut: Sequence[np.ndarray],
    number: int,
    validation_share: float | None = None,
) -> WindowedDataset:
    """Return a window of windows that `cut_windows` has cut; see `select_window`."""
    if not 1 <= number <= count_window_runs(len(cut)):
        raise BadInput(
            f"There is no window {number} to train on; of {len(cut)} windows those from 1 to"
            f" {count_window_runs(len(cut))} train, as the next one tests."
        )
    labels = load_labels(dataset)
    own_parts = load_parts(dataset)
    is_source = own_parts < SPLIT_PARTS.index("target_train")
    parts = np.where(is_source, own_parts, np.int8(OUTSIDE))
    for index, rows in enumerate(cut[:number], start=1):
        names = ("target_train", "target_validation") if index == number else EARLIER_PARTS
        n_train = _count_training_rows(dataset, labels, rows, validation_share)
        parts[rows[:n_train]] = ALL_PARTS.index(names[0])
        parts[rows[n_train:]] = ALL_PARTS.index(names[1])
    parts[cut[number]] = ALL_PARTS.index("target_test")
    own_order = np.asarray(dataset.row_order())
    order = np.concatenate([own_order[is_source[own_order]], *cut])
    shown = parts >= 0
    shown &= parts < len(SPLIT_PARTS)
    summaries = summarise_parts(np.asarray(labels)[shown], parts[shown])
    _check_classes(summaries, number, len(cut))
    values = {name: getattr(dataset, name) for name in Dataset.__dataclass_fields__}
    values["parts"] = summaries
    return WindowedDataset(
        **values, window=number, windows=len(cut), window_parts=parts, window_order=order
    )


def summarise_windows(
    workspace: Workspace, dataset: Dataset, windows: int, column: str = ""
) -> list[WindowSummary]:
    """Return the rows and clicks of every window; args and errors as of `cut_windows`."""
    cut = cut_windows(workspace, dataset, windows, column)
    labels = load_labels(dataset)
    found = []
    names: list[str] = []
    codes = np.zeros(0, dtype=np.int64)
    if column:
        every = np.concatenate(cut)
        codes, names = _ordered_values(workspace, dataset, column, every)
    start = 0
    for number, rows in enumerate(cut, start=1):
        ends = ("", "")
        if column:
            of_window = codes[start : start + len(rows)]
            ends = names[int(of_window[0])], names[int(of_window[-1])]
        start += len(rows)
        found.append(WindowSummary(number, len(rows), int(labels[rows].sum()), *ends))
    return found


def check_windows(
    workspace: Workspace,
    dataset: Dataset,
    windows: int,
    column: str = "",
    validation_share: float | None = None,
) -> None:
    """Raise BadInput unless every window can be trained on and tested; see `select_window`."""
    cut = cut_windows(workspace, dataset, windows, column)
    for number in range(1, windows):
        window_of_cut(dataset, cut, number, validation_share)


def window_columns(workspace: Workspace, dataset: Dataset) -> tuple[str, ...]:
    """Return the columns that windows can be cut by: the extra ones that all rows have."""
    return shared_extra_columns(workspace, dataset)


def overlap_note(workspace: Workspace, dataset: Dataset, windows: int, column: str = "") -> str:
    """Return a sentence if the source rows are not all earlier than the windows; else "".

    The backbone may then have been trained on rows that are later than those it is tested on.
    """
    cut_windows(workspace, dataset, windows, column)
    source = np.flatnonzero(load_parts(dataset) < SPLIT_PARTS.index("target_train"))
    if not len(source):
        return ""
    if column:
        table_codes, values = _ordered_values(
            workspace, dataset, column, np.arange(dataset.rows), required=False
        )
        of_source = table_codes[source]
        of_target = table_codes[_target_rows(dataset)]
        if of_source.max(initial=-1) <= of_target.min(initial=len(values)):
            return ""
        return (
            f"Source rows reach to {column} {values[int(of_source.max())]}, and the first window"
            f" begins at {values[int(of_target.min())]}: a backbone that was trained on these"
            " source rows has seen a later time than it is tested on."
        )
    if dataset.spec.method == "order":
        return ""
    return (
        "Source and target rows are not separated by time, so a backbone that was trained on the"
        " source rows may have seen a later time than it is tested on."
    )


def _check_cut(dataset: Dataset, windows: int) -> None:
    require_labels(dataset)
    if not MIN_WINDOWS <= windows <= MAX_WINDOWS:
        raise BadInput(
            f"The number of windows is {windows!r}; it must be {MIN_WINDOWS} to {MAX_WINDOWS}, or 0"
            " for no rolling evaluation."
        )
    if dataset.spec.shuffled:
        raise BadInput(
            f"The rows of the dataset {dataset.name!r} were shuffled before they were split, so"
            " source and target rows are in no order of time; prepare it by row order, by a column"
            " or by file, without shuffling."
        )


def _target_rows(dataset: Dataset) -> np.ndarray:
    """Return the numbers of all target rows, ascending."""
    return np.flatnonzero(load_parts(dataset) >= SPLIT_PARTS.index("target_train"))


def _ordered_values(
    workspace: Workspace, dataset: Dataset, column: str, rows: np.ndarray, required: bool = True
) -> tuple[np.ndarray, list[str]]:
    """Return a column's values as ranks among the distinct values of these rows, and the latter.

    Values that are all numbers are ordered as numbers, else as texts, which is the order of time
    for dates such as 2014-05-01. A missing value has the rank -1; it is an error if `required`.
    """
    known = window_columns(workspace, dataset)
    if column not in known:
        raise BadInput(
            f"The rows of the dataset {dataset.name!r} have no column {column!r} beside the fields"
            f" to cut windows by; such columns here are {[*known]}. Without one, windows are cut by"
            " row order."
        )
    stored = read_dataset_rows(workspace, dataset)[column]
    if not pa.types.is_dictionary(stored.type):
        stored = stored.dictionary_encode()
    # Its chunks may have dictionaries of their own.
    stored = stored.unify_dictionaries().combine_chunks()
    array = stored.chunk(0) if isinstance(stored, pa.ChunkedArray) else stored
    texts = [_to_text(value) for value in array.dictionary.to_pylist()]
    indices = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)[rows].astype(np.int64)
    # A dictionary may have an entry for missing values.
    indices[np.isin(indices, [place for place, text in enumerate(texts) if not text])] = -1
    missing = int(np.sum(indices < 0))
    if missing and required:
        raise BadInput(
            f"{missing:,} target row{'s' if missing > 1 else ''} of the dataset {dataset.name!r}"
            f" {'have' if missing > 1 else 'has'} no value in the column {column!r}, so the window"
            " that they belong to is not known; cut windows by another column or by row order."
        )
    present = [texts[index] for index in np.unique(indices[indices >= 0])]
    numbers = _are_numbers(present)
    ordered = sorted(present, key=lambda text: (float(text) if numbers else 0.0, text))
    rank_by_text = {text: rank for rank, text in enumerate(ordered)}
    ranks = np.array([rank_by_text.get(text, -1) for text in texts] + [-1], dtype=np.int64)
    return ranks[indices], ordered


def _to_text(value: object) -> str:
    """Return a value as text; "" for a missing one."""
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _are_numbers(texts: Sequence[str]) -> bool:
    try:
        return all(math.isfinite(float(text)) for text in texts)
    except ValueError:
        return False


def _count_training_rows(
    dataset: Dataset, labels: np.ndarray, rows: np.ndarray, validation_share: float | None
) -> int:
    """Return how many of a window's rows train; the rest, its last ones, validate."""
    share = dataset.spec.target_validation_share if validation_share is None else validation_share
    n_train = len(rows) - count_validation_rows(len(rows), share)
    return cut_with_both_classes(np.asarray(labels[rows]), n_train) if n_train > 0 else 0


def _check_classes(summaries: tuple[PartSummary, ...], number: int, windows: int) -> None:
    for summary, what in zip(
        summaries[SPLIT_PARTS.index("target_train") :],
        ("training rows of window", "validation rows of window", "rows of window"),
        strict=True,
    ):
        which = number + 1 if summary.part == "target_test" else number
        if not summary.minority_rows:
            raise BadInput(
                f"The {what} {which} (of {windows}) are {summary.rows:,} with"
                f" {summary.clicks or 0:,} clicks; both classes are needed. Ask for fewer windows."
            )
