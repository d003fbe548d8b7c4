"""The page of `benchmarks.fair`: tables, and what must show."""

from datetime import date
from pathlib import Path

from benchmarks.fair_arms import (
    BOOSTED,
    FULL,
    Arm,
    Results,
    blend,
    difference,
    differences,
    estimate,
)
from benchmarks.fair_checks import make_checks
from benchmarks.fair_recommendations import recommendation_table
from core.freezing.strategies import is_control

HEADING = "A fair comparison: every arm tuned alike, against strong controls"


def size_table(results: Results, size: int) -> str:
    """Return the table of one size."""
    full, boosted = (
        results.find(size, "depth", head="keep"),
        results.find(size, "gradient-boosting", "both"),
    )
    head = (
        f"| arm, {size or 'all'} target rows | AUC | log loss | AUC less {FULL} | AUC less"
        f" {BOOSTED} | log loss less {BOOSTED} | validation log loss | rate |"
    )
    lines = [head, "|---" * 8 + "|"]
    mixed = results.blend_at(size)
    for arm in [*([mixed] if mixed else []), *results.at_size(size)]:
        against = difference(differences(arm, full)[0]) if full and arm is not full else ""
        boosting = differences(arm, boosted) if boosted and arm is not boosted else None
        rate = "" if is_control(arm.cell["strategy"]) else f"{arm.runs[0]['learning_rate']:g}"
        cells = [
            arm.title,
            estimate(arm.auc),
            estimate(arm.log_loss),
            against,
            *(map(difference, boosting) if boosting else ("", "")),
            "" if arm is mixed else f"{arm.validation_loss:.4f}",
            "" if arm is mixed else rate,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def others_table(results: Results, architectures: list[str]) -> str:
    """Return the table of the arms of further backbones."""
    lines = ["| further backbone | target rows | arm | AUC | log loss |", "|---" * 5 + "|"]
    for name in architectures:
        for size in results.sizes:
            for arm in results.at_size(size, name):
                cells = [name, str(size or "all"), arm.title, estimate(arm.auc)]
                lines.append(f"| {' | '.join(cells)} | {estimate(arm.log_loss)} |")
    return "\n".join(lines)


def pretraining_table(results: Results) -> str:
    """Return the table of backbones against gradient boosting on the same rows."""
    lines = [
        "| rows that train | model | AUC | log loss | AUC less boosting | log loss less"
        " boosting | seconds |",
        "|---" * 7 + "|",
    ]
    shown: set[str] = set()
    for dataset, rows, arm, boosted in results.pretraining():
        if boosted and dataset not in shown:
            shown.add(dataset)
            lines.append(_pretraining_row(rows, boosted, None))
        lines.append(_pretraining_row(rows, arm, boosted))
        if boosted:
            mixed = blend(f"blend of {arm.title} and boosting", arm, boosted)
            lines.append(_pretraining_row(rows, mixed, boosted))
    return "\n".join(lines)


def page_text(results: Results) -> str:
    """Return the section."""
    datasets = results.prepared.get("datasets", {})
    parts = "; ".join(
        f"{name}: " + ", ".join(f"{one['domain']} {one['part']} {one['rows']:,}" for one in found)
        for name, found in datasets.items()
    )
    tables = "\n\n".join(size_table(results, size) for size in results.sizes)
    others = sorted({one.cell["architecture"] for one in results.arms} - {results.architecture, ""})
    if others:
        tables += f"\n\n{others_table(results, others)}"
    return PAGE.format(
        today=date.today().isoformat(),
        machine=results.prepared.get("machine", ""),
        rows=f"{results.prepared.get('rows', 0):,}",
        parts=parts,
        seeds=max((len(one.runs) for one in results.arms), default=0),
        architecture=results.architecture,
        pretraining=pretraining_table(results),
        tables=tables,
        recommendations=recommendation_table(results),
        checks="\n".join(map(str, make_checks(results))),
        failures="\n".join(f"- {name}: {why}" for name, why in results.failures.items())
        or "Every part is done.",
    )


def _pretraining_row(rows: int, arm: Arm, boosted: Arm | None) -> str:
    against = map(difference, differences(arm, boosted)) if boosted else ("", "")
    seconds = "" if arm.cell["kind"] == "blend" else f"{arm.mean('seconds'):.0f}"
    cells = [f"{rows:,}", arm.title, estimate(arm.auc), estimate(arm.log_loss), *against, seconds]
    return f"| {' | '.join(cells)} |"


def render(out: Path) -> str:
    """Return the section's Markdown from what the cells in a folder have written."""
    return page_text(Results(out)).strip()


PAGE = """
Made by `python -m benchmarks.fair` on {today} ({machine}). {rows} rows in order of time: the first
60 % pretrain, the next 20 % are the target rows, the last 20 % test. Every arm has {seeds} seeds
and a learning rate that the product chose on validation rows from the same grid. Intervals are
95 %, over test rows and seeds, not corrected for the number of comparisons. Rows by part: {parts}.

### Pretrained networks and gradient boosting on the same rows

Both train and validate on the same rows; the blend's weights are fitted to the validation rows, one
backbone and one seed of boosting at a time.

{pretraining}

### Arms that adapt the {architecture} backbone, and controls

Heads are kept unless the arm says *new head*. Arms are in the order of their log loss on validation
rows. The blend is of the best network arm and gradient boosting on source and target rows, with
weights of their logits fitted to validation rows.

{tables}

### What Thaw recommends

For the arms of the tables above, at three margins: the cheapest arm that is shown on test rows to
lose less than the margin in AUC and in log loss, against full fine-tuning and against the arm that
leads on validation rows; one-sided 95 % bounds, adjusted for the number of candidates. Costs are
mean seconds of a run while other cells trained beside it, parameters and epochs.

{recommendations}

### What must show

{checks}

### Parts that failed

{failures}
"""
