"""The results of a sweep over windows: what they support, lines over windows, and a table."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from core.evaluation.format_metrics import MISSING_TEXT, format_bounds, format_metric
from core.evaluation.significance import RANKING_RULE
from core.jobs.store import Run
from core.report.rolling_figures import rolling_figure
from core.runs.rolling_result import (
    FORGETTING_PARTS,
    ROLLING_METRICS,
    RollingArm,
    rolling_arms,
    rolling_lines,
    rolling_table,
)
from core.runs.rolling_verdicts import METRIC_WORDS, RollingVerdict, compare_rolling_arms
from core.runs.sweep import Sweep
from core.runs.sweep_result import ArmResult
from pages.components.shared.arm_charts import HEIGHT, direction_note
from pages.components.shared.arm_column import arm_column
from pages.components.shared.chart import cached_figure_json, chart
from pages.components.shared.common import workspace
from pages.components.shared.compute_slots import compute_slot
from pages.components.shared.formatting import bullet_list, escape_markdown, format_int
from pages.components.sweep.sweep_verdicts import verdict_heading


def show_windows_verdict(
    runs: Sequence[Run], results: Sequence[ArmResult], sentences: Sequence[str], reference: str
) -> None:
    """Show what the results support over windows, marked as provisional while runs are active."""
    n_active = verdict_heading(runs)
    if results:
        st.markdown(bullet_list(sentences))
    else:
        wait = "They appear as runs finish." if n_active else "Resume the sweep to get there."
        st.markdown(f"Nothing yet: no window is tested. {wait}")
    st.caption(
        f"Each arm is compared with {escape_markdown(reference)} on the test rows of every window, "
        "over the seeds that both have; the windows' differences are tested by Student's t. "
        f"P-values are Holm-adjusted over the arms, for each metric. {RANKING_RULE}"
    )


def show_windows(
    sweep: Sweep, runs: Sequence[Run], results: Sequence[ArmResult], reference: str
) -> None:
    """Draw the table and the figures of the windows that are finished."""
    arms = rolling_arms(results)
    verdicts = compare_rolling_arms(arms, reference) if arms else []
    _show_table(sweep, runs, results, verdicts, reference)
    if not arms:
        return
    st.caption(
        "Bands: 95 % intervals for other rows and, with several seeds, other seeds. They are of "
        "each arm alone; arms whose bands overlap may still differ, since all are tested on the "
        "same rows of every window: see above."
    )
    n_windows = sweep.spec.windows
    for column, metric in zip(st.columns(2, gap="medium"), ROLLING_METRICS, strict=True):
        with column:
            heading = f"{METRIC_WORDS[metric][0]} by window"
            st.markdown(f"**{heading[:1].upper()}{heading[1:]}**{direction_note(metric)}")
            _draw(arms, n_windows, metric, "target_test", heading)
    for column, (part, words) in zip(
        st.columns(2, gap="medium"), FORGETTING_PARTS.items(), strict=True
    ):
        with column:
            heading = f"Forgetting on {words}"
            st.markdown(f"**{heading}**")
            _draw(arms, n_windows, "auc", part, heading)
    st.caption(
        "Forgetting is the change in AUC from the backbone on the same rows; below the line "
        "something was lost. No arm trains on the validation rows of earlier windows. Controls, "
        "which have none of the backbone's weights, are left out."
    )


def _draw(arms: Sequence[RollingArm], windows: int, metric: str, part: str, alt: str) -> None:
    with compute_slot():
        lines = rolling_lines(workspace(), arms, metric, part)
    figure = cached_figure_json(rolling_figure, lines, windows, metric, part)
    chart(figure, f"sweep-rolling-{part}-{metric}", HEIGHT, alt)


def _show_table(
    sweep: Sweep,
    runs: Sequence[Run],
    results: Sequence[ArmResult],
    verdicts: Sequence[RollingVerdict],
    reference: str,
) -> None:
    """Show one row per arm, also of those without a finished run: the table keeps its height."""
    numbers = range(1, sweep.spec.windows)
    with compute_slot():
        found = {row["arm"]: row for row in rolling_table(workspace(), results)}
    by_arm = {one.a: one for one in verdicts}
    titles = [*dict.fromkeys([*(arm.title for arm in sweep.spec.arms), *found])]
    # Where rates are settings of their own, only the arms at a rate have results.
    titles = [
        title
        for title in titles
        if title in found or not any(name.startswith(f"{title} (") for name in found)
    ]
    rows = []
    for title in titles:
        values = found.get(title, {})
        row: dict[str, Any] = {
            "Arm": title,
            "Windows": f"{values.get('windows', 0)} of {len(numbers)}",
            "AUC": values.get("auc"),
            "Log loss": values.get("log_loss"),
        }
        row |= _verdict_columns(by_arm.get(title), title == reference)
        row |= {f"AUC {number + 1}": values.get(f"auc_window_{number}") for number in numbers}
        row |= {name: values.get(f"auc_change_{part}") for part, name in _FORGETTING_NAMES.items()}
        row["Seconds"] = values.get("seconds")
        rows.append(row)
    frame = pd.DataFrame(rows)
    st.dataframe(
        frame,
        key="sweep_windows_table",
        placeholder=MISSING_TEXT,
        hide_index=True,
        height=min(35 * (len(frame) + 1) + 3, 600),
        alt="Arms with their metrics by window and their differences from the baseline",
        column_config=_column_config(frame, sweep.spec.windows),
    )
    failed = sum(run.status == "failed" for run in runs)
    if failed:
        st.caption(
            f"{format_int(failed)} run{'s' if failed > 1 else ''} failed. Where each window goes on"
            " from the last one's model, a failed window stops the later ones of its arm and seed."
        )


_FORGETTING_NAMES = {"source_test": "Source ΔAUC", "earlier_windows": "Earlier ΔAUC"}


def _verdict_columns(verdict: RollingVerdict | None, is_reference: bool) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for metric, (name, delta, _) in METRIC_WORDS.items():
        found = verdict.differences[metric] if verdict else None
        word = "baseline" if is_reference else verdict.outcome(metric) if verdict else MISSING_TEXT
        columns[f"By {name}"] = word
        columns[delta] = format_metric(found.delta, signed=True) if found else MISSING_TEXT
        columns[f"95 % of {delta}"] = (
            format_bounds(found.low, found.high, signed=True) if found else MISSING_TEXT
        )
    return columns


def _column_config(frame: pd.DataFrame, windows: int) -> dict[str, Any]:
    number = st.column_config.NumberColumn
    config: dict[str, Any] = {
        "Arm": arm_column(frame["Arm"]),
        "Windows": st.column_config.TextColumn(width=80, help="Windows that it is tested on"),
        "AUC": number(format="%.4f", help="Mean over windows, of their test rows"),
        "Log loss": number(format="%.4f", help="Mean over windows, of their test rows"),
        "Source ΔAUC": number(
            format="%+.4f", help="From the backbone, on source test rows, after its last window"
        ),
        "Earlier ΔAUC": number(
            format="%+.4f",
            help="From the backbone, on validation rows of earlier windows, after its last window",
        ),
        "Seconds": number(format="%.1f", help="Mean per run"),
    }
    for test in range(2, windows + 1):
        config[f"AUC {test}"] = number(
            format="%.4f", help=f"On window {test}, of the model trained on window {test - 1}"
        )
    return config
