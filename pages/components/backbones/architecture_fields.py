"""The fields of the settings that one architecture has and others do not."""

from typing import Any

import streamlit as st

from core.models.registry import ARCHITECTURES, SETTING_FIELDS, SettingField
from pages.components.shared.training_fields import parse_widths


def architecture_fields(architecture: str) -> dict[str, Any]:
    """Draw the architecture's own settings and return those that differ from its defaults."""
    defaults = ARCHITECTURES[architecture].defaults
    values: dict[str, Any] = {}
    names = [name for name in SETTING_FIELDS if name in defaults]
    switches = [name for name in names if isinstance(defaults[name], bool)]
    with st.grid(2, min_column_width=150):
        for name in names:
            if name not in switches:
                # The key contains the architecture, so that each architecture keeps its own
                # defaults.
                values[name] = setting_field(
                    SETTING_FIELDS[name], defaults[name], f"pt_{architecture}_{name}"
                )
    # The label of a switch is next to it and needs the full width.
    for name in switches:
        values[name] = setting_field(
            SETTING_FIELDS[name], defaults[name], f"pt_{architecture}_{name}"
        )
    return {name: value for name, value in values.items() if value != defaults[name]}


def setting_field(field: SettingField, default: Any, key: str) -> Any:
    """Draw the field of one architecture setting.

    The kind of field (switch, widths, integer, share) follows from the default.
    """
    help_text = f"{field.description[0].upper()}{field.description[1:]}."
    if isinstance(default, bool):
        return st.toggle(field.label, default, key=key, help=help_text)
    if isinstance(default, list):
        widths = st.text_input(field.label, ", ".join(map(str, default)), key=key, help=help_text)
        return list(parse_widths(widths, f"The {field.label.lower()}"))
    if isinstance(default, int):
        return st.number_input(
            field.label, int(field.low), int(field.high), default, key=key, help=help_text
        )
    return st.number_input(
        field.label, float(field.low), float(field.high), default, 0.05, key=key, help=help_text
    )
