"""The report of a sweep, or of selected runs, as one HTML file: verdicts, figures, data,
commands."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.data.datasets import Dataset
from core.data.describe_dataset import describe_duplicates, describe_files
from core.data.split import SPLIT_METHODS
from core.evaluation.format_metrics import format_bounds, format_metric, is_missing, metric_or_none
from core.evaluation.metric_registry import HEADLINE, METRICS, metrics_shown_in
from core.evaluation.verdicts import COMPARED_METRICS, SIGNIFICANCE_LEVEL, Verdict
from core.files.outputs import check_output, write_output
from core.jobs.store import Run
from core.models.card import BackboneCard
from core.models.objectives import OBJECTIVES, ORIGINS
from core.models.registry import ARCHITECTURES
from core.program import PROGRAM
from core.report.html_page import (
    Cell,
    Html,
    Section,
    bullet_list,
    code_block,
    definition_list,
    heading,
    page,
    paragraph,
    plot,
    table,
)
from core.report.report_data import ReportData
from core.report.report_figures import (
    ARMS_TITLE,
    calibration_of_arms_figure,
    learning_curves_figure,
    roc_of_arms_figure,
    setting_figures,
)
from core.runs.sweep_result import (
    ArmResult,
    SeedSummary,
    default_reference,
    forgetting_sentences,
    judge_arms,
    missing_auc_sentences,
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


def write_report(workspace: Workspace, data: ReportData, target: Path) -> dict[str, Any]:
    """Write the report to `target`, completely or not at all, and return what it says, JSON-ready.

    Raises:
        BadInput: `target` cannot be written; raised before any work is done.
    """
    check_output(target)
    verdicts, words = judge_arms(workspace, data.results, default_reference(data.results))
    words = words + forgetting_sentences(data.results)
    text = render_report(workspace, data, verdicts, words)
    write_output(target, lambda part: part.write_text(text, encoding="utf-8", newline="\n"))
    return {
        "out": str(target),
        "bytes": len(text.encode()),
        "title": data.title,
        "simulated": data.dataset.simulated,
        "arms": [result.title for result in data.results],
        "runs": [run.id for run in data.runs],
        "comparisons": len(verdicts),
        "verdicts": words,
    }


def render_report(
    workspace: Workspace,
    data: ReportData,
    verdicts: Sequence[Verdict],
    verdict_sentences: Sequence[str],
) -> str:
    """Return the report's whole text.

    Args:
        workspace: holds the runs' curves and predictions.
        data: contents of the report.
        verdicts: comparisons of its arms.
        verdict_sentences: the same in words.
    """
    dataset = data.dataset
    lead = {
        "Created": datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
        "Dataset": f"{dataset.name}, {dataset.rows:,} rows",
        "Backbone": ", ".join(card.name for card in data.cards),
        "Runs": _count_statuses(data),
    }
    sections = [
        Section(
            "What the results support",
            "verdicts",
            _verdicts_section(data, verdicts, verdict_sentences),
        ),
        Section("Arms", "arms", _arms_section(data.results)),
        Section("Figures", "figures", _figures_section(workspace, data)),
        Section("Data", "data", _data_section(dataset)),
        Section(
            "Backbone",
            "backbone",
            [part for card in data.cards for part in _backbone_section(card)],
        ),
        Section("Settings", "settings", _settings_section(data)),
        Section("Runs", "runs", _runs_section(data)),
        Section("Environment", "environment", _environment_section(data)),
        Section("Reproduce it", "commands", _commands_section(data)),
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


def _count_statuses(data: ReportData) -> str:
    counts = Counter(run.status for run in data.runs)
    return ", ".join(f"{number:,} {status}" for status, number in counts.items())


def _verdicts_section(
    data: ReportData, verdicts: Sequence[Verdict], words: Sequence[str]
) -> list[Html]:
    if not verdicts:
        return [
            paragraph("There is only one arm, so there is nothing to compare it with.", "quiet")
        ]
    count_text = f"{len(verdicts)} comparison{'s' if len(verdicts) > 1 else ''}"
    rule = (
        f"{count_text} on the target test rows. The p-values of all comparisons are adjusted "
        "together by Holm's method (1979), separately for AUC and for log loss; at "
        f"{SIGNIFICANCE_LEVEL:g} or more two arms are “not distinguishable”. Intervals of AUC "
        "differences include the variance of test rows (DeLong) and of seeds; those of log loss "
        "come from a paired bootstrap."
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
        "By AUC",
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
        None if is_missing(p) else f"{p:.3g}",
    )


def _arms_section(results: Sequence[ArmResult]) -> list[Html]:
    others = {key: metric for key, metric in metrics_shown_in("arms").items() if key != HEADLINE}
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
        " expected calibration error over 15 bins of equally many rows."
    )
    gaps = missing_auc_sentences(results)
    return [table(columns, rows), *([bullet_list(gaps)] if gaps else []), paragraph(note, "quiet")]


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
            parts.append(heading(_capitalise(setting)))
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


def _data_section(dataset: Dataset) -> list[Html]:
    values: dict[str, Cell] = {
        "Name": dataset.name,
        "Files" if dataset.samples else "Sample": (
            describe_files(dataset.samples) if dataset.samples else dataset.sample_name
        ),
        "Rows": dataset.rows,
        "Simulated": "yes" if dataset.simulated else "no",
        "Content hash": dataset.content_hash,
        "Preprocessing hash": dataset.preprocessing_hash,
        "Minimum count": dataset.min_count,
        "Split": _describe_split(dataset),
        "Prepared": dataset.created,
    }
    notes = [*dataset.notes, *describe_duplicates(dataset.samples, dataset.duplicates)]
    parts: list[list[Cell]] = [
        [
            part.part.replace("_", " "),
            part.rows,
            part.clicks,
            part.click_rate if part.rows else None,
        ]
        for part in dataset.parts
    ]
    found = [definition_list(values), table(("Part", "Rows", "Clicks", "Click rate"), parts)]
    return [*found, bullet_list(notes)] if notes else found


def _describe_split(dataset: Dataset) -> str:
    spec, roles = dataset.spec, {one.role for one in dataset.samples}
    texts = [SPLIT_METHODS[spec.method].description]
    if tested := [domain for domain in ("target", "source") if f"{domain}_test" not in roles]:
        shares = [f"{getattr(spec, f'{domain}_test_share'):g} of the {domain}" for domain in tested]
        texts.append(f"test {' and '.join(shares)} rows")
    if spec.method == "column":
        values = ", ".join(value or "(missing)" for value in spec.target_values)
        texts.append(f"column {spec.column}, target values {values}")
    elif spec.method != "files":
        texts.append(f"source share {spec.source_share:g}")
    if spec.shuffled:
        texts.append(f"shuffled with seed {spec.seed}")
    return "; ".join(texts)


def _backbone_section(card: BackboneCard) -> list[Html]:
    architecture = ARCHITECTURES.get(card.architecture)
    trained_on = card.trained_on
    values: dict[str, Cell] = {
        "Architecture": f"{architecture.title} ({architecture.source})"
        if architecture
        else card.architecture,
        "Parameters": card.parameters,
        "Objective": (
            OBJECTIVES[card.objective].title if card.objective in OBJECTIVES else card.objective
        ),
        "Trained on": (
            f"{trained_on['rows']:,} {trained_on['domain']} rows of {trained_on['dataset']}"
            + (" (simulated)" if trained_on["simulated"] else "")
        ),
        "Content hash of these rows": trained_on["content_hash"],
        "Weights, SHA-256": card.weights_sha256,
        "Preprocessing hash": card.preprocessing_hash,
        "Licence": card.licence,
        "Created": card.created,
        "Settings": ", ".join(
            f"{name.replace('_', ' ')} {_format_setting(value)}"
            for name, value in card.settings.items()
        ),
    }
    stages: list[list[Cell]] = [
        [stage.title, stage.parameters, stage.flops, ORIGINS.get(stage.origin, stage.origin)]
        for stage in card.stages
    ]
    columns = ("Stage, from the input", "Parameters", "Operations per row", "Weights from")
    return [heading(card.name), definition_list(values), table(columns, stages)]


def _settings_section(data: ReportData) -> list[Html]:
    values: dict[str, Cell] = {
        _capitalise(name): _format_setting(value) for name, value in data.shared_settings.items()
    }
    if data.shared_settings.get("target rows") == 0:
        values["Target rows"] = "all"
    parts = [paragraph("Every run has these alike."), definition_list(values)]
    if data.varying_settings:
        parts.append(paragraph(f"Runs differ in: {', '.join(data.varying_settings)}."))
    return parts


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]


def _format_setting(value: Any) -> str:
    if value is None:
        return "as prepared"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _runs_section(data: ReportData) -> list[Html]:
    metrics = metrics_shown_in("runs")
    rows: list[list[Cell]] = []
    for run in data.runs:
        result = run.result
        target = result.metrics.get("target_test") if result else None
        rows.append(
            [
                run.id,
                run.name,
                str(run.seed),
                run.status if run.status == "done" else f"{run.status}: {run.message}",
                *(metric_or_none(target, key) for key in metrics),
                _epochs(run) if result else None,
                f"{result.total_seconds:.1f}" if result else None,
                ", ".join(run.tags) or None,
                run.note or None,
            ]
        )
    columns = (
        "Run",
        "Name",
        "Seed",
        "Status",
        *(metric.heading for metric in metrics.values()),
        "Best epoch",
        "Seconds",
        "Tags",
        "Note",
    )
    kept = [index for index in range(len(columns)) if any(row[index] is not None for row in rows)]
    return [
        table([columns[index] for index in kept], [[row[index] for index in kept] for row in rows])
    ]


def _epochs(run: Run) -> str:
    assert run.result is not None
    ended = ", ended by halving" if run.halted else ""
    return f"{run.result.best_epoch} of {run.result.epochs_run}{ended}"


def _environment_section(data: ReportData) -> list[Html]:
    found = Counter(
        (("device", run.result.device), *sorted(run.result.environment.items()))
        for run in data.runs
        if run.result
    )
    names = list(dict.fromkeys(name for values in found for name, _ in values))
    rows: list[list[Cell]] = [
        [number, *(str(dict(values)[name]) if name in dict(values) else None for name in names)]
        for values, number in found.items()
    ]
    return [table(["Runs", *(_capitalise(name) for name in names)], rows)]


def _commands_section(data: ReportData) -> list[Html]:
    ids = ", ".join(run.id for run in data.runs[:3] if run.status == "done")
    after = (
        "The same device kind, number of threads and versions give the same numbers, bit for bit;"
        f" on others they differ in the last digits. `{PROGRAM} verify --run ID` (such as {ids})"
        " trains a run again and says so."
    )
    return [code_block(data.commands), paragraph(after, "quiet")]
