"""The table of runs on Compare: filters, columns, one row per run or per arm, selection."""

import hashlib
from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from core.evaluation.metric_registry import HEADLINE_METRIC, metrics_shown_in
from core.jobs.store import Run
from core.report.run_tables import matching_runs
from pages.components.shared import url_state

ROW_MODES = {"run": "One row per run", "arm": "One row per arm"}
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
        format="%.4f", help="On source test rows; a drop means forgetting"
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
"""Numeric columns besides those of metrics; for an arm, the mean over its runs."""


def filter_runs(runs: list[Run], sweeps: Mapping[str, str]) -> list[Run]:
    """Draw the filters, which the URL carries, and return the runs that match.

    Args:
        sweeps: names of sweeps by id.
    """
    statuses = sorted({run.status for run in runs})
    tags = sorted({tag for run in runs for tag in run.tags})
    groups = [group for group in dict.fromkeys(run.group for run in runs) if group in sweeps]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            "Find in name, note, tag or id",
            key="find",
            bind=url_state.BOUND,
            width=240,
            help="Shows runs that contain these words. It changes no result.",
        )
        sweep = _multiselect(
            "Sweep", "of_sweep", list(dict.fromkeys(sweeps[group] for group in groups))
        )
        status = _multiselect("Status", "status", statuses)
        kind = _multiselect("Kind", "kind", ["finetune", "pretrain", "blend"])
        tagged = _multiselect("Tags", "tags", tags)
    return matching_runs(runs, sweeps, text, sweep, status, kind, tagged)


def _multiselect(label: str, key: str, options: Sequence[str]) -> list[str]:
    """Return the chosen options; draws nothing if there are none to choose from."""
    if not options:
        return []
    return st.multiselect(
        label,
        options,
        key=key,
        bind=url_state.BOUND,
        placeholder="all",
        width=200,
        help="Shows only runs with these values. It changes no result.",
    )


def run_table(
    ids: Sequence[tuple[str, ...]], table: pd.DataFrame, chosen: Sequence[str], widget_version: int
) -> list[str]:
    """Draw the table and return the ids of the runs in selected rows.

    Args:
        ids: run ids of each row.
        chosen: ids selected so far. If a selected row contains some of them, only these stay
            selected.
        widget_version: a new number recreates the widget, as after a button selected all rows.
    """
    # The widget remembers selected rows by position, so it is recreated when the rows change.
    digest = hashlib.sha256(repr((list(ids), widget_version)).encode()).hexdigest()[:12]
    selected = [position for position, row_ids in enumerate(ids) if set(row_ids) & set(chosen)]
    event = st.dataframe(
        table,
        key=f"compare-runs-{digest}",
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        selection_default={"selection": {"rows": selected}},
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
                if key != HEADLINE_METRIC
            },
            "Name": st.column_config.TextColumn(width=300),
            "Arm": st.column_config.TextColumn(width="medium"),
            "Tags": st.column_config.ListColumn(),
            "Note": st.column_config.TextColumn(width="medium"),
            "Created": st.column_config.DatetimeColumn(format="D MMM, HH:mm"),
        },
    )
    rows = [ids[row] for row in event.selection.rows if row < len(ids)]
    return [run_id for row_ids in rows for run_id in set(row_ids) & set(chosen) or row_ids]
