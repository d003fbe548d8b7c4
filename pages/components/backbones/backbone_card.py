"""One backbone on the shelf: its stages, training data, metrics and actions."""

from collections.abc import Callable

import streamlit as st

from core.evaluation.format_metrics import (
    format_bounds,
    format_card_metrics,
    format_metric,
    metric_or_none,
    reason_without_auc,
    reason_without_interval,
)
from core.files.durable import staging
from core.models.card import BackboneCard, inputs_sentence
from core.models.exchange import export_backbone
from core.models.objectives import EMBEDDING_INITIALISATIONS, OBJECTIVES
from core.models.registry import ARCHITECTURES
from core.program import PROGRAM
from core.runs.removal import delete_backbone
from pages.components.shared.access import guarded_button
from pages.components.shared.backbone_text import (
    explain_missing_click_head,
    show_pretraining_metrics,
)
from pages.components.shared.common import show_open_commands, simulated_badge, workspace
from pages.components.shared.errors import catch_errors
from pages.components.shared.formatting import (
    escape_markdown,
    format_compact,
    format_datetime,
    format_int,
)
from pages.components.shared.stack import draw_stages, has_random_weights, origin_title

IMPORTED_HELP = "Imported from a file: whatever the weights do not show is as its author stated it."


def backbone_card(card: BackboneCard, runs: list[str], open_check: Callable[[str], None]) -> None:
    """Draw the whole card.

    Args:
        runs: ids of the finished runs that fine-tuned this backbone.
        open_check: opens the vocabulary check for a backbone id.
    """
    with st.container(border=True):
        st.markdown(f"#### {escape_markdown(card.name)}")
        show_badges(card)
        draw_stages(card.stages)
        show_quality(card)
        st.markdown(describe_history(card))
        operations = sum(stage.flops for stage in card.stages)
        st.caption(
            f"{format_compact(card.parameters)} parameters in {len(card.stages)}"
            f" stage{'s' * (len(card.stages) > 1)} · "
            + (f"{format_compact(operations)} operations per row" if operations else "lookups only")
        )
        st.caption(f"Inputs: {inputs_sentence(card.n_dense)}")
        with st.expander("Hashes, settings and licence", icon=":material/fingerprint:"):
            show_details(card)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.page_link(
                "finetune.py",
                label="Fine-tune it",
                icon=":material/ac_unit:",
                query_params={"backbone": card.id},
            )
            if runs:
                label = f"Compare its {len(runs)} runs" if len(runs) > 1 else "See its run"
                st.page_link(
                    "compare.py",
                    label=label,
                    icon=":material/compare_arrows:",
                    query_params={"runs": ",".join(runs)},
                )
            with st.popover("More", icon=":material/more_horiz:", type="tertiary"):
                more_actions(card, open_check)


def show_badges(card: BackboneCard) -> None:
    """Show badges for the kind of backbone; random weights come first because they matter most."""
    random = [stage.title for stage in card.stages if has_random_weights(stage)]
    with st.container(horizontal=True, gap="xsmall"):
        if len(random) == len(card.stages):
            st.badge("random weights", icon=":material/casino:", color="red")
        elif random:
            st.badge("random weights above the embedding", icon=":material/casino:", color="red")
        st.badge(ARCHITECTURES[card.architecture].title, icon=":material/hub:", color="blue")
        learnt = sorted(
            {origin_title(stage) for stage in card.stages if not has_random_weights(stage)}
        )
        for word in learnt:
            st.badge(escape_markdown(word), icon=":material/school:", color="green")
        if card.bundled:
            st.badge("bundled", icon=":material/inventory_2:", color="gray")
        if card.imported:
            st.badge("imported", icon=":material/upload_file:", color="gray", help=IMPORTED_HELP)
        if card.trained_on["simulated"]:
            simulated_badge()


def show_quality(card: BackboneCard) -> None:
    """Show the quality of a backbone.

    This is the AUC on its own test rows, or the metrics of its pretraining objective, or that it is
    untrained.
    """
    metrics = card.metrics
    auc = metric_or_none(metrics, "auc")
    if card.scores_clicks and auc is not None:
        domain = card.test_domain
        st.metric(
            f"AUC on its {escape_markdown(domain)} test rows",
            format_metric(auc),
            help="With a 95 % interval by DeLong's method, for test-row noise.",
        )
        bounds = f"95 % interval {format_bounds(metrics.get('auc_low'), metrics.get('auc_high'))}"
        reason = reason_without_interval(metrics)
        st.caption(
            f"{reason[:1].upper() + reason[1:] or bounds} · "
            f"{format_card_metrics(metrics)} · {format_int(metrics.get('rows'))} test rows"
        )
    elif card.scores_clicks and metrics:
        reason = reason_without_auc(metrics)
        st.caption(
            f"{reason[:1].upper()}{reason[1:]} · {format_card_metrics(metrics)} on its test rows"
        )
    elif card.scores_clicks:
        st.caption("It was trained on data without source test rows.")
    else:
        show_pretraining_metrics(
            {title: value for title, value in metrics.items() if title != "loss"}
        )
        loss = (
            f"Loss {format_metric(metrics.get('loss'))} on source validation rows. "
            if "loss" in metrics
            else ""
        )
        st.caption(f"{loss}{explain_missing_click_head(card)}")


def describe_history(card: BackboneCard) -> str:
    """Describe what the backbone was trained on, oldest last, as Markdown."""
    trained = card.trained_on
    name = f"**{escape_markdown(trained['dataset'])}**"
    if OBJECTIVES[card.objective].trains or card.stages[0].origin in EMBEDDING_INITIALISATIONS:
        rows = f"{format_int(trained['rows'])} {escape_markdown(trained['domain'])} rows"
        text = f"Trained on {rows} of {name}, {format_datetime(card.created)}"
    else:
        text = (
            f"Built with the vocabulary of {name}, {format_datetime(card.created)}; not "
            "trained on any row"
        )
    before = [
        f"{format_int(entry['rows'])} {escape_markdown(entry['domain'])} rows of"
        f" {escape_markdown(entry['dataset'])}"
        for entry in card.earlier
    ]
    return f"{text}; before that on {', then '.join(before)}" if before else text


def show_details(card: BackboneCard) -> None:
    """Show hashes, settings, licence and id."""
    for title, value in (
        ("Weights, SHA-256", card.weights_sha256),
        ("Training data, SHA-256", card.trained_on["content_hash"]),
        ("Vocabulary, SHA-256", card.preprocessing_hash),
    ):
        st.caption(title)
        st.code(value, language=None, wrap_lines=True)
    settings = " · ".join(
        f"{name.replace('_', ' ')} {_format_setting(value)}"
        for name, value in card.settings.items()
    )
    st.markdown(f"**Settings** {escape_markdown(settings) or 'none'}")
    st.markdown(f"**Licence** {escape_markdown(card.licence)}")
    st.markdown(f"**Id** `{card.id}`")


def _format_setting(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def more_actions(card: BackboneCard, open_check: Callable[[str], None]) -> None:
    """Draw the actions that are needed less often: check, export, delete."""
    st.button(
        "Check its vocabulary",
        key=f"check_{card.id}",
        icon=":material/fact_check:",
        on_click=open_check,
        args=(card.id,),
        width="stretch",
    )
    st.download_button(
        "Export as a zip archive",
        lambda: export_bytes(card),
        f"{card.name}.zip",
        "application/zip",
        key=f"export_{card.id}",
        icon=":material/download:",
        on_click="ignore",
        width="stretch",
        help=(
            "Weights as safetensors, preprocessing, vocabulary and this card. It can be imported"
            " again."
        ),
    )
    if not card.bundled and guarded_button(
        "Delete", key=f"delete_{card.id}", icon=":material/delete:", width="stretch"
    ):
        confirm_delete(card)


def export_bytes(card: BackboneCard) -> bytes:
    """Return the exported archive as bytes; it is written only when the download is clicked."""
    with staging(workspace().uploads) as folder:
        path = folder / "backbone.zip"
        export_backbone(card, path)
        return path.read_bytes()


@st.dialog("Delete backbone")
def confirm_delete(card: BackboneCard) -> None:
    """Ask for confirmation, naming what is deleted and what is kept."""
    st.markdown(
        f"Delete **{escape_markdown(card.name)}**? Runs fine-tuned from it keep their models "
        "and results, but cannot be repeated. This cannot be undone."
    )
    if guarded_button("Delete", type="primary", icon=":material/delete:", key="delete_for_good"):
        with catch_errors():
            delete_backbone(workspace(), card)
            st.rerun()
    show_open_commands(f"{PROGRAM} delete --backbone {card.id}")
