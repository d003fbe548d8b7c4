"""What Thaw recommends for the arms of `benchmarks.fair`, at three margins.

The rules are the product's own (`core.evaluation.recommendation`); scores, costs and validation
losses are those that the cells have stored.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.fair_arms import Arm, Results, differences
from core.evaluation.arm_cost import Cost
from core.evaluation.choice_error import PairedLoss, paired_loss
from core.evaluation.metric_functions import log_loss_per_row
from core.evaluation.non_inferiority import Margins
from core.evaluation.recommendation import ArmKind, JudgedArm, Recommendation, recommend
from core.evaluation.recommendation_words import headline, notes
from core.freezing.strategies import is_control
from core.runs.arm_names import CONTROL_NAMES, freezing_words

MARGINS = (Margins(0.0005, 0.05), Margins(0.001, 0.1), Margins(0.002, 0.2))


def recommendations(results: Results, size: int) -> list[Recommendation]:
    """Return the recommendation among the arms of a size at each of MARGINS."""
    arms = {one.title: one for one in results.at_size(size)}
    if mixed := results.blend_at(size):
        arms[mixed.title] = mixed
    judged = [judged_arm(one, results) for one in arms.values()]
    compared: dict[tuple[str, str], Any] = {}

    def compare(a: str, b: str) -> Any:
        if (a, b) not in compared:
            compared[a, b] = differences(arms[a], arms[b])
        return compared[a, b]

    return [
        recommend(judged, compare, lambda a, b: validated(arms[a], arms[b]), margins)
        for margins in MARGINS
    ]


def validated(arm: Arm, other: Arm) -> PairedLoss | None:
    """Return how much higher the validation loss of an arm is; None on other rows."""
    labels = arm.arrays.get("validation_label")
    others = other.arrays.get("validation_label")
    if labels is None or others is None or not np.array_equal(labels, others):
        return None
    losses = [
        log_loss_per_row(labels.astype(float), one.scores("validation")).mean(axis=0)
        for one in (arm, other)
    ]
    return paired_loss(losses[0], losses[1])


def judged_arm(arm: Arm, results: Results) -> JudgedArm:
    """Return what is known of an arm without its test rows."""
    name, activity = _names(arm, results)
    parameters = arm.mean("trained_parameters")
    full = arm.cell["strategy"] == "depth" and not arm.cell["depth"] and arm.cell["head"] == "keep"
    return JudgedArm(
        arm.title,
        name[:1].upper() + name[1:],
        activity,
        _kind(arm),
        Cost(
            arm.mean("seconds"),
            0 if math.isnan(parameters) else round(parameters),
            arm.mean("epochs"),
        ),
        arm.validation_loss,
        arm.log_loss.value,
        trains_all=full,
    )


def recommendation_table(results: Results) -> str:
    """Return what is recommended at every size and margin, as a Markdown table."""
    lines = ["| target rows | margins | what Thaw recommends | and |", "|---" * 4 + "|"]
    for size in results.sizes:
        for found in recommendations(results, size):
            cells = [
                f"{size:,}" if size else "all",
                found.margins.words,
                headline(found),
                " ".join(notes(found)),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _kind(arm: Arm) -> ArmKind:
    strategy = arm.cell["strategy"]
    if arm.cell["kind"] == "blend":
        return "blend"
    if strategy == "zero-shot":
        return "zero-shot"
    return "control" if is_control(strategy) else "fine-tuning"


def _names(arm: Arm, results: Results) -> tuple[str, str]:
    """Return how a sentence about an arm begins, and the arm within a sentence."""
    cell: Mapping[str, Any] = arm.cell
    if cell["kind"] == "blend":
        return f"the {arm.title}", f"the {arm.title}"
    if cell["strategy"] in CONTROL_NAMES:
        rest = ", ".join(arm.title.split(", ")[1:])
        name = CONTROL_NAMES[cell["strategy"]] + (f" ({rest})" if rest else "")
        return name, name
    if cell["strategy"] != "depth":
        return f"fine-tune with {arm.title}", f"fine-tuning with {arm.title}"
    new = " (new head)" if cell["head"] == "new" else ""
    stages = arm.runs[0].get("stages")
    if stages:
        words = freezing_words([(str(title), bool(frozen)) for title, frozen in stages])
    else:
        words = _counted(cell["depth"], results.n_stages)
    return words[0] + new, words[1] + new


def _counted(depth: int, n_stages: int) -> tuple[str, str]:
    """The words of freezing where a cell did not store the titles of its stages."""
    if depth and depth == n_stages:
        return "freeze every stage and train the head alone", "training the head alone"
    if not depth:
        return "train everything", "training everything"
    first = f"the first {depth} of {n_stages} stages" if depth > 1 else "the first stage"
    return f"freeze {first}", f"freezing {first}"
