"""Commands that say why a model scores as it does: importance, explain, response."""

import argparse
import json

from core.cli.output import CommandResult, ProgressBar
from core.cli.targets import AddCommand
from core.errors import BadInput
from core.files.typed_json import to_json
from core.inference.explanation_files import REFERENCES, Value, checked_values
from core.inference.importance_files import Estimate, importance_sentence, read_importance
from core.jobs.store import RunStore
from core.workspace import Workspace


def add_explain_commands(add: AddCommand) -> None:
    """Add these commands to the parser."""
    summary = "Measure which fields a run's model relies on: permutation importance on test rows."
    command = add("importance", summary, importance)
    command.add_argument("--run", required=True, dest="run_id")
    command.add_argument(
        "--against", default="", help="subtract that of another run, or of the run's 'backbone'"
    )
    command.add_argument("--permutations", type=int, default=None, help="of every field")
    command.add_argument("--seed", type=int, default=None, help="of the permutations")

    command = add("explain", "Explain the score of one row, field by field.", explain)
    command.add_argument("--run", required=True, dest="run_id")
    command.add_argument("--row", type=int, help="number of a target test row in the dataset")
    command.add_argument(
        "--values", type=_json_object, default={}, help='replace values: {"I2": 3, "C14": null}'
    )
    command.add_argument("--reference", choices=REFERENCES, default="typical")

    summary = "Show how the mean score responds to a field's values, before and after fine-tuning."
    command = add("response", summary, response)
    command.add_argument("--run", required=True, dest="run_id")
    command.add_argument("--field", required=True, help="I1 to I13, C1 to C26")


def importance(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Measure the importance of every field; a second call reads the stored result."""
    from core.inference.importance import PERMUTATIONS, compute_importance

    run = RunStore(workspace).get(options.run_id)
    found = read_importance(workspace, run.id, _known_against(workspace, options.against))
    permutations = PERMUTATIONS if options.permutations is None else options.permutations
    asked = options.permutations, options.seed
    same = found and all(
        want in (None, have)
        for want, have in zip(asked, (found.permutations, found.seed), strict=True)
    )
    if found is None or not same:
        with ProgressBar("Permuting") as progress:
            found = compute_importance(
                workspace, run, options.against, permutations, options.seed or 0, progress
            )
    lines = [importance_sentence(found), "field  log loss [95 %]               AUC lost [95 %]"]
    for one in found.ranked():
        auc = _interval(one.auc) if one.auc else "-"
        lines.append(f"{one.field:<5}  {_interval(one.log_loss)}  {auc}")
    lines.append(
        f"{found.rows:,} test rows, {found.permutations} permutations, {found.seconds:.1f} s on"
        f" {found.device}"
    )
    return CommandResult(to_json(found), "\n".join(lines))


def explain(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Explain one row."""
    from core.inference.attribution import explain_row

    if options.row is None and not options.values:
        raise BadInput("Which row? Give --row N, --values JSON or both.")
    run = RunStore(workspace).get(options.run_id)
    values = checked_values(options.values)
    found = explain_row(workspace, run, options.row, values, options.reference)
    before = "" if found.score_before is None else f" (backbone: {found.score_before:.4f})"
    lines = [
        f"Score {found.score:.4f}{before}; reference row ({REFERENCES[found.reference]}):"
        f" {found.reference_score:.4f}.",
        "Change of the logit by each value, against the reference's:",
    ]
    for one in found.ranked():
        gradient = "" if one.gradient is None else f", integrated gradient {one.gradient:+.4f}"
        lines.append(
            f"{one.field:<4} {_text(one.value)} instead of {_text(one.reference)}:"
            f" {one.occlusion:+.4f}{gradient}"
        )
    if found.completeness_gap is not None:
        lines.append(
            f"Integrated gradients add up to the difference of logits within"
            f" {abs(found.completeness_gap):.1e} ({found.steps} steps)."
        )
    return CommandResult(to_json(found), "\n".join(lines))


def response(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Show the response to a field."""
    from core.inference.response import compute_response

    run = RunStore(workspace).get(options.run_id)
    found = compute_response(workspace, run, options.field)
    lines = [f"Mean score of {found.rows:,} test rows with {found.field} set to a value:"]
    for place, value in enumerate(found.values):
        before = f", backbone {found.before[place]:.4f}" if found.before else ""
        lines.append(
            f"{_text(value)}: {found.mean[place]:.4f}"
            f" [{found.low[place]:.4f}, {found.high[place]:.4f}]{before}"
        )
    return CommandResult(to_json(found), "\n".join(lines))


def _known_against(workspace: Workspace, against: str) -> str:
    """Return what importance is compared with, which names a file; raise BadInput if unknown."""
    return RunStore(workspace).get(against).id if against not in ("", "backbone") else against


def _interval(one: Estimate) -> str:
    if one.low is None or one.high is None:
        return f"{one.value:+.5f}"
    return f"{one.value:+.5f} [{one.low:+.5f}, {one.high:+.5f}]"


def _text(value: Value) -> str:
    if value is None:
        return "missing"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _json_object(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('must be an object such as {"I2": 3}')
    return value
