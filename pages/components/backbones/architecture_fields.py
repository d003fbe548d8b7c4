"""The fields of the settings that one architecture has and others do not."""

from typing import Any

import streamlit as st

from core.models.recommended_settings import choose_settings, recommended_settings
from core.models.registry import SETTING_FIELDS, SettingField
from pages.components.shared.formatting import format_int
from pages.components.shared.training_fields import parse_widths


def architecture_fields(architecture: str, rows: int) -> dict[str, Any]:
    """Draw the architecture's own settings and return those that differ from its defaults.

    Args:
        architecture: a key of ARCHITECTURES.
        rows: training rows, which decide what the fields start with.
    """
    recommended = recommended_settings(architecture, rows)
    _fill_in(architecture, recommended)
    values: dict[str, Any] = {}
    names = [name for name in SETTING_FIELDS if name in recommended]
    switches = [name for name in names if isinstance(recommended[name], bool)]
    with st.grid(2, min_column_width=150):
        for name in names:
            if name not in switches:
                values[name] = _setting_field(architecture, name, recommended[name])
    # The label of a switch is next to it and needs the full width.
    for name in switches:
        values[name] = _setting_field(architecture, name, recommended[name])
    if names:
        st.caption(f"Filled in as recommended for {format_int(rows)} training rows.")
    return choose_settings(architecture, values, rows)


def _key(architecture: str, name: str) -> str:
    """Key of a field; it contains the architecture, so that each keeps its own values."""
    return f"pt_{architecture}_{name}"


def _fill_in(architecture: str, recommended: dict[str, Any]) -> None:
    """Fill fields that are new, or that hold what was recommended for another dataset's rows."""
    remembered = f"pt_{architecture}_recommended"
    before = st.session_state.get(remembered, recommended)
    for name, value in recommended.items():
        key = _key(architecture, name)
        if st.session_state.get(key) in (None, _shown(before[name])):
            st.session_state[key] = _shown(value)
    st.session_state[remembered] = recommended


def _shown(value: Any) -> Any:
    """What a field holds for a value of its setting: widths are text."""
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _setting_field(architecture: str, name: str, recommended: Any) -> Any:
    """Draw the field of one setting; its kind follows from the recommended value."""
    field: SettingField = SETTING_FIELDS[name]
    key = _key(architecture, name)
    help_text = f"{field.description[0].upper()}{field.description[1:]}."
    if isinstance(recommended, bool):
        return st.toggle(field.label, key=key, help=help_text)
    if isinstance(recommended, list):
        widths = st.text_input(field.label, key=key, help=help_text)
        return list(parse_widths(widths, f"The {field.label.lower()}"))
    if isinstance(recommended, int):
        return st.number_input(
            field.label, int(field.low), int(field.high), key=key, help=help_text
        )
    return st.number_input(
        field.label, float(field.low), float(field.high), step=0.05, key=key, help=help_text
    )
