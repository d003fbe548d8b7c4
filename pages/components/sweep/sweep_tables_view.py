"""The tables of a sweep's page: its arms, the learning rates tried, and every run."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from core.evaluation.format_metrics import metric_or_none
from core.evaluation.metric_registry import HEADLINE_METRIC, metrics_shown_in
from core.jobs.store import Run
from core.runs.sweep import arm_title
from core.runs.sweep_result import ArmResult, rates_table
from pages.components.shared.arm_column import arm_column
from pages.components.sweep.sweep_table import LAST_EPOCH_MARK


def show_table(table: pd.DataFrame) -> None:
    """Show the rows of `pages.components.sweep.sweep_table`."""
    st.dataframe(
        table,
        key="sweep_table",
        placeholder="–",
        hide_index=True,
        height=min(35 * (len(table) + 1) + 3, 600),
        alt="Arms of the sweep with their metrics, differences from the baseline and verdicts",
        column_config={
            "Arm": arm_column(table["Arm"]),
            "Setting": st.column_config.TextColumn(
                help="Learning rate and target rows, where the sweep has several"
            ),
            "Runs": st.column_config.TextColumn(
                width=104,
                help=(
                    f"Runs done, of those requested; {LAST_EPOCH_MARK} marks arms whose best epoch "
                    "was their last: more epochs might have helped them"
                ),
            ),
            "Rate": st.column_config.TextColumn(
                width=76, help="Learning rate, chosen on validation rows over the seeds"
            ),
            "Target AUC": st.column_config.NumberColumn(
                format="%.4f", help="Mean over seeds, on target test rows"
            ),
            "Target ±": st.column_config.NumberColumn(
                format="%.4f", help="Standard deviation over seeds"
            ),
            "Source AUC": st.column_config.NumberColumn(
                format="%.4f", help="On source test rows; a drop means forgetting"
            ),
            "Source ±": st.column_config.NumberColumn(
                format="%.4f", help="Standard deviation over seeds"
            ),
            **_metric_columns(),
            "Verdict": st.column_config.TextColumn(
                width=190,
                help="On target AUC and log loss, compared with the baseline. A metric that is not "
                "named is undecided, which does not mean equal",
            ),
            "ΔAUC": st.column_config.TextColumn(width=68, help="Target AUC minus the baseline's"),
            "95 % interval": st.column_config.TextColumn(
                width=140,
                help=(
                    "Of the difference in AUC, unadjusted; the verdict is adjusted for the "
                    "number of comparisons"
                ),
            ),
            "Trained": st.column_config.NumberColumn(
                width=80, format="localized", help="Parameters trained"
            ),
            "Seconds": st.column_config.NumberColumn(format="%.1f", help="Mean per run"),
            "Compare": st.column_config.LinkColumn(
                "Open", width=72, display_text="Compare", help="Compare the runs of this arm"
            ),
        },
    )


def show_rates(results: Sequence[ArmResult]) -> None:
    """Show what every rate of each arm gave, on demand; nothing where none is chosen."""
    rows = rates_table(results)
    if not rows:
        return
    with st.expander("Learning rates tried", icon=":material/tune:"):
        st.caption(
            "Each arm was trained with every rate and the same seeds. Its rate is the one with the "
            "lowest mean log loss on validation rows; test rows choose nothing."
        )
        frame = pd.DataFrame(rows).rename(
            columns={
                "arm": "Arm",
                "setting": "Setting",
                "learning_rate": "Rate",
                "seeds": "Seeds done",
                "validation_log_loss": "Validation log loss",
                "chosen": "Chosen",
            }
        )
        st.dataframe(
            frame if frame["Setting"].any() else frame.drop(columns="Setting"),
            key="sweep_rates_tried",
            placeholder="–",
            hide_index=True,
            height=min(35 * (len(frame) + 1) + 3, 422),
            alt="Validation log loss of every arm at each learning rate",
            column_config={
                "Rate": st.column_config.NumberColumn(format="%g"),
                "Validation log loss": st.column_config.NumberColumn(format="%.5f"),
            },
        )


def show_runs(runs: Sequence[Run]) -> None:
    """Show one row per run, with a link to its page."""
    others = {
        key: metric for key, metric in metrics_shown_in("runs").items() if key != HEADLINE_METRIC
    }
    several_rates = len({run.request.train.learning_rate for run in runs}) > 1
    rows = []
    for run in runs:
        target = run.result.metrics.get("target_test") if run.result else None
        rows.append(
            {
                "Arm": arm_title(run),
                **({"Window": run.window.number} if run.window else {}),
                "Seed": run.seed,
                **({"Rate": run.request.train.learning_rate} if several_rates else {}),
                "Status": run.status,
                "Target AUC": metric_or_none(target, "auc"),
                **{metric.heading: metric_or_none(target, key) for key, metric in others.items()},
                "Seconds": run.result.seconds.get("total") if run.result else None,
                "Run": f"run?run={run.id}",
                "Message": run.message,
            }
        )
    st.dataframe(
        pd.DataFrame(rows),
        key="sweep_runs",
        placeholder="–",
        hide_index=True,
        height=min(35 * (len(rows) + 1) + 3, 422),
        alt="Every run of the sweep",
        column_config={
            "Target AUC": st.column_config.NumberColumn(format="%.4f"),
            **{
                metric.heading: st.column_config.NumberColumn(format=f"%.{metric.digits}f")
                for metric in others.values()
            },
            "Rate": st.column_config.NumberColumn(format="%g"),
            "Seconds": st.column_config.NumberColumn(format="%.1f"),
            "Run": st.column_config.LinkColumn(display_text="Open"),
        },
    )


def _metric_columns() -> dict[str, Any]:
    """The columns of the metrics of arms besides AUC."""
    columns = {}
    for key, metric in metrics_shown_in("arms").items():
        if key != HEADLINE_METRIC:
            text = "mean over seeds, on target test rows"
            text = f"{metric.long_name}, {text}" if metric.long_name else text
            columns[metric.heading] = st.column_config.NumberColumn(
                format=f"%.{metric.digits}f", help=text[:1].upper() + text[1:]
            )
    return columns
