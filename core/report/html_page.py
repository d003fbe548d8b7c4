"""One HTML file that needs nothing else: styles, plotly.js and figures are in it.

Every value from a user is escaped here, whoever calls: cells, sentences and commands are plain text
and become HTML in this module alone. The page's Content-Security-Policy allows its two scripts by
their hashes and no connection, so that even a mistake in the escaping could neither run a script
nor send anything.
"""

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NewType

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from core.workspace import PROJECT

Html = NewType("Html", str)
"""Text that is HTML already, with what came from users escaped."""

_NO_WRAP_LENGTH = 28
"""Letters up to which a cell is never broken over two lines."""
Cell = str | int | float | None
_SCRIPT = PROJECT / "assets" / "report.js"
_STYLE = PROJECT / "assets" / "report.css"


@dataclass(frozen=True)
class Section:
    """A heading and what is below it.

    Attributes:
        title: of the heading.
        anchor: fragment of the URL that leads here.
        body: HTML, in order.
    """

    title: str
    anchor: str
    body: Sequence[Html]


def paragraph(text: str, css_class: str = "") -> Html:
    """Return a paragraph.

    Args:
        text: plain.
        css_class: of `assets/report.css`; "" for none.
    """
    return Html(
        f'<p class="{_escape(css_class)}">{_escape(text)}</p>'
        if css_class
        else f"<p>{_escape(text)}</p>"
    )


def heading(text: str) -> Html:
    """Return a heading inside a section."""
    return Html(f"<h3>{_escape(text)}</h3>")


def bullet_list(texts: Sequence[str]) -> Html:
    """Return a list, one sentence per entry."""
    return Html("<ul>" + "".join(f"<li>{_escape(text)}</li>" for text in texts) + "</ul>")


def definition_list(values: Mapping[str, Cell]) -> Html:
    """Return names and values, one line each."""
    lines = "".join(
        f"<div><dt>{_escape(name)}</dt><dd>{_format_cell(value)}</dd></div>"
        for name, value in values.items()
    )
    return Html(f"<dl>{lines}</dl>")


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Html:
    """Return a table that scrolls sideways if it does not fit; None is shown as a dash."""
    head = "".join(f'<th scope="col">{_escape(name)}</th>' for name in columns)
    body = "".join("<tr>" + "".join(_table_cell(value) for value in row) + "</tr>" for row in rows)
    return Html(
        '<div class="wide"'
        f' tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def code_block(lines: Sequence[str]) -> Html:
    """Return commands as they are typed, one per line."""
    return Html('<pre tabindex="0"><code>' + _escape("\n".join(lines)) + "</code></pre>")


def plot(figure: go.Figure, title: str, height: int = 380) -> Html:
    """Return the interactive figure under a title.

    The page's script draws it from the JSON beside it.

    Args:
        figure: any template and title of its own are removed.
        title: of the figure, also for screen readers.
        height: in pixels.
    """
    # A template of the library's own would be drawn over by the page's theme, and takes more room
    # than a curve.
    figure = go.Figure(figure).update_layout(template=None, title=None)
    data = _script_safe_json(figure.to_json())
    return Html(
        f'<figure><figcaption>{_escape(title)}</figcaption><div class="thaw-plot"'
        f' style="height:{height:d}px" role="img" aria-label="{_escape(title)}"></div><script'
        f' type="application/json">{data}</script></figure>'
    )


def page(title: str, lead: Mapping[str, Cell], notice: str, sections: Sequence[Section]) -> str:
    """Return the text of the whole file.

    Args:
        title: of the page.
        lead: facts below the title.
        notice: what a reader must know before anything else; "" for none.
        sections: in order.
    """
    library, script = get_plotlyjs(), _SCRIPT.read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; script-src {_csp_hash(library)} {_csp_hash(script)}; style-src"
        " 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    links = "".join(
        f'<a href="#{_escape(one.anchor)}">{_escape(one.title)}</a>' for one in sections
    )
    body = "".join(
        "<section"
        f' id="{_escape(one.anchor)}"><h2>{_escape(one.title)}</h2>{"".join(one.body)}</section>'
        for one in sections
    )
    mark = f'<p class="notice" role="note">{_escape(notice)}</p>' if notice else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="referrer"'
        ' content="no-referrer">\n'
        f"<title>{_escape(title)}</title>\n<style>\n{_STYLE.read_text(encoding='utf-8')}</style></head>\n<body><main>"
        f"<header>{mark}<h1>{_escape(title)}</h1>{definition_list(lead)}<nav>{links}</nav></header>\n{body}</main>\n"
        f"<script>{library}</script>\n<script>{script}</script>\n</body></html>\n"
    )


def _escape(text: str) -> str:
    return html.escape(text, quote=True)


def _format_cell(value: Cell) -> str:
    if value is None or value != value:
        return "–"
    return _escape(
        f"{value:,}"
        if isinstance(value, int)
        else f"{value:.4f}"
        if isinstance(value, float)
        else value
    )


def _table_cell(value: Cell) -> str:
    short = not isinstance(value, str) or len(value) <= _NO_WRAP_LENGTH
    kind = ' class="short"' if short else ""
    return f"<td{kind}>{_format_cell(value)}</td>"


def _script_safe_json(text: str) -> str:
    """Return the JSON with all characters escaped that could end its script in an HTML parser.

    It parses to the same value.
    """
    json.loads(text)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _csp_hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
