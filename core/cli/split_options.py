"""The options of a split into domains and parts, and the split that they describe."""

import argparse

from core.data.split import FILE_ROLES, SAMPLE_SPLIT_METHODS, SplitSpec
from core.errors import BadInput


def add_split_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a split; `split_spec` reads them."""
    default = SplitSpec()
    group = parser.add_argument_group(
        "split into source and target domain, and into training, validation and test"
    )
    group.add_argument(
        "--split",
        choices=SAMPLE_SPLIT_METHODS,
        default="order",
        help="default: by row order",
    )
    group.add_argument(
        "--source-share", type=float, default=0.6, help="rows of the source domain (default 0.6)"
    )
    group.add_argument(
        "--column",
        default="",
        help="with --split column: the column that distinguishes the domains",
    )
    group.add_argument(
        "--target-values", type=_split_values, default=(), help="its values that mean target: a,b"
    )
    for name, rows in (
        ("target_test", "of the target rows"),
        ("target_validation", "of the rest"),
        ("source_test", "of the source rows"),
        ("source_validation", "of the rest"),
    ):
        share = getattr(default, f"{name}_share")
        flag = f"--{name.replace('_', '-')}-share"
        group.add_argument(flag, type=float, default=share, help=f"{rows} (default {share:g})")
    group.add_argument(
        "--shuffle",
        action="store_true",
        help="shuffle the rows inside each domain or file before they are split "
        "(with --split column, or several files)",
    )
    group.add_argument(
        "--split-seed", type=int, default=0, help="with --split random or --shuffle (default 0)"
    )
    parser.add_argument(
        "--min-count",
        type=int,
        default=None,
        help="rarer values share one embedding "
        "(default 10; 5 below 5,000 training rows, 2 below 2,000)",
    )


def split_spec(options: argparse.Namespace) -> SplitSpec:
    """Return the split that the options of `add_split_options` describe.

    Raises:
        BadInput: --shuffle was given for a split that does not use it.
    """
    if options.shuffle and options.split == "order" and not _has_several_files(options):
        raise BadInput(
            "--shuffle is for --split column and for several files; for rows at random use "
            "--split random."
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
        # A random split shuffles all rows anyway.
        shuffle=options.shuffle and options.split != "random",
    )


def _has_several_files(options: argparse.Namespace) -> bool:
    return any(getattr(options, role, "") for role in FILE_ROLES)


def _split_values(text: str) -> tuple[str, ...]:
    # Unlike `comma_separated` this keeps spaces, which may be part of a value.
    return tuple(part for part in text.split(",") if part)
