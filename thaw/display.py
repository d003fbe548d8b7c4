"""What a notebook or a terminal shows: tables, cards and progress."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any, Generic, SupportsIndex, TypeVar, overload

import pandas as pd
import plotly.graph_objects as go

from core.cli.output import ProgressBar
from core.evaluation.format_metrics import format_metric, is_missing
from core.names import Named, find_unique
from core.report.palette import FROZEN, TRAINED

Item = TypeVar("Item", bound=Named)

UPDATE_SECONDS = 0.5
"""Between two updates of a notebook's progress: each is a message to the browser that the
notebook's file keeps.
"""
MOST_ROWS = 20
"""Rows of a list that a notebook shows; `to_pandas` has all."""

_CELL = "text-align:left;white-space:nowrap;padding:.15em .8em .15em 0"


class Listing(list[Item], Generic[Item]):
    """A list that a notebook shows as a table; ``runs["name or id"]`` finds an item.

    Args:
        items: the list.
        what: what its items are called, such as "runs".
        frame: makes a pandas table of them, one row per item.
    """

    def __init__(self, items: Iterable[Item], what: str, frame: Callable[[], pd.DataFrame]) -> None:
        super().__init__(items)
        self.what = what
        self._frame = frame

    def to_pandas(self) -> pd.DataFrame:
        """The list as a table, one row per item."""
        return self._frame()

    @overload
    def __getitem__(self, place: SupportsIndex, /) -> Item: ...
    @overload
    def __getitem__(self, place: slice, /) -> "Listing[Item]": ...
    @overload
    def __getitem__(self, place: str, /) -> Item: ...
    def __getitem__(self, place: SupportsIndex | slice | str, /) -> "Item | Listing[Item]":
        if isinstance(place, str):
            return find_unique(self, place, self.what.removesuffix("s"))
        if isinstance(place, slice):
            return Listing(super().__getitem__(place), self.what, lambda: self._frame().iloc[place])
        return super().__getitem__(place)

    def _repr_html_(self) -> str:
        if not self:
            return f"<p>No {escape(self.what)} yet.</p>"
        frame = self._frame()
        more = (
            f"<p>{len(frame) - MOST_ROWS:,} more: <code>to_pandas()</code></p>"
            if len(frame) > MOST_ROWS
            else ""
        )
        return table_html(frame.head(MOST_ROWS).to_dict("records")) + more


def table_html(rows: Sequence[Mapping[Any, Any]]) -> str:
    """A table with the first row's keys as its head, without columns that are empty."""
    if not rows:
        return ""
    texts = {name: [cell_text(row.get(name)) for row in rows] for name in rows[0]}
    texts = {name: column for name, column in texts.items() if any(column)}
    head = "".join(f'<th style="{_CELL}">{escape(str(name))}</th>' for name in texts)
    cells = [
        [f'<td style="{_CELL}">{escape(text)}</td>' for text in row]
        for row in zip(*texts.values(), strict=True)
    ]
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div style="overflow-x:auto">{table}</div>'


def cell_text(value: Any) -> str:
    """A value as a table shows it: counts with commas, other numbers with four decimals.

    >>> cell_text(12345), cell_text(0.78125), cell_text(None), cell_text(["a", "b"])
    ('12,345', '0.7812', '', 'a, b')
    """
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        return "" if value is None or value is pd.NaT else str(value)
    if is_missing(value):
        return ""
    return f"{value:,.0f}" if float(value).is_integer() else format_metric(value)


def card_html(title: str, marks: Sequence[str], *body: str) -> str:
    """A box with a title, marks beside it such as "simulated", and `body`, which is HTML."""
    badges = "".join(
        '<span style="margin-left:.6em;padding:.05em .5em;border-radius:.8em;font-size:85%;'
        f'border:1px solid {TRAINED if mark == "simulated" else FROZEN}">{escape(mark)}</span>'
        for mark in marks
        if mark
    )
    return (
        '<div style="border:1px solid rgba(128,140,160,.45);border-radius:8px;'
        'padding:.6em .9em;max-width:60em">'
        f"<div><b>{escape(title)}</b>{badges}</div>{''.join(body)}</div>"
    )


def note_html(*sentences: str) -> str:
    """Sentences, each on a line of its own."""
    return "".join(
        f'<div style="opacity:.8;margin-top:.3em">{escape(one)}</div>' for one in sentences if one
    )


def for_notebook(figure: go.Figure, title: str) -> go.Figure:
    """A figure of the app with a theme and a title of its own, since no page is around it."""
    figure.update_layout(
        template="plotly_white",
        title={"text": title, "font": {"size": 15}},
        height=420,
        margin_t=72,
    )
    return figure


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and "IPKernelApp" in shell.config


class Progress:
    """A progress bar in a notebook or on a terminal; nothing elsewhere.

    >>> with Progress("Reading") as report:
    ...     report(0.5)
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._began = self._shown = time.monotonic()
        self._bar = None if in_notebook() else ProgressBar(title)
        self._handle: Any = None

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.__enter__()
        else:
            from IPython.display import HTML, display

            self._handle = display(HTML(self._html(0.0, "")), display_id=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._bar:
            self._bar.__exit__()
        else:
            ended = "stopped" if kind else "done"
            self._show(
                note_html(f"{self._title}: {ended} after {time.monotonic() - self._began:,.1f} s")
            )

    def __call__(self, share: float, text: str = "") -> None:
        """Shows how much is done, 0 to 1, and a few words beside it."""
        if self._bar:
            self._bar(share)
        elif time.monotonic() - self._shown > UPDATE_SECONDS:
            self._show(self._html(share, text))

    def _show(self, html: str) -> None:
        from IPython.display import HTML

        self._shown = time.monotonic()
        self._handle.update(HTML(html))

    def _html(self, share: float, text: str) -> str:
        bar = (
            f'<progress value="{share:.4f}" max="1" '
            'style="width:16em;vertical-align:middle"></progress>'
        )
        return (
            f"<div>{escape(self._title)} {bar} {share:.0%} <span "
            f"style='opacity:.8'>{escape(text)}</span></div>"
        )
