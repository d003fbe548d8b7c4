"""Recommendations on the command line: the options of both margins, the lines, and the JSON."""

import argparse
from collections.abc import Sequence
from typing import Any

from core.evaluation.non_inferiority import Margins
from core.evaluation.recommendation import Recommendation
from core.evaluation.recommendation_words import headline, notes
from core.program import PROGRAM
from core.runs.arm_recommendation import recommendation_data
from core.runs.sweep import Sweep


def add_margin_options(command: argparse.ArgumentParser) -> None:
    """Add --margin-auc and --margin-log-loss."""
    default = Margins()
    group = command.add_argument_group("the recommendation")
    group.add_argument(
        "--margin-auc",
        type=float,
        default=default.auc,
        help="an arm that loses less AUC than this is good enough (default %(default)s)",
    )
    group.add_argument(
        "--margin-log-loss",
        type=float,
        default=default.log_loss_percent,
        metavar="PERCENT",
        help="the same of log loss, in percent of the log loss of the arm it is compared with"
        " (default %(default)s); both must hold",
    )


def margins_of(options: argparse.Namespace) -> Margins:
    """Return the margins that the options give; BadInput where they make no sense."""
    return Margins(options.margin_auc, options.margin_log_loss)


def recommendation_lines(found: Sequence[Recommendation], sweep: Sweep | None = None) -> list[str]:
    """Return the recommendations as lines, and the command that adds the seeds that settle them.

    Args:
        found: one for each setting.
        sweep: whose arms they are; None where runs were named one by one.
    """
    lines = []
    for one in found:
        setting = f" ({one.setting})" if len(found) > 1 else ""
        lines.append(f"Recommendation{setting}: {headline(one)}")
        lines += [f"  {note}" for note in notes(one)]
    seeds = max((one.power.more_seeds or 0 for one in found if one.power), default=0)
    if sweep and seeds:
        words = f"{seeds} seed{'s' * (seeds != 1)}"
        lines.append(f"  To add {words}: {PROGRAM} sweep --name {sweep.id} --more-seeds {seeds}")
    return lines


def recommendations_data(found: Sequence[Recommendation]) -> list[dict[str, Any]]:
    """Return the recommendations as JSON-ready data."""
    return [recommendation_data(one) for one in found]
