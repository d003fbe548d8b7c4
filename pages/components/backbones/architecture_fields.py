"""The fields of an architecture's own settings."""

from typing import Any

import streamlit as st

from core.models.registry import ARCHITECTURES, SETTING_FIELDS, SettingField
from pages.components.shared.training_fields import parse_widths


def architecture_fields(architecture: str) -> dict[str, Any]:
    """The architecture's own settings; only those that differ from its defaults come back."""
    defaults = ARCHITECTURES[architecture].defaults
    values: dict[str, Any] = {}
    own = [name for name in SETTING_FIELDS if name in defaults]
    switches = [name for name in own if isinstance(defaults[name], bool)]
    with st.grid(2, min_column_width=150):
        for name in own:
            if name not in switches:
                # Keys carry the architecture, so that each keeps its own defaults.
                values[name] = setting_field(
                    SETTING_FIELDS[name], defaults[name], f"pt_{architecture}_{name}"
                )
    # A switch's label stands beside it and wants the whole width.
    for name in switches:
        values[name] = setting_field(
            SETTING_FIELDS[name], defaults[name], f"pt_{architecture}_{name}"
        )
    return {name: value for name, value in values.items() if value != defaults[name]}


def setting_field(field: SettingField, default: Any, key: str) -> Any:
    """One setting, asked for by the kind of its default: a switch, block widths, a whole number or
    a share."""
    about = f"{field.description[0].upper()}{field.description[1:]}."
    if isinstance(default, bool):
        return st.toggle(field.label, default, key=key, help=about)
    if isinstance(default, list):
        widths = st.text_input(field.label, ", ".join(map(str, default)), key=key, help=about)
        return list(parse_widths(widths, f"The {field.label.lower()}"))
    if isinstance(default, int):
        return st.number_input(
            field.label, int(field.low), int(field.high), default, key=key, help=about
        )
    return st.number_input(
        field.label, float(field.low), float(field.high), default, 0.05, key=key, help=about
    )
