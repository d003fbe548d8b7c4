"""What the results of a sweep's arms support: verdicts, choices and notes, and their sentences."""

import dataclasses
from collections.abc import Sequence

from core.evaluation.choice_error import Choice
from core.evaluation.comparison_cache import SeedScores, compare_pairs
from core.evaluation.verdict_sentences import (
    calibration_sentences,
    outcome_sentences,
    summarise_verdicts,
)
from core.evaluation.verdicts import ArmScores, Verdict, adjusted_verdicts, compare_arms
from core.freezing.strategies import has_learning_rate, has_seed, is_control, is_trained
from core.jobs.predictions import StoredScores, read_prediction_array
from core.jobs.run import Run
from core.runs.rolling_result import is_rolling
from core.runs.rolling_verdicts import judge_windows
from core.runs.sweep_result import ArmResult
from core.runs.validation_choice import ValidatedArm, assess_choice
from core.workspace import Workspace

BACKBONE = "the backbone"
"""What sentences call the network as it was before fine-tuning."""


def judge_arms(
    workspace: Workspace, results: Sequence[ArmResult], reference: str
) -> tuple[list[Verdict], list[str]]:
    """Compare arms on the target test rows.

    Returns:
        The verdicts and their sentences; none where there is nothing to compare. Of a rolling
        evaluation, the sentences of core.runs.rolling_verdicts and no verdicts.
    """
    if is_rolling(results):
        # Windows have test rows of their own, and are compared as wholes.
        return [], judge_windows(workspace, results, reference)[1]
    settings: dict[str, list[ArmScores]] = {}
    for result in results:
        # Sweeps of earlier versions have a logistic regression for every seed, all alike.
        runs = result.runs if has_seed(result.strategy) else result.runs[:1]
        scores = StoredScores(workspace, runs)
        seeds = tuple(run.seed for run in runs) if has_seed(result.strategy) else ()
        contender = ArmScores(result.title, result.validation_loss, scores, seeds, scores.keys)
        settings.setdefault(result.setting, []).append(contender)
    _share_rateless(settings, results)
    settings = {setting: found for setting, found in settings.items() if len(found) > 1}
    notes = training_notes(results)
    if not settings:
        return [], notes
    labels = read_prediction_array(workspace, results[0].runs[0], "target_test_label")
    verdicts = compare_arms(labels, settings, reference)
    choices = choices_of_arms(workspace, results)
    return verdicts, [
        *notes,
        *summarise_verdicts(verdicts, settings, reference),
        *choice_sentences(choices, len(settings) > 1),
    ]


def choices_of_arms(workspace: Workspace, results: Sequence[ArmResult]) -> list[Choice]:
    """Return, for every setting of at least two arms, how clearly one leads on validation rows."""
    settings: dict[str, list[ValidatedArm]] = {}
    for result in results:
        arm = ValidatedArm(result.title, result.validation_loss, result.runs)
        settings.setdefault(result.setting, []).append(arm)
    found = [assess_choice(workspace, setting, arms) for setting, arms in settings.items()]
    return [choice for choice in found if choice]


def choice_sentences(choices: Sequence[Choice], name_setting: bool) -> list[str]:
    """Return the choices in words, with their setting where there are several."""
    return [f"{one.setting}: {one.sentence}" if name_setting else one.sentence for one in choices]


def training_notes(results: Sequence[ArmResult]) -> list[str]:
    """Return what is to be known of how the arms were trained: halving, and epochs too few."""
    return [*halving_sentences(results), *last_epoch_sentences(results)]


def last_epoch_sentences(results: Sequence[ArmResult]) -> list[str]:
    """Return for every setting a sentence that names the arms whose best epoch was their last."""
    settings: dict[str, list[str]] = {one.setting: [] for one in results}
    for one in results:
        if one.best_epoch_is_last:
            settings[one.setting].append(one.title)
    return [
        f"{f'{setting}: ' if len(settings) > 1 else ''}Not trained to the end: {', '.join(named)}."
        " The best epoch was the last one, so more epochs might have lowered the validation loss"
        " further."
        for setting, named in settings.items()
        if named
    ]


def halving_sentences(results: Sequence[ArmResult]) -> list[str]:
    """Return a sentence that names the arms which successive halving ended."""
    ended = [result for result in results if result.halted]
    if not ended:
        return []
    named = [
        f"{one.title}{f' ({one.setting})' if one.setting else ''} after epoch {one.halted}"
        for one in ended
    ]
    return [
        f"Successive halving ended {', '.join(named)}: what is shown is of that epoch, not of a"
        " whole training."
    ]


def forgetting_sentences(workspace: Workspace, results: Sequence[ArmResult]) -> list[str]:
    """Return for every setting which arms lost quality on source test rows, and which did not.

    An arm lost only where the interval of its difference from the backbone says so, in AUC or log
    loss, with the p-values of all arms adjusted together.
    """
    if is_rolling(results):
        # What `judge_arms` says of windows names what was forgotten.
        return []
    verdicts = source_verdicts(workspace, results)
    settings = [*dict.fromkeys(verdict.setting for verdict in verdicts)]
    name_setting = len({one.setting for one in results}) > 1
    sentences = []
    for setting in settings:
        prefix = f"{setting}: on" if name_setting else "On"
        found = [verdict for verdict in verdicts if verdict.setting == setting]
        for sentence in [*outcome_sentences(found, BACKBONE), *calibration_sentences(found)]:
            sentence = f"{sentence[:1].lower()}{sentence[1:]}"
            if sentence.startswith("worse"):
                outcome, named = sentence.split(": ", 1)
                sentence = f"quality was lost by arms {outcome}: {named}"
            sentences.append(f"{prefix} source test rows, {sentence}")
    return sentences


def source_verdicts(workspace: Workspace, results: Sequence[ArmResult]) -> list[Verdict]:
    """Compare every fine-tuned arm with its backbone as it was, on source test rows.

    Arms without scores of the backbone, or without source test rows, are left out.
    """
    pairs, scores = [], []
    runs: list[Run] = []
    for result in results:
        first = result.runs[0].result
        parts = (first.before if first else None) or {}
        trained = is_trained(result.strategy) and not is_control(result.strategy)
        if not trained or "source_test" not in parts or "source_test" not in result.auc:
            continue
        after, before = (
            StoredScores(workspace, result.runs, f"source_test_{name}")
            for name in ("score", "before")
        )
        runs += result.runs
        indices = tuple(range(len(result.runs)))
        arm, backbone = (
            ArmScores(title, float("nan"), found, (), found.keys)
            for title, found in ((result.title, after), (BACKBONE, before))
        )
        pairs.append((result.setting, arm, backbone))
        scores.append(
            (SeedScores(after, indices, after.keys), SeedScores(before, indices, before.keys))
        )
    if not pairs:
        return []
    labels = read_prediction_array(workspace, runs[0], "source_test_label")
    return adjusted_verdicts(pairs, compare_pairs(labels, scores), int(labels.sum()))


def _share_rateless(settings: dict[str, list[ArmScores]], results: Sequence[ArmResult]) -> None:
    """Add arms without a learning rate to the settings of every rate.

    Zero-shot, whose only run stands for every target size as well, never leads in the settings of
    another one: it was validated on other rows.
    """
    sizes = {result.setting: result.target_rows for result in results}
    for result in results:
        if has_learning_rate(result.strategy):
            continue
        one = next(arm for arm in settings[result.setting] if arm.title == result.title)
        trained = is_trained(result.strategy)
        for setting, others in settings.items():
            same_rows = sizes[setting] == result.target_rows
            if (same_rows or not trained) and all(arm.title != one.title for arm in others):
                loss = one.validation_loss if same_rows and trained else float("nan")
                others.append(dataclasses.replace(one, validation_loss=loss))
