"""What Optuna decides in a search: the next setting to try, and whether a run ends early.

TPE: Bergstra et al., Algorithms for Hyper-Parameter Optimization, NIPS 2011. Median pruner: Golovin
et al., Google Vizier, KDD 2017. Optuna: Akiba et al., KDD 2019.

Optuna's study is kept in memory and filled from the store's runs whenever something is to be
decided. The random numbers of a suggestion depend on the search's seed and the number of the trial
alone. So the same stored runs give the same decision, in whichever process it is made.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from core.runs.search_trials import COMPLETE, FAILED, PRUNED, Parameters, Trial
from core.runs.sweep import SweepSpec

# Optuna takes half a second to import: only what decides something imports it.
if TYPE_CHECKING:
    import optuna

MIN_RANDOM_TRIALS, MAX_RANDOM_TRIALS = 4, 10
"""How many settings are drawn at random before TPE models the loss: a third of the runs, within
these bounds."""
MIN_TRIALS_TO_PRUNE = 4
"""Complete trials that there must be before a run is ended early."""
FIRST_EPOCH_TO_PRUNE = 2
"""No run is ended before it has finished that many epochs: what starts slowly, such as a new head,
would lose by its first epoch alone."""
EpochLosses = Sequence[float]
"""Lowest validation loss of a run up to the end of each epoch."""


def strategy_titles(spec: SweepSpec) -> tuple[str, ...]:
    """Return the titles of the strategies that a search chooses from."""
    return tuple(arm.title for arm in spec.arms)


def suggest(spec: SweepSpec, trials: Sequence[Trial], losses: Sequence[EpochLosses]) -> Parameters:
    """Return the setting to try next, by the tree-structured Parzen estimator.

    Args:
        spec: of the search.
        trials: all that have ended, in their order; at least one.
        losses: of the first run of each of them, which rank those that were pruned.
    """
    study = _make_study(spec, len(trials))
    for trial, curve in zip(trials, losses, strict=True):
        study.add_trial(_frozen_trial(spec, trial, curve))
    suggested = study.ask(_distributions(spec)).params
    # Three digits, so that the rate can be read and typed. The bounds of the range have fewer.
    rate = float(f"{suggested['learning_rate']:.2e}")
    return {**suggested, "learning_rate": rate}


def should_prune(losses: EpochLosses, others: Sequence[EpochLosses]) -> bool:
    """Return whether a run is worse than the median of the others after as many epochs.

    Args:
        losses: of the run, up to the epoch that has just ended.
        others: of the runs with the same seed of complete trials. One that has fewer epochs keeps
            its last loss: more epochs would not have changed the weights that it kept.
    """
    import optuna

    epoch = len(losses)
    if epoch < FIRST_EPOCH_TO_PRUNE:
        return False
    _quiet()
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(MIN_TRIALS_TO_PRUNE, 0))
    for other in others:
        if other:
            study.add_trial(
                optuna.trial.create_trial(
                    value=other[-1], intermediate_values=_by_epoch(other, epoch)
                )
            )
    trial = study.ask()
    for finished, loss in enumerate(losses, 1):
        trial.report(loss, finished)
    return bool(trial.should_prune())


def _make_study(spec: SweepSpec, number: int) -> "optuna.Study":
    import optuna

    assert spec.search is not None
    _quiet()
    seed = np.random.SeedSequence((spec.search.seed, number)).generate_state(1)[0]
    runs = spec.search.runs // spec.search.trial_seeds or 3 * MAX_RANDOM_TRIALS
    n_random = min(MAX_RANDOM_TRIALS, max(MIN_RANDOM_TRIALS, runs // 3))
    return optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=int(seed), n_startup_trials=n_random)
    )


def _frozen_trial(spec: SweepSpec, trial: Trial, curve: EpochLosses) -> "optuna.trial.FrozenTrial":
    import optuna

    states = {
        COMPLETE: optuna.trial.TrialState.COMPLETE,
        PRUNED: optuna.trial.TrialState.PRUNED,
        FAILED: optuna.trial.TrialState.FAIL,
    }
    return optuna.trial.create_trial(
        state=states[trial.state],
        params=dict(trial.parameters),
        distributions=_distributions(spec),
        value=trial.loss if trial.state == COMPLETE else None,
        intermediate_values=_by_epoch(curve, len(curve)),
    )


def _distributions(spec: SweepSpec) -> "dict[str, optuna.distributions.BaseDistribution]":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    search = spec.search
    assert search is not None
    return {
        "strategy": CategoricalDistribution(strategy_titles(spec)),
        "learning_rate": FloatDistribution(search.rate_low, search.rate_high, log=True),
        "head": CategoricalDistribution(search.heads),
        "weight_decay": CategoricalDistribution(search.weight_decays),
    }


def _by_epoch(losses: EpochLosses, epochs: int) -> dict[int, float]:
    """Return the losses by epoch (from 1), the last one again where there are fewer."""
    return {epoch: losses[min(epoch, len(losses)) - 1] for epoch in range(1, epochs + 1)}


def _quiet() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
