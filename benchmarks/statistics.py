"""Size, coverage and power of every interval and p-value that Thaw states, by simulation.

    python -m benchmarks.statistics                          # prints the tables
    python -m benchmarks.statistics --page docs/validation.md    # and puts them into that page
    python -m benchmarks.statistics --quick                  # a tenth of the simulations

Takes about five minutes on one core.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from benchmarks.page_section import put_section
from benchmarks.statistics_worlds import (
    ALIKE,
    INTERACTION,
    ROWS,
    SEEDS,
    WORLDS,
    World,
    draw_rows,
    for_one_seed,
    true_metrics,
    with_gain,
)
from core.evaluation.choice_error import paired_loss
from core.evaluation.decision_cost import DecisionCosts
from core.evaluation.metric_functions import calibration_error_per_row, log_loss_per_row
from core.evaluation.paired_comparison import (
    MeanEstimate,
    PairedDifference,
    compare_auc,
    compare_log_loss,
    compare_row_means,
    mean_auc,
    mean_over_rows,
    placement_values_by_seed,
)
from core.evaluation.roc_auc import auc_interval, auc_variance
from core.evaluation.significance import SIGNIFICANCE_LEVEL
from core.evaluation.slices import Slice, slice_differences
from core.evaluation.verdicts import ArmScores, compare_arms

HEADING = "Size, coverage and power"
COSTS, THRESHOLD = DecisionCosts(1, 4), 0.2
N_ROWS = 1_000
NOTE = (
    "With several seeds a test may claim less than its level, as a few seeds say little about "
    "how much they differ; a sweep pools what they say, two arms alone do not. Below 200 rows "
    "the intervals of AUC, log loss and cost are a little too narrow (91 to 92 %), and the "
    "calibration error is compared cautiously where the seeds of an arm share their noise. "
    "Non-inferiority is claimed too often (7 to 9 %) where seeds dominate and the worse arm's "
    "seeds are skewed: a few bad ones that five seeds need not show."
)
"""What the table shows beside its numbers; to be checked when it is made anew."""
GAIN = 0.3
"""By which an arm's slope is better where power is measured."""


@dataclass(frozen=True)
class Line:
    """A row of the table; shares from 0 to 1, None where there is none.

    Attributes:
        what: the interval or p-value.
        case: rows, seeds and noise.
        size: share of simulations without a difference in which one is claimed.
        coverage: share of simulations whose interval holds the truth.
        power: share of simulations with a difference in which it is found.
    """

    what: str
    case: str
    size: float | None = None
    coverage: float | None = None
    power: float | None = None

    @property
    def cells(self) -> str:
        """The row in Markdown."""
        shares = (
            "" if share is None else f"{100 * share:.1f}"
            for share in (self.size, self.coverage, self.power)
        )
        return f"| {self.what} | {self.case} | {' | '.join(shares)} |"


def share(holds: Sequence[bool]) -> float:
    """Return how many of `holds` are true, as a share."""
    return float(np.mean(holds))


def covers(found: MeanEstimate | PairedDifference, truth: float) -> bool:
    """Whether the interval holds the truth."""
    return found.low <= truth <= found.high


def single_arm_lines(simulations: int) -> list[Line]:
    """The intervals of one arm: AUC of a run, and means over seeds of slices and of costs."""
    lines = []
    for rows in (50, 200, 1_000, 10_000):
        generator = np.random.default_rng(rows)
        world = for_one_seed(ROWS)
        truth = true_metrics(world)[0]
        held = []
        for _ in range(simulations if rows < 10_000 else simulations // 2):
            views, labels = draw_rows(generator, rows)
            scores = world.scores(generator, views, 1)[0]
            low, high = auc_interval(*auc_variance(labels, scores))
            held.append(low <= truth <= high)
        lines.append(Line("AUC of a run (DeLong)", f"{rows:,} rows", coverage=share(held)))
    for rows, seeds, world in ((30, 1, ROWS), (200, 1, ROWS), (1_000, 3, ALIKE), (1_000, 3, SEEDS)):
        lines += mean_lines(world, rows, seeds, simulations)
    return lines


def mean_lines(world: World, rows: int, seeds: int, simulations: int) -> list[Line]:
    """The intervals of means over the seeds of one arm."""
    generator = np.random.default_rng([rows, seeds])
    drawn = world if seeds > 1 else for_one_seed(world)
    true_auc, true_loss = true_metrics(drawn)
    views, labels = draw_rows(generator, 400_000)
    true_cost = np.mean(
        [
            COSTS.per_row(labels, drawn.scores(generator, views, 1)[0], THRESHOLD).mean()
            for _ in range(40 if drawn.slope else 2)
        ]
    )
    held: list[tuple[bool, bool, bool]] = []
    for _ in range(simulations):
        views, labels = draw_rows(generator, rows)
        scores = drawn.scores(generator, views, seeds)
        costs = np.stack([COSTS.per_row(labels, one, THRESHOLD) for one in scores])
        held.append(
            (
                covers(mean_auc(placement_values_by_seed(labels, scores)), true_auc),
                covers(mean_over_rows(log_loss_per_row(labels, scores)), true_loss),
                covers(mean_over_rows(costs), float(true_cost)),
            )
        )
    case = describe_case(rows, seeds, world.name if seeds > 1 else "")
    names = ("mean AUC (slices)", "mean log loss (slices)", "cost per row of decisions")
    return [
        Line(name, case, coverage=share(one))
        for name, one in zip(names, zip(*held, strict=True), strict=True)
    ]


def describe_case(rows: int, seeds: int, noise: str) -> str:
    """Return rows, seeds and noise in words."""
    counted = f"{rows:,} rows, {seeds} seed{'s' if seeds > 1 else ''}"
    return f"{counted}, {noise}" if noise else counted


Comparison = Callable[[np.ndarray, np.ndarray, np.ndarray], PairedDifference]


def compare_ece(labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> PairedDifference:
    """Compare calibration errors as verdicts do."""
    return compare_row_means(
        [calibration_error_per_row(labels, one) for one in a],
        [calibration_error_per_row(labels, one) for one in b],
    )


COMPARISONS: dict[str, Comparison] = {
    "Δ AUC": compare_auc,
    "Δ log loss": compare_log_loss,
    "Δ ECE": compare_ece,
}


def paired_lines(simulations: int, one_sided: bool) -> list[Line]:
    """Paired differences of two arms, or non-inferiority by their one-sided bounds."""
    by_metric: dict[str, list[Line]] = {name: [] for name in COMPARISONS}
    for world in WORLDS:
        for seeds in (1, 2, 3, 5) if not one_sided else (1, 3, 5):
            drawn = world if seeds > 1 else for_one_seed(world)
            if seeds == 1 and world is not ROWS:
                continue
            build = non_inferiority if one_sided else difference_lines
            for name, line in build(drawn, seeds, simulations).items():
                by_metric[name].append(line)
    return [line for lines in by_metric.values() for line in lines]


def compare_simulated(
    a: World, b: World, seeds: int, simulations: int, key: int
) -> dict[str, list[PairedDifference]]:
    """Return the differences of arms drawn from two worlds, by metric."""
    generator = np.random.default_rng([seeds, key])
    found: dict[str, list[PairedDifference]] = {name: [] for name in COMPARISONS}
    for _ in range(simulations):
        views, labels = draw_rows(generator, N_ROWS)
        pair = (labels, a.scores(generator, views, seeds), b.scores(generator, views, seeds))
        for name, compare in COMPARISONS.items():
            found[name].append(compare(*pair))
    return found


def difference_lines(world: World, seeds: int, simulations: int) -> dict[str, Line]:
    """Size without a difference; coverage and power with one."""
    null = compare_simulated(world, world, seeds, simulations, 0)
    better = with_gain(world, GAIN)
    found = compare_simulated(better, world, seeds, simulations // 2, 1)
    truths = np.subtract(true_metrics(better), true_metrics(world))
    case = describe_case(N_ROWS, seeds, world.name)
    lines = {}
    for name in COMPARISONS:
        rejected = share([one.p < SIGNIFICANCE_LEVEL for one in null[name]])
        if name == "Δ ECE":
            lines[name] = Line(f"{name}, paired", case, size=rejected)
            continue
        truth = truths[0] if name == "Δ AUC" else truths[1]
        # A find in the wrong direction is none.
        right = [
            one.p < SIGNIFICANCE_LEVEL and (one.delta > 0) == (truth > 0) for one in found[name]
        ]
        held = share([covers(one, truth) for one in found[name]])
        lines[name] = Line(f"{name}, paired", case, rejected, held, share(right))
    return lines


def non_inferiority(world: World, seeds: int, simulations: int) -> dict[str, Line]:
    """One-sided 95 % bounds: size where an arm is worse by exactly the margin, power without loss.

    The margin is what a slope worse by GAIN costs.
    """
    worse = with_gain(world, -GAIN)
    costs = np.subtract(true_metrics(worse), true_metrics(world))
    at_margin = compare_simulated(worse, world, seeds, simulations, 2)
    equal = compare_simulated(world, world, seeds, simulations // 2, 3)
    case = describe_case(N_ROWS, seeds, world.name)
    lines = {}
    for name, margin, sign in (("Δ AUC", -costs[0], 1), ("Δ log loss", costs[1], -1)):
        claimed = [
            share([is_non_inferior(one, float(margin), sign) for one in found[name]])
            for found in (at_margin, equal)
        ]
        title = f"non-inferiority in {name[2:]}"
        lines[name] = Line(title, case, size=claimed[0], power=claimed[1])
    return lines


def is_non_inferior(found: PairedDifference, margin: float, sign: int) -> bool:
    """Whether the one-sided 95 % bound excludes a loss of the margin."""
    half = float(student.ppf(0.95, found.degrees_of_freedom)) * found.standard_error
    return bool(sign * found.delta - half > -margin)


def family_lines(simulations: int) -> list[Line]:
    """Chance of any false verdict of a sweep of nine arms, and of any false slice (Holm)."""
    lines = []
    for world in (ROWS, SEEDS, INTERACTION):
        generator = np.random.default_rng(7)
        any_false: list[tuple[bool, bool, bool]] = []
        for _ in range(simulations // 4):
            views, labels = draw_rows(generator, N_ROWS)
            arms = [
                ArmScores(
                    f"arm {place}",
                    float(generator.random()),
                    world.scores(generator, views, 3),
                    (0, 1, 2),
                )
                for place in range(9)
            ]
            verdicts = compare_arms(labels, {"": arms}, "arm 0")
            auc = any(one.auc_p < SIGNIFICANCE_LEVEL for one in verdicts)
            loss = any(one.log_loss_p < SIGNIFICANCE_LEVEL for one in verdicts)
            any_false.append((auc, loss, auc or loss))
        case = describe_case(N_ROWS, 3, world.name)
        for name, one in zip(
            ("AUC", "log loss", "either"), zip(*any_false, strict=True), strict=True
        ):
            lines.append(
                Line(
                    f"any false verdict of a sweep of 9 arms (Holm), {name}", case, size=share(one)
                )
            )
    lines += [sweep_power(world, simulations // 8) for world in (ROWS, SEEDS, INTERACTION)]
    return [*lines, *slice_lines(simulations // 4)]


def sweep_power(world: World, simulations: int) -> Line:
    """How often a better reference is told from each of eight arms, by adjusted p of the AUC."""
    generator = np.random.default_rng(17)
    found = []
    for _ in range(simulations):
        views, labels = draw_rows(generator, N_ROWS)
        arms = [
            ArmScores(
                f"arm {place}",
                float(place),
                (world if place else with_gain(world, 2 * GAIN)).scores(generator, views, 3),
                (0, 1, 2),
            )
            for place in range(9)
        ]
        verdicts = compare_arms(labels, {"": arms}, "arm 0")
        found += [one.auc_p < SIGNIFICANCE_LEVEL and one.auc.delta < 0 for one in verdicts]
    case = f"{describe_case(N_ROWS, 3, world.name)}; the slope of one arm better by {2 * GAIN:g}"
    return Line("a real difference of 8 in a sweep (Holm), AUC", case, power=share(found))


def slice_lines(simulations: int) -> list[Line]:
    """Chance of any false difference in ten slices, and of a p below the level without Holm."""
    lines = []
    for rows in (300, 2_000):
        generator = np.random.default_rng(rows)
        slices = [Slice(str(place), np.arange(place, rows, 10)) for place in range(10)]
        any_false = []
        for _ in range(simulations):
            views, labels = draw_rows(generator, rows)
            arms = {name: ALIKE.scores(generator, views, 3) for name in ("a", "b")}
            found = slice_differences(labels, arms, "b", slices)
            any_false.append(any(one.adjusted_p < SIGNIFICANCE_LEVEL for one in found))
        case = f"10 slices of {rows // 10} rows, 3 seeds, {ALIKE.name}"
        lines.append(Line("any false slice (Holm), AUC", case, size=share(any_false)))
    return lines


def other_lines(simulations: int) -> list[Line]:
    """An arm against one without seeds, differences of costs, and the error of the choice."""
    generator = np.random.default_rng(11)
    rejected: list[tuple[bool, bool, bool]] = []
    within = []
    for _ in range(simulations):
        views, labels = draw_rows(generator, N_ROWS)
        arm = ALIKE.scores(generator, views, 3)
        other = ALIKE.scores(generator, views, 3)
        costs, other_costs = (
            np.stack([COSTS.per_row(labels, one, THRESHOLD) for one in scores])
            for scores in (arm, other)
        )
        gap = mean_over_rows(costs - other_costs)
        rejected.append((not covers(gap, 0.0), False, False))
        losses = [log_loss_per_row(labels, one).mean(axis=0) for one in (arm, other)]
        error = paired_loss(*losses)
        within.append(abs(error.difference) <= error.standard_error)
    case = describe_case(N_ROWS, 3, ALIKE.name)
    one_seed = fixed_reference(simulations)
    return [
        Line("Δ cost per row of decisions", case, size=share([one[0] for one in rejected])),
        Line("± standard error of the choice (nominal 68)", case, coverage=share(within)),
        *one_seed,
    ]


def fixed_reference(simulations: int) -> list[Line]:
    """Source quality lost: arms of three seeds against a backbone that no seed changes."""
    generator = np.random.default_rng(13)
    backbone = for_one_seed(ALIKE)
    # Equal in both metrics on average over the seeds.
    truths = np.subtract(true_metrics(ALIKE), true_metrics(backbone))
    held: list[tuple[bool, bool]] = []
    for _ in range(simulations):
        views, labels = draw_rows(generator, N_ROWS)
        before = np.repeat(backbone.scores(generator, views, 1), 3, axis=0)
        after = ALIKE.scores(generator, views, 3)
        held.append(
            (
                covers(compare_auc(labels, after, before), truths[0]),
                covers(compare_log_loss(labels, after, before), truths[1]),
            )
        )
    case = f"{describe_case(N_ROWS, 3, ALIKE.name)}; the backbone has none"
    return [
        Line(f"{name}, arm less backbone", case, coverage=share(one))
        for name, one in zip(("Δ AUC", "Δ log loss"), zip(*held, strict=True), strict=True)
    ]


def render(simulations: int) -> str:
    """Run everything; return the section in Markdown."""
    lines = [
        *single_arm_lines(simulations),
        *paired_lines(simulations, one_sided=False),
        *other_lines(simulations),
        *family_lines(simulations),
        *paired_lines(simulations // 2, one_sided=True),
    ]
    error = 100 * (0.05 * 0.95 / simulations) ** 0.5
    table = "\n".join(line.cells for line in lines)
    day = datetime.now(UTC).date().isoformat()
    about = (
        f"Made by `python -m benchmarks.statistics --page docs/validation.md` on {day}:"
        f" {simulations:,} simulations a size (half as many for power, a quarter for sweeps and"
        f" slices), so a size of 5 % has a standard error of {error:.1f} points.",
        "Labels are drawn from true logits (click rate 0.25, best AUC 0.78); an arm's logits are a"
        " slope times those, with a bias, and noise that all arms share, of the rows of an arm, and"
        " of rows within a seed."
        " *Rows dominate*: an arm's seeds share nearly all noise; *seeds dominate*: slopes and"
        " biases differ by seed; *interaction dominates*: every seed has noise of its own on every"
        " row. With one seed a test holds for that seed alone, and is drawn so.",
        "",
        "*Size* (nominal 5 %) is how often a difference is claimed between arms drawn alike; for"
        " non-inferiority, how often an arm worse by exactly the margin is called non-inferior."
        " *Coverage* (nominal 95 %) is how often the interval holds the true value. *Power* is how"
        f" often an arm with a slope better by {GAIN:g} is found better; for non-inferiority, how"
        " often an arm as good as the other is called so, where the margin is what a slope worse"
        f" by {GAIN:g} costs.",
        "",
        "| interval or p-value | rows, seeds, noise | size, % | coverage, % | power, % |",
        "|---|---|---|---|---|",
    )
    return "\n".join([*about, table, "", NOTE])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, help="Markdown page whose section is replaced")
    parser.add_argument("--quick", action="store_true", help="a tenth of the simulations")
    options = parser.parse_args()
    body = render(150 if options.quick else 1_500)
    print(body)
    if options.page:
        put_section(options.page, HEADING, body)


if __name__ == "__main__":
    main()
