"""Sweeps: strategies times seeds on one dataset and backbone, and what their numbers support."""

import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from core.data.paths import clean_path
from core.errors import BadInput, RunError
from core.evaluation.choice_error import Choice
from core.evaluation.metric_registry import HEADLINE_METRIC, METRICS, metrics_shown_in
from core.evaluation.non_inferiority import Margins
from core.evaluation.recommendation import Recommendation
from core.evaluation.recommendation_words import recommendation_text
from core.files.permissions import private_files
from core.jobs.run import Run as StoredRun
from core.jobs.store import RunStore
from core.report import arm_traces, search_figures, sweep_figures
from core.report.html_report import write_report
from core.report.report_data import sweep_report_data
from core.report.rolling_figures import rolling_figure
from core.report.sweep_tables import arms_table, runs_table
from core.runs import removal, renaming
from core.runs.arm_recommendation import recommend_arms
from core.runs.arm_verdicts import choices_of_arms, forgetting_sentences, judge_arms
from core.runs.blends import blend_arms
from core.runs.command_lines import sweep_command_line
from core.runs.default_blend import queue_default_blends
from core.runs.launch import CLUSTER_QUEUE, refresh_statuses
from core.runs.rolling_result import (
    ROLLING_METRICS,
    rolling_arms,
    rolling_lines,
    rolling_table,
)
from core.runs.search import SearchProgress, is_under_way, search_progress, search_spec_of
from core.runs.search_result import describe_progress, search_sentences, trials_table
from core.runs.search_trials import PARAMETERS
from core.runs.sweep import Sweep as StoredSweep
from core.runs.sweep import cancel_sweep, extend_sweep, find_sweep, resume_sweep
from core.runs.sweep_result import ArmResult, default_reference, rates_table, summarise_arms
from core.workspace import Workspace
from thaw.arguments import checked
from thaw.data import simulated_marks
from thaw.display import Listing, Progress, card_html, for_notebook, note_html, table_html
from thaw.follow import POLL_SECONDS, load_torch, require_own, require_worker, watched
from thaw.run import Run, list_runs

MARGINS = Margins()
"""Of a recommendation, where none are given."""


class Sweep:
    """Strategies times seeds on one dataset and backbone.

    Its properties are read from the workspace each time: they follow a sweep under way.
    """

    def __init__(self, workspace: Workspace, sweep_id: str) -> None:
        self._workspace = workspace
        self.id = sweep_id

    @property
    def info(self) -> StoredSweep:
        """What was asked for: arms, seeds, learning rates, target sizes, settings."""
        return find_sweep(self._workspace, self.id)

    @property
    def name(self) -> str:
        """Its name."""
        return self.info.name

    @property
    def runs(self) -> Listing[Run]:
        """Its runs, in the order in which they train."""
        runs = self._runs()
        return Listing([Run(self._workspace, run.id) for run in runs], "runs", self.runs_table)

    @property
    def status(self) -> dict[str, int]:
        """How many of its runs are queued, running, done, …"""
        statuses = [run.status for run in self._runs()]
        return {status: statuses.count(status) for status in dict.fromkeys(statuses)}

    @property
    def command(self) -> str:
        """The command line that asks for the same sweep."""
        sweep = self.info
        return sweep_command_line(self._workspace, sweep.spec, sweep.name)

    @checked
    def wait(self, timeout: float | None = None) -> "Sweep":
        """Wait until every run has ended, showing the progress.

        An interrupt (Ctrl-C, the stop button) ends the waiting; the sweep goes on in its worker.

        Args:
            timeout: seconds after which to give up waiting; default: never.

        Returns:
            The sweep itself, so that calls can be chained.

        Raises:
            BadInput: no worker takes its runs, since another process was to train them and is gone.
            RunError: a run failed, was cancelled or interrupted.
            TimeoutError: it has not ended by then.
        """
        require_worker(self._workspace, self._runs())
        store, began = RunStore(self._workspace), time.monotonic()
        with Progress(self.name) as report:
            while is_under_way(self._workspace, self.info, store.list_group(self.id)):
                share, words = _share_ended(store.list_group(self.id))
                report(share, words)
                if timeout is not None and time.monotonic() - began > timeout:
                    raise TimeoutError(f"After {timeout:g} s only {words} have ended; they go on.")
                time.sleep(POLL_SECONDS)
                refresh_statuses(self._workspace, store)
        # The worker queues them too; a caller that waited shall find them.
        if not any(run.kind == "blend" for run in self._runs()) and queue_default_blends(
            self._workspace, self.info
        ):
            return self.wait(timeout)
        return self._require_done()

    @checked
    def train_here(self, arms_at_once: int = 1) -> "Sweep":
        """Train the queued runs in this process, as ``wait="here"`` does. Loads torch.

        Args:
            arms_at_once: with more than 1, train this many runs at a time in processes of this
                machine.

        Returns:
            The sweep itself.

        Raises:
            BadInput: its runs wait for the worker, or another process trains runs of its own in
                this workspace.
            RunError: a run failed.
        """
        require_own(self._runs())
        load_torch()
        from core.runs.cluster import run_sweep_here

        store = RunStore(self._workspace)
        with private_files(), watched(self.name, lambda: _share_ended(store.list_group(self.id))):
            run_sweep_here(self._workspace, self.info, arms_at_once, "")
        return self._require_done()

    def cancel(self) -> "Sweep":
        """Cancel every run that waits or runs; those that are done stay."""
        cancel_sweep(self._workspace, self.info)
        return self

    def resume(self) -> "Sweep":
        """Go on with every run that failed, was cancelled or interrupted, from its checkpoint."""
        with private_files():
            resume_sweep(self._workspace, self.info)
        return (
            self.train_here() if any(run.queue == CLUSTER_QUEUE for run in self._runs()) else self
        )

    @checked
    def add_seeds(self, seeds: int) -> "Sweep":
        """Queue every arm with `seeds` more seeds."""
        with private_files():
            extend_sweep(self._workspace, self.info, seeds)
        return (
            self.train_here() if any(run.queue == CLUSTER_QUEUE for run in self._runs()) else self
        )

    @checked
    def blend(self, arms: Sequence[str] = ()) -> Listing[Run]:
        """Queue a blend of arms for every seed; it becomes a further arm of the sweep.

        Args:
            arms: titles of two arms or more; default: the network that leads on validation rows
                and gradient boosting.

        Returns:
            The blends, one per seed (and number of target rows).

        Raises:
            BadInput: an arm is unknown or not finished.
        """
        with private_files():
            return list_runs(self._workspace, blend_arms(self._workspace, self.info, arms))

    @checked
    def table(self, reference: str | None = None) -> pd.DataFrame:
        """A row per arm with a finished run: metrics over its seeds, compared with a reference arm.

        Args:
            reference: title of the arm to compare with; default: full fine-tuning, else a control.
        """
        results = self._results()
        against = self._reference(results, reference)
        verdicts, _ = judge_arms(self._workspace, results, against)
        return arms_table(results, verdicts, against)

    def runs_table(self) -> pd.DataFrame:
        """A row per run, with its arm, seed, status and metrics."""
        return runs_table(self._runs())

    @checked
    def rates_table(self) -> pd.DataFrame:
        """A row per arm and learning rate that it was chosen from: its validation log loss."""
        return pd.DataFrame(rates_table(self._results()))

    @checked
    def windows_table(self) -> pd.DataFrame:
        """A row per arm of a rolling evaluation: means over windows, every window, forgetting.

        Raises:
            BadInput: the sweep has no windows, or no run is done yet.
        """
        if not self.info.spec.windows:
            raise BadInput(
                f"The sweep {self.name!r} has no windows; `table` has its arms. A sweep has some"
                " where it is asked for with windows=5."
            )
        return pd.DataFrame(rolling_table(self._workspace, self._results()))

    @checked
    def trials_table(self) -> pd.DataFrame:
        """A row per setting that a search has tried: the setting, its state, its validation loss.

        Raises:
            BadInput: the sweep is no search.
        """
        return pd.DataFrame(trials_table(self._search().trials))

    @property
    def best(self) -> dict[str, object]:
        """The setting with the lowest validation log loss that a search has found; {} for none yet.

        Raises:
            BadInput: the sweep is no search.
        """
        best = self._search().best
        return {} if best is None else {**best.parameters, "validation_log_loss": best.loss}

    @checked
    def search_figure(self, parameter: str | None = None) -> go.Figure:
        """The validation loss of a search's trials, with the lowest so far, or by one setting.

        Args:
            parameter: "strategy", "learning_rate", "head" or "weight_decay"; default: by trial.

        Raises:
            BadInput: there is no such setting, or the sweep is no search.
        """
        trials = self._search().trials
        if parameter is None:
            return for_notebook(search_figures.search_history_figure(trials), self.name)
        if parameter not in PARAMETERS:
            raise BadInput(
                f"A search has no setting {parameter!r}; it searches {', '.join(PARAMETERS)}."
            )
        return for_notebook(search_figures.search_slice_figure(trials, parameter), self.name)

    def _search(self) -> SearchProgress:
        search_spec_of(self.info)
        return search_progress(self._workspace, self.info, self._runs())

    @property
    def choices(self) -> list[Choice]:
        """How clearly an arm leads on validation rows, with the standard error; one per setting."""
        return choices_of_arms(self._workspace, self._results())

    @property
    def verdict(self) -> str:
        """What the results support, in sentences.

        By paired tests on the target test rows, Holm-corrected over the arms.
        """
        results = self._results()
        found: list[str] = []
        if self.info.spec.search is not None:
            found = search_sentences(self.info, self._runs(), self._search())
        return "\n".join(
            found
            + judge_arms(self._workspace, results, default_reference(results))[1]
            + forgetting_sentences(self._workspace, results)
        )

    @checked
    def recommendations(
        self, margin_auc: float = MARGINS.auc, margin_log_loss: float = MARGINS.log_loss_percent
    ) -> list[Recommendation]:
        """What to do, one for each setting: the cheapest arm that is shown to lose less than this.

        Args:
            margin_auc: an arm that loses less AUC is good enough.
            margin_log_loss: the same of log loss, in percent of that of the arm compared with.

        Returns:
            Each with the candidates, their one-sided bounds and costs, and how many more test rows
            or seeds would settle what is open.

        Raises:
            BadInput: no run is done yet, or a margin makes no sense.
        """
        margins = Margins(margin_auc, margin_log_loss)
        return recommend_arms(self._workspace, self._results(), margins)

    @checked
    def recommend(
        self, margin_auc: float = MARGINS.auc, margin_log_loss: float = MARGINS.log_loss_percent
    ) -> str:
        """`recommendations` in words: a sentence to repeat, and what has to be known beside it."""
        return recommendation_text(self.recommendations(margin_auc, margin_log_loss))

    @checked
    def figure(self, metric: str = HEADLINE_METRIC) -> go.Figure:
        """A metric on target and source test rows with its intervals.

        By freeze depth where arms are depths, else by arm; of a rolling evaluation AUC or log loss
        on target test rows by window, a line per arm.

        Args:
            metric: a key of `core.evaluation.metric_registry.METRICS` that tables or figures of
                arms show: "auc", "log_loss", "ece".

        Raises:
            BadInput: there is no such metric, or no run is done yet.
        """
        shown = [*(metrics_shown_in("arms") | metrics_shown_in("figures"))]
        if metric not in shown:
            raise BadInput(f"There is no figure of {metric!r}; the metrics here are {shown}.")
        results = self._results()
        if self.info.spec.windows:
            if metric not in ROLLING_METRICS:
                raise BadInput(
                    f"There is no figure of {metric!r} over windows; the metrics are"
                    f" {[*ROLLING_METRICS]}."
                )
            lines = rolling_lines(self._workspace, rolling_arms(results), metric)
            figure = rolling_figure(lines, self.info.spec.windows, metric)
            return for_notebook(figure, self.name)
        if any(arm_traces.is_freeze_depth(one) for one in results):
            figure = sweep_figures.depth_figure(results, metric)
        else:
            figure = sweep_figures.arms_figure(
                [*dict.fromkeys(one.title for one in results)], results, metric
            )
        return for_notebook(figure, self.name)

    @checked
    def report(
        self,
        out: str | Path,
        margin_auc: float = MARGINS.auc,
        margin_log_loss: float = MARGINS.log_loss_percent,
    ) -> Path:
        """Write the sweep as one HTML file that opens without a network. Returns its path.

        Args:
            out: the file.
            margin_auc, margin_log_loss: of its recommendation, see `recommendations`.
        """
        path, margins = clean_path(str(out)), Margins(margin_auc, margin_log_loss)
        with private_files():
            data = sweep_report_data(self._workspace, self.info)
            write_report(self._workspace, data, path, margins)
        return path

    @checked
    def rename(self, name: str) -> "Sweep":
        """Give the sweep another name."""
        renaming.rename_sweep(self._workspace, self.info, name)
        return self

    def delete(self) -> None:
        """Delete the sweep and all its runs; refused while one of them is queued or running."""
        removal.delete_sweep(self._workspace, self.info)

    def _runs(self) -> list[StoredRun]:
        store = RunStore(self._workspace)
        refresh_statuses(self._workspace, store)
        return store.list_group(self.id)

    def _results(self) -> list[ArmResult]:
        if results := summarise_arms(self.info, self._runs()):
            return results
        raise BadInput(
            f"No arm of the sweep {self.name!r} has results yet, so there is nothing to compare; "
            "wait for its runs."
        )

    def _reference(self, results: list[ArmResult], named: str | None) -> str:
        titles = [*dict.fromkeys(one.title for one in results)]
        if named and named not in titles:
            raise BadInput(
                f"There is no arm {named!r} to compare with; the arms here are {titles}."
            )
        return named or default_reference(results)

    def _require_done(self) -> "Sweep":
        sweep, runs = self.info, self._runs()
        if sweep.spec.search is not None:
            progress = search_progress(self._workspace, sweep, runs)
            if progress.phase != "done" or progress.best is None:
                raise RunError(
                    f"The search {self.name!r} is not done: {describe_progress(progress)}."
                    f" {progress.message}".rstrip()
                )
            return self
        ended = self.status
        if set(ended) - {"done"}:
            counts = ", ".join(f"{number} {status}" for status, number in ended.items())
            why = next(
                (run.message for run in self._runs() if run.status != "done" and run.message), ""
            )
            raise RunError(
                f"Not every run of the sweep {self.name!r} is done: {counts}. {why}".rstrip()
            )
        return self

    def __repr__(self) -> str:
        counts = ", ".join(f"{number} {status}" for status, number in self.status.items())
        return f"<thaw.Sweep {self.id} {self.name!r}: {len(self.info.spec.arms)} arms, {counts}>"

    def _repr_html_(self) -> str:
        sweep, status = self.info, self.status
        marks = [f"{number} {state}" for state, number in status.items()]
        marks += simulated_marks(self._workspace, sweep.spec.dataset)
        if not status.get("done"):
            return card_html(f"Sweep {sweep.name}", marks)
        metrics = {key: one.heading for key, one in METRICS.items() if "arms" in one.shown_in}
        shown = {"arm": "Arm", "setting": "Setting", "seeds": "Seeds", **metrics}
        shown |= {"auc_source": "Source AUC", "trained_parameters": "Parameters trained"}
        shown["verdict"] = "Verdict"
        rows = [
            {shown[name]: row[name] for name in shown} for row in self.table().to_dict("records")
        ]
        words = [*self.recommend().split("\n"), *self.verdict.split("\n")]
        note = note_html("Metrics of target test rows.", *words)
        return card_html(f"Sweep {sweep.name}", marks, table_html(rows), note)


def _share_ended(runs: Sequence[StoredRun]) -> tuple[float, str]:
    """How many of the runs have ended, as a share and in words."""
    ended = sum(not run.active for run in runs)
    return ended / max(len(runs), 1), f"{ended} of {len(runs)} runs"
