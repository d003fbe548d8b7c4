"""What the results of a sweep's arms support: verdicts, choices and notes, and their sentences."""

import dataclasses
from collections.abc import Sequence

from core.evaluation.choice_error import Choice
from core.evaluation.format_metrics import format_metric
from core.evaluation.verdicts import ArmScores, Verdict, compare_arms, summarise_verdicts
from core.freezing.strategies import has_learning_rate, is_control, is_trained
from core.jobs.predictions import StoredScores, read_prediction_array
from core.runs.rolling_result import is_rolling
from core.runs.rolling_verdicts import judge_windows
from core.runs.sweep_result import ArmResult, change_from_backbone
from core.runs.validation_choice import ValidatedArm, assess_choice
from core.workspace import Workspace


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
        scores = StoredScores(workspace, result.runs)
        seeds = tuple(run.seed for run in result.runs) if is_trained(result.strategy) else ()
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


def forgetting_sentences(results: Sequence[ArmResult]) -> list[str]:
    """Return for every setting which arm kept most and which lost most AUC on source test rows."""
    if is_rolling(results):
        # What `judge_arms` says of windows names what was forgotten.
        return []
    sentences = []
    for setting in dict.fromkeys(result.setting for result in results):
        lost = {}
        for result in results:
            change = change_from_backbone(result, "source_test")
            trained = not is_control(result.strategy)
            if result.setting == setting and trained and change is not None:
                lost[result.title] = change
        if len(lost) > 1:
            worst, best = min(lost, key=lost.__getitem__), max(lost, key=lost.__getitem__)
            named = f"{setting}: on" if len({one.setting for one in results}) > 1 else "On"
            sentences.append(
                f"{named} source test rows, compared with the backbone, {worst} has the lowest AUC"
                f" ({format_metric(lost[worst], signed=True)}) and {best} the highest"
                f" ({format_metric(lost[best], signed=True)})."
            )
    return sentences


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
        for setting, others in settings.items():
            same_rows = sizes[setting] == result.target_rows
            if (same_rows or not one.seeds) and all(arm.title != one.title for arm in others):
                loss = one.validation_loss if same_rows and one.seeds else float("nan")
                others.append(dataclasses.replace(one, validation_loss=loss))
