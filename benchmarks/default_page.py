"""docs/defaults.md from the trainings of benchmarks.default_settings: the default beside the best of a grid."""

import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from core.evaluation.delong import auc_variance
from core.evaluation.metrics import log_loss
from core.evaluation.seeds import SeedDifference, compare_auc, compare_log_loss
from core.training.defaults import default_settings
from core.training.settings import PRESETS, TrainSettings

TASKS = {
    "scratch": "from scratch",
    "finetune": "full fine-tuning",
    "head": "new head alone",
}


@dataclass(frozen=True)
class Outcome:
    """What one setting reached in a study, window by window.

    choice, test: scores (windows, rows) of the rows that choose among settings and of the test rows. best_epochs,
    epochs, seconds: per window; seconds of one core.
    """

    settings: TrainSettings
    choice: np.ndarray
    test: np.ndarray
    best_epochs: tuple[int, ...]
    epochs: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def name(self) -> str:
        """Batch size and learning rate, as the tables write them."""
        return f"{self.settings.batch_size:,} · {self.settings.learning_rate:g}"


@dataclass(frozen=True)
class Finding:
    """A study carried out. choice_labels, test_labels: (rows,). default, fast, one_epoch: outside the grid.

    fast: the default of before. one_epoch, fast_one_epoch: default and fast after a single epoch.
    """

    task: str
    rows: int
    simulated: bool
    choice_labels: np.ndarray
    test_labels: np.ndarray
    default: Outcome
    fast: Outcome
    one_epoch: Outcome
    fast_one_epoch: Outcome
    grid: tuple[Outcome, ...]

    @property
    def chosen(self) -> Outcome:
        """The setting of the grid with the lowest mean log loss on the rows that choose."""
        return min(self.grid, key=lambda one: mean_loss(self.choice_labels, one.choice))

    @property
    def best_on_test(self) -> Outcome:
        """The setting of the grid with the lowest mean log loss on the test rows, which nobody can know beforehand."""
        return min(self.grid, key=lambda one: mean_loss(self.test_labels, one.test))


def mean_loss(labels: np.ndarray, scores: np.ndarray) -> float:
    """Mean log loss over windows."""
    return float(np.mean([log_loss(labels, one) for one in scores]))


def mean_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Mean AUC over windows."""
    return float(np.mean([auc_variance(labels, one)[0] for one in scores]))


def differences(finding: Finding, a: Outcome, b: Outcome) -> tuple[SeedDifference, SeedDifference]:
    """(AUC, log loss) of a less b on the test rows, paired by row and window."""
    pair = a.test.astype(np.float64), b.test.astype(np.float64)
    return compare_auc(finding.test_labels, *pair), compare_log_loss(finding.test_labels, *pair)


def interval(difference: SeedDifference) -> str:
    """A difference with its 95 % interval; bold where the interval leaves 0 out."""
    text = f"{difference.delta:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"
    return text if difference.low <= 0 <= difference.high else f"**{text}**"


def reached(finding: Finding, outcome: Outcome) -> str:
    """AUC and log loss on the test rows."""
    labels = finding.test_labels
    return f"{mean_auc(labels, outcome.test):.4f} / {mean_loss(labels, outcome.test):.4f}"


def first_cells(finding: Finding) -> list[str]:
    """Task, rows and how many windows."""
    rows = f"{finding.rows:,}{' simulated' if finding.simulated else ''}"
    return [TASKS[finding.task], rows, str(len(finding.default.test))]


def line(cells: Sequence[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def main_line(finding: Finding) -> str:
    """The default beside the setting of the grid that the validation rows chose."""
    default, chosen = finding.default, finding.chosen
    auc, loss = differences(finding, default, chosen)
    cells = [default.name, reached(finding, default), chosen.name, reached(finding, chosen)]
    return line([*first_cells(finding), *cells, interval(auc), interval(loss)])


def test_line(finding: Finding) -> str:
    """The default beside the setting that was best on the test rows, and beside what was the default before."""
    default, best, fast = finding.default, finding.best_on_test, finding.fast
    _, to_best = differences(finding, default, best)
    to_fast, loss_to_fast = differences(finding, default, fast)
    cells = [best.name, reached(finding, best), interval(to_best)]
    return line([*first_cells(finding), *cells, reached(finding, fast), interval(to_fast), interval(loss_to_fast)])


def epoch_line(finding: Finding) -> str:
    """What a single epoch reaches, and what the whole training takes."""
    default, fast = finding.default, finding.fast
    steps = [math.ceil(finding.rows / one.settings.batch_size) for one in (default, fast)]
    cells = [
        f"{steps[0]:,}",
        reached(finding, finding.one_epoch),
        f"{np.mean(default.best_epochs):.1f} of {np.mean(default.epochs):.1f}",
        f"{np.mean(default.seconds):.0f}",
        f"{steps[1]:,}",
        reached(finding, finding.fast_one_epoch),
        f"{np.mean(fast.best_epochs):.1f} of {np.mean(fast.epochs):.1f}",
        f"{np.mean(fast.seconds):.0f}",
    ]
    return line([*first_cells(finding)[:2], *cells])


def grid_table(finding: Finding) -> str:
    """Log loss on the rows that choose, batch sizes down and learning rates across; the lowest is bold."""
    rates = sorted({one.settings.learning_rate for one in finding.grid})
    found = {
        (one.settings.batch_size, one.settings.learning_rate): mean_loss(finding.choice_labels, one.choice)
        for one in finding.grid
    }
    lowest = min(found.values())
    lines = [line(["batch", *(f"{rate:g}" for rate in rates)]), "|---" * (len(rates) + 1) + "|"]
    for batch in sorted({batch for batch, _ in found}):
        losses = [found.get((batch, rate)) for rate in rates]
        cells = ["" if one is None else f"**{one:.4f}**" if one == lowest else f"{one:.4f}" for one in losses]
        lines.append(line([f"{batch:,}", *cells]))
    own = mean_loss(finding.choice_labels, finding.default.choice)
    title = f"{TASKS[finding.task]}, {finding.rows:,}{' simulated' if finding.simulated else ''} rows"
    return f"{title} (default {finding.default.name}: {own:.4f}):\n\n" + "\n".join(lines)


def chosen_line(rows: int) -> str:
    """What the function gives for a number of rows."""
    settings = default_settings(rows)[1]
    steps = math.ceil(rows / settings.batch_size)
    return line(
        [f"{rows:,}", f"{settings.batch_size:,}", f"{settings.learning_rate:g}", str(settings.epochs), f"{steps:,}"]
    )


def write_page(findings: Sequence[Finding], facts: Mapping[str, str]) -> str:
    """The text of docs/defaults.md. facts: what else the page names, see PAGE."""
    fast = PRESETS["fast"]
    return PAGE.format(
        today=date.today().isoformat(),
        machine=f"{os.cpu_count()} cores shared with other work, one thread, Python {platform.python_version()}, CPU",
        sizes="\n".join(map(chosen_line, (120, 1_000, 5_000, 20_000, 60_000, 100_000, 300_000, 1_000_000, 45_840_617))),
        stopping=fast.early_stopping,
        plateau=fast.plateau,
        main="\n".join(map(main_line, findings)),
        test="\n".join(map(test_line, findings)),
        epochs="\n".join(map(epoch_line, findings)),
        grids="\n\n".join(map(grid_table, findings)),
        **facts,
    )


PAGE = """..."""
