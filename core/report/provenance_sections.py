"""Sections of the HTML report about how its results were made: data, backbone, settings, runs."""

from collections import Counter
from typing import Any

from core.data.datasets import Dataset
from core.data.describe_dataset import describe_duplicates, describe_files
from core.data.split import SPLIT_METHODS
from core.evaluation.format_metrics import metric_or_none
from core.evaluation.metric_registry import metrics_shown_in
from core.jobs.store import Run
from core.models.card import BackboneCard, inputs_sentence
from core.models.objectives import OBJECTIVES, ORIGINS
from core.models.registry import ARCHITECTURES
from core.program import PROGRAM
from core.report.html_page import (
    Cell,
    Html,
    bullet_list,
    code_block,
    definition_list,
    heading,
    paragraph,
    table,
)
from core.report.report_data import ReportData
from core.runs.rate_choice import has_rate


def data_section(dataset: Dataset) -> list[Html]:
    """Return the dataset's facts, the rows and clicks of its parts, and its notes."""
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


def backbone_section(card: BackboneCard) -> list[Html]:
    """Return where a backbone is from, and its stages."""
    architecture = ARCHITECTURES.get(card.architecture)
    trained_on = card.trained_on
    values: dict[str, Cell] = {
        "Architecture": f"{architecture.title} ({architecture.source})"
        if architecture
        else card.architecture,
        "Inputs": inputs_sentence(card.n_dense),
        "Parameters": card.parameters,
        "Objective": (
            OBJECTIVES[card.objective].title if card.objective in OBJECTIVES else card.objective
        ),
        "Trained on": (
            f"{trained_on['rows']:,} {trained_on['domain']} rows of {trained_on['dataset']}"
            + (" (simulated)" if trained_on["simulated"] else "")
            + (f", head {trained_on['head']}" if "head" in trained_on else "")
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


def settings_section(data: ReportData) -> list[Html]:
    """Return the settings that all runs share, and the names of those that differ."""
    values: dict[str, Cell] = {
        capitalise(name): _format_setting(value) for name, value in data.shared_settings.items()
    }
    if data.shared_settings.get("target rows") == 0:
        values["Target rows"] = "all"
    if not values:
        return [
            paragraph("Zero-shot and blends have no training settings; a blend's runs have theirs.")
        ]
    parts = [paragraph("The same for every run that reads them."), definition_list(values)]
    if data.varying_settings:
        parts.append(paragraph(f"Runs differ in: {', '.join(data.varying_settings)}."))
    return parts


def capitalise(text: str) -> str:
    """Return the text with a capital first letter; the rest stays as it is."""
    return text[:1].upper() + text[1:]


def _format_setting(value: Any) -> str:
    if value is None:
        return "as prepared"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def runs_section(data: ReportData) -> list[Html]:
    """Return one row per run; columns that are empty in every row are left out."""
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
                _epochs(run) if result and run.kind != "blend" else None,
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
    by = "the search" if run.is_trial else "halving"
    ended = f", ended early by {by}" if run.halted else ""
    last = ", not trained to its end" if run.result.best_epoch_is_last and has_rate(run) else ""
    return f"{run.result.best_epoch} of {run.result.epochs_run}{ended}{last}"


def environment_section(data: ReportData) -> list[Html]:
    """Return devices, versions and thread counts, with the number of runs of each."""
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
    return [table(["Runs", *(capitalise(name) for name in names)], rows)]


def commands_section(data: ReportData) -> list[Html]:
    """Return the commands that reproduce everything."""
    ids = ", ".join(run.id for run in data.runs[:3] if run.status == "done")
    after = (
        "The same device kind, number of threads and versions give the same numbers, bit for bit;"
        f" on others they differ in the last digits. `{PROGRAM} verify --run ID` (such as {ids})"
        " trains a run again and says so."
    )
    return [code_block(data.commands), paragraph(after, "quiet")]
