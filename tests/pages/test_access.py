"""What a visitor and an audience see: every button that changes something is disabled and says why."""

import pytest
from streamlit.testing.v1 import AppTest

from core.access import READ_ONLY, SENTENCE
from core.data.datasets import Dataset
from core.workspace import PROJECT, Workspace
from pages.components.access import PRESENT, PRESENTING
from tests.pages.places import furnish, places, serve
from tests.pages.test_finetune import forget_workspace
from tests.pages.test_run import shown

HARMLESS = {
    "Compare", "Compare runs", "Reset", "Open", "Watch it", "Take the tour", "No, thanks", "Pretrain a backbone",
    "Check its vocabulary", "Split a sample", "Add a sample", "Split it into domains",
    "Choose all shown", "Choose none",
}  # fmt: skip
"""Labels of buttons that lead elsewhere or change what is shown."""


@pytest.mark.usefixtures("counted_here")
def test_a_visitor_can_press_nothing_that_writes(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = furnish(*tiny)
    serve(tiny[0], monkeypatch)
    monkeypatch.setenv(READ_ONLY, "1")
    closed = 0
    for place in places(ids):
        app = place.open()
        assert SENTENCE in shown(app) and not app.exception, place
        for button in app.button:
            closed += button.disabled
            assert button.disabled or button.label in HARMLESS, f"{place}: {button.label!r} can be pressed"
            if button.disabled and button.label in ("Launch", "Cancel", "Mix with the backbone", "Run the demo"):
                assert button.help == SENTENCE
    assert closed >= 10


def test_presenting_lasts_from_page_to_page_and_changes_nothing(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THAW_HOME", str(tiny[0].root))
    forget_workspace()
    app = AppTest.from_file(str(PROJECT / "pages" / "router.py"), default_timeout=30)
    app.query_params[PRESENT] = "1"
    app.run()
    assert app.button(key="run_demo").disabled and app.button(key="run_demo").help == PRESENTING
    del app.query_params[PRESENT]
    app.switch_page("finetune.py").run()
    assert not app.exception and app.button(key="ft_launch").disabled
    assert app.query_params[PRESENT] == "1"
    app.query_params[PRESENT] = "0"
    app.run()
    assert not app.button(key="ft_launch").disabled
