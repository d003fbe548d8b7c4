"""The table of runs: filters, columns, choosing rows."""

from typing import Any

import pandas as pd
import streamlit as st

from core.data.datasets import list_datasets
from core.models.library import list_backbones
from core.models.registry import ARCHITECTURES
from core.runs.store import Run
from core.training.objectives import ORIGINS
from pages.components.common import workspace

_FORMULA_STARTS = ("=", "+", "-", "@")


def filter_runs(runs: list[Run]) -> list[Run]:
    """The runs that the filters let through; the filters are in the URL."""
    statuses = sorted({run.status for run in runs})
    tags = sorted({tag for run in runs for tag in run.tags})
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input("Find in name, note or tag", key="find", bind="query-params", width=240)
        status = st.multiselect("Status", statuses, key="status", placeholder="all", width=220)
        kind = st.multiselect("Kind", ["finetune", "pretrain"], key="kind", placeholder="all", width=220)
        tagged = st.multiselect("Tags", tags, key="tags", placeholder="all", width=220) if tags else []
    words = text.lower().split()
    return [
        run
        for run in runs
        if all(word in f"{run.name} {run.note} {' '.join(run.tags)}".lower() for word in words)
        and (not status or run.status in status)
        and (not kind or run.kind in kind)
        and (not tagged or set(tagged) & set(run.tags))
    ]


def strategy_of(run: Run) -> str:
    """The strategy in a word or two."""
    if run.kind == "pretrain":
        return f"pretraining{learning_of(run.request)}"
    strategy = run.request["strategy"]
    return f"freeze depth {run.request['freeze_depth']}" if strategy == "depth" else strategy


def learning_of(request: dict[str, Any]) -> str:
    """What sets a pretraining apart from learning clicks from random weights: " (Word2Vec, no training)"; often ""."""
    objective, start = request.get("objective", "supervised"), request.get("start", "random")
    words = [ORIGINS[start]] * (start != "random")
    words += {"supervised": [], "none": ["no training"]}.get(objective, [objective.upper()])
    return f" ({', '.join(words)})" if words else ""


def run_table(runs: list[Run], chosen: list[str]) -> tuple[list[str], pd.DataFrame]:
    """Draws the table; (ids of the chosen rows, the table as shown)."""
    datasets = {
        dataset.id: f"{dataset.name} (simulated)" if dataset.simulated else dataset.name
        for dataset in list_datasets(workspace())
    }
    backbones = {card.id: card.name for card in list_backbones(workspace())}
    table = pd.DataFrame([_row(run, datasets, backbones) for run in runs])
    if table.empty:
        st.info("No run passes the filters; take some off.", icon=":material/filter_alt:")
        return [], table
    shown = [run.id for run in runs]
    # The widget is made anew when the set of rows changes, since it remembers rows by their place.
    event = st.dataframe(
        table,
        key=f"compare-runs-{hash(tuple(shown))}",
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        selection_default={"selection": {"rows": [shown.index(run_id) for run_id in chosen if run_id in shown]}},
        height=min(35 * (len(runs) + 1) + 2, 422),
        alt="Runs with their settings and test metrics",
        column_config={
            "Target AUC": st.column_config.NumberColumn(
                format="%.4f", help="On target test rows; none without a click head"
            ),
            "± 95 %": st.column_config.NumberColumn(format="%.4f", help="Half the DeLong interval of the target AUC"),
            "Log loss": st.column_config.NumberColumn(format="%.4f", help="On target test rows"),
            "Source AUC": st.column_config.NumberColumn(format="%.4f", help="On source test rows: what was kept"),
            "Trained": st.column_config.NumberColumn(format="localized", help="Parameters trained"),
            "Seconds": st.column_config.NumberColumn(format="%.1f"),
            "Tags": st.column_config.ListColumn(),
            "Created": st.column_config.DatetimeColumn(format="D MMM, HH:mm"),
        },
    )
    return [shown[row] for row in event.selection.rows if row < len(shown)], table


def safe_csv(table: pd.DataFrame) -> str:
    """CSV whose cells no spreadsheet takes for a formula."""

    def guard(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        # A lone carriage return is left unquoted by pandas, and begins a new row.
        value = value.replace("\r", " ")
        return f"'{value}" if value.lstrip().startswith(_FORMULA_STARTS) or value[:1] == "\t" else value

    return table.map(guard).to_csv(index=False)


def _row(run: Run, datasets: dict[str, str], backbones: dict[str, str]) -> dict[str, Any]:
    metrics = run.result["metrics"] if run.result else {}
    target, source = metrics.get("target_test", {}), metrics.get("source_test", {})
    half = (target["auc_high"] - target["auc_low"]) / 2 if target.get("auc_high") is not None else None
    return {
        "Name": run.name,
        "Status": run.status,
        "Strategy": strategy_of(run),
        "Target AUC": target.get("auc"),
        "± 95 %": half,
        "Log loss": target.get("log_loss"),
        "Source AUC": source.get("auc"),
        "Trained": run.result["trained_parameters"] if run.result and run.request.get("objective") != "none" else None,
        "Seconds": run.result["seconds"]["total"] if run.result else None,
        "Seed": run.request["train"]["seed"],
        "Backbone": _backbone(run.request, backbones),
        "Dataset": datasets.get(run.dataset, run.dataset),
        "Tags": list(run.tags),
        "Created": pd.Timestamp(run.created).tz_convert(None),
    }


def _backbone(request: dict[str, Any], backbones: dict[str, str]) -> str:
    """The backbone's name, or the architecture that a pretraining makes one of."""
    if "backbone" in request:
        return backbones.get(request["backbone"], request["backbone"])
    architecture = ARCHITECTURES.get(request["architecture"])
    return architecture.title if architecture else request["architecture"]
