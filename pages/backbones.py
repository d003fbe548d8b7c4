"""Backbones: the pretrained networks stage by stage, what they know of a dataset, and pretraining a new one."""

from typing import Any

import plotly.graph_objects as go
import streamlit as st

from core.data.datasets import Dataset, FieldCoverage, list_datasets
from core.freezing.vocabulary import RULE, unseen_share
from core.models.card import BackboneCard
from core.models.library import list_backbones
from core.models.registry import ARCHITECTURES, SETTING_FIELDS, SettingField
from core.runs.store import RunStore
from core.runs.submit import command_line, submit_pretrain
from core.training.settings import PretrainRequest
from pages.components.chart import chart
from pages.components.choice import choose_named, from_address, to_address
from pages.components.common import (
    command_hint,
    count,
    decimals,
    errors_shown,
    escape_markdown,
    percent,
    short_count,
    simulated_badge,
    when,
    workspace,
)
from pages.components.stack import stack_of_card
from pages.components.training_fields import parse_widths, training_fields
from pages.components.vocabulary import backbone_coverage, knows_no_real_values, noise_warning

SHELF, CHECK, PRETRAIN = SECTIONS = ("Shelf", "Vocabulary check", "Pretrain")


def shelf(cards: list[BackboneCard]) -> None:
    """A card for every backbone."""
    if not cards:
        st.info("There are no backbones yet. Pretrain one on the source rows of a dataset.", icon=":material/stacks:")
        st.button("Pretrain a backbone", type="primary", on_click=go_to, kwargs={"section": PRETRAIN})
        return
    with st.grid(3, min_column_width=320):
        for card in cards:
            backbone_card(card)


def backbone_card(card: BackboneCard) -> None:
    """One backbone: where it comes from, its stages, how good it was there, and what to do with it."""
    with st.container(border=True):
        st.markdown(f"#### {escape_markdown(card.name)}")
        with st.container(horizontal=True, gap="xsmall"):
            st.badge(ARCHITECTURES[card.architecture].title, icon=":material/hub:", color="blue")
            if card.bundled:
                st.badge("bundled", icon=":material/inventory_2:", color="gray")
            if card.trained_on["simulated"]:
                simulated_badge()
        stack_of_card(card)
        metrics = card.metrics
        st.metric(
            "AUC on its source test rows",
            decimals(metrics.get("auc")),
            help="With a 95 % interval by DeLong's method, for test-row noise.",
        )
        st.caption(
            f"95 % interval {decimals(metrics.get('auc_low'))} to {decimals(metrics.get('auc_high'))} · "
            f"log loss {decimals(metrics.get('log_loss'))} · {count(metrics.get('rows'))} test rows"
            if metrics
            else "It was trained on data without source test rows."
        )
        trained = card.trained_on
        st.markdown(
            f"Trained on {count(trained['rows'])} {trained['domain']} rows of "
            f"**{escape_markdown(trained['dataset'])}**, {when(card.created)}"
        )
        st.caption(
            f"{short_count(card.parameters)} parameters in {len(card.stages)} stages · "
            f"licence: {escape_markdown(card.licence)} · weights SHA-256 `{card.weights_sha256[:12]}`"
        )
        with st.container(horizontal=True, vertical_alignment="center"):
            st.page_link(
                "finetune.py", label="Fine-tune it", icon=":material/ac_unit:", query_params={"backbone": card.id}
            )
            st.button(
                "Check vocabulary",
                key=f"check_{card.id}",
                icon=":material/fact_check:",
                type="tertiary",
                on_click=go_to,
                kwargs={"section": CHECK, "backbone": card.id},
            )


def vocabulary_check(cards: list[BackboneCard], datasets: list[Dataset]) -> None:
    """Which of a dataset's target values a backbone has never seen, column by column."""
    if not cards or not datasets:
        st.info("The check compares a backbone with a dataset; there is none of one of them yet.")
        st.page_link("data.py", label="Prepare a dataset", icon=":material/table_chart:")
        return
    left, right = st.columns(2)
    with left:
        card = choose_named("Backbone", cards, "backbone")
    with right:
        dataset = choose_named("Dataset", datasets, "dataset")
    with errors_shown():
        fields = backbone_coverage(dataset, card)
        verdict(fields, dataset, card)
        fields.sort(key=lambda field: (field.unseen_share, field.missing_share), reverse=True)
        chart(
            coverage_figure(fields),
            "coverage",
            height=340,
            alt=f"Share of target values unseen by {card.name}, missing and known; most unseen: {fields[0].field}, "
            f"{percent(fields[0].unseen_share)}",
        )
        with st.expander("As a table", icon=":material/table:"):
            coverage_table(fields)


def verdict(fields: list[FieldCoverage], dataset: Dataset, card: BackboneCard) -> None:
    """The check in a sentence, with the rule it follows, and what to do when the backbone does not fit."""
    warning = noise_warning(fields, 1)
    if knows_no_real_values(dataset, card):
        st.warning(
            f"**{escape_markdown(card.name)}** learnt from simulated rows: it does not know the hashes in real Criteo "
            "traffic. Pretrain a backbone on this dataset's own source rows instead.",
            icon=":material/warning:",
        )
    elif warning:
        st.warning(warning, icon=":material/warning:")
    else:
        st.success(
            f"This backbone knows {percent(1 - unseen_share(fields))} of the categorical values in the target "
            "training rows: freezing its embedding keeps what it learnt of them.",
            icon=":material/check_circle:",
        )
    share = unseen_share(fields)
    st.caption(
        f"{percent(share)} of the categorical values in the target training rows are unseen. {RULE} Values too rare "
        "in a backbone's own training rows count as unseen too."
    )
    if (warning or knows_no_real_values(dataset, card)) and dataset.has_source:
        st.button(
            f"Pretrain on the source rows of {dataset.name}",
            type="primary",
            icon=":material/model_training:",
            on_click=prefill,
            args=(dataset.name, card.architecture),
        )


def coverage_figure(fields: list[FieldCoverage]) -> go.Figure:
    """Stacked bars: unseen, missing and known shares of every field, in the order given."""
    names = [field.field for field in fields]
    shares = {
        "unseen": [field.unseen_share for field in fields],
        "missing": [field.missing_share for field in fields],
        "known": [1 - field.unseen_share - field.missing_share for field in fields],
    }
    colours = {"unseen": "#d9650b", "missing": "#8a97ab", "known": "#2563c9"}
    figure = go.Figure(
        [
            go.Bar(name=name, x=names, y=values, marker={"color": colours[name]}, hovertemplate="%{x} %{y:.1%} " + name)
            for name, values in shares.items()
        ]
    )
    return figure.update_layout(
        barmode="stack",
        bargap=0.15,
        margin={"l": 50, "r": 10, "t": 30, "b": 40},
        legend={"orientation": "h", "y": 1.12, "x": 0, "traceorder": "normal"},
        yaxis={"tickformat": ".0%", "range": [0, 1], "title": "target training rows"},
    )


def coverage_table(fields: list[FieldCoverage]) -> None:
    """The same numbers, sortable."""
    share = st.column_config.ProgressColumn(format="percent", min_value=0, max_value=1)
    st.dataframe(
        {
            "Column": [field.field for field in fields],
            "Unseen": [field.unseen_share for field in fields],
            "Missing": [field.missing_share for field in fields],
        },
        hide_index=True,
        column_config={"Unseen": share, "Missing": share},
    )


def pretrain(datasets: list[Dataset], taken: set[str]) -> None:
    """Everything a new backbone needs, and the button that queues its training."""
    usable = [one for one in datasets if one.has_source]
    if not usable:
        st.info("Pretraining needs a dataset with a source domain. Bring a sample in and split it first.")
        st.page_link("data.py", label="Prepare a dataset", icon=":material/table_chart:")
        return
    with errors_shown():
        what, how = st.columns(2, gap="medium")
        with what, st.container(border=True):
            st.markdown("##### What to train")
            dataset = choose_named("Dataset", usable, "dataset")
            rows = next(part.rows for part in dataset.parts if part.part == "source_train")
            with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
                st.caption(f"{count(rows)} source rows to train on", width="content")
                if dataset.simulated:
                    simulated_badge()
            if "pt_architecture" not in st.session_state:
                st.session_state["pt_architecture"] = "dnn"
            architecture = st.selectbox(
                "Architecture",
                [*ARCHITECTURES],
                format_func=lambda key: ARCHITECTURES[key].title,
                key="pt_architecture",
                persist_state="session",
            )
            about = ARCHITECTURES[architecture]
            st.caption(f"{about.summary} ({about.source})")
            suggestion = free_name(f"{about.title} {dataset.name}"[:58], taken)
            name = st.text_input("Name of the backbone", placeholder=suggestion, key="pt_name", max_chars=64)
            settings = architecture_fields(architecture)
        with how, st.container(border=True):
            st.markdown("##### How to train")
            train = training_fields("pt", rows)
            request = PretrainRequest(dataset.id, architecture, name.strip() or suggestion, train, settings)
            st.caption("It trains in the background: you can close this page.")
            if st.button("Pretrain", type="primary", icon=":material/play_arrow:", key="pt_launch"):
                run = submit_pretrain(workspace(), request)
                st.switch_page("run.py", query_params={"run": run.id})
        command_hint(command_line(workspace(), request))


def architecture_fields(architecture: str) -> dict[str, Any]:
    """The architecture's own settings; only those that differ from its defaults come back."""
    defaults = ARCHITECTURES[architecture].defaults
    values: dict[str, Any] = {}
    with st.grid(2, min_column_width=150):
        for name, field in SETTING_FIELDS.items():
            if name in defaults:
                # Keys carry the architecture, so that each keeps its own defaults.
                values[name] = setting_field(field, defaults[name], f"pt_{architecture}_{name}")
    return {name: value for name, value in values.items() if value != defaults[name]}


def setting_field(field: SettingField, default: Any, key: str) -> Any:
    """One setting, asked for by the kind of its default: a switch, block widths, a whole number or a share."""
    about = f"{field.about[0].upper()}{field.about[1:]}."
    if isinstance(default, bool):
        return st.toggle(field.label, default, key=key, help=about)
    if isinstance(default, list):
        widths = st.text_input(field.label, ", ".join(map(str, default)), key=key, help=about)
        return list(parse_widths(widths, f"The {field.label.lower()}"))
    if isinstance(default, int):
        return st.number_input(field.label, int(field.low), int(field.high), default, key=key, help=about)
    return st.number_input(field.label, float(field.low), float(field.high), default, 0.05, key=key, help=about)


def free_name(name: str, taken: set[str]) -> str:
    """`name`, or with the first number behind it that makes it free."""
    numbered = (f"{name} {number}" for number in range(2, len(taken) + 3))
    return name if name not in taken else next(one for one in numbered if one not in taken)


def go_to(**query: str) -> None:
    """Goes to the state of this page that the address with these parameters stands for."""
    st.query_params.update(query)


def prefill(dataset: str, architecture: str) -> None:
    """Opens the pretraining form for a dataset's source rows."""
    st.session_state["pt_architecture"] = architecture
    go_to(section=PRETRAIN, dataset=dataset)


st.title("Backbones")
st.markdown("Pretrained networks, stage by stage: a stage is the smallest unit that freezes.")
with errors_shown():
    all_cards = list_backbones(workspace())
    all_datasets = list_datasets(workspace())
    from_address("section", SECTIONS)
    section = st.segmented_control(
        "Section",
        SECTIONS,
        required=True,
        key="section",
        on_change=to_address,
        args=("section",),
        label_visibility="collapsed",
    )
    if section == CHECK:
        vocabulary_check(all_cards, all_datasets)
    elif section == PRETRAIN:
        waiting = [run for run in RunStore(workspace()).list(kind="pretrain") if run.active]
        pretrain(all_datasets, {card.name for card in all_cards} | {run.request["name"] for run in waiting})
    else:
        shelf(all_cards)
