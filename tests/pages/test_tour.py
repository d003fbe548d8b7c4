"""The tour goes from page to page, ends when asked to, and is not offered again."""

import pytest

from core.data.datasets import Dataset
from core.read_only import READ_ONLY
from core.workspace import Workspace
from pages.components.shared.tour import SEEN_FILE, STOPS
from tests.pages.helpers import has_button, open_page, page_text

Tiny = tuple[Workspace, Dataset]


def test_every_stop_is_shown_and_the_end_is_remembered(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page(tiny[0], "home", monkeypatch)
    app.button("tour_start").click().run()
    for step, stop in enumerate(STOPS, 1):
        # AppTest does not follow a script that goes to another page by itself.
        app.switch_page(stop.page).run()
        assert not app.exception
        assert f"**{step} of {len(STOPS)} · {stop.title}.**" in page_text(app)
        app.button("tour_next" if step < len(STOPS) else "tour_done").click().run()
    assert (tiny[0].root / SEEN_FILE).exists()
    app = open_page(tiny[0], "home", monkeypatch)
    assert not has_button(app, "Take the tour")


def test_the_tour_can_be_declined(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(tiny[0], "home", monkeypatch)
    app.button("tour_skip").click().run()
    assert not has_button(app, "Take the tour") and (tiny[0].root / SEEN_FILE).exists()


def test_a_visitors_answer_stays_in_the_session(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(READ_ONLY, "1")
    app = open_page(tiny[0], "home", monkeypatch)
    app.button("tour_skip").click().run()
    assert not has_button(app, "Take the tour") and not (tiny[0].root / SEEN_FILE).exists()
