"""All backbones as cards, with filters and the import form.

The filters are by name, architecture and data.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from core.errors import Damaged, ThawError
from core.jobs.store import RunStore
from core.models.card import BackboneCard
from core.models.registry import ARCHITECTURES
from core.program import PROGRAM
from core.runs.subprocess_commands import import_in_subprocess
from pages.components.backbones.backbone_card import backbone_card
from pages.components.shared import url_state
from pages.components.shared.access import guarded_button
from pages.components.shared.common import workspace
from pages.components.shared.formatting import escape_inline, escape_markdown
from pages.components.shared.uploads import file_uploader, save_upload
from pages.server.upload_limit import forget_upload

MIN_CARDS_FOR_FILTERS = 4
"""Number of cards from which filters are shown; fewer fit on a screen."""
IMPORT_HELP = (
    f"A zip archive from Export here or from `{PROGRAM} export-backbone`: card.json,"
    " model.safetensors, preprocessing and vocabulary. Shapes, vocabulary and hashes are checked"
    " before anything is stored; nothing in it is executed."
)


def backbone_shelf(
    cards: list[BackboneCard], go_to: Callable[..., None], open_check: Callable[[str], None]
) -> None:
    """Draw a card for every backbone.

    Args:
        go_to: changes the URL parameters of the page.
        open_check: opens the vocabulary check for a backbone id.
    """
    if name := st.session_state.pop("imported_backbone", None):
        st.success(f"**{escape_markdown(name)}** was imported.", icon=":material/check_circle:")
        # The card keeps its original date, so it may appear anywhere in the list; find it by name.
        st.session_state["shelf_find"] = name
    if not cards:
        st.info(
            "There are no backbones yet. Pretrain one on the source rows of a dataset.",
            icon=":material/stacks:",
        )
        st.button(
            "Pretrain a backbone", type="primary", on_click=go_to, kwargs={"section": "Pretrain"}
        )
    shown = filter_cards(cards) if len(cards) >= MIN_CARDS_FOR_FILTERS else cards
    import_form()
    if cards and not shown:
        st.info("No backbone matches the filters; remove some.", icon=":material/filter_alt:")
    runs = runs_by_backbone()
    with st.grid(3, min_column_width=320):
        for card in shown:
            backbone_card(card, runs.get(card.id, []), open_check)


def filter_cards(cards: list[BackboneCard]) -> list[BackboneCard]:
    """Draw the filters and return the cards that match."""
    architectures = [
        name for name in ARCHITECTURES if any(card.architecture == name for card in cards)
    ]
    datasets = sorted({card.trained_on["dataset"] for card in cards})
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            "Find by name",
            key="shelf_find",
            bind=url_state.BOUND,
            width=240,
            help="Shows backbones whose name contains this text. It changes no result.",
        )
        chosen = st.multiselect(
            "Architecture",
            architectures,
            format_func=lambda name: ARCHITECTURES[name].title,
            key="shelf_architecture",
            placeholder="all",
            width=240,
            help="Shows only backbones of these architectures. It changes no result.",
        )
        data = st.multiselect(
            "Trained on",
            datasets,
            key="shelf_data",
            placeholder="all",
            width=240,
            help="Shows only backbones trained on these datasets. It changes no result.",
        )
        matching = [
            card
            for card in cards
            if all(word in card.name.lower() for word in text.lower().split())
            and (not chosen or card.architecture in chosen)
            and (not data or card.trained_on["dataset"] in data)
        ]
        st.caption(f"{len(matching)} of {len(cards)} backbones", width="content")
    return matching


def runs_by_backbone() -> dict[str, list[str]]:
    """Return the ids of finished fine-tuning runs by backbone id, newest first.

    The result is empty if the store is damaged.
    """
    runs: dict[str, list[str]] = {}
    with suppress(Damaged):
        for run in RunStore(workspace()).list("done", "finetune"):
            runs.setdefault(run.finetune_request.backbone, []).append(run.id)
    return runs


def import_form() -> None:
    """Draw the form that imports a backbone from a file."""
    with st.expander("Import a backbone", icon=":material/upload_file:"):
        times = st.session_state.setdefault("imports", 0)
        uploaded = file_uploader("Backbone", ["zip"], f"import_{times}", IMPORT_HELP)
        name = st.text_input(
            "Name in this workspace",
            placeholder="as on its card",
            key=f"import_name_{times}",
            max_chars=64,
            width=320,
            help="The name in lists and commands here. It changes no weights.",
        )
        if (
            guarded_button(
                "Import", icon=":material/download_done:", key="import", disabled=uploaded is None
            )
            and uploaded
        ):
            import_upload(uploaded, name.strip())


def import_upload(uploaded: UploadedFile, name: str) -> None:
    """Import the uploaded backbone and redraw the shelf, or show why it was refused."""
    path = save_upload(uploaded, "import", ".zip")
    try:
        with st.spinner("Checking the backbone"):
            card = import_in_subprocess(workspace(), path, name)
    except ThawError as error:
        sentence = str(error).replace(path.name, Path(uploaded.name).name)
        st.error(escape_inline(sentence), icon=":material/error:")
        return
    finally:
        path.unlink(missing_ok=True)
    forget_upload(uploaded)
    st.session_state.imports += 1
    st.session_state.imported_backbone = card.name
    st.rerun()
