"""What a rolling evaluation supports: arms compared over windows, and forgetting, in sentences."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.data.datasets import find_dataset
from core.data.windows import count_window_runs, overlap_note
from core.errors import BadInput
from core.evaluation.format_metrics import format_bounds, format_metric, format_p, is_missing
from core.evaluation.multiplicity import holm_adjust
from core.evaluation.rolling import WindowDifference, compare_over_windows
from core.evaluation.significance import (
    NOT_COMPARABLE,
    NOT_DISTINGUISHABLE,
    Outcome,
    comparison_outcome,
    is_significant,
)
from core.freezing.strategies import is_control, is_trained
from core.jobs.requests import Window
from core.runs.rolling_result import (
    FORGETTING_PARTS,
    ROLLING_METRICS,
    RollingArm,
    WindowPoint,
    last_common_window,
    rolling_arms,
    window_differences,
    window_points,
)
from core.runs.sweep_result import ArmResult
from core.workspace import Workspace

METRIC_WORDS = {"auc": ("AUC", "ΔAUC", 1), "log_loss": ("log loss", "Δ log loss", -1)}
"""Of each metric its name, that of a difference, and the sign of what is better."""
START_WORDS = {
    "backbone": "each time starting from the backbone",
    "last": "going on from the last window's model",
}


@dataclass(frozen=True)
class RollingVerdict:
    """Arm `a` compared with arm `b` over the windows that both have; differences are a minus b.

    Args:
        a, b: titles of the arms.
        differences: over the windows, by metric.
        adjusted_p: p-values adjusted for all arms compared with `b` (Holm 1979), by metric.
        by_window: difference of each window, by metric.
    """

    a: str
    b: str
    differences: dict[str, WindowDifference]
    adjusted_p: dict[str, float]
    by_window: dict[str, dict[int, float]]

    def outcome(self, metric: str) -> Outcome:
        """What the differences in a metric support about `a`."""
        sign = METRIC_WORDS[metric][2]
        return comparison_outcome(sign * self.differences[metric].delta, self.adjusted_p[metric])


def compare_rolling_arms(arms: Sequence[RollingArm], reference: str) -> list[RollingVerdict]:
    """Compare every arm with the reference over the windows that both have.

    Args:
        arms: of one sweep.
        reference: title of an arm; nothing is compared if it is none of them.
    """
    base = next((arm for arm in arms if arm.title == reference), None)
    if base is None:
        base = next((arm for arm in arms if arm.results[0].title == reference), None)
    others = [arm for arm in arms if base is not None and arm is not base]
    if base is None or not others:
        return []
    by_window = [
        {metric: window_differences(arm, base, metric) for metric in ROLLING_METRICS}
        for arm in others
    ]
    compared = [
        {metric: compare_over_windows([*found[metric].values()]) for metric in ROLLING_METRICS}
        for found in by_window
    ]
    adjusted = {
        metric: holm_adjust([one[metric].p for one in compared]) for metric in ROLLING_METRICS
    }
    return [
        RollingVerdict(
            arm.title,
            base.title,
            differences,
            {metric: float(adjusted[metric][index]) for metric in ROLLING_METRICS},
            found,
        )
        for index, (arm, differences, found) in enumerate(
            zip(others, compared, by_window, strict=True)
        )
    ]


def judge_windows(
    workspace: Workspace, results: Sequence[ArmResult], reference: str
) -> tuple[list[RollingVerdict], list[str]]:
    """Return the verdicts over windows, and what they and the forgetting say, in sentences."""
    arms = rolling_arms(results)
    if not arms:
        return [], []
    verdicts = compare_rolling_arms(arms, reference)
    sentences = [_setup_sentence(arms)]
    lead = _leading(arms)
    if lead is not None and len(arms) > 1:
        sentences.append(
            f"{_capitalise(lead.title)} has the lowest log loss on validation rows, over the"
            " windows that all arms have."
        )
    sentences += _verdict_sentences(verdicts)
    sentences += _missing_window_sentences(arms)
    for part in FORGETTING_PARTS:
        sentences += forgetting_over_windows(workspace, arms, part)
    sentences += _last_epoch_sentences(arms)
    if verdicts:
        sentences.append(_assumption_sentence(arms, verdicts))
    note = _overlap(workspace, arms)
    return verdicts, [*sentences, *([note] if note else [])]


def forgetting_over_windows(
    workspace: Workspace, arms: Sequence[RollingArm], part: str
) -> list[str]:
    """Return which arms have lost AUC against the backbone by their last common window.

    An arm has lost where p, adjusted for the number of arms (Holm 1979), says so.

    Args:
        workspace: holds the predictions.
        arms: of one sweep.
        part: one of FORGETTING_PARTS.
    """
    tuned = [arm for arm in arms if is_trained(arm.strategy) and not is_control(arm.strategy)]
    last = last_common_window(tuned)
    changes: dict[str, WindowPoint] = {}
    for arm in tuned:
        for point in window_points(workspace, arm, "auc", part):
            if point.window == last and not is_missing(point.low):
                changes[arm.title] = point
    if not changes:
        return []
    adjusted = holm_adjust([point.p for point in changes.values()])
    lost = {
        title: point
        for (title, point), p in zip(changes.items(), adjusted, strict=True)
        if point.value < 0 and is_significant(float(p))
    }
    where = f"on {FORGETTING_PARTS[part]}, after window {last}"
    words = [
        f"{title} ({format_metric(point.value, signed=True)}, 95 %"
        f" {format_bounds(point.low, point.high, signed=True)})"
        for title, point in lost.items()
    ]
    kept = [title for title in changes if title not in lost]
    sentences = []
    if words:
        sentences.append(f"{_capitalise(where)}, AUC is below the backbone's: {'; '.join(words)}.")
    if kept:
        sentences.append(f"{_capitalise(where)}, no loss of AUC is shown for: {'; '.join(kept)}.")
    return sentences


def _leading(arms: Sequence[RollingArm]) -> RollingArm | None:
    """Return the arm with the lowest mean validation loss over the windows that all arms have.

    Arms that train nothing are left out, as elsewhere: they have the loss of their one run.
    """
    trained = [arm for arm in arms if is_trained(arm.strategy)]
    common = set.intersection(*(set(arm.windows) for arm in trained)) if trained else set()
    losses = {
        arm.title: [one.validation_loss for one in arm.results if one.window in common]
        for arm in trained
    }
    known = [
        arm for arm in trained if losses[arm.title] and not any(map(is_missing, losses[arm.title]))
    ]
    return min(known, key=lambda arm: sum(losses[arm.title]), default=None)


def _setup_sentence(arms: Sequence[RollingArm]) -> str:
    run = arms[0].results[0].runs[0]
    windows = run.window.windows if run.window else 0
    starts = {one.runs[0].window.start for arm in arms for one in arm.results if one.runs[0].window}
    start = "last" if "last" in starts else "backbone"
    tested = len({window for arm in arms for window in arm.windows})
    total = count_window_runs(windows)
    which = f"{tested} of {total} windows are" if tested < total else f"Windows 2 to {windows} are"
    return (
        f"{which} tested, each with models that were trained on the window before it,"
        f" {START_WORDS[start]}."
    )


def _verdict_sentences(verdicts: Sequence[RollingVerdict]) -> list[str]:
    """Return what the differences over windows support, for each metric by its name."""
    sentences = []
    for metric, (name, _, _) in METRIC_WORDS.items():
        for outcome in ("better", "worse"):
            if named := [_named(one, metric) for one in verdicts if one.outcome(metric) == outcome]:
                sentences.append(
                    f"By {name} {outcome} than {verdicts[0].b} over the windows:"
                    f" {'; '.join(named)}."
                )
        tied = [one for one in verdicts if one.outcome(metric) == NOT_DISTINGUISHABLE]
        if tied:
            sentences.append(
                f"By {name} not distinguishable from {verdicts[0].b} over the windows, which does"
                f" not mean equal: {'; '.join(_named(one, metric) for one in tied)}."
            )
    untested = [one.a for one in verdicts if one.outcome("auc") == NOT_COMPARABLE]
    if untested:
        sentences.append(
            f"Not comparable with {verdicts[0].b} over windows, which takes two windows that both"
            f" have: {'; '.join(untested)}."
        )
    return sentences


def _named(verdict: RollingVerdict, metric: str) -> str:
    found = verdict.differences[metric]
    return (
        f"{verdict.a} ({METRIC_WORDS[metric][1]} {format_metric(found.delta, signed=True)}, 95 %"
        f" {format_bounds(found.low, found.high, signed=True)}, adjusted p"
        f" {format_p(verdict.adjusted_p[metric])}, {found.windows} windows)"
    )


def _last_epoch_sentences(arms: Sequence[RollingArm]) -> list[str]:
    """Return a sentence that names the arms whose best epoch was their last, and the windows."""
    named = []
    for arm in arms:
        if windows := [str(one.window) for one in arm.results if one.best_epoch_is_last]:
            named.append(f"{arm.title} (window{'s' * (len(windows) > 1)} {', '.join(windows)})")
    if not named:
        return []
    return [
        f"Not trained to the end: {', '.join(named)}. The best epoch was the last one, so more"
        " epochs might have lowered the validation loss further."
    ]


def _missing_window_sentences(arms: Sequence[RollingArm]) -> list[str]:
    every = {window for arm in arms for window in arm.windows}
    named = [
        f"{arm.title} (window{'s' if len(gaps) > 1 else ''} {', '.join(map(str, sorted(gaps)))})"
        for arm in arms
        if (gaps := every - set(arm.windows))
    ]
    if not named:
        return []
    return [f"Without a finished run, and compared over their other windows: {'; '.join(named)}."]


def _assumption_sentence(arms: Sequence[RollingArm], verdicts: Sequence[RollingVerdict]) -> str:
    windows = max(one.differences["auc"].windows for one in verdicts)
    chained = any(
        one.runs[0].window is not None and one.runs[0].window.start == "last"
        for arm in arms
        for one in arm.results
    )
    shared = (
        "they go on from each other's models, so neighbouring windows may resemble one another"
        if chained
        else "they share the backbone and the seeds"
    )
    freedom = max(windows - 1, 0)
    return (
        f"The intervals are Student's over {windows} window{'s' if windows != 1 else ''} ({freedom}"
        f" degree{'s' if freedom != 1 else ''} of freedom) and assume that the windows'"
        f" differences are independent; {shared}. Few windows give wide intervals."
    )


def _overlap(workspace: Workspace, arms: Sequence[RollingArm]) -> str:
    run = arms[0].results[0].runs[0]
    window: Window | None = run.window
    if window is None:
        return ""
    try:
        dataset = find_dataset(workspace, run.dataset)
        return overlap_note(workspace, dataset, window.windows, window.column)
    except BadInput:
        # The dataset or its samples were deleted since.
        return ""


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]
