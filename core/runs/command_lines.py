"""The commands that ask for the same run or sweep as a request or a spec does."""

import dataclasses
import shlex
from collections.abc import Sequence
from typing import Any

from core.data.datasets import Dataset, find_dataset
from core.data.windows import first_window
from core.errors import BadInput
from core.freezing.heads import NEW_HEAD_PRESETS, default_keep_head
from core.jobs.requests import (
    MASK_SHARE,
    BlendRequest,
    FinetuneRequest,
    InterpolateRequest,
    PretrainRequest,
    Request,
    TrainSettings,
)
from core.models.backbone_store import find_backbone
from core.models.card import BackboneCard, HeadSettings
from core.models.recommended_settings import pretraining_rows, recommended_settings
from core.models.registry import ARCHITECTURES, complete_settings, settings_to_flags
from core.program import COMMAND
from core.runs.control_rows import ROWS_OPTION, control_rows_of
from core.runs.default_blend import can_blend
from core.runs.sweep import SweepSpec, depth_arms
from core.training.default_settings import (
    AS_PREPARED,
    AUTO,
    count_training_rows,
    implied_settings,
    presets_for,
    rates_to_try,
    target_rows_and_share,
)
from core.training.pretraining_defaults import recommended_statistics
from core.workspace import Workspace

_TRAIN_FLAGS = {
    "epochs": "--epochs",
    "batch_size": "--batch-size",
    "learning_rate": "--lr",
    "validation_share": "--validation-share",
    "early_stopping": "--early-stopping",
    "plateau": "--plateau",
    "weight_decay": "--weight-decay",
    "decay_scope": "--decay-scope",
    "validations_per_epoch": "--validations-per-epoch",
    "head_learning_rate": "--head-learning-rate",
    "min_steps": "--min-steps",
    "seed": "--seed",
    "device": "--device",
}


def command_line(workspace: Workspace, request: Request, pinned: bool = False) -> str:
    """Return the command that asks for the same run; settings at their preset's value are left out.

    Args:
        workspace: of the request's dataset and backbone, which the command names.
        request: what the command asks for.
        pinned: whether the command must mean the same in a later version, whose defaults may
            differ. The preset "auto" is then not used.
    """
    parts = [*COMMAND]
    if isinstance(request, InterpolateRequest):
        return shlex.join([*parts, "interpolate", "--run", request.run])
    if isinstance(request, BlendRequest):
        methods = ["--calibration", ",".join(request.calibration)] if request.calibration else []
        # Without it the command would take what the runs use when it is run.
        methods = methods or (["--no-calibration"] if pinned else [])
        return shlex.join([*parts, "blend", *request.runs, *methods])
    dataset = find_dataset(workspace, request.dataset)
    if isinstance(request, PretrainRequest):
        rows = count_training_rows(dataset, "source")
        presets = presets_for(rows, request.objective)
        parts += [
            "pretrain",
            "--dataset",
            dataset.name,
            "--architecture",
            request.architecture,
            "--name",
            request.name,
        ]
        if request.objective != "supervised":
            parts += ["--objective", request.objective]
        if request.start != "random":
            parts += ["--start", request.start]
        if request.start_file:
            parts += ["--start-file", request.start_file]
        if request.mask_share != MASK_SHARE:
            parts += ["--mask-share", str(request.mask_share)]
        usual = recommended_statistics(request.architecture, request.objective, rows)
        # Named where it is "none" by default too, so that it holds once the table has changed.
        if request.statistics != "none" or usual != "none":
            parts += ["--statistics", request.statistics]
        parts += _architecture_flags(request, pretraining_rows(dataset))
    else:
        if window := request.window:
            dataset = first_window(workspace, dataset, window.windows, window.column)
        rows, share = target_rows_and_share(dataset, request.target_rows)
        presets = presets_for(rows, validation_share=share)
        card = find_backbone(workspace, request.backbone)
        parts += ["finetune", "--dataset", dataset.name, "--backbone", card.name]
        if request.strategy == "depth":
            parts += ["--freeze-depth", str(request.freeze_depth)]
        else:
            parts += ["--strategy", request.strategy]
        for key, value in request.options.items():
            text = ",".join(value) if isinstance(value, list | tuple) else str(value)
            parts += [f"--{key.replace('_', '-')}", text]
        if pinned or request.inputs != "kept":
            parts += ["--inputs", request.inputs]
        if request.target_rows:
            parts += ["--target-rows", str(request.target_rows)]
        parts += _window_flags(request)
    if pinned:
        presets.pop(AUTO, None)
    # A single setting can always be given: by flags for all that differs from a preset.
    flags = train_flags([request.train], [presets]) or []
    if not isinstance(request, PretrainRequest):
        parts += head_flags(card, request.head, request.keep_head, flags, pinned)
    return shlex.join(parts + flags)


def _window_flags(request: FinetuneRequest) -> list[str]:
    """Return the flags that name the window of a run; none where it is on none."""
    window = request.window
    if window is None:
        return []
    parts = ["--windows", str(window.windows), "--window", str(window.number)]
    parts += ["--window-column", window.column] if window.column else []
    return [*parts, *(["--from-run", window.start_run] if window.start_run else [])]


def _architecture_flags(request: PretrainRequest, rows: int) -> list[str]:
    """Flags of the settings that differ from what is recommended or from the registry's defaults.

    The latter too, so that the command says what the network is, and builds the same one wherever
    something else is recommended.
    """
    defaults = ARCHITECTURES[request.architecture].defaults
    recommended = recommended_settings(request.architecture, rows)
    complete = complete_settings(request.architecture, request.settings)
    return settings_to_flags(
        {
            name: value
            for name, value in complete.items()
            if not value == defaults[name] == recommended[name]
        }
    )


def sweep_command_line(
    workspace: Workspace, spec: SweepSpec, name: str, pinned: bool = False
) -> str:
    """Return the command that asks for the same sweep.

    Its seeds are 0, 1, 2, …; defaults are left out.

    Args:
        workspace: of the sweep's dataset and backbone.
        spec: what the command asks for.
        name: the sweep's.
        pinned: see `command_line`.

    Raises:
        BadInput: the target sizes have settings that no single command gives them
            (core.runs.reproduce then names the runs one by one).
    """
    dataset, card = find_dataset(workspace, spec.dataset), find_backbone(workspace, spec.backbone)
    parts = [*COMMAND, "sweep" if spec.search is None else "search", "--name", name]
    parts += ["--dataset", dataset.name, "--backbone", card.name]
    depths = [arm.freeze_depth for arm in spec.arms if arm.strategy == "depth"]
    if depths:
        every = depths == [arm.freeze_depth for arm in depth_arms(card)]
        parts += ["--depths", "all" if every else ",".join(map(str, depths))]
    others = [arm for arm in spec.arms if arm.strategy not in ("depth", "surgical")]
    if others:
        named = dict.fromkeys(arm.strategy for arm in others)
        parts += ["--strategies", ",".join(named)]
    for control, rows in control_rows_of(others).items():
        parts += ["--control-rows", f"{control}={','.join(rows)}"]
    for arm in others:
        for option, value in arm.options.items():
            if option != ROWS_OPTION:
                parts += [f"--{option.replace('_', '-')}", str(value)]
    for arm in spec.arms:
        if arm.strategy == "surgical":
            parts += ["--surgical", ",".join(arm.options["stages"])]
    if len(spec.seeds) != 3:
        parts += ["--seeds", str(len(spec.seeds))]
    parts += _rate_flags(spec, pinned) if spec.search is None else _search_flags(spec)
    if spec.target_sizes != (0,):
        parts += [
            "--target-sizes" if spec.search is None else "--target-rows",
            ",".join(map(str, spec.target_sizes)),
        ]
    if spec.halving:
        parts += ["--halving", str(spec.halving)]
    if can_blend(spec.arms) and (pinned or not spec.blend):
        parts.append("--blend" if spec.blend else "--no-blend")
    if spec.windows:
        parts += ["--windows", str(spec.windows)]
    if spec.window_start != "backbone":
        parts += ["--from", spec.window_start]
    if spec.window_column:
        parts += ["--window-column", spec.window_column]
    if pinned or spec.inputs != "kept":
        parts += ["--inputs", spec.inputs]
    trained = first_window(workspace, dataset, spec.windows, spec.window_column)
    flags = sweep_train_flags(trained, spec, pinned)
    if flags is None:
        raise BadInput(
            "The target sizes of this sweep train with settings that no single command gives them."
        )
    heads = head_flags(card, spec.head, spec.keep_head, flags, pinned)
    if spec.search is not None and "--head" in heads and len(spec.search.heads) > 1:
        # Naming a head would search that one alone.
        place = heads.index("--head")
        heads = heads[:place] + heads[place + 2 :]
    elif spec.search is not None and len(spec.search.heads) == 1 and "--head" not in heads:
        heads = ["--head", spec.search.heads[0], *heads]
    return shlex.join([*parts, *heads, *flags])


def _search_flags(spec: SweepSpec) -> list[str]:
    """Return the flags of a search's budget and space; its space is always named."""
    search = spec.search
    assert search is not None
    # Neither bound names 20 runs, and minutes alone no bound on runs.
    parts = ["--runs", str(search.runs)] if search.runs else []
    parts += ["--minutes", f"{search.minutes:g}"] if search.minutes else []
    parts += ["--rates", f"{search.rate_low},{search.rate_high}"]
    parts += ["--weight-decays", ",".join(map(str, search.weight_decays))]
    parts += ["--search-seed", str(search.seed)] if search.seed else []
    parts += ["--trial-seeds", str(search.trial_seeds)] if search.trial_seeds != 1 else []
    return parts + (["--pruner", search.pruner] if search.pruner != "median" else [])


def _rate_flags(spec: SweepSpec, pinned: bool) -> list[str]:
    """Return the flags that ask for a sweep's learning rates; none for the default ones."""
    rates = ["--learning-rates", ",".join(map(str, spec.learning_rates))]
    default = rates_to_try((), spec.train.learning_rate, choose_rate=True)
    if (spec.learning_rates, spec.choose_rate) == default and not pinned:
        return []
    parts = rates if spec.learning_rates else []
    if spec.choose_rate:
        return [*parts, "--choose-rate"] if pinned else parts
    # A single rate leaves nothing to choose.
    return parts if len(spec.learning_rates) == 1 and not pinned else [*parts, "--no-choose-rate"]


def sweep_train_flags(dataset: Dataset, spec: SweepSpec, pinned: bool = False) -> list[str] | None:
    """Return the shortest flags that give every target size its settings.

    None if no single command can.

    Args:
        dataset: whose number of rows decides the preset "auto".
        spec: the sweep.
        pinned: see `command_line`; only where the sizes share their settings.
    """
    presets = []
    for size in spec.target_sizes:
        rows, share = target_rows_and_share(dataset, size)
        presets.append(presets_for(rows, validation_share=share))
    if pinned and not spec.train_by_size:
        presets = [
            {name: train for name, train in known.items() if name != AUTO} for known in presets
        ]
    return train_flags(spec.size_settings, presets)


def head_flags(
    card: BackboneCard,
    head: HeadSettings,
    keep_head: bool,
    training_flags: Sequence[str] = (),
    pinned: bool = False,
) -> list[str]:
    """Return the flags that ask for the backbone's own head or for this new one.

    There are none where the default is meant.

    Args:
        card: the backbone.
        head: the head that trains.
        keep_head: whether it is the backbone's own.
        training_flags: flags of the same command; the article's preset has another default.
        pinned: see `command_line`.
    """
    parts: list[str] = []
    if not keep_head:
        parts += ["--head-hidden", ",".join(map(str, head.hidden))] if head.hidden else []
        parts += ["--head-activation", head.activation] if head.activation != "relu" else []
        parts += ["--head-output", head.output] if head.output != "logit" else []
    article = any(preset in training_flags for preset in NEW_HEAD_PRESETS)
    default = not article and default_keep_head(card, head if parts else None)
    if pinned or keep_head != default:
        parts = ["--head", "keep" if keep_head else "new", *parts]
    return parts


def train_flags(
    settings: Sequence[TrainSettings], presets: Sequence[dict[str, TrainSettings]]
) -> list[str] | None:
    """Return the shortest flags that give these settings: a preset, and what differs from it.

    Args:
        settings: one for each of several numbers of training rows.
        presets: for each of these numbers, what every preset stands for
            (core.training.default_settings.presets_for).

    Returns:
        The flags; None where no preset with the same flags gives all settings.
    """
    # Of two equally short ways the one with a fixed preset, which says more.
    names = sorted(presets[0], key=lambda name: name == AUTO)
    found = [flags for name in names if (flags := _flags_from(name, settings, presets)) is not None]
    return min(found, key=len, default=None)


def _flags_from(
    preset: str, settings: Sequence[TrainSettings], presets: Sequence[dict[str, TrainSettings]]
) -> list[str] | None:
    """Return the flags that lead from a preset to all settings; None where they would differ."""
    given: dict[str, Any] = {}
    starts = [dataclasses.asdict(known[preset]) for known in presets]
    if any(one.epochs != start["epochs"] for one, start in zip(settings, starts, strict=True)):
        # What `replace_settings` does where the command names the epochs.
        starts = [{**start, **implied_settings({"epochs": 0})} for start in starts]
    for wanted, start in zip(settings, starts, strict=True):
        given |= {
            name: value
            for name, value in dataclasses.asdict(wanted).items()
            if value != start[name]
        }
    for wanted, start in zip(settings, starts, strict=True):
        # Not by dataclasses.replace, which would check a combination that nobody uses.
        if {**start, **given} != dataclasses.asdict(wanted):
            return None
    if given.get("head_learning_rate", 0) is None:
        # No option takes a preset's rate away.
        return None
    parts = [] if preset == AUTO else ["--preset", preset]
    for name, flag in _TRAIN_FLAGS.items():
        if name in given:
            # None is the validation share of the dataset's own split.
            parts += [flag, AS_PREPARED if given[name] is None else str(given[name])]
    for name in ("ema", "cosine", "tf32"):
        if name in given:
            parts.append(f"--{name}" if given[name] else f"--no-{name}")
    return parts + (["--amp"] if "amp" in given else [])
