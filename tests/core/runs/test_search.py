"""A search within a budget: what it chooses, its budget, and that it goes on where it was."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import optuna
import pytest

from core.data.datasets import Dataset
from core.errors import BadInput, RunError
from core.jobs.reporter import Reporter
from core.jobs.requests import TrainSettings, request_from_json, request_to_json
from core.jobs.run_result import RunResult
from core.jobs.store import Run, RunStore
from core.runs import search as searches
from core.runs.arm_verdicts import judge_arms
from core.runs.dispatch import execute
from core.runs.search import (
    SearchProgress,
    cancel_search,
    resume_search,
    search_progress,
    submit_search,
    winner_request,
)
from core.runs.search_sampler import should_prune, suggest
from core.runs.search_spec import SearchSpec, default_rates
from core.runs.search_trials import COMPLETE, FAILED, PRUNED, collect_trials, epoch_losses
from core.runs.sweep import Arm, Sweep, SweepSpec, extend_sweep, find_sweep
from core.runs.sweep_result import default_reference, summarise_arms
from core.runs.worker import run_worker
from core.workspace import Workspace
from tests.core.training.helpers import pretrained

TRAIN = TrainSettings(
    epochs=3, batch_size=256, learning_rate=3e-3, early_stopping=0, plateau=0, device="cpu"
)
ARMS = (Arm("depth", 0), Arm("depth", 2), Arm("bitfit"))
SEARCH = SearchSpec(runs=7, rate_low=3e-4, rate_high=3e-2, weight_decays=(0.0, 1e-2))


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker of its own: the tests run the queue."""
    monkeypatch.setattr(searches, "ensure_worker", lambda workspace, queue: None)


def submitted(
    tiny: tuple[Workspace, Dataset], name: str, search: SearchSpec = SEARCH, **spec: object
) -> Sweep:
    workspace, dataset = tiny
    card = next(iter(workspace.backbones.glob("b-*")), None)
    backbone = card.name if card else pretrained(workspace, "dnn").id
    wanted = SweepSpec(
        dataset.id, backbone, ARMS, (0, 1), train=TRAIN, keep_head=True, search=search
    )
    return submit_search(workspace, dataclasses.replace(wanted, **spec), name)  # type: ignore[arg-type]


def work(workspace: Workspace, run: Callable[..., RunResult] = execute) -> None:
    run_worker(workspace, "cpu", run, idle_timeout=0.2)


def runs_of(workspace: Workspace, sweep: Sweep) -> list[Run]:
    return RunStore(workspace).list_group(sweep.id)


def progress_of(workspace: Workspace, sweep: Sweep) -> SearchProgress:
    return search_progress(workspace, find_sweep(workspace, sweep.id), runs_of(workspace, sweep))


def tried(runs: list[Run]) -> list[dict[str, str | float]]:
    return [dict(trial.parameters) for trial in collect_trials(runs, 1)]


def losses(workspace: Workspace, run: Run) -> np.ndarray:
    return RunStore(workspace).points(run.id, "validation_loss")["validation_loss"][1]


def test_the_winner_has_the_lowest_validation_loss_and_test_rows_judge_it_alone(
    tiny: tuple[Workspace, Dataset],
) -> None:
    workspace, _ = tiny
    sweep = submitted(tiny, "search")
    work(workspace)
    runs = runs_of(workspace, sweep)
    trials = [run for run in runs if run.is_trial]
    assert [run.finetune_request.trial for run in trials] == [*range(7)]
    # The first trial is full fine-tuning at the settings of the sweep.
    first = trials[0].finetune_request
    assert (first.freeze_depth, first.train.learning_rate, first.keep_head) == (0, 3e-3, True)
    # Its loss is the lowest of the stored points, which know nothing of trials.
    whole = [run for run in trials if not run.halted]
    lowest = min(whole, key=lambda run: losses(workspace, run).min())
    winner = winner_request(sweep, runs)
    assert winner is not None
    assert dataclasses.replace(
        winner, arm_name="", trial=0, train=dataclasses.replace(winner.train, seed=0)
    ) == dataclasses.replace(
        lowest.finetune_request,
        arm_name="",
        trial=0,
        group=winner.group,
        train=dataclasses.replace(lowest.request.train, seed=0),
    )
    judged = [run for run in runs if not run.is_trial]
    results = summarise_arms(sweep, runs)
    assert {run.id for one in results for run in one.runs} == {run.id for run in judged}
    # New seeds: none of the runs that were chosen from is judged.
    assert not {run.seed for run in judged} & {run.seed for run in trials}
    assert all(run.status == "done" for run in judged)
    verdicts, sentences = judge_arms(workspace, results, default_reference(results))
    assert default_reference(results) == "freeze depth 0"
    assert len(verdicts) >= len(results) - 1
    assert sentences
    assert search_progress(workspace, sweep, runs).phase == "done"
    # More seeds are more runs of the same arms.
    wider = extend_sweep(workspace, sweep, 1)
    new = [run for run in runs_of(workspace, wider) if run.status == "queued"]
    assert {run.seed for run in new} == {2}
    assert len(new) == len([one for one in results if one.strategy != "zero-shot"])


class Killed(BaseException):
    """Ends the process of a worker within a run, as a signal would."""


def test_a_search_whose_worker_was_killed_goes_on_to_the_same_runs(
    tiny: tuple[Workspace, Dataset],
) -> None:
    workspace, _ = tiny
    whole, broken = submitted(tiny, "whole"), submitted(tiny, "broken")

    def dies(workspace: Workspace, run: Run, reporter: Reporter) -> RunResult:
        if run.group == broken.id and run.finetune_request.trial == 4:
            raise Killed
        return execute(workspace, run, reporter)

    with pytest.raises(Killed):
        work(workspace, dies)
    work(workspace)
    left = runs_of(workspace, broken)
    assert [run.status for run in left] == ["done"] * 4 + ["interrupted"]
    assert search_progress(workspace, broken, left).phase == "stopped"
    resume_search(workspace, broken)
    work(workspace)
    ends = [runs_of(workspace, one) for one in (whole, broken)]
    assert tried(ends[0]) == tried(ends[1])
    assert len(tried(ends[0])) == 7
    assert [run.halted for run in ends[0]] == [run.halted for run in ends[1]]
    assert [losses(workspace, run).min() for run in ends[0] if run.strategy != "zero-shot"] == [
        losses(workspace, run).min() for run in ends[1] if run.strategy != "zero-shot"
    ]


def test_suggestions_are_those_of_one_study_with_the_same_trials(
    tiny: tuple[Workspace, Dataset],
) -> None:
    """Each suggestion again by a study that is told the losses by hand."""
    workspace, _ = tiny
    sweep = submitted(tiny, "search", dataclasses.replace(SEARCH, pruner="none"), seeds=(0,))
    work(workspace)
    space: dict[str, optuna.distributions.BaseDistribution] = {
        "strategy": optuna.distributions.CategoricalDistribution(
            ("freeze depth 0", "freeze depth 2", "bitfit")
        ),
        "learning_rate": optuna.distributions.FloatDistribution(3e-4, 3e-2, log=True),
        "head": optuna.distributions.CategoricalDistribution(("keep", "new")),
        "weight_decay": optuna.distributions.CategoricalDistribution((0.0, 1e-2)),
    }
    runs = [run for run in runs_of(workspace, sweep) if run.is_trial]
    space["strategy"] = optuna.distributions.CategoricalDistribution(
        tuple(arm.title for arm in ARMS)
    )
    for number in range(1, 7):
        seed = int(np.random.SeedSequence((0, number)).generate_state(1)[0])
        study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=4)
        )
        for run, parameters in zip(runs[:number], tried(runs), strict=False):
            study.add_trial(
                optuna.trial.create_trial(
                    params=parameters,
                    distributions=space,
                    value=run.result.metrics["target_validation"]["log_loss"],  # type: ignore[union-attr]
                )
            )
        wanted = study.ask(space).params
        wanted["learning_rate"] = float(f"{wanted['learning_rate']:.2e}")
        assert tried(runs)[number] == wanted


def test_a_run_is_ended_as_the_median_of_the_others_says(tiny: tuple[Workspace, Dataset]) -> None:
    """Every decision of the search again, from the stored curves and NumPy's median."""
    workspace, _ = tiny
    sweep = submitted(tiny, "search", dataclasses.replace(SEARCH, runs=12), seeds=(0,))
    work(workspace)
    runs = [run for run in runs_of(workspace, sweep) if run.is_trial]
    n_pruned = 0
    for number, run in enumerate(runs):
        # Three epochs: the start, then one validation each.
        own = np.minimum.accumulate(losses(workspace, run))[1:]
        before = [one for one in runs[:number] if not one.halted]
        others = [np.minimum.accumulate(losses(workspace, one))[1:] for one in before]
        ended = len(others) >= 4 and own[1] > np.median([one[1] for one in others])
        assert run.halted == (2 if ended else 0)
        assert run.status == "done"
        n_pruned += ended
    assert 0 < n_pruned < 8
    progress = search_progress(workspace, sweep, runs_of(workspace, sweep))
    assert progress.count(PRUNED) == n_pruned
    pruned = next(trial for trial in progress.trials if trial.state == PRUNED)
    assert pruned.message == "ended early by the search after epoch 2"


@pytest.mark.parametrize(("epochs", "worse"), [(1, 1.0), (2, 1.0), (2, -1.0), (3, 1e-9)])
def test_pruning_is_that_of_optunas_pruner_fed_by_hand(epochs: int, worse: float) -> None:
    generator = np.random.default_rng(epochs)
    others = [np.minimum.accumulate(generator.uniform(0.4, 0.6, 3)) for _ in range(6)]
    own = np.median(others, axis=0)[:epochs] + worse
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(4, 2))
    for other in others:
        trial = study.ask()
        for epoch, loss in enumerate(other, 1):
            trial.report(loss, epoch)
        study.tell(trial, other[-1])
    trial = study.ask()
    for epoch, loss in enumerate(own, 1):
        trial.report(loss, epoch)
    assert should_prune(own.tolist(), [one.tolist() for one in others]) == trial.should_prune()
    assert trial.should_prune() == (epochs > 1 and worse > 0)


def test_a_run_that_had_fewer_epochs_counts_with_its_last_loss() -> None:
    short, long = [[0.5, 0.45]] * 3, [[0.5, 0.48, 0.47]] * 1
    assert should_prune([0.5, 0.5, 0.46], [*short, *long])
    assert not should_prune([0.5, 0.5, 0.44], [*short, *long])


def test_minutes_are_held_to_one_run(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, _ = tiny
    monkeypatch.setattr(searches, "spent_seconds", lambda workspace, runs: 25.0 * len(runs))
    sweep = submitted(tiny, "search", dataclasses.replace(SEARCH, runs=0, minutes=1.0), seeds=(0,))
    work(workspace)
    # After two runs 50 of 60 seconds are spent, so that a third may begin and no fourth.
    assert len(tried(runs_of(workspace, sweep))) == 3


def test_a_failed_run_counts_and_the_search_goes_on(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, _ = tiny
    sweep = submitted(tiny, "search", dataclasses.replace(SEARCH, runs=5), seeds=(0,))

    def fails(workspace: Workspace, run: Run, reporter: Reporter) -> RunResult:
        if run.finetune_request.trial == 2:
            raise RunError("The loss is not finite.")
        return execute(workspace, run, reporter)

    work(workspace, fails)
    progress = search_progress(workspace, sweep, runs_of(workspace, sweep))
    states = [trial.state for trial in progress.trials]
    assert states[2] == FAILED and states.count(FAILED) == 1 and len(states) == 5
    assert progress.phase == "done"
    assert progress.best is not None and progress.best.number != 2


def test_a_search_stops_where_every_run_fails_and_can_be_resumed(
    tiny: tuple[Workspace, Dataset],
) -> None:
    workspace, _ = tiny
    sweep = submitted(tiny, "search", dataclasses.replace(SEARCH, runs=5), seeds=(0,))

    def fails(workspace: Workspace, run: Run, reporter: Reporter) -> RunResult:
        raise RunError("The disk is full.")

    work(workspace, fails)
    progress = search_progress(
        workspace, find_sweep(workspace, sweep.id), runs_of(workspace, sweep)
    )
    assert (progress.phase, progress.runs) == ("stopped", 3)
    assert "The last 3 runs failed (The disk is full)" in progress.message
    resume_search(workspace, sweep)
    work(workspace)
    progress = search_progress(
        workspace, find_sweep(workspace, sweep.id), runs_of(workspace, sweep)
    )
    assert (progress.phase, progress.runs, progress.count(FAILED)) == ("done", 5, 0)


def test_a_cancelled_search_queues_nothing_more(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, _ = tiny
    sweep = submitted(tiny, "search", dataclasses.replace(SEARCH, runs=4), seeds=(0,))

    def cancelled(workspace: Workspace, run: Run, reporter: Reporter) -> RunResult:
        if run.finetune_request.trial == 1 and not run.message:
            cancel_search(workspace, sweep)
        return execute(workspace, run, reporter)

    work(workspace, cancelled)
    sweep = find_sweep(workspace, sweep.id)
    runs = runs_of(workspace, sweep)
    assert len(runs) == 2 and search_progress(workspace, sweep, runs).phase == "stopped"
    resume_search(workspace, sweep)
    work(workspace)
    progress = search_progress(
        workspace, find_sweep(workspace, sweep.id), runs_of(workspace, sweep)
    )
    assert (progress.phase, progress.runs) == ("done", 4)


def test_several_seeds_try_a_setting_and_their_mean_counts(
    tiny: tuple[Workspace, Dataset],
) -> None:
    workspace, _ = tiny
    spec = dataclasses.replace(SEARCH, runs=5, trial_seeds=2, pruner="none")
    sweep = submitted(tiny, "search", spec, seeds=(0,))
    work(workspace)
    runs = runs_of(workspace, sweep)
    # The fifth run is not begun: a setting takes two.
    assert sum(run.is_trial for run in runs) == 4
    trials = collect_trials(runs, 2)
    assert [len(trial.runs) for trial in trials] == [2, 2]
    for trial in trials:
        assert trial.state == COMPLETE
        assert len({run.seed for run in trial.runs}) == 2
        lowest = [losses(workspace, run).min() for run in trial.runs]
        assert trial.loss == pytest.approx(np.mean(lowest), rel=1e-5)


def test_losses_by_epoch_are_the_lowest_so_far(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, _ = tiny
    train = dataclasses.replace(TRAIN, validations_per_epoch=2, epochs=2)
    spec = dataclasses.replace(SEARCH, runs=1)
    sweep = submitted(tiny, "search", spec, seeds=(0,), train=train)
    work(workspace)
    run = runs_of(workspace, sweep)[0]
    found = losses(workspace, run)
    assert len(found) == 5
    assert epoch_losses(workspace, run) == (found[:3].min(), found[:5].min())


def test_what_a_search_does_not_take(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, _ = tiny
    with pytest.raises(BadInput, match="'zero-shot' is a control"):
        submitted(tiny, "search", arms=(Arm("depth", 0), Arm("zero-shot")))
    with pytest.raises(BadInput, match="one number of target rows"):
        submitted(tiny, "search", target_sizes=(100, 200))
    with pytest.raises(BadInput, match="runs: 0; it must be 1 or more"):
        SearchSpec(runs=0)
    with pytest.raises(BadInput, match="learning rates"):
        SearchSpec(rate_low=1e-2, rate_high=1e-3)
    assert not RunStore(workspace).sweeps()
    assert default_rates(0.2) == (0.02, 1.0)


def test_a_stored_search_is_the_same(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, _ = tiny
    sweep = submitted(tiny, "search")
    assert find_sweep(workspace, sweep.id).spec == sweep.spec
    request = runs_of(workspace, sweep)[0].request
    assert request_from_json(request_to_json(request)) == request
    # A request of an older version has no trial.
    stored = request_to_json(request)
    del stored["trial"], stored["arm_name"]
    assert getattr(request_from_json(stored), "trial", 0) is None
    assert not math.isnan(sum(suggest(sweep.spec, [], [])[key] for key in ("learning_rate",)))  # type: ignore[misc]
