"""Group runs that were selected one by one into arms: runs that differ only by their seed.

A sweep knows its arms (`core.runs.sweep`). On page Compare, in a report of some runs and in the
commands, runs are selected freely, so arms are found from their requests here.
"""

import dataclasses
import json
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from core.errors import BadInput
from core.evaluation.choice_error import Choice
from core.evaluation.verdict_sentences import summarise_verdicts
from core.evaluation.verdicts import ArmScores, Verdict, compare_arms
from core.freezing.strategies import has_seed, is_control, is_trained
from core.jobs.predictions import StoredScores, read_prediction_array
from core.jobs.store import Run
from core.report.run_settings import request_settings, tested_rows_key, titled_start
from core.runs.arm_verdicts import choice_sentences, choices_of_arms, training_notes
from core.runs.rate_choice import has_rate
from core.runs.sweep_result import ArmResult, summarise_arm, window_number
from core.workspace import Workspace

RATE_SETTINGS = ("learning rate", "head learning rate")
"""Settings that are the arm's own where a sweep chose them for it."""


@dataclass(frozen=True)
class ArmRuns:
    """The runs of one arm, sorted by seed.

    Attributes:
        title: the strategy, such as "freeze depth 2".
        setting: what else distinguishes this arm from the others (backbone, learning rate …), one
            text per difference.
        runs: one run per seed.
    """

    title: str
    setting: tuple[str, ...]
    runs: tuple[Run, ...]

    @property
    def full_title(self) -> str:
        """Strategy and setting, for figures in which arms of several settings meet."""
        return ", ".join([self.title, *self.setting])

    @property
    def setting_words(self) -> str:
        """The setting as one text; "" where arms differ in nothing but the strategy."""
        return ", ".join(self.setting)


def group_into_arms(
    runs: Sequence[Run],
    backbones: Mapping[str, str],
    datasets: Mapping[str, str],
    rate_sweeps: Collection[str] = (),
    split_single: bool = True,
) -> list[ArmRuns]:
    """Return the arms of these runs, in the order in which each arm's first run was created.

    A second run with an arm's seed is an arm of its own, as repeating a seed adds no independent
    sample.

    Args:
        runs: of any kind and status.
        backbones: names by id.
        datasets: names by id.
        rate_sweeps: ids of the sweeps that chose a learning rate for each arm. Where `runs` has one
            rate of every arm of such a sweep, the rate belongs to the arm and is no setting.
        split_single: where there is only one arm, make each of its runs one, so that they can be
            compared.
    """
    in_order = tuple(sorted(runs, key=lambda run: run.created))
    names = tuple(backbones.items()), tuple(datasets.items())
    arms = _group_into_arms(in_order, *names, frozenset(rate_sweeps))
    if split_single and len(arms) == 1 and len(arms[0].runs) > 1:
        title, runs = arms[0].title, arms[0].runs
        return [ArmRuns(f"{title}, seed {run.seed}", (), (run,)) for run in runs]
    return [*arms]


@lru_cache(maxsize=8)
def _group_into_arms(
    runs: tuple[Run, ...],
    backbones: tuple[tuple[str, str], ...],
    datasets: tuple[tuple[str, str], ...],
    rate_sweeps: frozenset[str],
) -> tuple[ArmRuns, ...]:
    """Return the arms; cached, as thousands of runs stay the same between two page reruns."""
    chosen = rate_sweeps - _sweeps_with_several_rates(runs, rate_sweeps)

    def key_of(run: Run) -> tuple[Hashable, ...]:
        return _setting_key(run, has_rate(run) and run.group not in chosen)

    # Of thousands of runs few differ in more than arm and seed.
    run_by_setting: dict[tuple[Hashable, ...], Run] = {}
    for run in runs:
        run_by_setting.setdefault(key_of(run), run)
    settings_by_key = {
        key: _training_settings(run, bool(key[-1])) for key, run in run_by_setting.items()
    }
    varying = _varying_settings([*run_by_setting.values()], [*settings_by_key.values()])
    settings = {
        key: _setting_words(run, settings_by_key[key], varying, dict(backbones), dict(datasets))
        for key, run in run_by_setting.items()
    }
    runs_by_arm: dict[tuple[str, tuple[str, ...]], dict[int, Run]] = {}
    for run in runs:
        title, setting, seed = (
            _title(run),
            settings[key_of(run)],
            run.seed,
        )
        if seed in runs_by_arm.get((title, setting), {}):
            title = f"{title} again ({run.id})"
        runs_by_arm.setdefault((title, setting), {})[seed] = run
    return tuple(
        ArmRuns(*key, tuple(run_by_seed[seed] for seed in sorted(run_by_seed)))
        for key, run_by_seed in runs_by_arm.items()
    )


def _sweeps_with_several_rates(runs: Sequence[Run], sweeps: frozenset[str]) -> frozenset[str]:
    """Return those of the sweeps of which `runs` has an arm at more than one learning rate."""
    rates: dict[tuple[str, str, int, int], set[float]] = {}
    for run in runs:
        if run.group in sweeps and has_rate(run):
            arm = run.group, _title(run), run.target_rows, window_number(run)
            rates.setdefault(arm, set()).add(run.request.train.learning_rate)
    return frozenset(group for (group, *_), found in rates.items() if len(found) > 1)


def arms_in_setting(arms: Sequence[ArmRuns], setting_words: str) -> list[ArmRuns]:
    """Return the arms of one setting, and those that what else is in it does not change.

    No training setting changes zero-shot, so it belongs to every setting of its backbone; neither
    rate nor batch size changes a logistic regression, so it belongs to the setting at all of them.
    """
    setting = next((arm.setting for arm in arms if arm.setting_words == setting_words), ())
    return [
        arm
        for arm in arms
        if arm.setting == setting or (_is_shared(arm) and {*arm.setting} <= {*setting})
    ]


def distinct_settings(arms: Sequence[ArmRuns]) -> list[str]:
    """Return the settings there are, in words.

    A control or blend does not make one where it belongs to that of other arms.
    """
    found = {arm.setting for arm in arms}
    named = [
        arm.setting_words
        for arm in arms
        if not _is_shared(arm) or not any({*arm.setting} < {*other} for other in found)
    ]
    return [*dict.fromkeys(named)]


def _is_shared(arm: ArmRuns) -> bool:
    """Whether an arm may belong to several settings: a control, or a blend of several runs."""
    return arm.runs[0].kind == "blend" or is_control(arm.runs[0].strategy)


def summarise_selected_arms(arms: Sequence[ArmRuns], full_titles: bool) -> list[ArmResult]:
    """Return the results of arms whose runs are done.

    Args:
        arms: from `group_into_arms`.
        full_titles: whether titles name the setting too.
    """
    return [
        summarise_arm(arm.runs, arm.full_title if full_titles else arm.title, arm.setting_words)
        for arm in arms
    ]


def common_seeds(results: Sequence[ArmResult]) -> list[int]:
    """Return the seeds that every arm has; arms that no seed changes are left out."""
    seeds = [{run.seed for run in result.runs} for result in results if has_seed(result.strategy)]
    return sorted(set.intersection(*seeds)) if seeds else [0]


def load_scores(
    workspace: Workspace, result: ArmResult, array_name: str, seeds: Sequence[int]
) -> np.ndarray:
    """Return an array of an arm's predictions, one row per seed.

    Args:
        workspace: holds the runs.
        result: the arm; if it has a single run, or no seed changes it, its first run stands for
            every seed.
        array_name: such as "target_test_score", see `core.jobs.predictions`.
        seeds: of the rows of the result.

    Returns:
        float64, shape ``(n_seeds, n_rows)``.
    """
    runs = {run.seed: run for run in result.runs}
    is_single = len(result.runs) == 1 or not has_seed(result.strategy)
    return np.stack(
        [
            read_prediction_array(
                workspace, result.runs[0] if is_single else runs[seed], array_name
            )
            for seed in seeds
        ]
    )


def comparable_seeds(results: Sequence[ArmResult]) -> list[int]:
    """Return the seeds over which the arms can be compared in pairs.

    If every arm has a single run, those runs are compared whatever their seeds are.

    Raises:
        BadInput: the arms have no seed in common.
    """
    if all(len(result.runs) == 1 for result in results):
        return [results[0].runs[0].seed]
    if seeds := common_seeds(results):
        return seeds
    raise BadInput(
        "The chosen arms have no seed in common, so nothing pairs their runs; choose arms with"
        " equal seeds."
    )


def comparable_validation_losses(results: Sequence[ArmResult]) -> list[float]:
    """Return the validation log loss of every arm, NaN where it was measured on other rows.

    Another dataset, number of target rows or validation share means other validation rows; such an
    arm must not be chosen as the leading one by its loss.
    """
    keys = [_validation_rows_key(result.runs[0]) for result in results]
    trained = {
        key for key, result in zip(keys, results, strict=True) if is_trained(result.strategy)
    } or set(keys)
    comparable = trained if len(trained) == 1 else set()
    return [
        result.validation_loss if key in comparable else float("nan")
        for key, result in zip(keys, results, strict=True)
    ]


def share_test_rows(results: Sequence[ArmResult]) -> bool:
    """Whether all arms were tested on the same target rows."""
    return len({tested_rows_key(run) for arm in results for run in arm.runs}) <= 1


def judge_selected_arms(
    workspace: Workspace, results: Sequence[ArmResult], reference: str
) -> tuple[list[Verdict], list[str]]:
    """Compare arms on target test rows, each with the reference and with the leading arm.

    Returns:
        (verdicts, the same in sentences); both empty for a single arm.
    """
    if len(results) < 2:
        return [], []
    if not share_test_rows(results):
        raise BadInput(
            "These arms were tested on the rows of different datasets or windows, so no test row"
            " pairs them; choose one window. The sweep of the windows compares arms over all of"
            " them."
        )
    single_runs = all(len(result.runs) == 1 for result in results)
    contenders = []
    for result, validation_loss in zip(results, comparable_validation_losses(results), strict=True):
        seedless = single_runs or not has_seed(result.strategy)
        runs = result.runs[:1] if seedless else result.runs
        seeds = [run.seed for run in runs]
        scores = StoredScores(workspace, runs)
        contenders.append(
            ArmScores(
                result.title, validation_loss, scores, () if seedless else tuple(seeds), scores.keys
            )
        )
    labels = read_prediction_array(workspace, results[0].runs[0], "target_test_label")
    verdicts = compare_arms(labels, {"": contenders}, reference)
    return verdicts, [
        *training_notes(results),
        *summarise_verdicts(verdicts, {"": contenders}, reference),
        *choice_sentences(choices_of_selected_arms(workspace, results), False),
    ]


def choices_of_selected_arms(workspace: Workspace, results: Sequence[ArmResult]) -> list[Choice]:
    """Return how clearly one of these arms leads on validation rows; empty if none can be said to.

    Arms that were validated on other rows are left out.
    """
    comparable = [
        dataclasses.replace(result, setting="", validation_loss=loss)
        for result, loss in zip(results, comparable_validation_losses(results), strict=True)
    ]
    return choices_of_arms(workspace, comparable)


def _title(run: Run) -> str:
    if run.kind == "pretrain":
        return f"pretraining {run.pretrain_request.name}"
    return titled_start(run)


def _is_zero_shot(run: Run) -> bool:
    return not is_trained(run.strategy)


def _varying_settings(runs: Sequence[Run], settings: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the names of the settings that differ between the runs.

    They are "dataset", "backbone" and settings of training.

    Args:
        runs: of any kind.
        settings: of training, by run; see `_training_settings`.
    """
    varying = {"dataset"} if len({run.dataset for run in runs}) > 1 else set()
    tuned = [run for run in runs if run.kind == "finetune"]
    if len({run.finetune_request.backbone for run in tuned}) > 1:
        varying.add("backbone")
    if len({run.target_rows for run in runs if run.kind == "blend"}) > 1:
        varying.add("target rows")
    first: dict[str, Any] = {}
    for one in settings:
        for name, value in one.items():
            if first.setdefault(name, value) != value:
                varying.add(name)
    return varying


def _training_settings(run: Run, with_rates: bool) -> dict[str, Any]:
    """Return what trains the run and names its setting; nothing for other kinds.

    Of zero-shot it is the window alone, which decides the rows that it is tested on.
    """
    if run.kind != "finetune":
        return {}
    if _is_zero_shot(run):
        return {"window": run.window.title} if run.window else {}
    return {
        name: value
        for name, value in request_settings(run.finetune_request).items()
        if with_rates or name not in RATE_SETTINGS
    }


def _setting_words(
    run: Run,
    settings: Mapping[str, Any],
    varying: set[str],
    backbones: Mapping[str, str],
    datasets: Mapping[str, str],
) -> tuple[str, ...]:
    words = [datasets.get(run.dataset, run.dataset)] if "dataset" in varying else []
    if run.kind == "blend" and "target rows" in varying:
        words.append(_describe_setting("target rows", run.target_rows))
    if run.kind == "finetune":
        if "backbone" in varying:
            words.append(
                backbones.get(run.finetune_request.backbone, run.finetune_request.backbone)
            )
        words += [
            _describe_setting(name, value) for name, value in settings.items() if name in varying
        ]
    return tuple(words)


@lru_cache(maxsize=2**14)
def _setting_key(run: Run, with_rates: bool) -> tuple[Hashable, ...]:
    """Return everything that a run's setting depends on, last whether its rates are part of it.

    It is cached, since arms are grouped from thousands of runs.
    """
    if run.kind != "finetune":
        return run.dataset, run.kind, run.target_rows, False
    settings = json.dumps(_training_settings(run, with_rates))
    backbone = run.finetune_request.backbone
    return run.dataset, run.kind, backbone, _is_zero_shot(run), settings, with_rates


def _describe_setting(name: str, value: Any) -> str:
    if name == "window":
        return "no window" if value == "none" else str(value)
    if name == "target rows":
        return f"{value:,} target rows" if value else "all target rows"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{name} {value:g}" if number else f"{name} {value}"


def _validation_rows_key(run: Run) -> tuple[Any, ...]:
    return *tested_rows_key(run), run.target_rows, run.request.train.validation_share
