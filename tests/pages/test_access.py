"""Read-only and presenter mode: every button that changes something is disabled and says why."""

import ast
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.data.datasets import Dataset
from core.read_only import READ_ONLY, READ_ONLY_MESSAGE
from core.workspace import PROJECT, Workspace
from pages.components.shared.access import PRESENTER_KEY, PRESENTER_SENTENCE
from tests.pages.helpers import clear_workspace_cache, page_text
from tests.pages.page_states import furnish, places, serve

HARMLESS = {
    "Compare", "Compare runs", "Reset", "Open", "Watch it", "Take the tour", "No, thanks",
    "Pretrain a backbone",
    "Check its vocabulary", "Split a sample", "Add a sample", "Split it into domains",
    "Select all shown", "Clear the selection",
}  # fmt: skip
"""Labels of buttons that lead elsewhere or change what is shown."""


@pytest.mark.usefixtures("costs_in_process")
def test_a_visitor_cannot_press_a_button_that_writes(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = furnish(*tiny)
    serve(tiny[0], monkeypatch)
    monkeypatch.setenv(READ_ONLY, "1")
    closed = 0
    for place in places(ids):
        app = place.open()
        assert READ_ONLY_MESSAGE in page_text(app) and not app.exception, place
        for button in app.button:
            closed += button.disabled
            assert button.disabled or button.label in HARMLESS, (
                f"{place}: {button.label!r} can be pressed"
            )
            if button.disabled and button.label in (
                "Launch",
                "Cancel",
                "Interpolate with the backbone",
                "Run the demo",
            ):
                assert button.help == READ_ONLY_MESSAGE
    assert closed >= 10


SECRET = "5a11edc0"
"""A value that a visitor has no business to read."""


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """A file beside the workspace, whose first column reads as a category."""
    path = tmp_path / "secret.csv"
    path.write_text("label,colour\n" + f"1,{SECRET}\n0,{SECRET}\n" * 20)
    return path


@pytest.mark.parametrize("mode", [READ_ONLY, PRESENTER_KEY])
def test_a_visitor_reads_no_file_of_the_machine(
    mode: str, tiny: tuple[Workspace, Dataset], secret_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Naming a file shows what is in it, though nothing is written; a visitor's browser may send
    any field's value."""
    serve(tiny[0], monkeypatch)
    app = AppTest.from_file(str(PROJECT / "pages" / "router.py"), default_timeout=60)
    for key, value in {"adding": True, "way": "path", "path": str(secret_file)}.items():
        app.session_state[key] = value
    app.switch_page("data.py").run()
    assert not app.exception and SECRET in everything(app), "the owner sees it"
    if mode == READ_ONLY:
        monkeypatch.setenv(READ_ONLY, "1")
    else:
        app.session_state[PRESENTER_KEY] = True
    app.run()
    assert not app.exception and SECRET not in everything(app) and "secret" not in everything(app)
    assert not [field for field in app.text_input if field.key == "path"]


def everything(app: AppTest) -> str:
    """Text and tables of the page."""
    return page_text(app) + "".join(table.value.to_csv() for table in [*app.dataframe, *app.table])


@pytest.mark.parametrize("mode", [READ_ONLY, PRESENTER_KEY])
def test_a_disabled_button_that_a_browser_presses_does_nothing(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streamlit discards what a browser sends for a disabled field; this test notices if that
    changes."""

    def page() -> None:
        import streamlit as st

        from pages.components.shared.access import guarded_button, guarded_form_button

        st.session_state.setdefault("called", 0)

        def call(by: int) -> None:
            st.session_state.called += by

        pressed = guarded_button("Delete", key="delete", on_click=call, args=(1,))
        with st.form("form"):
            pressed = guarded_form_button("Save", on_click=call, kwargs={"by": 1}) or pressed
        st.text(f"pressed: {pressed}, called: {st.session_state.called}")

    app = AppTest.from_function(page, default_timeout=30).run()
    for button, called in zip(range(2), ("1", "2"), strict=True):
        app.button[button].click().run()
        assert app.text[0].value == f"pressed: True, called: {called}"
    if mode == READ_ONLY:
        monkeypatch.setenv(READ_ONLY, "1")
    else:
        app.session_state[PRESENTER_KEY] = True
    app.run()
    for button in range(2):
        assert app.button[button].disabled
        # AppTest itself presses no disabled button.
        app.button[button].proto.disabled = False
        app.button[button].click().run()
        assert not app.exception and app.text[0].value == "pressed: False, called: 2"


@pytest.mark.usefixtures("costs_in_process")
def test_a_visitor_finds_no_uploader(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server takes uploads from pages that show one alone."""
    ids = furnish(*tiny)
    serve(tiny[0], monkeypatch)
    assert any(place.open().file_uploader for place in places(ids))
    monkeypatch.setenv(READ_ONLY, "1")
    for place in places(ids):
        assert not place.open().file_uploader, place


def test_every_uploader_tells_the_server_of_itself() -> None:
    """`file_uploader` does; one drawn in another way would find its uploads refused."""
    drawn = [
        path.name
        for path in (PROJECT / "pages").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in ("file_uploader", "camera_input", "audio_input", "chat_input")
    ]
    assert drawn == ["uploads.py"]


def test_presenting_lasts_from_page_to_page_and_changes_nothing(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THAW_HOME", str(tiny[0].root))
    clear_workspace_cache()
    app = AppTest.from_file(str(PROJECT / "pages" / "router.py"), default_timeout=30)
    app.query_params[PRESENTER_KEY] = "1"
    app.run()
    assert (
        app.button(key="run_demo").disabled
        and app.button(key="run_demo").help == PRESENTER_SENTENCE
    )
    del app.query_params[PRESENTER_KEY]
    app.switch_page("finetune.py").run()
    assert not app.exception and app.button(key="ft_launch").disabled
    assert app.query_params[PRESENTER_KEY] == "1"
    app.query_params[PRESENTER_KEY] = "0"
    app.run()
    assert not app.button(key="ft_launch").disabled
