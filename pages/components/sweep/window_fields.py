"""The fields of rolling evaluation in the form of a new sweep."""

from dataclasses import dataclass

import streamlit as st

from core.data.datasets import Dataset
from core.data.windows import (
    MAX_WINDOWS,
    MIN_WINDOWS,
    WindowSummary,
    check_windows,
    count_window_runs,
    first_window,
    overlap_note,
    summarise_windows,
    window_columns,
)
from core.errors import BadInput
from core.jobs.requests import WINDOW_STARTS
from pages.components.shared import url_state
from pages.components.shared.common import workspace
from pages.components.shared.formatting import escape_inline, format_int
from pages.components.shared.widget_sync import set_value

DEFAULT_WINDOWS = 5
START_TITLES = {"backbone": "the backbone", "last": "the last window's model"}
ROW_ORDER = "row order"
HELP = (
    "Cuts the target rows into windows in the order of time. Every arm trains on each window but "
    "the last and is tested on the next one; arms are compared over the windows. The dataset's own "
    "split of target rows is not used."
)
_ASKED_COLUMN = "sweep_window_column_asked"


@dataclass(frozen=True)
class WindowChoice:
    """What a new sweep asks for, as in SweepSpec; 0 windows for no rolling evaluation."""

    windows: int = 0
    start: str = "backbone"
    column: str = ""


def window_fields(dataset: Dataset) -> WindowChoice:
    """Draw the fields and return what they ask for.

    Raises:
        BadInput: the dataset cannot be cut like this.
    """
    _read_url()
    st.session_state.setdefault("sweep_rolling", False)
    rolling = st.checkbox(
        "Rolling evaluation over windows", key="sweep_rolling", persist_state="session", help=HELP
    )
    choice = _choose_windows(dataset) if rolling else WindowChoice()
    url_state.write("windows", str(choice.windows), "0")
    url_state.write("from", choice.start, WINDOW_STARTS[0])
    url_state.write("window_column", choice.column)
    if rolling:
        st.caption(_describe(dataset, choice))
        if note := _cached_overlap(_key(dataset), choice, dataset):
            st.caption(f":material/warning: {escape_inline(note)}")
    return choice


def _choose_windows(dataset: Dataset) -> WindowChoice:
    columns = _columns(dataset)
    st.session_state.setdefault("sweep_windows", DEFAULT_WINDOWS)
    with st.grid(2, min_column_width=180):
        windows = st.number_input(
            "Windows",
            min_value=MIN_WINDOWS,
            max_value=MAX_WINDOWS,
            value=None,
            step=1,
            key="sweep_windows",
            persist_state="session",
            help="More windows show more of how results change over time, on fewer rows each.",
        )
        start = st.selectbox(
            "Each window starts from",
            [*WINDOW_STARTS],
            format_func=START_TITLES.__getitem__,
            key="sweep_from",
            persist_state="session",
            help=(
                "From the backbone, every window is fine-tuned anew. From the last window's model "
                "training goes on, with its head. Controls with a model of their own are fitted "
                "anew on every window either way."
            ),
        )
        column = ROW_ORDER
        if columns:
            column = st.selectbox(
                "Windows by",
                [ROW_ORDER, *columns],
                key=f"sweep_window_column_{dataset.id}",
                persist_state="session",
                help=(
                    "By a column, such as the day, rows of the same value stay in one window. By "
                    "row order windows have equally many rows."
                ),
            )
    if windows is None:
        raise BadInput("Enter the number of windows.")
    return WindowChoice(int(windows), start, "" if column == ROW_ORDER else column)


def rows_of_choice(dataset: Dataset, choice: WindowChoice) -> Dataset:
    """Return the dataset whose training rows decide the default settings: the first window's."""
    return first_window(workspace(), dataset, choice.windows, choice.column)


def _read_url() -> None:
    """Fill the fields from the URL; the column waits until the dataset's columns are known."""
    windows, start = url_state.read_new("windows"), url_state.read_new("from")
    if windows is not None:
        known = windows.isascii() and windows.isdigit() and len(windows) < 5
        known = known and MIN_WINDOWS <= int(windows) <= MAX_WINDOWS
        if not known:
            reason = f"The number of windows is {MIN_WINDOWS} to {MAX_WINDOWS}."
            url_state.warn_ignored(windows, reason)
        set_value("sweep_rolling", known)
        if known:
            set_value("sweep_windows", int(windows))
    if start is not None:
        if start in WINDOW_STARTS:
            set_value("sweep_from", start)
        else:
            url_state.warn_ignored(start, f"Windows start from {' or '.join(WINDOW_STARTS)}.")
    if column := url_state.read_new("window_column"):
        st.session_state[_ASKED_COLUMN] = column


def _columns(dataset: Dataset) -> tuple[str, ...]:
    """Return the columns to cut by; chooses the one that the URL asks for, if it is there."""
    columns = window_columns(workspace(), dataset)
    asked = st.session_state.pop(_ASKED_COLUMN, "")
    if asked in columns:
        set_value(f"sweep_window_column_{dataset.id}", asked)
    elif asked:
        names = ", ".join(columns) or "none"
        url_state.warn_ignored(asked, f"The columns that windows can be cut by are {names}.")
    return columns


def _describe(dataset: Dataset, choice: WindowChoice) -> str:
    found = _cached_summaries(_key(dataset), choice, dataset)
    n_runs = count_window_runs(choice.windows)
    smallest, largest = (choose(one.rows for one in found) for choose in (min, max))
    rows = format_int(smallest)
    if largest > smallest:
        rows += f" to {format_int(largest)}"
    times = f", {choice.column} {found[0].first} to {found[-1].last}" if choice.column else ""
    return (
        f"{choice.windows} windows of {rows} rows{escape_inline(times)}: the first {n_runs} train, "
        f"and windows 2 to {choice.windows} test."
    )


def _key(dataset: Dataset) -> tuple[str, ...]:
    return str(workspace().root), dataset.id, dataset.content_hash


@st.cache_data(max_entries=64, show_spinner="Cutting the windows")
def _cached_summaries(
    key: tuple[str, ...], choice: WindowChoice, _dataset: Dataset
) -> list[WindowSummary]:
    # Here and not at the launch: a window of one class is said where the windows are chosen.
    check_windows(workspace(), _dataset, choice.windows, choice.column)
    return summarise_windows(workspace(), _dataset, choice.windows, choice.column)


@st.cache_data(max_entries=64, show_spinner="Cutting the windows")
def _cached_overlap(key: tuple[str, ...], choice: WindowChoice, _dataset: Dataset) -> str:
    return overlap_note(workspace(), _dataset, choice.windows, choice.column)
