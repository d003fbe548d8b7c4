"""A run that is queued, running or interrupted: phase, progress, remaining time, curves."""

from dataclasses import dataclass

import numpy as np
import streamlit as st

from core.evaluation.format_metrics import format_metric
from core.freezing.strategies import iteration_word
from core.jobs.reporter import POINT_NAMES
from core.jobs.store import Run, RunStore
from core.report.run_figures import MetricSeries, accuracy_figure, auc_figure, loss_figure
from core.runs.launch import is_worker_alive, refresh_statuses
from pages.components.shared.chart import chart
from pages.components.shared.common import workspace
from pages.components.shared.errors import catch_errors_in
from pages.components.shared.formatting import format_duration
from pages.components.shared.stall_warnings import show_stall_warnings

TICK_SECONDS = 0.7
WAITING_TICK_SECONDS = 0.1
"""Until the first point: polling costs little then, and the user is waiting for it."""
SCORE_BY_OBJECTIVE = {
    "supervised": ("Validation AUC", "validation_auc", auc_figure),
    "rfd": ("Validation AUC of the detector", "validation_auc", auc_figure),
    "mfp": (
        "Accuracy on masked values, validation rows",
        "validation_accuracy",
        accuracy_figure,
    ),
}
"""By objective: title, point name and figure of its metric. Fine-tuning uses "supervised"."""
STEP_TITLES = {
    "epoch": "Optimiser step",
    "tree": "Tree",
    "penalty": "Penalties tried, the strongest first",
}
"""What the x axis of the curves counts, by what a run counts."""


@dataclass(frozen=True)
class Panel:
    """A figure as JSON with its title, the key of its chart and the text for screen readers."""

    title: str
    figure: str
    key: str
    alt: str


def live_view(run: Run) -> None:
    """Follow the run while it is active; the whole page reruns when it ends."""
    points = RunStore(workspace()).points(run.id, *POINT_NAMES)
    if run.active:
        interval = TICK_SECONDS if points else WAITING_TICK_SECONDS
        st.fragment(catch_errors_in(_tick), run_every=interval)(
            run.id, run.status, waiting=not points
        )
    elif points:
        show_learning_curves(run, points)


def _tick(run_id: str, shown_status: str, waiting: bool) -> None:
    store = RunStore(workspace())
    refresh_statuses(workspace(), store)
    run = store.get(run_id)
    # The page's header, outside of this fragment, shows the status: rerun the page.
    if run.status != shown_status:
        st.rerun()
    points = store.points(run.id, *(POINT_NAMES if waiting else ("seconds",)))
    _show_progress(store, run, points)
    show_stall_warnings([run])
    _draw_panels(_panels(run, points) if waiting else _cached_panels(run_id))
    # The first points are drawn. Rerun the page to poll less often from now on.
    if waiting and points:
        st.rerun()


@st.cache_data(ttl=TICK_SECONDS / 2, max_entries=32, show_spinner=False)
def _cached_panels(run_id: str) -> list[Panel]:
    """Return the curves of a running run, computed once for all sessions that watch it."""
    store = RunStore(workspace())
    return _panels(store.get(run_id), store.points(run_id, *POINT_NAMES))


def _show_progress(store: RunStore, run: Run, points: MetricSeries) -> None:
    if run.status == "queued":
        ahead = store.count_ahead([run])
        waits = (
            f"{ahead} run{'s' if ahead > 1 else ''} ahead in the queue"
            if ahead
            else "next in the queue"
        )
        if not ahead and not is_worker_alive(workspace(), run.queue):
            waits = "the worker is starting, which takes some seconds"
        st.progress(0.0, text=f"Waiting: {waits}.")
        return
    share = run.step / run.steps if run.steps else 0.0
    phase = (run.phase or "starting").capitalize()
    if run.cancel_requested:
        phase = "Stopping"
    word = iteration_word(run.strategy)
    where = f" · {word} {run.epoch:,} of {run.epochs:,}" if run.steps else ""
    # A tree or a penalty is the step.
    if run.steps and word == "epoch":
        where += f" · step {run.step:,} of {run.steps:,}"
    st.progress(share, text=f"{phase}{where}{_time_left(run, points)}")


def _time_left(run: Run, points: MetricSeries) -> str:
    _, seconds = points.get("seconds", (np.zeros(0), np.zeros(0)))
    if not run.step or not len(seconds):
        return ""
    left = float(seconds[-1]) / run.step * (run.steps - run.step)
    return f" · about {format_duration(left)} left, less if it stops early"


def show_learning_curves(run: Run, points: MetricSeries, best_step: int | None = None) -> None:
    """Draw the loss and the metric of the run's objective.

    Args:
        best_step: step whose weights were kept; marked in the loss.
    """
    _draw_panels(_panels(run, points, best_step))


def _panels(run: Run, points: MetricSeries, best_step: int | None = None) -> list[Panel]:
    objective = run.objective
    if objective == "none":
        # Only the initial weights were trained (word vectors), without validation rows.
        alt = _alt_text("Loss", points, "train_loss")
        return [
            Panel(
                "Loss of the start",
                loss_figure(points, title=loss_title(run)).to_json(),
                f"loss-{run.id}",
                alt,
            )
        ]
    title, name, draw = SCORE_BY_OBJECTIVE.get(objective, SCORE_BY_OBJECTIVE["supervised"])
    steps = STEP_TITLES[iteration_word(run.strategy)]
    loss = loss_figure(points, best_step, loss_title(run), steps).to_json()
    return [
        Panel("Loss", loss, f"loss-{run.id}", _alt_text("Loss", points, "validation_loss")),
        Panel(
            title, draw(points, steps).to_json(), f"auc-{run.id}", _alt_text(title, points, name)
        ),
    ]


def _draw_panels(curves: list[Panel]) -> None:
    for column, curve in zip(st.columns(len(curves)), curves, strict=True):
        with column:
            st.markdown(f"**{curve.title}**")
            chart(curve.figure, curve.key, 320, curve.alt)


def loss_title(run: Run) -> str:
    """Return the name of the run's loss."""
    if run.objective == "none":
        return "Skip-gram loss"
    return "Contrastive loss" if run.objective == "mfp" else "Log loss (nats)"


def _alt_text(title: str, points: MetricSeries, name: str) -> str:
    _, values = points.get(name, (np.zeros(0), np.zeros(0)))
    return (
        f"{title} by step; validation now {format_metric(float(values[-1]))}"
        if len(values)
        else f"{title}: no points yet"
    )
