"""Numbers, times and names as text: formats, and escapes for st.markdown."""

from collections.abc import Sequence
from datetime import datetime

from core.evaluation.format_metrics import MISSING_TEXT, is_missing


def bullet_list(sentences: Sequence[str]) -> str:
    """Return sentences as a Markdown list; a sentence that enumerates items gets a nested list."""
    lines = []
    for sentence in sentences:
        # Each enumerated item is followed by its numbers in brackets.
        colon = sentence.rfind(": ", 0, sentence.find("(") + 1)
        parts = sentence[colon + 2 :].removesuffix(".").split("); ")
        if colon < 0 or len(parts) < 2:
            lines.append(f"- {escape_markdown(sentence)}")
            continue
        lines.append(f"- {escape_markdown(sentence[: colon + 1])}")
        lines += [f"    - {escape_markdown(part.removesuffix(')') + ')')}" for part in parts]
    return "\n".join(lines)


def escape_markdown(text: str) -> str:
    """Escape all Markdown in `text`: for names given by users."""
    return "".join(
        f"\\{letter}" if letter in "\\`*_{}[]()<>#+-.!|~$:" else letter for letter in text
    )


def escape_inline(text: str) -> str:
    """Escape a sentence so that quoted text is shown as text: no image, HTML, colour or formula.

    A URL in it still becomes a link that can be clicked; nothing is fetched for it.
    """
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>$~" else letter for letter in text)


def format_int(number: int | None) -> str:
    """Format an integer with separators: 1234567 -> "1,234,567"."""
    return MISSING_TEXT if number is None else f"{number:,}"


def format_compact(number: float) -> str:
    """Format a number with three digits and k, M or G: 1234567 -> "1.23 M".

    Numbers below 1000 have no decimals.
    """
    if number < 1000:
        return f"{number:,.0f}"
    for factor, unit in ((1e3, "k"), (1e6, "M"), (1e9, "G")):
        # 999.5 rounds to 1000, which belongs to the next unit.
        if number / factor < 999.5 or unit == "G":
            return f"{number / factor:#.3g}".rstrip(".") + f" {unit}"
    raise AssertionError


def format_percent(share: float | None, digits: int = 1) -> str:
    """Format a share as percent: 0.2562 -> "25.6 %"."""
    return MISSING_TEXT if share is None or is_missing(share) else f"{100 * share:.{digits}f} %"


def format_duration(seconds: float | None) -> str:
    """Format seconds as "0.4 s", "12 s", "3 min 05 s", "2 h 10 min"."""
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
    """Format an estimated duration, no finer than it is reliable.

    Examples: "about 40 s", "about 6 min", "about 1.5 h".
    """
    if seconds < 55:
        return f"about {max(1, round(seconds))} s"
    return (
        f"about {round(seconds / 60)} min" if seconds < 3600 else (f"about {seconds / 3600:.1f} h")
    )


def format_bytes(size: int) -> str:
    """Format a size in bytes with decimal units: "12 kB", "3.4 MB"."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5 or unit == "GB":
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"


def format_datetime(moment: str | None) -> str:
    """Format an ISO time in UTC as local time, such as "24 Nov 12:56".

    The year is added if it is not the current one. None becomes a dash.
    """
    if not moment:
        return MISSING_TEXT
    local = datetime.fromisoformat(moment).astimezone()
    this_year = local.year == datetime.now().astimezone().year
    return local.strftime("%d %b %H:%M" if this_year else "%d %b %Y %H:%M")
