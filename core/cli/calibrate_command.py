"""The command `calibrate`: choose which probabilities a run's scores, exports and blends have."""

import argparse
from typing import Any

from core.cli.output import CommandResult
from core.cli.targets import AddCommand
from core.evaluation.calibration_effect import CalibrationEffect
from core.evaluation.format_metrics import format_bounds, format_metric
from core.evaluation.recalibration import TITLES
from core.files.typed_json import to_json
from core.inference.run_calibration import (
    AUTO,
    METHOD_CHOICES,
    describe_calibration,
    effects_on_test_rows,
    load_calibration,
    use_calibration,
)
from core.jobs.store import RunStore
from core.workspace import Workspace


def add_calibrate_command(add: AddCommand) -> None:
    """Add `calibrate` to the parser."""
    summary = (
        "Recalibrate a run's probabilities on its validation rows; scoring, export and blends then"
        " use them."
    )
    command = add("calibrate", summary, calibrate)
    command.add_argument("--run", required=True, dest="run_id")
    command.add_argument(
        "--method",
        choices=METHOD_CHOICES,
        default=AUTO,
        help="auto takes the one that cross-validation on validation rows chooses (default)",
    )
    command.add_argument(
        "--dry-run", action="store_true", help="show what every method does, and change nothing"
    )


def calibrate(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Use a calibration from now on, and show what it does on test rows."""
    run = RunStore(workspace).get(options.run_id)
    if options.dry_run:
        found = load_calibration(workspace, run)
        methods = [fit.map.method for fit in found.recalibration.fits]
    else:
        found = use_calibration(workspace, run, options.method)
        methods = [found.used]
    fits = [found.find(method) for method in methods]
    lines = [found.choice_sentence]
    rows: list[dict[str, Any]] = []
    for fit in fits:
        if options.dry_run:
            lines.append(
                f"{TITLES[fit.map.method]}: validation log loss {format_metric(fit.loss)},"
                f" {format_metric(fit.change, signed=True)} (standard error"
                f" {format_metric(fit.standard_error)})"
            )
        for part, effect in effects_on_test_rows(workspace, run, fit.map).items():
            title = part.replace("_", " ")
            lines.append(f"{'  ' * options.dry_run}{title}: {effect_text(effect)}")
            rows.append({"method": fit.map.method, "part": part, **to_json(effect)})
    state = describe_calibration(found.find(found.used).map)
    lines.append(f"{state} Nothing was changed." if options.dry_run else state)
    data = {
        "run": run.id,
        "used": found.used,
        "chosen": found.recalibration.chosen,
        "validation_rows": found.recalibration.rows,
        "fits": to_json(found.recalibration.fits),
        "effects": rows,
        "sentence": found.choice_sentence,
    }
    return CommandResult(data, "\n".join(lines))


def effect_text(effect: CalibrationEffect) -> str:
    """Return what a calibration does on test rows, in a line."""
    change = effect.change
    loss = (
        f"log loss {format_metric(effect.log_loss_before)} to"
        f" {format_metric(effect.log_loss_after)} ({format_metric(change.value, signed=True)},"
        f" 95 % interval {format_bounds(change.low, change.high, signed=True)})"
    )
    after = effect.after
    ratio = f"{format_metric(effect.before.ratio, 3)} to {format_metric(after.ratio, 3)}"
    return (
        f"{loss}, ECE {format_metric(effect.before.ece)} to {format_metric(after.ece)} (floor"
        f" {format_metric(after.floor)}, up to {format_metric(after.floor_high)} by chance),"
        f" predicted over actual {ratio}"
        f" ({format_bounds(after.ratio_low, after.ratio_high, 3)}). {effect.auc_sentence}".rstrip()
    )
