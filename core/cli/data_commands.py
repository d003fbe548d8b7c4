"""Commands that make datasets: options of a split, and `prepare`, which makes one from samples that
are there."""

import argparse
from pathlib import Path

from core.cli.output import CommandResult, ProgressBar, dataset_data, dataset_text
from core.data.datasets import Dataset, check_dataset_name, prepare_files
from core.data.datasets import prepare as prepare_sample
from core.data.samples import find_sample, read_samples
from core.data.split import FILE_ROLES, SplitSpec
from core.errors import BadInput, NameTaken
from core.workspace import Workspace, hash_file

_ROLE_HELP = {
    "source": "with the source rows",
    "target": "with the target rows",
    "target_validation": "the target's validation rows, if they are a file of their own",
    "target_test": "the target's test rows, if they are a file of their own",
    "source_validation": "the source's validation rows, if they are a file of their own",
    "source_test": "the source's test rows, if they are a file of their own",
}


def add_split_options(parser: argparse.ArgumentParser) -> None:
    """The options of a split; `split_spec` reads them."""
    default = SplitSpec()
    split = parser.add_argument_group(
        "split into source and target domain, and into training, validation and test"
    )
    split.add_argument(
        "--split",
        choices=("order", "column", "random"),
        default="order",
        help="default: by row order",
    )
    split.add_argument(
        "--source-share", type=float, default=0.6, help="rows of the source domain (default 0.6)"
    )
    split.add_argument(
        "--column", default="", help="with --split column: the column that tells the domains apart"
    )
    split.add_argument(
        "--target-values", type=_split_values, default=(), help="its values that mean target: a,b"
    )
    for name, of in (
        ("target_test", "of the target rows"),
        ("target_validation", "of the rest"),
        ("source_test", "of the source rows"),
        ("source_validation", "of the rest"),
    ):
        share = getattr(default, f"{name}_share")
        flag = f"--{name.replace('_', '-')}-share"
        split.add_argument(flag, type=float, default=share, help=f"{of} (default {share:g})")
    split.add_argument(
        "--shuffle",
        action="store_true",
        help=(
            "shuffle the rows inside each domain or file before they are cut (with --split column,"
            " or several files)"
        ),
    )
    split.add_argument(
        "--split-seed", type=int, default=0, help="with --split random or --shuffle (default 0)"
    )
    parser.add_argument(
        "--min-count",
        type=int,
        default=None,
        help=(
            "rarer values share one embedding (default 10; 5 below 5,000 training rows, 2 below"
            " 2,000)"
        ),
    )


def add_prepare_options(parser: argparse.ArgumentParser) -> None:
    """The options of `prepare`."""
    parser.add_argument("--name", required=True, help="name of the dataset")
    parser.add_argument("--sample", default="", help="the sample to split, by name or id")
    files = parser.add_argument_group("or several samples, each with its role")
    for role, about in _ROLE_HELP.items():
        files.add_argument(
            f"--{role.replace('_', '-')}", default="", metavar="SAMPLE", help=f"the sample {about}"
        )
    add_split_options(parser)


def prepare(workspace: Workspace, options: argparse.Namespace) -> CommandResult:
    """Prepares a dataset from one sample, or from several, each with its role."""
    files = {role: getattr(options, role) for role in FILE_ROLES if getattr(options, role)}
    if bool(options.sample) == bool(files):
        raise BadInput(
            "Name either one sample to split (--sample NAME), or the samples of each domain"
            " (--source NAME --target NAME, and --target-test NAME where the test rows are a file"
            " of their own)."
        )
    if options.sample:
        sample = find_sample(workspace, options.sample)
        with ProgressBar("Preparing") as report:
            dataset = prepare_sample(
                workspace, sample, split_spec(options), options.name, options.min_count, report
            )
        return _prepare_result(dataset)
    default = SplitSpec()
    if (options.split, options.source_share, options.column) != (
        default.method,
        default.source_share,
        default.column,
    ):
        raise BadInput(
            "With several files the files say which rows are source and which target, so --split,"
            " --source-share and --column do not apply; leave them out (--shuffle shuffles the rows"
            " inside each file)."
        )
    samples = {role: find_sample(workspace, name) for role, name in files.items()}
    with ProgressBar("Preparing") as report:
        dataset = prepare_files(
            workspace, samples, split_spec(options), options.name, options.min_count, report
        )
    return _prepare_result(dataset)


def check_new_dataset(workspace: Workspace, name: str, path: Path) -> None:
    """NameTaken, before a file is read, where a dataset of that name is made of other rows than the
    file's."""
    dataset = check_dataset_name(workspace, name.strip())
    if dataset is None:
        return
    hashes = {
        one.content_hash for one in read_samples(workspace)[0] if one.id in dataset.sample_ids
    }
    if len(dataset.sample_ids) > 1 or (hashes and path.is_file() and hash_file(path) not in hashes):
        raise NameTaken(
            f"There is already a dataset named {dataset.name!r}, with other rows; choose another"
            " name, rename or delete that one first, or take in the file alone (--no-prepare)."
        )


def split_spec(options: argparse.Namespace) -> SplitSpec:
    """The split that the options of `add_split_options` ask for."""
    if options.shuffle and options.split == "order" and not _has_several_files(options):
        raise BadInput(
            "--shuffle is for --split column and for several files; for rows at random use --split"
            " random."
        )
    return SplitSpec(
        method=options.split,
        source_share=options.source_share,
        column=options.column,
        target_values=tuple(options.target_values),
        target_test_share=options.target_test_share,
        target_validation_share=options.target_validation_share,
        source_test_share=options.source_test_share,
        source_validation_share=options.source_validation_share,
        seed=options.split_seed,
        shuffle=options.shuffle and options.split != "random",
    )


def _prepare_result(dataset: Dataset) -> CommandResult:
    """What came of it."""
    return CommandResult({"dataset": dataset_data(dataset)}, dataset_text(dataset))


def _has_several_files(options: argparse.Namespace) -> bool:
    return any(getattr(options, role, "") for role in FILE_ROLES)


def _split_values(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)
