"""From the arguments of `Workspace.pretrain`, `finetune` and `sweep` to requests of the core."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from core.data.datasets import Dataset
from core.data.paths import clean_path
from core.data.windows import first_window
from core.errors import BadInput
from core.files.typed_json import require_whole_number, to_builtin
from core.jobs.requests import FinetuneRequest, PretrainRequest, TrainSettings
from core.models.card import BackboneCard
from core.models.recommended_settings import choose_settings
from core.runs.control_rows import with_control_rows
from core.runs.default_blend import can_blend
from core.runs.search_defaults import DEFAULT_SEARCH_RUNS, make_search_spec
from core.runs.search_spec import SearchSpec
from core.runs.sweep import Arm, Sweep, SweepSpec, default_arms, depth_arms
from core.training.default_settings import (
    FINE_TUNING,
    count_training_rows,
    preset_settings,
    rates_to_try,
    replace_settings,
    settings_by_size,
    target_rows_and_share,
)
from core.training.pretraining_defaults import recommended_statistics
from core.workspace import Workspace, hash_json
from thaw.options import (
    architecture_settings,
    head_settings,
    strategy_options,
    training_settings,
)

Options = Mapping[str, Any]
"""The keyword arguments that `thaw.options` describes."""


def pretrain_request(
    dataset: Dataset,
    architecture: str,
    name: str,
    objective: str,
    start: str,
    start_file: str | Path,
    mask_share: float,
    statistics: str | None,
    preset: str,
    options: Options,
) -> PretrainRequest:
    """The request for a pretraining run; see `Workspace.pretrain`."""
    rows = count_training_rows(dataset, "source")
    return PretrainRequest(
        dataset.id,
        architecture,
        name,
        _train_settings(preset, rows, options, objective),
        choose_settings(architecture, architecture_settings(options), rows),
        objective,
        start,
        # A worker has another current folder.
        str(clean_path(str(start_file)).absolute()) if start_file else "",
        to_builtin(mask_share),
        statistics or recommended_statistics(architecture, objective, rows),
    )


def finetune_request(
    dataset: Dataset,
    card: BackboneCard,
    freeze_depth: int | None,
    strategy: str | None,
    target_rows: int,
    preset: str,
    options: Options,
) -> FinetuneRequest:
    """The request for a fine-tuning run; see `Workspace.finetune`."""
    if (freeze_depth is None) == (strategy is None):
        raise BadInput("Name either freeze_depth or strategy: freeze_depth=2, or strategy='lora'.")
    target_rows = require_whole_number(target_rows, "target rows", 0)
    rows, share = target_rows_and_share(dataset, target_rows)
    keep_head, head = head_settings(options, card, preset)
    return FinetuneRequest(
        dataset=dataset.id,
        backbone=card.id,
        strategy=strategy or "depth",
        freeze_depth=0 if freeze_depth is None else freeze_depth,
        head=head,
        train=_train_settings(preset, rows, options, validation_share=share),
        options=strategy_options(options),
        target_rows=target_rows,
        keep_head=keep_head,
        inputs=options.get("inputs") or "kept",
    )


def sweep_spec(
    workspace: Workspace,
    dataset: Dataset,
    card: BackboneCard,
    depths: Sequence[int] | Literal["all"],
    strategies: Sequence[str],
    surgical: Sequence[Sequence[str]],
    control_rows: Mapping[str, Sequence[str]] | None,
    seeds: int,
    rates: Sequence[float],
    choose_rate: bool,
    blend: bool,
    target_sizes: Sequence[int],
    halving: int,
    windows: tuple[int, str, str],
    preset: str,
    options: Options,
) -> SweepSpec:
    """What a sweep asks for; see `Workspace.sweep`."""
    arms = _named_arms(card, depths, strategies, options)
    arms += tuple(Arm("surgical", 0, {"stages": tuple(stages)}) for stages in surgical)
    rows_of = {
        control: (rows,) if isinstance(rows, str) else tuple(rows)
        for control, rows in (control_rows or {}).items()
    }
    arms = with_control_rows(arms or default_arms(card, dataset), rows_of)
    sizes = tuple(require_whole_number(size, "target size", 0) for size in target_sizes)
    if not sizes:
        raise BadInput("target_sizes is empty; it must name a number of target rows, 0 for all.")
    if options.get("seed") is not None:
        raise BadInput(
            f"A sweep gives its arms the seeds 0, 1, 2, …: with seeds={seeds} it takes {seeds} of "
            f"them, and seed={options['seed']} has no meaning; leave it out."
        )
    n_windows = require_whole_number(windows[0], "windows", 0)
    trained = first_window(workspace, dataset, n_windows, windows[2])
    by_size = settings_by_size(trained, sizes, preset, training_settings(options))
    keep_head, head = head_settings(options, card, preset)
    tried, chosen = rates_to_try(to_builtin(rates), by_size[-1].learning_rate, choose_rate)
    return SweepSpec(
        dataset=dataset.id,
        backbone=card.id,
        arms=arms,
        seeds=tuple(range(require_whole_number(seeds, "seeds", 1))),
        learning_rates=tried,
        target_sizes=sizes,
        head=head,
        train=by_size[-1],
        halving=halving,
        train_by_size=tuple(by_size) if len(set(by_size)) > 1 else (),
        keep_head=keep_head,
        inputs=options.get("inputs") or "kept",
        choose_rate=chosen,
        windows=n_windows,
        window_start=windows[1],
        window_column=windows[2],
        blend=blend and not n_windows and can_blend(arms),
    )


def search_sweep_spec(
    dataset: Dataset,
    card: BackboneCard,
    runs: int | None,
    minutes: float,
    depths: Sequence[int] | Literal["all"],
    strategies: Sequence[str],
    rates: Sequence[float],
    weight_decays: Sequence[float] | None,
    seeds: int,
    trial_seeds: int,
    search_seed: int,
    pruner: str,
    target_rows: int,
    preset: str,
    options: Options,
) -> SweepSpec:
    """What a search within a budget asks for; see `Workspace.search`."""
    arms = _named_arms(card, depths, strategies, options)
    target_rows = require_whole_number(target_rows, "target rows", 0)
    rows, share = target_rows_and_share(dataset, target_rows)
    keep_head, head = head_settings(options, card, preset)
    if runs is None:
        runs = 0 if minutes else DEFAULT_SEARCH_RUNS
    return make_search_spec(
        dataset,
        card,
        SearchSpec(
            runs=runs,
            minutes=to_builtin(minutes),
            seed=search_seed,
            trial_seeds=trial_seeds,
            pruner=pruner,
        ),
        _train_settings(preset, rows, options, validation_share=share),
        head,
        keep_head,
        arms,
        to_builtin(rates),
        None if weight_decays is None else to_builtin(weight_decays),
        options.get("head"),
        require_whole_number(seeds, "seeds", 1),
        target_rows,
        options.get("inputs") or "kept",
    )


def _named_arms(
    card: BackboneCard,
    depths: Sequence[int] | Literal["all"],
    strategies: Sequence[str],
    options: Options,
) -> tuple[Arm, ...]:
    """The arms of freeze depths and of strategies by name."""
    if isinstance(depths, str):
        of_depths = depth_arms(card)
    else:
        of_depths = tuple(Arm("depth", depth) for depth in depths)
    return of_depths + tuple(Arm(one, 0, strategy_options(options, one)) for one in strategies)


def same_spec(one: SweepSpec, other: SweepSpec) -> bool:
    """Whether two sweeps ask for the same; lists and tuples are alike, as in the store.

    A search that has stopped asks for the same as one that has not.
    """

    def asked(spec: SweepSpec) -> str:
        if spec.search is not None:
            spec = dataclasses.replace(spec, search=dataclasses.replace(spec.search, stopped=""))
        return hash_json(dataclasses.asdict(spec))

    return asked(one) == asked(other)


def free_sweep_name(sweeps: Sequence[Sweep], first: str) -> str:
    """`first`, shortened to what a name may have, or it with the lowest number that is free."""
    taken, name, number = {sweep.name for sweep in sweeps}, first[:56], 1
    while (found := name if number == 1 else f"{name} {number}") in taken:
        number += 1
    return found


def _train_settings(
    preset: str,
    training_rows: int,
    options: Options,
    objective: str = FINE_TUNING,
    validation_share: float | None = None,
) -> TrainSettings:
    settings = preset_settings(preset, training_rows, objective, validation_share)
    return replace_settings(settings, training_settings(options))
