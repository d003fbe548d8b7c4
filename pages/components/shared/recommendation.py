"""The recommendation as the first thing a page says: a sentence, margins, and what it rests on."""

from collections.abc import Callable, Sequence

import pandas as pd
import streamlit as st

from core.evaluation.format_metrics import format_metric
from core.evaluation.non_inferiority import Margins, MetricLoss
from core.evaluation.power import Power
from core.evaluation.recommendation import Candidate, Recommendation
from core.evaluation.recommendation_words import headline, method_sentence, notes, outcome_words
from core.report.power_figures import power_figure
from core.runs.arm_recommendation import recommend_arms, recommend_selected
from core.runs.sweep_result import ArmResult
from pages.components.shared import url_state
from pages.components.shared.arm_column import arm_column
from pages.components.shared.chart import cached_figure_json, chart
from pages.components.shared.common import workspace
from pages.components.shared.compute_slots import compute_slot
from pages.components.shared.formatting import bullet_list, escape_markdown, format_duration

HEIGHT = 260
MARGIN_KEYS = ("margin_auc", "margin_log_loss")
"""Keys of the fields, and names of the parameters in the URL."""


def margin_fields() -> Margins:
    """Draw the fields of both margins, side by side; the URL carries them."""
    default = Margins()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        auc = st.number_input(
            "Margin of AUC",
            0.0001,
            0.1,
            default.auc,
            0.0005,
            "%.4f",
            key=MARGIN_KEYS[0],
            bind=url_state.BOUND,
            width=170,
            help="An arm that is shown to lose less AUC than this counts as good enough.",
        )
        log_loss = st.number_input(
            "Margin of log loss, %",
            0.01,
            20.0,
            default.log_loss_percent,
            0.05,
            "%.2f",
            key=MARGIN_KEYS[1],
            bind=url_state.BOUND,
            width=170,
            help=(
                "In percent of the log loss of the arm it is compared with. Both margins must "
                "hold. Changing one retrains nothing."
            ),
        )
    return Margins(float(auc or default.auc), float(log_loss or default.log_loss_percent))


def margin_words() -> list[str]:
    """Return the margins on this page as words of a command; none for the default."""
    default = Margins()
    names = ("--margin-auc", default.auc), ("--margin-log-loss", default.log_loss_percent)
    words = []
    for key, (name, value) in zip(MARGIN_KEYS, names, strict=True):
        chosen = st.session_state.get(key) or value
        words += [name, f"{chosen:g}"] * (chosen != value)
    return words


def recommendation_card(
    results: Sequence[ArmResult],
    key: str,
    mark: str = "",
    selected: bool = False,
    actions: Callable[[Sequence[Recommendation]], None] | None = None,
) -> None:
    """Draw the card.

    Args:
        results: of the arms, tested on the same rows.
        key: unique on the page; begins the keys of its parts.
        mark: Markdown behind the heading, such as a badge.
        selected: whether the runs were selected one by one, see
            `core.runs.arm_recommendation.recommend_selected`.
        actions: draws buttons below the sentence.
    """
    with st.container(border=True, key=f"{key}_recommendation"):
        st.markdown(f"**Recommendation**{mark}")
        room = st.container()
        margins = margin_fields()
        found = recommendations(results, margins, selected)
        with room:
            for one in found:
                _show_sentence(one, len(found) > 1)
            if actions:
                actions(found)
        with st.expander("What this rests on", icon=":material/fact_check:", key=f"{key}_rests"):
            for number, one in enumerate(found):
                if len(found) > 1:
                    st.markdown(f"**{escape_markdown(one.setting[:1].upper() + one.setting[1:])}**")
                _show_details(one, f"{key}-{number}")


def recommendations(
    results: Sequence[ArmResult], margins: Margins, selected: bool
) -> list[Recommendation]:
    """Return the recommendations, from a cache where runs and margins are the same."""
    identity = tuple(
        (one.setting, one.title, tuple(f"{run.id} {run.finished}" for run in one.runs))
        for one in results
    )
    return _cached(identity, margins.auc, margins.log_loss_percent, selected, results)


@st.cache_data(max_entries=128, show_spinner="Comparing the arms")
def _cached(
    identity: tuple[tuple[str, str, tuple[str, ...]], ...],
    auc: float,
    log_loss_percent: float,
    selected: bool,
    _results: Sequence[ArmResult],
) -> list[Recommendation]:
    with compute_slot():
        find = recommend_selected if selected else recommend_arms
        return find(workspace(), _results, Margins(auc, log_loss_percent))


def _show_sentence(found: Recommendation, with_setting: bool) -> None:
    if with_setting:
        st.markdown(f":gray[{escape_markdown(found.setting[:1].upper() + found.setting[1:])}]")
    st.markdown(f"##### {escape_markdown(headline(found))}")
    if words := notes(found):
        st.markdown(bullet_list(words))


def _show_details(found: Recommendation, key: str) -> None:
    """Draw every candidate with its bounds and cost, and the power of what is open."""
    if found.candidates:
        table = pd.DataFrame([row for one in found.candidates for row in _rows(one)])
        st.dataframe(
            table,
            key=f"{key}-candidates",
            placeholder="–",
            hide_index=True,
            height=min(35 * (len(table) + 1) + 3, 422),
            alt="What every arm loses at most against the arms it is compared with, and its cost",
            column_config={
                "Arm": arm_column(table["Arm"]),
                "Result": st.column_config.TextColumn(width=290),
                "AUC lost at most": st.column_config.TextColumn(
                    help="One-sided bound, adjusted for the number of candidates; below 0 it gains"
                ),
                "Log loss lost at most": st.column_config.TextColumn(
                    help="In nats; one-sided bound, adjusted; below 0 it gains"
                ),
                "Trained": st.column_config.NumberColumn(
                    format="localized", help="Parameters trained"
                ),
                "Time": st.column_config.TextColumn(help="Mean of a run"),
                "Epochs": st.column_config.NumberColumn(
                    format="%.1f", help="Epochs trained, mean over seeds"
                ),
            },
        )
    if found.power:
        show_power(found.power, key)
    st.caption(method_sentence(found))


def show_power(power: Power, key: str) -> None:
    """Draw the power of a comparison by test rows and by seeds."""
    st.markdown(
        f"**Power to settle {escape_markdown(power.arm)} against {escape_markdown(power.reference)}"
        "** :gray[· if the loss is the one estimated]"
    )
    left, right = st.columns(2, gap="medium")
    with left:
        chart(
            cached_figure_json(power_figure, power, "rows"),
            f"{key}-power-rows",
            HEIGHT,
            "Power by the number of test rows",
        )
    with right:
        chart(
            cached_figure_json(power_figure, power, "seeds"),
            f"{key}-power-seeds",
            HEIGHT,
            "Power by the number of seeds",
        )


def _rows(one: Candidate) -> list[dict[str, object]]:
    cost = {
        "Trained": one.arm.cost.trained_parameters,
        "Time": format_duration(one.arm.cost.seconds),
        "Epochs": one.arm.cost.epochs,
    }
    claims: list[dict[str, str | None]] = [
        {
            "Against": claim.reference,
            "AUC lost at most": _bound(claim.auc),
            "Log loss lost at most": _bound(claim.log_loss),
        }
        for claim in one.claims
    ]
    empty: dict[str, str | None] = dict.fromkeys(
        ("Against", "AUC lost at most", "Log loss lost at most")
    )
    start = {"Arm": one.arm.title, "Result": outcome_words(one)}
    return [start | claim | cost for claim in claims or [empty]]


def _bound(loss: MetricLoss) -> str:
    return f"{format_metric(loss.at_most, 5, signed=True)} of {format_metric(loss.margin, 5)}"
