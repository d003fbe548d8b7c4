"""Every input on every page explains its effect, unless its label does."""

import ast
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from core.data.datasets import Dataset
from core.workspace import PROJECT, Workspace
from tests.pages.page_states import furnish, places, serve

INPUTS = (
    "checkbox",
    "file_uploader",
    "multiselect",
    "number_input",
    "pills",
    "radio",
    "segmented_control",
    "select_slider",
    "selectbox",
    "slider",
    "text_area",
    "text_input",
    "toggle",
)
"""Of Streamlit's inputs those that pages use; AppTest calls them alike, pills and segmented
controls button_group."""


def test_no_input_in_the_code_lacks_help() -> None:
    bare = []
    for path in sorted((PROJECT / "pages").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in INPUTS
            ):
                label = (
                    node.args[0].value
                    if node.args and isinstance(node.args[0], ast.Constant)
                    else ""
                )
                sentence = str(label).endswith((".", "?"))
                if not sentence and all(keyword.arg != "help" for keyword in node.keywords):
                    bare.append(
                        f"{path.relative_to(PROJECT)}:{node.lineno} st.{node.func.attr}({label!r})"
                    )
    assert not bare, "\n".join(bare)


@pytest.mark.usefixtures("costs_in_process")
def test_every_input_on_every_page_shows_help(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = furnish(*tiny)
    serve(tiny[0], monkeypatch)
    seen, bare = 0, set()
    for place in places(ids):
        for element in inputs(place.open()):
            seen += 1
            if not element.help and not element.label.endswith((".", "?")):
                bare.add(f"{place}: {element.label!r}")
    assert not bare, "\n".join(sorted(bare))
    assert seen > 60


def inputs(app: AppTest) -> list[Any]:
    """Every input on the page that AppTest knows."""
    return [element for kind in INPUTS for element in app.get(kind)]
