"""How long a sweep will take."""

from collections.abc import Mapping, Sequence

from core.data.datasets import Dataset, count_source_rows
from core.data.windows import count_window_runs
from core.freezing.plan import Plan
from core.freezing.strategies import describe_strategy, has_learning_rate
from core.jobs.requests import FinetuneRequest
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
    estimates: dict[tuple[str, int, int], Estimate] = {}
    # Windows share no rows, so each has prefixes of its own.
    prefixes: dict[tuple[int, int], float] = {}
    requests = expand_requests(spec)
    for request in requests:
        title = describe_strategy(request.strategy, request.freeze_depth, request.options)
        window = request.window.number if request.window else 0
        key = (title, request.target_rows, window)
        if key not in estimates:
            rows, other_rows = _count_rows(dataset, request)
            estimates[key] = estimate_seconds(
                plans[title], rows, request.train, history, request.can_batch_heads, other_rows
            )
        estimate = estimates[key]
        run_seconds = estimate.seconds - sum(estimate.prefix_seconds.values())
        seconds += run_seconds
        if spec.choose_rate and has_learning_rate(request.strategy):
            rate_choice_seconds += run_seconds * (n_rates - 1) / n_rates
        for depth, prefix in estimate.prefix_seconds.items():
            prefixes[depth, window] = max(prefix, prefixes.get((depth, window), 0.0))
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
    if spec.windows:
        n_runs = count_window_runs(spec.windows)
        explanation += f" Every arm trains on {n_runs} window{'s' if n_runs > 1 else ''}."
    by_depth: dict[int, float] = {}
    for (depth, _), prefix in prefixes.items():
        by_depth[depth] = by_depth.get(depth, 0.0) + prefix
    return Estimate(total, explanation, by_depth, rate_choice_seconds)


def _count_rows(dataset: Dataset, request: FinetuneRequest) -> tuple[int, int]:
    """Return (target rows that train, other rows that a control on both trains on too).

    Windows are counted as equally large ones, which those of a column need not be.
    """
    share = request.train.validation_share
    if request.window is None:
        rows = count_training_rows(dataset, "target", share, request.target_rows)
        return rows, count_source_rows(dataset)
    share = dataset.spec.target_validation_share if share is None else share
    target = sum(part.rows for part in dataset.parts if part.part.startswith("target"))
    rows = round(target / request.window.windows * (1 - share))
    return rows, count_source_rows(dataset) + rows * (request.window.number - 1)
