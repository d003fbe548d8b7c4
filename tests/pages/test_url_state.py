"""State in the URL: what is read, what the page writes back, and what it leaves unchanged."""

from pathlib import Path

from streamlit.testing.v1 import AppTest

from core.workspace import PROJECT


def page(body: str, **url: str) -> AppTest:
    """Run a page with this body and these URL parameters."""
    script = f"import streamlit as st\nfrom pages.components.shared import url_state\n{body}"
    app = AppTest.from_string(script, default_timeout=30)
    for name, value in url.items():
        app.query_params[name] = value
    return app.run()


def value_in_url(app: AppTest, name: str) -> str | None:
    """Return the URL's value of a parameter, or None."""
    values = app.query_params.get(name)
    return values[0] if isinstance(values, list) else values


CHOICE = """
unknown = url_state.restore_choice("pet", ["cat", "dog"], {"d-1": "dog"})
st.selectbox("Pet", ["cat", "dog"], key="pet", on_change=url_state.save_choice, args=("pet",))
st.text(str(unknown))
"""
FORM = """
text = url_state.read_new("size")
if text is not None:
    st.session_state["size"] = text
size = st.text_input("Size", key="size")
url_state.write("size", size, "small")
"""


def test_only_one_module_touches_the_query_parameters() -> None:
    """Links (`query_params=` of st.page_link and st.switch_page) are no state."""
    for path in (PROJECT / "pages").rglob("*.py"):
        if path.name != "url_state.py":
            text = path.read_text(encoding="utf-8")
            assert "st.query_params" not in text, path
            assert '"query-params"' not in text.replace('Literal["query-params"]', ""), path
    text = Path(PROJECT / "pages/components/shared/url_state.py").read_text(encoding="utf-8")
    assert "st.query_params" in text


def test_a_choice_comes_from_the_url() -> None:
    app = page(CHOICE, pet="dog")
    assert app.selectbox[0].value == "dog"
    assert app.text[0].value == "None"
    assert page(CHOICE, pet="d-1").selectbox[0].value == "dog", "by its id"


def test_a_choice_without_a_value_in_the_url_is_the_first_option_and_writes_nothing() -> None:
    app = page(CHOICE)
    assert app.selectbox[0].value == "cat"
    assert value_in_url(app, "pet") is None


def test_a_choice_that_is_not_among_the_options_is_returned_and_not_followed() -> None:
    app = page(CHOICE, pet="fish")
    assert app.selectbox[0].value == "cat"
    assert app.text[0].value == "fish"


def test_choosing_writes_the_url_and_a_changed_url_chooses() -> None:
    app = page(CHOICE, pet="dog")
    app.selectbox[0].set_value("cat").run()
    assert value_in_url(app, "pet") == "cat", "the default too: tomorrow's may be another one"
    app.query_params["pet"] = "dog"
    assert app.run().selectbox[0].value == "dog"


def test_a_form_is_filled_by_the_url_once_and_then_decides() -> None:
    app = page(FORM, size="large")
    assert app.text_input[0].value == "large"
    app.text_input[0].set_value("huge").run()
    assert value_in_url(app, "size") == "huge"
    # The browser sends the old URL along with an edit made before it had the new one.
    app.query_params["size"] = "large"
    assert app.run().text_input[0].value == "huge"
    app.query_params["size"] = "tiny"
    assert app.run().text_input[0].value == "tiny", "that one came from outside"


def test_the_default_of_a_form_stays_out_of_the_url() -> None:
    app = page(FORM, size="large")
    app.text_input[0].set_value("small").run()
    assert value_in_url(app, "size") is None
    app.text_input[0].set_value("large").run()
    assert value_in_url(app, "size") == "large"


def test_put_remove_and_replace() -> None:
    app = page('url_state.put("a", "2"); st.text(url_state.get("a"))', a="1", b="1")
    assert app.text[0].value == "2"
    assert value_in_url(app, "b") == "1"
    app = page('url_state.remove("a", "never there")', a="1", b="1")
    assert (value_in_url(app, "a"), value_in_url(app, "b")) == (None, "1")
    app = page('url_state.replace(c="3")', a="1", b="1")
    assert [value_in_url(app, name) for name in "abc"] == [None, None, "3"]


def test_a_value_that_is_ignored_is_named_with_the_reason() -> None:
    app = page('url_state.warn_ignored("<b>x", "It is *no* number.")')
    assert "\\<b\\>x" in app.warning[0].value
    assert "It is \\*no\\* number." in app.warning[0].value
