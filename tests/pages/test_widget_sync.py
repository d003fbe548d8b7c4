"""Widget values set by the server survive stale edits from the browser."""

from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.helpers import send_stale_edits


def script() -> None:
    import streamlit as st

    from pages.components.shared.widget_sync import reapply_unseen, render_ack_field, set_value

    reapply_unseen()
    st.button("three", key="three", on_click=set_value, args=("depth", 3))
    st.button("four", key="four", on_click=set_value, args=("depth", 4))
    st.button("Launch", key="launch")
    st.slider("Freeze depth", 0, 5, 1, key="depth")
    render_ack_field()


@pytest.fixture
def page() -> AppTest:
    return AppTest.from_function(script, default_timeout=30).run()


def press(key: str) -> Callable[[AppTest], Any]:
    return lambda page: page.button(key).click()


def test_a_stale_click_does_not_undo_an_update(page: AppTest) -> None:
    send_stale_edits(page, press("three"), press("launch"))
    assert page.slider("depth").value == 3 and page.button("launch").value


def test_a_stale_edit_of_the_field_itself_counts(page: AppTest) -> None:
    send_stale_edits(page, press("three"), lambda page: page.slider("depth").set_value(5))
    assert page.slider("depth").value == 5


def test_of_several_updates_the_last_one_wins(page: AppTest) -> None:
    send_stale_edits(page, press("three"), press("four"))
    assert page.slider("depth").value == 4
    send_stale_edits(page, press("three"), press("launch"))
    assert page.slider("depth").value == 3


def test_an_edit_after_the_update_may_restore_the_old_value(page: AppTest) -> None:
    press("three")(page).run()
    page.slider("depth").set_value(1).run()
    assert page.slider("depth").value == 1
    press("launch")(page).run()
    assert page.slider("depth").value == 1
