"""How much of a dataset's target values a backbone knows, asked once per pair, and the words for
too little."""

import streamlit as st

from core.data.datasets import Dataset, FieldCoverage, measure_coverage
from core.data.preprocessing import load_preprocessing
from core.freezing.known_values import UNSEEN_LIMIT, unseen_share
from core.models.card import BackboneCard
from pages.components.shared.common import format_percent, workspace
from pages.components.shared.compute_slots import compute_slot


def cached_coverage(dataset: Dataset, card: BackboneCard) -> list[FieldCoverage]:
    """Coverage of every field; BadInput where the dataset's sample is gone or the preprocessing
    cannot be read."""
    return _coverage(dataset.content_hash, card.preprocessing_hash, dataset, card)


@st.cache_data(max_entries=64, show_spinner="Checking the vocabulary")
def _coverage(
    content_hash: str, preprocessing_hash: str, _dataset: Dataset, _card: BackboneCard
) -> list[FieldCoverage]:
    with compute_slot():
        return measure_coverage(
            workspace(), _dataset, load_preprocessing(_card.folder / "preprocessing")
        )


def coverage_warning(fields: list[FieldCoverage], freeze_depth: int) -> str | None:
    """What to say when the backbone knows too few of the values; None when it knows enough."""
    share = unseen_share(fields)
    if share <= UNSEEN_LIMIT:
        return None
    known = (
        f"**This backbone has never seen {format_percent(share, 0)} of this dataset's categorical"
        " values.** "
    )
    if freeze_depth:
        return (
            known
            + "Freezing its embedding freezes noise: to it, all those values are one and the same."
        )
    return known + "To it they are all one value, so even full fine-tuning cannot tell them apart."


def lacks_real_values(dataset: Dataset, card: BackboneCard) -> bool:
    """Whether the backbone learnt from simulated rows and the dataset holds real ones."""
    return bool(card.trained_on["simulated"]) and not dataset.simulated
