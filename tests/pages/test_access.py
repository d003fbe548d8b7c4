"""What a visitor and an audience see: every button that changes something is disabled and says why."""

import pytest
from streamlit.testing.v1 import AppTest

from core.access import READ_ONLY, SENTENCE
from core.data.datasets import Dataset
from core.runs.store import RunStore
from core.runs.sweep import Arm, SweepSpec, submit_sweep
from core.training.settings import FinetuneRequest
from core.workspace import PROJECT, Workspace
from pages.components.access import PRESENT, PRESENTING
from tests.core.training.helpers import QUICK, carry_out, pretrained
from tests.pages.test_finetune import forget_workspace, open_page
from tests.pages.test_run import shown

HARMLESS = {
    "Compare", "Compare runs", "Reset", "Open", "Watch it", "Take the tour", "No, thanks", "Pretrain a backbone",
    "Check its vocabulary", "Split a sample", "Add a sample", "Split it into domains",
    "Choose all shown", "Choose none",
}  # fmt: skip
"""Labels of buttons that lead elsewhere or change what is shown."""


@pytest.fixture
def full(tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch) -> tuple[Workspace, dict[str, str]]:
    """A workspace with something on every page, and the addresses to look at by page."""
    workspace, dataset = tiny
    monkeypatch.setattr("core.runs.sweep.ensure_worker", lambda *_: None)
    card = pretrained(workspace, "dnn")
    done = carry_out(workspace, FinetuneRequest(dataset.id, card.id, "depth", 1, train=QUICK))
    sweep = submit_sweep(workspace, SweepSpec(dataset.id, card.id, (Arm("depth", 0), Arm("zero-shot"))), "a sweep")
    return workspace, {"run": done.id, "sweep": sweep.id, "waits": RunStore(workspace).group(sweep.id)[0].id}


def pages(workspace: Workspace, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, AppTest]]:
    """Every page, with what is on it in the states that have buttons of their own."""
    places: list[tuple[str, dict[str, str]]] = [
        ("home", {}),
        *(("data", {"section": section}) for section in ("Sample", "Split", "Dataset")),
        *(("backbones", {"section": section}) for section in ("Shelf", "Pretrain")),
        ("finetune", {}),
        ("sweep", {}),
        ("sweep", {"sweep": ids["sweep"]}),
        ("run", {"run": ids["run"]}),
        ("run", {"run": ids["waits"]}),
        ("score", {"run": ids["run"]}),
        ("compare", {"runs": ids["run"]}),
        ("learn", {}),
    ]
    return [(f"{name} {query}", open_page(workspace, name, monkeypatch, **query)) for name, query in places]


@pytest.mark.usefixtures("counted_here")
def test_a_visitor_can_press_nothing_that_writes(
    full: tuple[Workspace, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, ids = full
    monkeypatch.setenv(READ_ONLY, "1")
    closed = 0
    for name, app in pages(workspace, ids, monkeypatch):
        assert SENTENCE in shown(app), name
        for button in app.button:
            closed += button.disabled
            assert button.disabled or button.label in HARMLESS, f"{name}: {button.label!r} can be pressed"
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
