"""What a command that follows a search prints while it goes on."""

import sys
from collections.abc import Sequence

from core.evaluation.format_metrics import format_metric
from core.jobs.store import Run
from core.runs.search import search_progress
from core.runs.search_result import describe_parameters, describe_progress
from core.runs.search_trials import RUNNING
from core.runs.sweep import Sweep
from core.workspace import Workspace

SEARCH_SHARE = 0.8
"""Share of the progress bar for the search itself; the rest is for judging the winner."""


class SearchNotices:
    """Prints a line on standard error for every trial that ends, and what is left of the budget."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._printed: set[int] = set()

    def print_new(self, sweep: Sweep, runs: Sequence[Run]) -> float:
        """Print the trials that have ended since the last call; return the share that is done."""
        progress = search_progress(self._workspace, sweep, runs)
        for trial in progress.trials:
            if trial.state == RUNNING or trial.number in self._printed:
                continue
            self._printed.add(trial.number)
            loss = f"validation log loss {format_metric(trial.loss)}"
            words = [loss] * (trial.loss == trial.loss) + [trial.message] * bool(trial.message)
            print(
                f"Trial {trial.number + 1}: {describe_parameters(trial.parameters)}:"
                f" {', '.join(words)}. {describe_progress(progress)}.",
                file=sys.stderr,
            )
        if progress.phase == "searching":
            return SEARCH_SHARE * progress.share_spent
        judging = [run for run in runs if not run.is_trial]
        ended = sum(not run.active for run in judging) / max(1, len(judging))
        return SEARCH_SHARE + (1 - SEARCH_SHARE) * ended
