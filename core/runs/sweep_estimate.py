"""How long a sweep will take."""

from collections.abc import Mapping, Sequence

from core.data.datasets import Dataset, count_source_rows
from core.freezing.plan import Plan
from core.freezing.strategies import describe_strategy, has_learning_rate
from core.jobs.store import Run
from core.runs.estimate import Estimate, calibration_runs, estimate_seconds
from core.runs.sweep import SweepSpec, expand_requests
from core.training.default_settings import count_training_rows


def estimate_sweep(
    dataset: Dataset, plans: Mapping[str, Plan], spec: SweepSpec, history: Sequence[Run]
) -> Estimate:
    """Estimate how long all runs of a sweep take, one after another.

    A frozen prefix is computed once, for all target rows, and so counted once, however many runs
    share it.

    Args:
        dataset: what the runs train on.
        plans: the plan of every arm by its title, see core.runs.sweep.plan_arms.
        spec: the sweep.
        history: finished runs, newest first, by which the estimate is calibrated.
    """
    # Target sizes may train with different batch sizes, each calibrated by its own runs.
    calibrating = {
        run.id for train in spec.size_settings for run in calibration_runs(history, train)
    }
    history = [run for run in history if run.id in calibrating]
    seconds, rate_choice_seconds, n_rates = 0.0, 0.0, len(spec.learning_rates)
    estimates: dict[tuple[str, int], Estimate] = {}
    prefixes: dict[int, float] = {}
    requests = expand_requests(spec)
    for request in requests:
        title = describe_strategy(request.strategy, request.freeze_depth, request.options)
        key = (title, request.target_rows)
        if key not in estimates:
            rows = count_training_rows(
                dataset, "target", request.train.validation_share, request.target_rows
            )
            estimates[key] = estimate_seconds(
                plans[title],
                rows,
                request.train,
                history,
                request.can_batch_heads,
                count_source_rows(dataset),
            )
        estimate = estimates[key]
        run_seconds = estimate.seconds - sum(estimate.prefix_seconds.values())
        seconds += run_seconds
        if spec.choose_rate and has_learning_rate(request.strategy):
            rate_choice_seconds += run_seconds * (n_rates - 1) / n_rates
        for depth, prefix in estimate.prefix_seconds.items():
            prefixes[depth] = max(prefix, prefixes.get(depth, 0.0))
    explanation = next(iter(estimates.values())).explanation
    if len(requests) > 1:
        explanation += " A frozen prefix that runs share is computed and counted once."
    total = seconds + sum(prefixes.values())
    if rate_choice_seconds:
        explanation += (
            f" About {100 * rate_choice_seconds / total:.0f} % of it is for choosing each arm's"
            f" learning rate among {n_rates}."
        )
    if spec.halving:
        explanation += " Successive halving ends arms before their last epoch."
    return Estimate(total, explanation, prefixes, rate_choice_seconds)
