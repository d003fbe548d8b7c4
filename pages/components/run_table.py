"""The table of runs: filters, columns, a row a run or an arm, choosing rows."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import pandas as pd
import streamlit as st

from core.data.datasets import list_datasets
from core.evaluation.format_metrics import is_missing, known_metric, metric_value
from core.models.library import list_backbones
from core.models.registry import ARCHITECTURES
from core.report.arms import arms_of
from core.runs.store import Run, Validation
from core.runs.sweep import arm_of
from core.training.objectives import ORIGINS
from pages.components.common import workspace

_FORMULA_STARTS = ("=", "+", "-", "@")
ROWS = {"run": "A row a run", "arm": "A row an arm"}
NUMBERS = {
    "Target AUC": st.column_config.NumberColumn(
        format="%.4f", help="On target test rows; none without a click head. Of an arm: the mean over its seeds"
    ),
    "± 95 %": st.column_config.NumberColumn(format="%.4f", help="Half the DeLong interval of the target AUC"),
    "± seeds": st.column_config.NumberColumn(format="%.4f", help="Standard deviation of the target AUC over seeds"),
    "Log loss": st.column_config.NumberColumn(format="%.4f", help="On target test rows"),
    "Source AUC": st.column_config.NumberColumn(format="%.4f", help="On source test rows: what was kept"),
    "Best val. AUC": st.column_config.NumberColumn(format="%.4f", help="Highest of its epochs, on validation rows"),
    "Last val. AUC": st.column_config.NumberColumn(format="%.4f", help="Of its last epoch, on validation rows"),
    "Best val. loss": st.column_config.NumberColumn(format="%.4f", help="Lowest of its epochs, on validation rows"),
    "Last val. loss": st.column_config.NumberColumn(format="%.4f", help="Of its last epoch, on validation rows"),
    "Trained": st.column_config.NumberColumn(format="localized", help="Parameters trained"),
    "Seconds": st.column_config.NumberColumn(format="%.1f"),
    "Memory, MB": st.column_config.NumberColumn(format="%.0f", help="Peak memory"),
}
"""Columns of numbers; those of an arm are means over its runs."""
_CELLS = (
    "Name", "Status", "Strategy", "Target AUC", "± 95 %", "Log loss", "Source AUC", "Trained", "Seconds", "Memory, MB",
    "Seed", "Backbone", "Dataset", "Sweep", "Tags", "Note", "Created", "Run",
)  # fmt: skip
_VALIDATION = {
    "Best val. AUC": "best_auc",
    "Last val. AUC": "last_auc",
    "Best val. loss": "best_loss",
    "Last val. loss": "last_loss",
}
_COLUMNS = (*_CELLS[:7], *_VALIDATION, *_CELLS[7:])


def filter_runs(runs: list[Run], sweeps: Mapping[str, str]) -> list[Run]:
    """The runs that the filters let through; the filters are in the address. sweeps: names by id."""
    statuses = sorted({run.status for run in runs})
    tags = sorted({tag for run in runs for tag in run.tags})
    groups = [group for group in dict.fromkeys(run.group for run in runs) if group in sweeps]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            "Find in name, note, tag or id",
            key="find",
            bind="query-params",
            width=240,
            help="Shows the runs that hold these words. It changes no result.",
        )
        sweep = _among("Sweep", "of_sweep", list(dict.fromkeys(sweeps[group] for group in groups)))
        status = _among("Status", "status", statuses)
        kind = _among("Kind", "kind", ["finetune", "pretrain"])
        tagged = _among("Tags", "tags", tags)
    words = text.lower().split()
    return [
        run
        for run in runs
        if all(word in f"{run.name} {run.note} {' '.join(run.tags)} {run.id}".lower() for word in words)
        and (not sweep or sweeps.get(run.group) in sweep)
        and (not status or run.status in status)
        and (not kind or run.kind in kind)
        and (not tagged or set(tagged) & set(run.tags))
    ]


def _among(label: str, key: str, options: Sequence[str]) -> list[str]:
    """What of `options` is asked for; no box where there is nothing to choose."""
    if not options:
        return []
    return st.multiselect(
        label,
        options,
        key=key,
        bind="query-params",
        placeholder="all",
        width=200,
        help="Shows runs of these alone. It changes no result.",
    )


def strategy_of(run: Run) -> str:
    """The strategy in a word or two."""
    if run.kind == "pretrain":
        return f"pretraining{learning_of(run.request)}"
    return arm_of(run).title


def learning_of(request: dict[str, Any]) -> str:
    """What sets a pretraining apart from learning clicks from random weights: " (Word2Vec, no training)"; often ""."""
    objective, start = request.get("objective", "supervised"), request.get("start", "random")
    words = [ORIGINS[start]] * (start != "random")
    words += {"supervised": [], "none": ["no training"]}.get(objective, [objective.upper()])
    return f" ({', '.join(words)})" if words else ""


def run_frame(runs: Sequence[Run], validation: Mapping[str, Validation], sweeps: Mapping[str, str]) -> pd.DataFrame:
    """A row for every run with its settings and metrics. validation: by id, of each of them."""
    cells = zip(*map(_cells, runs), strict=True)
    own: dict[str, list[Any]] = {name: [*column] for name, column in zip(_CELLS, cells, strict=True)}
    of_runs = [validation[run.id] for run in runs]
    own |= {name: [getattr(one, field) for one in of_runs] for name, field in _VALIDATION.items()}
    datasets = {
        dataset.id: f"{dataset.name} (simulated)" if dataset.simulated else dataset.name
        for dataset in list_datasets(workspace())
    }
    backbones = {card.id: card.name for card in list_backbones(workspace())}
    own["Backbone"] = [backbones.get(one, one) for one in own["Backbone"]]
    own["Dataset"] = [datasets.get(one, one) for one in own["Dataset"]]
    own["Sweep"] = [sweeps.get(one, "") for one in own["Sweep"]]
    table = pd.DataFrame({name: own[name] for name in _COLUMNS})
    table["Created"] = pd.to_datetime(table["Created"], format="ISO8601", utc=True).dt.tz_convert(None)
    return table


def arm_frame(runs: Sequence[Run], table: pd.DataFrame) -> tuple[list[tuple[str, ...]], pd.DataFrame]:
    """(ids of each arm's runs, a row for every arm): means of the rows of `table`, which are those of `runs`."""
    backbones = {card.id: card.name for card in list_backbones(workspace())}
    datasets = {dataset.id: dataset.name for dataset in list_datasets(workspace())}
    arms = arms_of(runs, backbones, datasets)
    ids = [tuple(run.id for run in arm.runs) for arm in arms]
    place = {run_id: number for number, of_arm in enumerate(ids) for run_id in of_arm}
    numbers = [name for name in NUMBERS if name in table]
    # All arms at once, as pandas takes a millisecond for every small table.
    grouped = table[numbers].astype(float).groupby([place[run_id] for run_id in table["Run"].tolist()])
    means, deviation = grouped.mean(), grouped["Target AUC"].std().to_numpy()
    said = (table[name].tolist() for name in ("Backbone", "Dataset", "Sweep"))
    of_run = dict(zip(table["Run"].tolist(), zip(*said, strict=True), strict=True))
    names = [[of_run[run_id] for run_id in of_arm] for of_arm in ids]
    done = [sum(run.status == "done" for run in arm.runs) for arm in arms]
    columns = {
        "Arm": [arm.full_title for arm in arms],
        "Runs": [f"{ended} of {len(arm.runs)} done" for ended, arm in zip(done, arms, strict=True)],
        "Target AUC": means["Target AUC"].to_numpy(),
        "± 95 %": means["± 95 %"].to_numpy(),
        "± seeds": deviation,
        **{name: means[name].to_numpy() for name in numbers if name not in ("Target AUC", "± 95 %")},
        "Backbone": [of_arm[0][0] for of_arm in names],
        "Dataset": [of_arm[0][1] for of_arm in names],
        "Sweep": [", ".join(dict.fromkeys(sweep for _, _, sweep in of_arm if sweep)) for of_arm in names],
        "Tags": [sorted({tag for run in arm.runs for tag in run.tags}) for arm in arms],
    }
    return ids, pd.DataFrame(columns)


def run_table(ids: Sequence[tuple[str, ...]], table: pd.DataFrame, chosen: Sequence[str], round_: int) -> list[str]:
    """Draws the table, whose rows stand for runs of these ids; the ids of the ticked rows.

    chosen: ids chosen so far; of a ticked row that has some of them, these stay chosen and no others. round_: another
    number makes the widget anew, as when all were chosen by a button.
    """
    # The widget is made anew when the set of rows changes, since it remembers rows by their place.
    shown = hashlib.sha256(repr((list(ids), round_)).encode()).hexdigest()[:12]
    at_first = [place for place, of_row in enumerate(ids) if set(of_row) & set(chosen)]
    event = st.dataframe(
        table,
        key=f"compare-runs-{shown}",
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        selection_default={"selection": {"rows": at_first}},
        height=min(35 * (len(table) + 1) + 2, 422),
        placeholder="–",
        alt="Runs with their settings and metrics",
        column_config={
            **NUMBERS,
            "Name": st.column_config.TextColumn(width=300),
            "Arm": st.column_config.TextColumn(width="medium"),
            "Tags": st.column_config.ListColumn(),
            "Note": st.column_config.TextColumn(width="medium"),
            "Created": st.column_config.DatetimeColumn(format="D MMM, HH:mm"),
        },
    )
    rows = [ids[row] for row in event.selection.rows if row < len(ids)]
    return [run_id for of_row in rows for run_id in set(of_row) & set(chosen) or of_row]


def safe_csv(table: pd.DataFrame) -> str:
    """CSV whose cells no spreadsheet takes for a formula."""

    def guard(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        # A lone carriage return is left unquoted by pandas, and begins a new row.
        value = value.replace("\r", " ")
        return f"'{value}" if value.lstrip().startswith(_FORMULA_STARTS) or value[:1] == "\t" else value

    return table.map(guard).to_csv(index=False)


@lru_cache(maxsize=2**14)
def _cells(run: Run) -> tuple[Any, ...]:
    """What a run itself says in the columns of _CELLS; kept, for looking it up in thousands of results takes long."""
    result = run.result or {}
    metrics = result.get("metrics") or {}
    target, source = metrics.get("target_test"), metrics.get("source_test")
    half = (metric_value(target, "auc_high") - metric_value(target, "auc_low")) / 2
    memory = result.get("peak_memory")
    return (
        run.name,
        run.status,
        strategy_of(run),
        known_metric(target, "auc"),
        None if is_missing(half) else half,
        known_metric(target, "log_loss"),
        known_metric(source, "auc"),
        result["trained_parameters"] if result and run.request.get("objective") != "none" else None,
        result["seconds"]["total"] if result else None,
        memory / 1e6 if memory else None,
        run.request["train"]["seed"],
        run.request["backbone"] if "backbone" in run.request else _architecture(run.request["architecture"]),
        run.dataset,
        run.group,
        list(run.tags),
        run.note,
        run.created,
        run.id,
    )


def _architecture(name: str) -> str:
    """What a pretraining makes one of."""
    architecture = ARCHITECTURES.get(name)
    return architecture.title if architecture else name
