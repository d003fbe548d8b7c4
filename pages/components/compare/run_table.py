"""The table of runs: filters, columns, a row a run or an arm, choosing rows."""

import hashlib
from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from core.evaluation.metric_registry import HEADLINE, metrics_shown_in
from core.jobs.store import Run
from core.report.run_tables import matching_runs

ROW_MODES = {"run": "A row a run", "arm": "A row an arm"}
NUMBER_COLUMNS = {
    "Target AUC": st.column_config.NumberColumn(
        format="%.4f",
        help="On target test rows; none without a click head. Of an arm: the mean over its seeds",
    ),
    "± 95 %": st.column_config.NumberColumn(
        format="%.4f", help="Half the DeLong interval of the target AUC"
    ),
    "± seeds": st.column_config.NumberColumn(
        format="%.4f", help="Standard deviation of the target AUC over seeds"
    ),
    "Source AUC": st.column_config.NumberColumn(
        format="%.4f", help="On source test rows: what was kept"
    ),
    "Best val. AUC": st.column_config.NumberColumn(
        format="%.4f", help="Highest of its epochs, on validation rows"
    ),
    "Last val. AUC": st.column_config.NumberColumn(
        format="%.4f", help="Of its last epoch, on validation rows"
    ),
    "Best val. loss": st.column_config.NumberColumn(
        format="%.4f", help="Lowest of its epochs, on validation rows"
    ),
    "Last val. loss": st.column_config.NumberColumn(
        format="%.4f", help="Of its last epoch, on validation rows"
    ),
    "Trained": st.column_config.NumberColumn(format="localized", help="Parameters trained"),
    "Seconds": st.column_config.NumberColumn(format="%.1f"),
    "Memory, MB": st.column_config.NumberColumn(format="%.0f", help="Peak memory"),
}
"""Columns of numbers besides those of metrics; those of an arm are means over its runs."""


def filter_runs(runs: list[Run], sweeps: Mapping[str, str]) -> list[Run]:
    """The runs that the filters let through; the filters are in the address. sweeps: names by
    id."""
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
        sweep = _multiselect(
            "Sweep", "of_sweep", list(dict.fromkeys(sweeps[group] for group in groups))
        )
        status = _multiselect("Status", "status", statuses)
        kind = _multiselect("Kind", "kind", ["finetune", "pretrain"])
        tagged = _multiselect("Tags", "tags", tags)
    return matching_runs(runs, sweeps, text, sweep, status, kind, tagged)


def _multiselect(label: str, key: str, options: Sequence[str]) -> list[str]:
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


def run_table(
    ids: Sequence[tuple[str, ...]], table: pd.DataFrame, chosen: Sequence[str], widget_version: int
) -> list[str]:
    """Draws the table, whose rows stand for runs of these ids; the ids of the ticked rows.

    chosen: ids chosen so far; of a ticked row that has some of them, these stay chosen and no
    others. round_: another number makes the widget anew, as when all were chosen by a button.
    """
    # The widget is made anew when the set of rows changes, since it remembers rows by their place.
    shown = hashlib.sha256(repr((list(ids), widget_version)).encode()).hexdigest()[:12]
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
            **NUMBER_COLUMNS,
            **{
                metric.heading: st.column_config.NumberColumn(
                    format=f"%.{metric.digits}f", help="On target test rows"
                )
                for key, metric in metrics_shown_in("runs").items()
                if key != HEADLINE
            },
            "Name": st.column_config.TextColumn(width=300),
            "Arm": st.column_config.TextColumn(width="medium"),
            "Tags": st.column_config.ListColumn(),
            "Note": st.column_config.TextColumn(width="medium"),
            "Created": st.column_config.DatetimeColumn(format="D MMM, HH:mm"),
        },
    )
    rows = [ids[row] for row in event.selection.rows if row < len(ids)]
    return [run_id for of_row in rows for run_id in set(of_row) & set(chosen) or of_row]
