"""Small things every page needs: the workspace, errors as sentences, the equivalent command,
numbers as text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import wraps
from typing import Any, ParamSpec

import streamlit as st

from core.errors import ThawError, explain_disk_problem, explain_system_error
from core.evaluation.format_metrics import (
    MISSING_TEXT,
    format_metric,
    format_with_bounds,
    is_missing,
)
from core.runs.damage import find_damaged
from core.workspace import Workspace, open_workspace, require_workspace_folder

P = ParamSpec("P")
SIMULATED = ":violet-badge[:material/science: simulated]"
"""For st.markdown, beside the name of anything simulated."""

STATUS_BADGES = {
    "queued": (":material/schedule:", "gray"),
    "running": (":material/play_circle:", "blue"),
    "done": (":material/check_circle:", "green"),
    "failed": (":material/error:", "red"),
    "cancelled": (":material/cancel:", "gray"),
    "interrupted": (":material/pause_circle:", "orange"),
}


MAX_DAMAGE_SENTENCES = 50
"""Sentences on damage that are shown."""


@st.cache_resource(max_entries=1)
def workspace() -> Workspace:
    """The workspace of this server: $THAW_HOME, else ./workspace."""
    return open_workspace()


def show_error(error: ThawError) -> None:
    """Shows an error's sentence where the page stands."""
    st.error(escape_inline(str(error)), icon=":material/error:")


def show_disk_notice() -> None:
    """Says that the disk is full or read-only, on pages that go well without writing; others have
    failed with that."""
    # Where there can be no workspace at all, the page has said so.
    with suppress(ThawError):
        if sentence := explain_disk_problem(workspace().root):
            show_error(ThawError(sentence))


def show_damage_notice(shown: Sequence[str] = ()) -> None:
    """Says once, folded, what of the workspace is damaged and so in no list. shown: what the page
    has said already."""
    try:
        require_workspace_folder(workspace())
        found = [str(error) for error in find_damaged(workspace()) if str(error) not in shown]
    except Exception as error:
        # What keeps the whole workspace from being read is for the page itself to say.
        if error_sentence(error) is None:
            raise
        return
    if not found:
        return
    title = (
        "1 thing in this workspace is damaged"
        if len(found) == 1
        else f"{len(found)} things are damaged"
    )
    with st.expander(
        f"{title}, and left out of what is shown", icon=":material/warning:", key="damaged"
    ):
        st.warning(
            "\n".join(f"- {escape_inline(sentence)}" for sentence in found[:MAX_DAMAGE_SENTENCES])
        )
        if len(found) > MAX_DAMAGE_SENTENCES:
            st.caption(f"and {len(found) - MAX_DAMAGE_SENTENCES:,} more")


def error_sentence(error: BaseException) -> str | None:
    """The sentence for what ended a page: a ThawError's own, or what disk or memory lack; None for
    any other."""
    if isinstance(error, ThawError):
        return str(error)
    return explain_system_error(error, workspace().root)


@contextmanager
def catch_errors() -> Iterator[None]:
    """Shows a ThawError raised in the block as its sentence; the page goes on behind the block."""
    try:
        yield
    except ThawError as error:
        show_error(error)


def catch_errors_in(view: Callable[P, None]) -> Callable[P, None]:
    """`view` for st.fragment, with `catch_errors` around it: what ends it is no end of the page
    around it."""

    @wraps(view)
    def shown(*args: P.args, **kwargs: P.kwargs) -> None:
        with catch_errors():
            view(*args, **kwargs)

    return shown


def bullet_list(sentences: Sequence[str]) -> str:
    """Sentences as a list; one that counts up several things with numbers to each has a list of its
    own."""
    lines = []
    for sentence in sentences:
        # Numbers stand in brackets behind each thing that is counted up.
        colon = sentence.rfind(": ", 0, sentence.find("(") + 1)
        parts = sentence[colon + 2 :].removesuffix(".").split("); ")
        if colon < 0 or len(parts) < 2:
            lines.append(f"- {escape_markdown(sentence)}")
            continue
        lines.append(f"- {escape_markdown(sentence[: colon + 1])}")
        lines += [f"    - {escape_markdown(part.removesuffix(')') + ')')}" for part in parts]
    return "\n".join(lines)


def show_missing_metrics(sentences: Sequence[str]) -> None:
    """Says, under figures and tables, which metrics do not exist and why; nothing where all do."""
    if sentences:
        st.caption(escape_markdown(" ".join(sentences)))


def number_column_config(row: Mapping[str, object]) -> dict[str, Any]:
    """How a table shows columns of numbers, by one row of them: whole ones by thousands, others
    with four decimals."""
    return {
        name: st.column_config.NumberColumn(
            format="localized" if isinstance(value, int) else "%.4f"
        )
        for name, value in row.items()
    }


def show_command(command: str) -> None:
    """Shows, folded, the command line that does what the page's button does."""
    with st.expander("The same on the command line", icon=":material/terminal:"):
        # Without a language: highlighting has colours too pale to read on a light page.
        st.code(command, language=None, wrap_lines=True)


def show_open_commands(*commands: str) -> None:
    """Shows the command lines that do the same, open, where a box is too small to unfold one:
    popovers and dialogs."""
    st.caption("The same on the command line")
    st.code("\n".join(commands), language=None, wrap_lines=True)


def simulated_badge() -> None:
    """Marks what stands beside it as simulated: it is never shown without this word."""
    st.badge("simulated", icon=":material/science:", color="violet")


def status_markdown(status: str) -> str:
    """A run's status as an inline badge for st.markdown, such as
    ":green-badge[:material/check_circle: done]"."""
    icon, color = STATUS_BADGES[status]
    return f":{color}-badge[{icon} {status}]"


def escape_markdown(text: str) -> str:
    """`text` such that st.markdown shows it letter by letter: for names that users gave."""
    return "".join(
        f"\\{letter}" if letter in "\\`*_{}[]()<>#+-.!|~$:" else letter for letter in text
    )


def escape_inline(text: str) -> str:
    """A sentence such that st.markdown shows what it quotes as text: no image, HTML, colour or
    formula.

    An address in it still becomes a link that one may click; nothing is fetched for it.
    """
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>$~" else letter for letter in text)


def format_int(number: int | None) -> str:
    """A whole number with separators: 1234567 -> "1,234,567"."""
    return MISSING_TEXT if number is None else f"{number:,}"


def format_compact(number: float) -> str:
    """A number to three digits with k, M or G: 1234567 -> "1.23 M"; below 1000 whole."""
    if number < 1000:
        return f"{number:,.0f}"
    for factor, unit in ((1e3, "k"), (1e6, "M"), (1e9, "G")):
        # 999.5 rounds to 1000 and so belongs to the next unit.
        if number / factor < 999.5 or unit == "G":
            return f"{number / factor:#.3g}".rstrip(".") + f" {unit}"
    raise AssertionError


def format_percent(share: float | None, digits: int = 1) -> str:
    """A share as percent: 0.2562 -> "25.6 %"."""
    return MISSING_TEXT if share is None or is_missing(share) else f"{100 * share:.{digits}f} %"


def format_decimals(number: float | None, digits: int = 4) -> str:
    """A metric: 0.76512 -> "0.7651"; a dash where undefined."""
    return format_metric(number, digits)


def format_interval_text(
    value: float | None,
    low: float | None,
    high: float | None,
    digits: int = 4,
    signed: bool = False,
) -> str:
    """A value with its interval: "0.7651 (0.7583 to 0.7719)"; the value alone where the interval is
    undefined."""
    return format_with_bounds(value, low, high, digits, signed)


def format_duration(seconds: float | None) -> str:
    """Seconds as a person says them: "0.4 s", "12 s", "3 min 05 s", "2 h 10 min"."""
    if seconds is None or is_missing(seconds):
        return MISSING_TEXT
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_approx_duration(seconds: float) -> str:
    """An estimated time, no finer than it can be trusted: "about 40 s", "about 6 min", "about 1.5
    h"."""
    if seconds < 55:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min" if seconds < 3600 else f"about {seconds / 3600:.1f} h"


def format_bytes(size: int) -> str:
    """A size in bytes: "12 kB", "3.4 MB" (decimal units)."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5 or unit == "GB":
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"


def format_datetime(moment: str | None) -> str:
    """An ISO time in UTC as local "24 Nov 12:56", with the year when it is another one; a dash for
    None."""
    if not moment:
        return MISSING_TEXT
    local = datetime.fromisoformat(moment).astimezone()
    this_year = local.year == datetime.now().astimezone().year
    return local.strftime("%d %b %H:%M" if this_year else "%d %b %Y %H:%M")
