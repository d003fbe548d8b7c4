"""Recommendations for the arms of a sweep, or for runs that were selected one by one.

The rules are in `core.evaluation.recommendation`; here are the scores that finished runs stored.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from core.evaluation.arm_cost import Cost
from core.evaluation.choice_error import PairedLoss
from core.evaluation.comparison_cache import Comparison, SeedScores, compare_pairs
from core.evaluation.non_inferiority import Margins, MetricLoss
from core.evaluation.paired_comparison import PairedDifference
from core.evaluation.recommendation import (
    ArmKind,
    Candidate,
    Contrast,
    JudgedArm,
    Recommendation,
    recommend,
)
from core.evaluation.recommendation_words import headline, notes, outcome_words
from core.freezing.strategies import has_learning_rate, has_seed, is_control, is_trained
from core.jobs.predictions import StoredScores, read_predictions
from core.runs.arm_names import name_arm
from core.runs.rolling_result import is_rolling
from core.runs.sweep_result import ArmResult
from core.runs.validation_choice import ValidatedArm, validated_difference
from core.workspace import Workspace, nan_to_none

TARGET_TEST = "target_test"


def recommend_arms(
    workspace: Workspace, results: Sequence[ArmResult], margins: Margins | None = None
) -> list[Recommendation]:
    """Return a recommendation for every setting of a sweep's arms, in their order.

    None for a rolling evaluation: its windows are judged as wholes (core.runs.rolling_verdicts).

    Args:
        workspace: holds the runs' scores.
        results: of the arms that have a finished run, from `core.runs.sweep_result`.
        margins: what counts as lost; default: `Margins()`.
    """
    if is_rolling(results):
        return []
    settings: dict[str, list[ArmResult]] = {}
    for result in results:
        settings.setdefault(result.setting, []).append(result)
    of_learning = [
        setting
        for setting, found in settings.items()
        if any(has_learning_rate(one.strategy) for one in found)
    ]
    return [
        recommend_among(
            workspace,
            [*settings[setting], *_shared(results, settings[setting])],
            margins,
            setting,
            single_runs=False,
        )
        for setting in of_learning or settings
    ]


def recommend_selected(
    workspace: Workspace, results: Sequence[ArmResult], margins: Margins | None = None
) -> list[Recommendation]:
    """Return a recommendation for every target size among arms of runs selected one by one.

    Args:
        workspace: holds the runs' scores.
        results: as `core.report.arms.summarise_selected_arms` gives them, on the same test rows.
        margins: what counts as lost; default: `Margins()`.
    """
    results = [one for one in results if _takes_part(one)]
    # No number of target rows changes zero-shot, so it takes part in each.
    sizes = [*dict.fromkeys(one.target_rows for one in results if is_trained(one.strategy))]
    sizes = sizes or [*dict.fromkeys(one.target_rows for one in results)]
    single_runs = all(len(one.runs) == 1 for one in results)
    found = []
    for size in sorted(sizes, key=lambda size: size or math.inf):
        words = f"{size:,} target rows" if size else "all target rows"
        arms = [one for one in results if one.target_rows == size or not is_trained(one.strategy)]
        setting = words if len(sizes) > 1 else ""
        found.append(recommend_among(workspace, arms, margins, setting, single_runs))
    return found


def recommend_results(
    workspace: Workspace, results: Sequence[ArmResult], margins: Margins | None = None
) -> list[Recommendation]:
    """Return the recommendations for a report: of a sweep, or of runs selected one by one.

    None for a single arm.
    """
    if len(results) < 2:
        return []
    if any(one.setting for one in results):
        return recommend_arms(workspace, results, margins)
    return recommend_selected(workspace, results, margins)


def recommend_among(
    workspace: Workspace,
    results: Sequence[ArmResult],
    margins: Margins | None = None,
    setting: str = "",
    single_runs: bool = False,
) -> Recommendation:
    """Return the recommendation among arms that were tested on the same rows.

    Args:
        workspace: holds the runs' scores.
        results: of the arms, each with a title of its own.
        margins: what counts as lost; default: `Margins()`.
        setting: names what they share.
        single_runs: pair runs whatever their seeds are, as every arm has a single one.
    """
    results = [one for one in results if TARGET_TEST in one.auc and _takes_part(one)]
    by_title = {one.title: one for one in results}
    scores = {
        one.title: (StoredScores(workspace, one.runs), _seeds_of(one, single_runs))
        for one in results
    }
    rows = _validation_rows_of(results)
    arms = [_judged(one, rows, setting) for one in results]

    def compare(a: str, b: str) -> Comparison:
        return _compare(workspace, by_title[a], scores[a], scores[b])

    def validate(a: str, b: str) -> PairedLoss | None:
        pair = (
            ValidatedArm(one.title, one.validation_loss, one.runs)
            for one in (by_title[a], by_title[b])
        )
        return validated_difference(workspace, *pair)

    return recommend(arms, compare, validate, margins or Margins(), setting)


def _shared(results: Sequence[ArmResult], own: Sequence[ArmResult]) -> list[ArmResult]:
    """The arms of other settings that belong to this one too, see `core.runs.arm_verdicts`.

    They have no learning rate, and the same target rows; the only run of zero-shot stands for every
    number of target rows.
    """
    titles = {one.title for one in own}
    sizes = {one.target_rows for one in own}
    return [
        one
        for one in {found.title: found for found in results}.values()
        if one.title not in titles
        and not has_learning_rate(one.strategy)
        and (one.target_rows in sizes or not is_trained(one.strategy))
    ]


Scored = tuple[StoredScores, tuple[int, ...]]
"""Scores of an arm and their seeds; no seeds where a single scoring stands for every seed."""


def _seeds_of(result: ArmResult, single_runs: bool) -> tuple[int, ...]:
    seeded = has_seed(result.strategy) and not single_runs
    return tuple(run.seed for run in result.runs) if seeded else ()


def _compare(workspace: Workspace, arm: ArmResult, a: Scored, b: Scored) -> Comparison:
    """AUC and log loss of an arm minus those of another, over the seeds that both have."""
    (scores_a, seeds_a), (scores_b, seeds_b) = a, b
    seeds = [seed for seed in seeds_a or seeds_b if seed in (seeds_b or seeds_a)]
    if not seeds and (seeds_a or seeds_b):
        nan = float("nan")
        nothing = PairedDifference(nan, nan, nan, nan, nan, nan, 0, 0, nan)
        return Comparison(nothing, nothing, nothing)
    sides = [
        SeedScores(
            scores,
            tuple(own.index(seed) if own else 0 for seed in seeds) or (0,),
            scores.keys,
        )
        for scores, own in ((scores_a, seeds_a), (scores_b, seeds_b))
    ]
    run = arm.runs[0]
    labels = _labels(workspace, run.id, run.finished)
    return compare_pairs(labels, [(sides[0], sides[1])])[0]


@lru_cache(maxsize=4)
def _labels(workspace: Workspace, run_id: str, finished: str | None) -> np.ndarray:
    """Labels of the target test rows; a run that ended at another time may be another run."""
    name = f"{TARGET_TEST}_label"
    return np.asarray(read_predictions(workspace, run_id, [name])[name], dtype=np.float64)


def _judged(result: ArmResult, validation_rows: tuple[Any, ...] | None, setting: str) -> JudgedArm:
    """What is known of an arm without its test scores."""
    name, activity = name_arm(result, setting)
    same = _validation_rows_key(result) == validation_rows
    log_loss = result.spread("log_loss", TARGET_TEST)
    epochs = [run.result.epochs_run for run in result.runs if run.result]
    return JudgedArm(
        title=result.title,
        name=name,
        activity=activity,
        kind=_kind(result),
        cost=Cost(result.seconds, result.trained_parameters, float(np.mean(epochs))),
        validation_loss=result.validation_loss if same else float("nan"),
        log_loss=log_loss.mean if log_loss else float("nan"),
        halted=bool(result.halted),
        trains_all=_trains_all(result),
    )


def _takes_part(result: ArmResult) -> bool:
    """Whether it adapts a backbone or is compared with what does; a pretraining run is neither."""
    return result.runs[0].kind in ("finetune", "blend")


def _kind(result: ArmResult) -> ArmKind:
    if result.strategy == "blend":
        return "blend"
    if not is_trained(result.strategy):
        return "zero-shot"
    return "control" if is_control(result.strategy) else "fine-tuning"


def _trains_all(result: ArmResult) -> bool:
    """Whether it is full fine-tuning, by either of its names."""
    depth = [run.finetune_request.freeze_depth for run in result.runs if run.kind == "finetune"]
    return result.strategy == "full" or (result.strategy == "depth" and set(depth) == {0})


def _validation_rows_key(result: ArmResult) -> tuple[Any, ...]:
    run = result.runs[0]
    return run.dataset, run.target_rows, run.request.train.validation_share


def _validation_rows_of(results: Sequence[ArmResult]) -> tuple[Any, ...] | None:
    """What says on which rows the fine-tuning arms were validated; None where on different ones."""
    keys = {_validation_rows_key(one) for one in results if _kind(one) == "fine-tuning"}
    return keys.pop() if len(keys) == 1 else None


def recommendation_data(found: Recommendation) -> dict[str, Any]:
    """Return a recommendation as JSON-ready data, as `--json` has it."""
    power = found.power
    data: dict[str, Any] = nan_to_none(
        {
            "setting": found.setting,
            "decision": found.decision,
            "recommendation": headline(found),
            "notes": notes(found),
            "arm": found.arm.title if found.arm else None,
            "reference": found.reference.title if found.reference else None,
            "leading_on_validation_rows": found.leader.title if found.leader else None,
            "margin_auc": found.margins.auc,
            "margin_log_loss_percent": found.margins.log_loss_percent,
            "level": found.level,
            "candidates": [_candidate_data(one) for one in found.candidates],
            "controls": [_contrast_data(one) for one in found.controls],
            "zero_shot": _contrast_data(found.zero_shot) if found.zero_shot else None,
            "power": {
                "arm": power.arm,
                "against": power.reference,
                "rows": power.rows,
                "seeds": power.seeds,
                "now": power.now,
                "more_rows": power.more_rows,
                "more_seeds": power.more_seeds,
                "more_of_both": power.both,
                "by_rows": power.by_rows,
                "by_seeds": power.by_seeds,
            }
            if power
            else None,
        }
    )
    return data


def _candidate_data(one: Candidate) -> dict[str, Any]:
    return {
        "arm": one.arm.title,
        "seconds": one.arm.cost.seconds,
        "trained_parameters": one.arm.cost.trained_parameters,
        "epochs": one.arm.cost.epochs,
        "validation_log_loss": one.arm.validation_loss,
        "outcome": one.outcome,
        "words": outcome_words(one),
        "claims": [
            {
                "against": claim.reference,
                "seeds": claim.seeds,
                "rows": claim.rows,
                "auc": _loss_data(claim.auc),
                "log_loss": _loss_data(claim.log_loss),
            }
            for claim in one.claims
        ],
    }


def _loss_data(loss: MetricLoss) -> dict[str, float]:
    return {
        "loss": loss.loss,
        "at_most": loss.at_most,
        "at_least": loss.at_least,
        "margin": loss.margin,
        "p": loss.p,
    }


def _contrast_data(one: Contrast) -> dict[str, Any]:
    auc, log_loss = one.comparison[:2]
    return {
        "arm": one.arm.title,
        "auc": {"delta": auc.delta, "low": auc.low, "high": auc.high, "adjusted_p": one.auc_p},
        "log_loss": {
            "delta": log_loss.delta,
            "low": log_loss.low,
            "high": log_loss.high,
            "adjusted_p": one.log_loss_p,
        },
        "verdict_auc": one.auc,
        "verdict_log_loss": one.log_loss,
    }
