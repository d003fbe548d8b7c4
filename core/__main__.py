"""The command line: `python -m core COMMAND …`. It calls the same functions as the app.

Exit status 0; 2 on bad usage or bad input (one sentence on standard error); 1 when a run failed, or
when `verify` found other numbers.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from core.cli import commands, start_reader  # noqa: F401 - the first one begins at once
from core.cli.compare_commands import add_compare_commands
from core.cli.data_commands import add_prepare_options, add_split_options, prepare
from core.cli.help import format_command_list
from core.cli.manage_commands import add_manage_commands
from core.cli.options import local_path
from core.cli.output import CommandResult, print_error
from core.cli.show_commands import add_show_commands
from core.cli.sweep_command import sweep as run_sweep
from core.cli.targets import comma_separated
from core.files.permissions import private_files
from core.freezing.strategies import STRATEGIES
from core.jobs.requests import DEVICES, MASK_SHARE
from core.models.card import ACTIVATIONS, HEAD_OUTPUTS
from core.models.objectives import INITIALISATIONS, OBJECTIVES
from core.models.registry import ARCHITECTURES, SETTING_FIELDS
from core.program import PROGRAM, VERSION
from core.runs.halving import FACTORS
from core.runs.submit import CONTROLS
from core.training.default_settings import AUTO, PRESET_NAMES, PRESET_PURPOSES
from core.workspace import open_workspace


def _integers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a list of whole numbers such as 64,32"
        ) from None


def _floats(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a list of numbers such as 1e-3,3e-4"
        ) from None


def _architectures(text: str) -> tuple[str, ...]:
    names = comma_separated(text)
    if unknown := [name for name in names if name not in ARCHITECTURES]:
        raise argparse.ArgumentTypeError(
            f"{unknown[0]!r} is no architecture; choose from {', '.join(ARCHITECTURES)}"
        )
    return names


def _controls(text: str) -> tuple[str, ...]:
    names = comma_separated(text)
    if unknown := [name for name in names if name not in CONTROLS]:
        raise argparse.ArgumentTypeError(
            f"{unknown[0]!r} is no control; choose from {', '.join(CONTROLS)}"
        )
    return names


def _add_training_options(parser: argparse.ArgumentParser, seed: bool = True) -> None:
    purposes = "; ".join(f"{name}: {purpose}" for name, purpose in PRESET_PURPOSES.items())
    group = parser.add_argument_group(
        "training",
        "An option that is given replaces that value of the preset; without any, the preset auto"
        " chooses all of them by the number of training rows, and the command says what it chose.",
    )
    group.add_argument(
        "--preset", choices=PRESET_NAMES, default=AUTO, help=f"default auto. {purposes}"
    )
    group.add_argument("--epochs", type=int, help="at most this many (default: the preset's)")
    group.add_argument("--batch-size", type=int, help="rows per step (default: the preset's)")
    group.add_argument(
        "--lr", type=float, dest="learning_rate", help="Adam's step size (default: the preset's)"
    )
    group.add_argument(
        "--validation-share",
        type=float,
        help="re-cut training and validation rows (default: as prepared)",
    )
    group.add_argument(
        "--early-stopping",
        type=int,
        help="epochs without improvement, 0 never (default: the preset's)",
    )
    group.add_argument(
        "--plateau",
        type=int,
        help="epochs before the rate falls to a tenth, 0 never (default: the preset's)",
    )
    if seed:
        group.add_argument(
            "--seed", type=int, help="of the head, the row order and dropout (default 0)"
        )
    group.add_argument("--device", choices=DEVICES, help="default auto: a GPU when there is one")
    group.add_argument(
        "--weight-decay", type=float, help="decoupled, as in AdamW (default: the preset's)"
    )
    group.add_argument(
        "--cosine",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="the rate falls to zero along half a cosine (default: the preset's)",
    )
    group.add_argument(
        "--amp", action="store_true", default=None, help="bfloat16 autocast (default off)"
    )


def _add_dry_run_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would train and how long; queue nothing"
    )


def _add_head_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("new head")
    group.add_argument(
        "--head-hidden", type=_integers, default=(), help="hidden layers: 64,32 (default none)"
    )
    group.add_argument("--head-activation", choices=ACTIVATIONS, default="relu")
    group.add_argument("--head-output", choices=HEAD_OUTPUTS, default="logit")


def _add_architecture_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "architecture (each has some of these, with defaults of its own)"
    )
    for name, field in SETTING_FIELDS.items():
        flag = f"--{name.replace('_', '-')}"
        kinds = {type(one.defaults[name]) for one in ARCHITECTURES.values() if name in one.defaults}
        if kinds == {bool}:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=field.description)
        else:
            kind = _integers if kinds == {list} else kinds.pop()
            group.add_argument(flag, type=kind, help=field.description)


def _add_strategy_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("options of the strategies")
    for strategy, about in STRATEGIES.items():
        for name, option in about.options.items():
            flag, text = f"--{name.replace('_', '-')}", f"{option.description} ({strategy})"
            group.add_argument(
                flag, type=comma_separated if name == "stages" else type(option.default), help=text
            )


def _add_ingest_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", help="file of Criteo rows: text, Parquet or Feather; plain, packed or in an archive"
    )
    parser.add_argument(
        "--name", required=True, help="name of the sample and of the dataset prepared from it"
    )
    parser.add_argument(
        "--on-bad-rows", choices=("reject", "skip"), default="reject", help="default reject"
    )
    add_read_options(parser)
    parser.add_argument(
        "--no-prepare",
        action="store_true",
        help=(
            "only take the file in, labels of one class too; `prepare` makes a dataset of it, or of"
            " several"
        ),
    )
    add_split_options(parser)
    parser.add_argument(
        "--simulated", action="store_true", help="label the sample as simulated wherever it appears"
    )


def add_read_options(parser: argparse.ArgumentParser) -> None:
    """What a file does not show by itself."""
    read = parser.add_argument_group("how the file is read, where it does not show that by itself")
    read.add_argument("--member", default="", help="of an archive: the file that holds the rows")
    read.add_argument(
        "--columns",
        default="",
        metavar="JSON",
        help=(
            'which column is which: a JSON file, or {"label": "clicked", "I1": 2, "C26": null}'
            " itself; names of the header, positions from 1, null for a column that the file lacks"
        ),
    )
    read.add_argument(
        "--keep",
        help=(
            "columns beyond label and features to keep, for splits and slices: day,domain (default:"
            " all)"
        ),
    )


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [--workspace FOLDER] COMMAND ...",
        description="Thaw: how much should stay frozen?",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--workspace", type=Path, metavar="FOLDER", help="default: $THAW_HOME, else ./workspace"
    )
    parser.add_argument("--version", action="version", version=f"Thaw {VERSION}")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="one JSON object on standard output")
    # The list at the end of the help is in groups, which argparse's own is not.
    sub = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", prog=PROGRAM, help=argparse.SUPPRESS
    )
    about: dict[str, str] = {}

    def add(
        name: str, help_text: str, run: Callable[..., CommandResult] | None = None
    ) -> argparse.ArgumentParser:
        about[name] = help_text
        command = sub.add_parser(name, description=help_text, parents=[shared])
        command.set_defaults(run=run or getattr(commands, name.replace("-", "_")))
        return command

    app = add("app", "Open the app in the browser.")
    app.add_argument("--port", type=int, default=8501, help="default 8501")
    app.add_argument(
        "--address", default="127.0.0.1", help="what it listens on (default: this machine alone)"
    )
    app.add_argument("--no-browser", action="store_true", help="open no browser; print the address")
    simulate = add("simulate", "Write a simulated Criteo file.")
    simulate.add_argument("--rows", type=int, required=True)
    simulate.add_argument("--out", type=local_path, required=True)
    simulate.add_argument("--domain", choices=("source", "target", "both"), default="source")
    simulate.add_argument("--seed", type=int, default=0)
    _add_ingest_options(add("ingest", "Read a Criteo file and prepare a dataset from it."))
    add_prepare_options(
        add(
            "prepare",
            "Prepare a dataset from a sample, or from several, each with its role.",
            prepare,
        )
    )
    for name in ("datasets", "backbones"):
        add(name, f"List the {name} of the workspace.")

    costs = add(
        "costs", "Count the stages, parameters and operations of architectures on a dataset."
    )
    costs.add_argument("--dataset", required=True)
    costs.add_argument(
        "--architectures",
        type=_architectures,
        default=(),
        help="default: all that can be built here",
    )
    _add_architecture_options(costs)

    pretrain = add("pretrain", "Train a new backbone on a dataset's source rows.")
    pretrain.add_argument("--dataset", required=True)
    pretrain.add_argument("--architecture", choices=ARCHITECTURES, required=True)
    pretrain.add_argument("--name", required=True)
    pretrain.add_argument(
        "--start", choices=INITIALISATIONS, default="random", help="what the stages hold at first"
    )
    pretrain.add_argument(
        "--start-file", default="", help="the file of vectors or weights that the start reads"
    )
    pretrain.add_argument(
        "--objective", choices=OBJECTIVES, default="supervised", help="default supervised: clicks"
    )
    pretrain.add_argument(
        "--mask-share", type=float, default=MASK_SHARE, help="of fields (default 0.2)"
    )
    _add_dry_run_option(pretrain)
    _add_architecture_options(pretrain)
    _add_training_options(pretrain)

    finetune = add("finetune", "Adapt a backbone to a dataset's target rows.")
    finetune.add_argument("--dataset", required=True)
    finetune.add_argument("--backbone", required=True)
    choice = finetune.add_mutually_exclusive_group(required=True)
    choice.add_argument(
        "--freeze-depth", type=int, help="stages frozen from the input; 0 is full fine-tuning"
    )
    choice.add_argument("--strategy", choices=[name for name in STRATEGIES if name != "depth"])
    finetune.add_argument(
        "--target-rows", type=int, default=0, help="the last so many target rows (default 0: all)"
    )
    finetune.add_argument(
        "--controls",
        type=_controls,
        default=(),
        help=f"runs beside it to compare it with, of {', '.join(CONTROLS)}",
    )
    _add_dry_run_option(finetune)
    _add_strategy_options(finetune)
    _add_head_options(finetune)
    _add_training_options(finetune)

    sweep = add(
        "sweep",
        "Run strategies side by side over seeds, and say what the numbers allow.",
        run_sweep,
    )
    what = sweep.add_argument_group("a new sweep, or an old one")
    what.add_argument(
        "--name", required=True, help="of the sweep; one that is there is gone on with"
    )
    what.add_argument("--dataset")
    what.add_argument("--backbone")
    what.add_argument(
        "--more-seeds", type=int, default=0, help="with an old one: so many seeds more"
    )
    _add_dry_run_option(sweep)
    arms = sweep.add_argument_group("arms")
    arms.add_argument("--depths", help="freeze depths such as 0,1,2, or all")
    arms.add_argument(
        "--strategies", type=comma_separated, default=(), help=f"of {', '.join(STRATEGIES)}"
    )
    arms.add_argument(
        "--surgical",
        type=comma_separated,
        action="append",
        default=[],
        metavar="STAGES",
        help="an arm that trains these stages: embedding,cross1; may be given more than once",
    )
    arms.add_argument("--seeds", type=int, default=3, help="for every arm (default 3)")
    arms.add_argument(
        "--rates", type=_floats, default=(), help="learning rates for every arm: 1e-3,3e-4"
    )
    arms.add_argument(
        "--target-sizes", type=_integers, default=(0,), help="target rows: 1000,5000,0 (0: all)"
    )
    arms.add_argument(
        "--halving",
        type=int,
        default=0,
        choices=FACTORS,
        help=(
            "successive halving: at every rung only the best one in so many arms trains on"
            " (default: all do)"
        ),
    )
    _add_strategy_options(sweep)
    _add_head_options(sweep)
    _add_training_options(sweep, seed=False)
    where = sweep.add_argument_group("where")
    where.add_argument(
        "--arms-at-once", type=int, default=0, help="runs at a time, carried out by this command"
    )
    where.add_argument(
        "--cluster",
        default="",
        help="address of a Dask scheduler (tcp://…) or Ray cluster (ray://…)",
    )

    evaluate = add("evaluate", "Measure a run's model on its own dataset, or on another.")
    evaluate.add_argument("--run", required=True, dest="run_id")
    evaluate.add_argument("--dataset")
    interpolate = add("interpolate", "Mix a fine-tuned run with its backbone (WiSE-FT).")
    interpolate.add_argument("--run", required=True, dest="run_id")
    moved = add(
        "moved",
        "Measure how far a fine-tuned run moved from its backbone: weights, CKA, embedding"
        " vectors.",
    )
    moved.add_argument("--run", required=True, dest="run_id")
    verify = add(
        "verify",
        "Carry a run out again: exit status 0 when every metric is the same, 1 when one is not.",
    )
    verify.add_argument("--run", required=True, dest="run_id")
    score = add("score", "Score a Criteo file, labels optional, with a run's model.")
    score.add_argument("--run", required=True, dest="run_id")
    score.add_argument("--input", required=True)
    score.add_argument("--output", type=local_path, required=True)
    score.add_argument("--on-bad-rows", choices=("reject", "skip"), default="reject")
    add_read_options(score)
    export = add(
        "export",
        "Copy a run's model out: weights, ONNX, preprocessing, card, and a script that scores"
        " alone.",
    )
    export.add_argument("--run", required=True, dest="run_id")
    export.add_argument(
        "--out", type=local_path, required=True, help="a new folder, or a file that ends with .zip"
    )
    track = add(
        "export-tracking",
        "Write runs as files of MLflow or TensorBoard; neither need be installed.",
    )
    tracked = track.add_mutually_exclusive_group(required=True)
    tracked.add_argument("--run", dest="run_id")
    tracked.add_argument("--sweep", help="name or id of a sweep")
    track.add_argument("--format", choices=commands.TRACKERS, required=True)
    track.add_argument("--out", type=local_path, required=True, help="a new or empty folder")
    give = add(
        "export-backbone", "Write a backbone into one zip archive, to be imported elsewhere."
    )
    give.add_argument("--backbone", required=True)
    give.add_argument("--out", type=local_path, required=True, help="the zip file to write")
    take = add(
        "import-backbone",
        "Take a backbone in: a zip archive of export-backbone, or a folder of export.",
    )
    take.add_argument("path", type=local_path)
    take.add_argument("--name", default="", help="default: the name its card has")
    report = add(
        "report", "Write a sweep, or some runs, as one HTML file that opens without a network."
    )
    subject = report.add_mutually_exclusive_group(required=True)
    subject.add_argument("--sweep", help="name or id of a sweep")
    subject.add_argument(
        "--runs",
        type=comma_separated,
        dest="run_ids",
        help="fine-tuning runs on one dataset: r-…,r-…",
    )
    report.add_argument("--out", type=local_path, required=True)
    add_show_commands(add)
    add_compare_commands(add)
    add_manage_commands(add)
    parser.epilog = format_command_list(about)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status."""
    options = build_parser().parse_args(arguments)
    with private_files():
        return _run_command(options)


def _run_command(options: argparse.Namespace) -> int:
    try:
        result = options.run(open_workspace(options.workspace), options)
    except Exception as error:
        return print_error(error, options.workspace)
    except KeyboardInterrupt:
        print("thaw: stopped; a run that was queued goes on in its worker.", file=sys.stderr)
        return 1
    try:
        print(
            json.dumps(result.data, ensure_ascii=False) if options.json else result.text, flush=True
        )
    except BrokenPipeError:
        # Whoever read has seen enough, as `head` has. What is left must not be written once more on
        # the way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return result.status


if __name__ == "__main__":
    sys.exit(main())
