"""Coverage of a dataset's target values by a backbone's vocabulary, cached, and its warning."""

import streamlit as st

from core.data.dataset_rows import FieldCoverage, measure_coverage
from core.data.datasets import Dataset
from core.data.preprocessing import load_preprocessing
from core.freezing.known_values import UNSEEN_LIMIT, unseen_share
from core.models.card import BackboneCard
from pages.components.shared.common import workspace
from pages.components.shared.compute_slots import compute_slot
from pages.components.shared.formatting import format_percent


def cached_coverage(dataset: Dataset, card: BackboneCard) -> list[FieldCoverage]:
    """Return the coverage of every field.

    Raises:
        BadInput: the dataset's sample is gone or the preprocessing cannot be read.
    """
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
    """Return the warning if the backbone knows too few of the values, else None."""
    share = unseen_share(fields)
    if share <= UNSEEN_LIMIT:
        return None
    known = (
        f"**This backbone has never seen {format_percent(share, 0)} of this dataset's categorical"
        " values.** "
    )
    if freeze_depth:
        return known + "Freezing its embedding freezes noise: all those values share one vector."
    return known + "They all share one id, so even full fine-tuning cannot distinguish them."


def lacks_real_values(dataset: Dataset, card: BackboneCard) -> bool:
    """Return whether the backbone was trained on simulated rows and the dataset has real ones."""
    return bool(card.trained_on["simulated"]) and not dataset.simulated
