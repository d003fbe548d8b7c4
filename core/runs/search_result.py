"""What a search within a budget has found, as a table and in sentences."""

import math
from collections.abc import Sequence
from typing import Any

from core.data.datasets import Dataset
from core.evaluation.format_metrics import format_metric
from core.freezing.plan import Plan
from core.jobs.store import Run
from core.runs.estimate import Estimate
from core.runs.search import SearchProgress, is_default, search_spec_of, winner_request
from core.runs.search_spec import SearchSpec
from core.runs.search_trials import COMPLETE, FAILED, PRUNED, STATE_WORDS, Parameters, Trial
from core.runs.sweep import Arm, Sweep, SweepSpec
from core.runs.sweep_estimate import estimate_sweep
from core.workspace import nan_to_none

VALIDATION_ONLY = (
    "Settings are chosen by log loss on validation rows; test rows judge the winner alone, with new"
    " seeds."
)


def trials_table(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return one row per trial, in their order; a number that is missing is None.

    Its losses are those of validation rows. Numbers of trials are from 1, as in names of runs.
    """
    rows, lowest = [], math.inf
    for trial in trials:
        if trial.state == COMPLETE:
            lowest = min(lowest, trial.loss)
        results = [run.result for run in trial.runs if run.result]
        rows.append(
            nan_to_none(
                {
                    "trial": trial.number + 1,
                    **trial.parameters,
                    "state": STATE_WORDS[trial.state],
                    "validation_log_loss": trial.loss,
                    "best_so_far": lowest if math.isfinite(lowest) else math.nan,
                    "ended_after_epoch": trial.epochs or None,
                    "seconds": math.fsum(one.total_seconds for one in results),
                    "runs": [run.id for run in trial.runs],
                }
            )
        )
    return rows


def describe_parameters(parameters: Parameters) -> str:
    """Return a setting in words.

    >>> describe_parameters({"strategy": "LoRA, rank 4", "learning_rate": 3e-4, "head": "keep",
    ...     "weight_decay": 0.0})
    'LoRA, rank 4; learning rate 0.0003, kept head, no weight decay'
    """
    decay, head = parameters["weight_decay"], parameters["head"]
    return (
        f"{parameters['strategy']}; learning rate {parameters['learning_rate']:g},"
        f" {'kept' if head == 'keep' else head} head,"
        f" {f'weight decay {decay:g}' if decay else 'no weight decay'}"
    )


def describe_progress(progress: SearchProgress) -> str:
    """Return how many runs there were, what became of them, and what is left of the budget.

    In words.
    """
    words = [f"{progress.runs} run{'s' if progress.runs != 1 else ''}"]
    words += [f"{number} {STATE_WORDS[state]}" for state in (PRUNED, FAILED)
              if (number := progress.count(state))]  # fmt: skip
    left = []
    if progress.runs_left is not None:
        left.append(f"{progress.runs_left} runs")
    if progress.seconds_left is not None:
        left.append(f"{progress.seconds_left / 60:.1f} minutes")
    return f"{', '.join(words)}; left of the budget: {' and '.join(left)}"


def search_sentences(sweep: Sweep, runs: Sequence[Run], progress: SearchProgress) -> list[str]:
    """Return what a search has found on validation rows.

    Args:
        sweep: the search.
        runs: all of its runs.
        progress: of `core.runs.search.search_progress`.
    """
    best = progress.best
    if best is None:
        return [progress.message] if progress.message else []
    n_complete = progress.count(COMPLETE)
    found = [
        f"Lowest validation log loss of {n_complete} setting{'s' if n_complete > 1 else ''}:"
        f" {format_metric(best.loss)} (trial {best.number + 1}:"
        f" {describe_parameters(best.parameters)})."
    ]
    first = progress.trials[0]
    winner = winner_request(sweep, runs)
    if winner is not None and is_default(sweep, winner):
        found.append(
            "No setting that was tried has a lower one than full fine-tuning at the default"
            " settings."
        )
    elif first.number == 0 and first.state == COMPLETE:
        found.append(
            f"The setting that it began with, {describe_parameters(first.parameters)}, has"
            f" {format_metric(first.loss)}."
        )
    if n_complete > 1 and not (winner is not None and is_default(sweep, winner)):
        found.append(
            f"The lowest of {n_complete} losses is also the luckiest: it is judged anew on test"
            " rows, with seeds that the search has not used."
        )
    return [*found, progress.message] if progress.message else found


def estimate_search(
    dataset: Dataset, plans: dict[str, Plan], spec: SweepSpec, history: Sequence[Run]
) -> tuple[Estimate, float]:
    """Estimate how long a search takes, and how long the runs that judge its winner, in seconds.

    Each run is taken to last as long as the mean of the strategies; pruning makes it shorter.

    Args:
        dataset: what the runs train on.
        plans: the plan of every strategy by its title, see core.runs.sweep.plan_arms.
        spec: of the search.
        history: finished runs, newest first, by which the estimate is calibrated.
    """
    search = spec.search
    assert search is not None
    plain = _without_search(spec)
    each = estimate_sweep(dataset, plans, plain, history)
    mean = each.seconds / len(spec.arms)
    judging = mean * len(spec.seeds) * 2
    seconds = mean * search.runs if search.runs else math.inf
    if search.minutes:
        seconds = min(seconds, 60 * search.minutes + mean)
    explanation = each.explanation.removesuffix(
        " A frozen prefix that runs share is computed and counted once."
    )
    return Estimate(seconds, explanation, each.prefix_seconds), judging


def judging_runs(spec: SweepSpec, scores_clicks: bool) -> int:
    """Return the largest number of runs that judge a search's winner.

    Args:
        spec: of the search.
        scores_clicks: whether the backbone can be judged as it is.
    """
    return 2 * len(spec.seeds) + scores_clicks


def search_to_json(sweep: Sweep, runs: Sequence[Run], progress: SearchProgress) -> dict[str, Any]:
    """Return a search's progress and trials, as `--json` has them."""
    search: SearchSpec = search_spec_of(sweep)
    best = progress.best
    return {
        "phase": progress.phase,
        "budget": {"runs": search.runs or None, "minutes": search.minutes or None},
        "runs": progress.runs,
        "seconds": progress.seconds,
        "runs_left": progress.runs_left,
        "seconds_left": progress.seconds_left,
        "pruned": progress.count(PRUNED),
        "failed": progress.count(FAILED),
        "best": None
        if best is None
        else {
            "trial": best.number + 1,
            **best.parameters,
            "validation_log_loss": best.loss,
            "runs": [run.id for run in best.runs],
        },
        "trials": trials_table(progress.trials),
        "sentences": search_sentences(sweep, runs, progress),
    }


def search_sentence(spec: SweepSpec) -> str:
    """Return what a search will try, in a sentence."""
    search = spec.search
    assert search is not None
    heads = {"keep": "kept", "new": "new"}
    decays = ", ".join(f"{one:g}" for one in search.weight_decays)
    return (
        f"Within {search.budget}: {len(spec.arms)}"
        f" strateg{'ies' if len(spec.arms) > 1 else 'y'}, learning rates"
        f" {search.rate_low:g} to {search.rate_high:g}, head"
        f" {' or '.join(heads[one] for one in search.heads)}, weight decay {decays}."
        f" {VALIDATION_ONLY}"
    )


def _without_search(spec: SweepSpec) -> SweepSpec:
    """Return the sweep that runs every strategy of a search once."""
    return SweepSpec(
        spec.dataset,
        spec.backbone,
        tuple(Arm(arm.strategy, arm.freeze_depth, arm.options) for arm in spec.arms),
        (0,),
        target_sizes=spec.target_sizes,
        head=spec.head,
        train=spec.train,
        keep_head=spec.keep_head,
        inputs=spec.inputs,
    )
