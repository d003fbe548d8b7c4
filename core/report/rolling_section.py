"""The section of the HTML report on a rolling evaluation: lines over windows, and two tables."""

from collections.abc import Sequence

from core.evaluation.format_metrics import format_bounds, format_metric, format_p
from core.report.html_page import Cell, Html, paragraph, plot, table
from core.report.provenance_sections import capitalise
from core.report.report_figures import TitledFigure, with_escaped_title
from core.report.rolling_figures import rolling_figure
from core.runs.rolling_result import (
    FORGETTING_PARTS,
    ROLLING_METRICS,
    count_windows,
    rolling_arms,
    rolling_lines,
    rolling_table,
)
from core.runs.rolling_verdicts import METRIC_WORDS, compare_rolling_arms
from core.runs.sweep_result import ArmResult, default_reference
from core.workspace import Workspace

WINDOWS_NOTE = (
    "A model that was trained on one window is tested on the whole next one; its validation rows"
    " are the last ones of its own window. Bands are 95 % intervals for other rows and, with"
    " several seeds, other seeds. Forgetting is the change from the backbone on the same rows; the"
    " validation rows of earlier windows trained no arm."
)


def rolling_figures(workspace: Workspace, results: Sequence[ArmResult]) -> list[TitledFigure]:
    """Return the figures of a rolling evaluation with their titles."""
    arms = rolling_arms([with_escaped_title(one) for one in results])
    windows = count_windows(results)
    figures: list[TitledFigure] = [
        (
            capitalise(f"{METRIC_WORDS[metric][0]} by window"),
            rolling_figure(rolling_lines(workspace, arms, metric), windows, metric),
        )
        for metric in ROLLING_METRICS
    ]
    for part, words in FORGETTING_PARTS.items():
        lines = rolling_lines(workspace, arms, "auc", part)
        if lines:
            figures.append((f"Forgetting on {words}", rolling_figure(lines, windows, "auc", part)))
    return figures


def rolling_section(workspace: Workspace, results: Sequence[ArmResult]) -> list[Html]:
    """Return figures, the arms by window, and their comparisons over windows."""
    parts: list[Html] = [paragraph(WINDOWS_NOTE, "quiet")]
    parts += [plot(figure, title) for title, figure in rolling_figures(workspace, results)]
    return [*parts, _arms_table(workspace, results), _verdicts_table(results)]


def _arms_table(workspace: Workspace, results: Sequence[ArmResult]) -> Html:
    numbers = range(1, count_windows(results))
    columns = (
        "Arm",
        "AUC, mean",
        "Log loss, mean",
        *(f"AUC, window {number + 1}" for number in numbers),
        *(f"ΔAUC, {words}" for words in FORGETTING_PARTS.values()),
        "Seconds",
    )
    rows: list[list[Cell]] = [
        [
            row["arm"],
            format_metric(row["auc"]),
            format_metric(row["log_loss"]),
            *(format_metric(row[f"auc_window_{number}"]) for number in numbers),
            *(format_metric(row[f"auc_change_{part}"], signed=True) for part in FORGETTING_PARTS),
            f"{row['seconds']:.1f}",
        ]
        for row in rolling_table(workspace, results)
    ]
    return table(columns, rows)


def _verdicts_table(results: Sequence[ArmResult]) -> Html:
    columns = ["Arm", "Compared with"]
    for name, delta, _ in METRIC_WORDS.values():
        columns += [f"By {name}", delta, "95 %", "Adjusted p"]
    rows: list[list[Cell]] = []
    for one in compare_rolling_arms(rolling_arms(results), default_reference(results)):
        row: list[Cell] = [one.a, one.b]
        for metric, found in one.differences.items():
            row += [
                one.outcome(metric),
                format_metric(found.delta, signed=True),
                format_bounds(found.low, found.high, signed=True),
                format_p(one.adjusted_p[metric]),
            ]
        rows.append(row)
    return table(tuple(columns), rows)
