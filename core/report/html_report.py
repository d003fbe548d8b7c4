"""The report of a sweep, or of selected runs, as one HTML file."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.evaluation.format_metrics import format_bounds, format_metric, format_p, is_missing
from core.evaluation.metric_registry import HEADLINE_METRIC, METRICS, metrics_shown_in
from core.evaluation.non_inferiority import Margins
from core.evaluation.recommendation import Recommendation
from core.evaluation.significance import NOT_DISTINGUISHABLE, SIGNIFICANCE_LEVEL
from core.evaluation.verdicts import COMPARED_METRICS, Verdict
from core.files.outputs import check_output, write_output
from core.report.html_page import (
    Cell,
    Html,
    Section,
    bullet_list,
    heading,
    page,
    paragraph,
    plot,
    table,
)
from core.report.provenance_sections import (
    backbone_section,
    capitalise,
    commands_section,
    data_section,
    environment_section,
    runs_section,
    settings_section,
)
from core.report.recommendation_section import recommendation_section
from core.report.report_data import ReportData
from core.report.report_figures import (
    ARMS_TITLE,
    calibration_of_arms_figure,
    learning_curves_figure,
    roc_of_arms_figure,
    setting_figures,
)
from core.report.rolling_section import rolling_section
from core.report.search_figures import search_history_figure
from core.runs.arm_recommendation import recommend_results, recommendation_data
from core.runs.arm_verdicts import forgetting_sentences, judge_arms
from core.runs.rolling_result import is_rolling
from core.runs.search import SearchProgress
from core.runs.search_result import VALIDATION_ONLY, trials_table
from core.runs.search_trials import PARAMETERS
from core.runs.sweep_result import (
    ArmResult,
    SeedSummary,
    default_reference,
    missing_auc_sentences,
    rates_table,
)
from core.workspace import Workspace

MAX_CURVES = 12
"""Arms in the figures of curves; more could not be distinguished."""
SIMULATED_NOTICE = (
    "Simulated data: these rows were made by Thaw's simulator. The numbers show how the method"
    " works and say nothing about real traffic."
)
SIMULATED_BACKBONE_NOTICE = (
    "A backbone in this report was pretrained on simulated rows, not on real traffic."
)


def write_report(
    workspace: Workspace, data: ReportData, target: Path, margins: Margins | None = None
) -> dict[str, Any]:
    """Write the report to `target`, completely or not at all, and return what it says, JSON-ready.

    Args:
        workspace: holds the runs' curves and predictions.
        data: contents of the report.
        target: the file.
        margins: of the recommendation; default: `Margins()`.

    Raises:
        BadInput: `target` cannot be written; raised before any work is done.
    """
    check_output(target)
    verdicts, words = judge_arms(workspace, data.results, default_reference(data.results))
    words = words + forgetting_sentences(workspace, data.results)
    recommended = recommend_results(workspace, data.results, margins)
    text = render_report(workspace, data, verdicts, words, recommended)
    write_output(target, lambda part: part.write_text(text, encoding="utf-8", newline="\n"))
    return {
        "out": str(target),
        "bytes": len(text.encode()),
        "title": data.title,
        "simulated": data.dataset.simulated,
        "arms": [result.title for result in data.results],
        "runs": [run.id for run in data.runs],
        "comparisons": len(verdicts),
        "recommendations": [recommendation_data(one) for one in recommended],
        "verdicts": words,
    }


def render_report(
    workspace: Workspace,
    data: ReportData,
    verdicts: Sequence[Verdict],
    verdict_sentences: Sequence[str],
    recommended: Sequence[Recommendation] = (),
) -> str:
    """Return the report's whole text.

    Args:
        workspace: holds the runs' curves and predictions.
        data: contents of the report.
        verdicts: comparisons of its arms.
        verdict_sentences: the same in words.
        recommended: what to do, one for each setting; none for a single arm.
    """
    dataset = data.dataset
    lead = {
        "Created": datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
        "Dataset": f"{dataset.name}, {dataset.rows:,} rows",
        "Backbone": ", ".join(card.name for card in data.cards),
        "Runs": _count_statuses(data),
    }
    first = [Section("Recommendation", "recommendation", recommendation_section(recommended))]
    sections = [
        *(first if recommended else []),
        Section(
            "What the results support",
            "verdicts",
            _verdicts_section(data, verdicts, verdict_sentences),
        ),
        *([Section("Search", "search", _search_section(*data.search))] if data.search else []),
        *(
            [Section("Windows", "windows", rolling_section(workspace, data.results))]
            if is_rolling(data.results)
            else []
        ),
        Section("Arms", "arms", _arms_section(data.results)),
        *(
            []
            if is_rolling(data.results)
            else [Section("Figures", "figures", _figures_section(workspace, data))]
        ),
        Section("Data", "data", data_section(dataset)),
        Section(
            "Backbone",
            "backbone",
            [part for card in data.cards for part in backbone_section(card)],
        ),
        Section("Settings", "settings", settings_section(data)),
        Section("Runs", "runs", runs_section(data)),
        Section("Environment", "environment", environment_section(data)),
        Section("Reproduce it", "commands", commands_section(data)),
    ]
    return page(f"Thaw report: {data.title}", lead, _notice(data), sections)


def _notice(data: ReportData) -> str:
    if data.dataset.simulated:
        return SIMULATED_NOTICE
    return (
        SIMULATED_BACKBONE_NOTICE
        if any(card.trained_on["simulated"] for card in data.cards)
        else ""
    )


def _search_section(progress: SearchProgress, sentences: Sequence[str]) -> list[Html]:
    """Return what a search found on validation rows, its figure and every trial."""
    columns = ("Trial", *PARAMETERS.values(), "State", "Validation log loss", "Seconds")
    rows: list[list[Cell]] = [
        [
            str(row["trial"]),
            *(_setting_text(row[name]) for name in PARAMETERS),
            row["state"],
            format_metric(trial.loss),
            f"{row['seconds']:.1f}",
        ]
        for row, trial in zip(trials_table(progress.trials), progress.trials, strict=True)
    ]
    return [
        bullet_list([*sentences, VALIDATION_ONLY]),
        plot(search_history_figure(progress.trials), "Validation log loss by trial"),
        table(columns, rows),
    ]


def _setting_text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _count_statuses(data: ReportData) -> str:
    counts = Counter(run.status for run in data.runs)
    return ", ".join(f"{number:,} {status}" for status, number in counts.items())


def _verdicts_section(
    data: ReportData, verdicts: Sequence[Verdict], words: Sequence[str]
) -> list[Html]:
    if is_rolling(data.results):
        return [bullet_list(words)]
    if not verdicts:
        return [
            paragraph("There is only one arm, so there is nothing to compare it with.", "quiet")
        ]
    count_text = f"{len(verdicts)} comparison{'s' if len(verdicts) > 1 else ''}"
    rule = (
        f"{count_text} on the target test rows. The p-values of all comparisons are adjusted "
        "together by Holm's method (1979), separately for each metric; at "
        f"{SIGNIFICANCE_LEVEL:g} or more two arms are “{NOT_DISTINGUISHABLE}”, which does not mean "
        "equal: the interval says how large a difference remains possible. Intervals are Student's "
        "and include the variance of test rows and of seeds, paired. ECE is compared to say whether"
        " probabilities caused a difference in log loss."
    )
    rows: list[list[Cell]] = [
        [
            one.setting or None,
            one.a,
            one.b,
            one.outcome,
            *(cell for metric in COMPARED_METRICS for cell in _difference_cells(one, metric)),
        ]
        for one in verdicts
    ]
    columns = (
        "Setting",
        "Arm",
        "Compared with",
        "Verdict",
        *(
            column
            for metric in COMPARED_METRICS
            for column in (METRICS[metric].delta_name, "95 %", "Adjusted p")
        ),
    )
    skip = int(all(one.setting == "" for one in verdicts))
    return [
        bullet_list(words),
        paragraph(rule, "quiet"),
        table(columns[skip:], [row[skip:] for row in rows]),
    ]


def _difference_cells(verdict: Verdict, metric: str) -> tuple[Cell, Cell, Cell]:
    """The difference in a metric, its interval and its adjusted p."""
    difference, p = verdict.comparison(metric)
    return (
        format_metric(difference.delta, signed=True),
        format_bounds(difference.low, difference.high, signed=True),
        None if is_missing(p) else format_p(p),
    )


def _arms_section(results: Sequence[ArmResult]) -> list[Html]:
    others = {
        key: metric for key, metric in metrics_shown_in("arms").items() if key != HEADLINE_METRIC
    }
    columns = (
        "Arm", "Seeds", "AUC, target test", "95 % (DeLong)",
        *(f"{metric.heading}, target" for metric in others.values()),
        "AUC, source test", "Trained parameters", "Seconds", "Peak memory",
    )  # fmt: skip
    rows: list[list[Cell]] = []
    for result in results:
        auc = result.auc.get("target_test")
        rows.append(
            [
                f"{result.setting}: {result.title}" if result.setting else result.title,
                len(result.runs),
                _format_spread(auc),
                format_bounds(auc.low, auc.high) if auc else None,
                *(_format_spread(result.spread(key, "target_test")) for key in others),
                _format_spread(result.auc.get("source_test")),
                result.trained_parameters,
                f"{result.seconds:.1f}",
                None
                if is_missing(result.peak_memory)
                else f"{result.peak_memory / 2**20:,.0f} MiB",
            ]
        )
    note = (
        "Mean ± standard deviation over seeds. The interval is the"
        " mean of DeLong's interval of each seed, which is the noise of test rows. ECE is the"
        " expected calibration error over 15 bins of equally many rows; its floor is what a"
        " perfectly calibrated model would have on these rows by chance, on average."
    )
    gaps = missing_auc_sentences(results)
    return [
        table(columns, rows),
        *([bullet_list(gaps)] if gaps else []),
        paragraph(note, "quiet"),
        *_rates_tried(results),
    ]


def _rates_tried(results: Sequence[ArmResult]) -> list[Html]:
    """Return what every rate of each arm gave; nothing where none was chosen."""
    rows: list[list[Cell]] = [
        [
            f"{row['setting']}: {row['arm']}" if row["setting"] else row["arm"],
            f"{row['learning_rate']:g}",
            row["seeds"],
            format_metric(row["validation_log_loss"]),
            "chosen" if row["chosen"] else None,
        ]
        for row in rates_table(results)
    ]
    if not rows:
        return []
    note = (
        "Each arm was trained with every learning rate; the one with the lowest mean log loss on"
        " validation rows was chosen. The table above has the chosen rates alone."
    )
    columns = ("Arm", "Learning rate", "Seeds", "Validation log loss", "")
    return [heading("Learning rates tried"), paragraph(note, "quiet"), table(columns, rows)]


def _format_spread(spread: SeedSummary | None) -> str | None:
    if spread is None or is_missing(spread.mean):
        return None
    deviation = "" if is_missing(spread.deviation) else f" ± {format_metric(spread.deviation)}"
    return format_metric(spread.mean) + deviation


def _figures_section(workspace: Workspace, data: ReportData) -> list[Html]:
    parts = []
    settings = list(dict.fromkeys(one.setting for one in data.results))
    for setting in settings:
        if len(settings) > 1:
            parts.append(heading(capitalise(setting)))
        of_setting = [one for one in data.results if one.setting == setting]
        parts += [
            plot(figure, title, _height(title, len(of_setting)))
            for title, figure in setting_figures(of_setting)
        ]
    if len(settings) > 1:
        parts.append(heading("All settings"))
    shown = data.results[:MAX_CURVES]
    curves = learning_curves_figure(workspace, shown)
    if len(curves.data):
        parts.append(plot(curves, "Validation loss while training, mean over seeds"))
    seed = "the first seed of each arm"
    parts.append(
        plot(roc_of_arms_figure(workspace, shown), f"ROC on target test rows, {seed}", 460)
    )
    parts.append(
        plot(
            calibration_of_arms_figure(workspace, shown),
            f"Calibration on target test rows, {seed}",
            420,
        )
    )
    if len(shown) < len(data.results):
        parts.append(
            paragraph(f"Curves of the first {len(shown)} of {len(data.results)} arms.", "quiet")
        )
    note = (
        "Thin intervals are for other test rows (DeLong, 95 %), thick ones for other seeds (± one"
        " standard deviation)."
    )
    return [paragraph(note, "quiet"), *parts]


def _height(title: str, arms: int) -> int:
    return 120 + 44 * arms if title == ARMS_TITLE else 380
