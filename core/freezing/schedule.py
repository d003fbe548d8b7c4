"""How long a plan trains: steps of an epoch, epochs of a run. Free of torch.

The one place that decides it: training, estimates, progress and pages all call it.
"""

import math

from core.freezing.plan import Plan
from core.jobs.requests import TrainSettings


def count_steps(n_rows: int, batch_size: int) -> int:
    """Return the optimiser steps of an epoch.

    A last batch of a single row is merged into the batch before it.

    >>> count_steps(101, 50), count_steps(102, 50)
    (2, 3)
    """
    full_batches, remaining_rows = divmod(n_rows, batch_size)
    return max(1, full_batches + (remaining_rows > 1))


def count_epochs(
    plan: Plan, train: TrainSettings, n_rows: int, join_epoch: int | None = None
) -> int:
    """Return the upper bound on the epochs of a run, those of a probe included.

    `TrainSettings.epochs`, or more where something new needs them for `TrainSettings.min_steps`.
    A plan that probes first has that many for the probe, and `epochs` more for the rest.

    Args:
        plan: says what is new.
        train: of the run.
        n_rows: training rows.
        join_epoch: epoch in which a probe ended; None for one that has not.
    """
    first = count_first_epochs(plan, train, n_rows)
    if not plan.probe_first:
        return first
    return (first if join_epoch is None else join_epoch) + train.epochs


def count_first_epochs(plan: Plan, train: TrainSettings, n_rows: int) -> int:
    """Return the upper bound on the epochs of the probe; without a probe, on those of the run."""
    needed = math.ceil(least_steps(plan, train) / count_steps(n_rows, train.batch_size))
    return max(train.epochs, needed)


def least_steps(plan: Plan, train: TrainSettings) -> int:
    """Return the optimiser steps before which early stopping may not end a run.

    0 where nothing is new: weights that were trained before need no least number of steps.
    """
    return train.min_steps if plan.new_head or plan.reinitialise else 0


def plan_to_show(plan: Plan, train: TrainSettings, n_rows: int) -> Plan:
    """Return the plan with what the settings decide of it.

    That is the head's own learning rate, and for a plan that probes first the latest epoch in which
    its stages join.
    """
    plan = plan.with_settings(train)
    if not plan.probe_first:
        return plan
    return plan.with_join_epoch(count_first_epochs(plan, train, n_rows))
