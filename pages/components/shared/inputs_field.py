"""The choice of vocabulary and statistics: the backbone's, or extended by target rows."""

from streamlit.delta_generator import DeltaGenerator

from core.freezing.inputs import INPUT_TITLES, check_inputs
from core.models.card import BackboneCard
from pages.components.shared import url_state
from pages.components.shared.training_fields import suggest_value
from pages.components.shared.widget_sync import set_value


def inputs_field(prefix: str, card: BackboneCard, place: DeltaGenerator) -> str:
    """Draw the choice and return it; the URL carries it.

    Args:
        prefix: of the widget key.
        card: the backbone.
        place: where to draw it, such as an expander; a warning of the URL is drawn outside of it.

    Raises:
        BadInput: the backbone has no vectors of values to add to.
    """
    key = f"{prefix}_inputs"
    suggest_value(key, "kept")
    if (text := url_state.read_new("inputs")) is not None:
        if text in INPUT_TITLES:
            set_value(key, text)
        else:
            url_state.warn_ignored(text, "Inputs are kept or refitted.")
    inputs = place.selectbox(
        "Vocabulary and statistics",
        [*INPUT_TITLES],
        format_func=INPUT_TITLES.__getitem__,
        key=key,
        persist_state="session",
        help=(
            "Extended: values that are new and frequent among the target's training rows get"
            " embedding vectors, which start as that of an unseen value, and target statistics"
            " count these rows too. Frozen embeddings keep every vector; frozen stages see new"
            " statistics on their old scale. Controls ignore this."
        ),
    )
    url_state.write("inputs", inputs, "kept")
    check_inputs(card, inputs)
    return inputs
