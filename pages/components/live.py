"""A run while it waits, runs, or after it broke off: phase, progress, time left, curves."""

from dataclasses import dataclass

import numpy as np
import streamlit as st

from core.report.run_figures import Points, accuracy_figure, auc_figure, loss_figure
from core.runs.launch import refresh, worker_alive
from core.runs.reporter import POINT_NAMES
from core.runs.store import Run, RunStore
from pages.components.chart import chart
from pages.components.common import decimals, duration, explained, workspace
from pages.components.stalled import stall_notes

TICK_SECONDS = 0.7
WAITING_TICK_SECONDS = 0.1
"""Until the first point: a look then costs little, and one waits for it."""
SCORES = {
    "supervised": ("Validation AUC", "validation_auc", auc_figure),
    "rfd": ("Validation AUC of the detector", "validation_auc", auc_figure),
    "mfp": (
        "Hidden values told from drawn ones, validation rows",
        "validation_accuracy",
        accuracy_figure,
    ),
}
"""Per objective: title, point name and figure of what it is scored by. Fine-tuning learns clicks
too."""


@dataclass(frozen=True)
class Drawn:
    """A figure as JSON, with its title, the key of its chart, and what a screen reader says."""

    title: str
    figure: str
    key: str
    alt: str


def live_view(run: Run) -> None:
    """Follows the run as long as it is active and reruns the whole page when that has ended."""
    points = RunStore(workspace()).points(run.id, *POINT_NAMES)
    if run.active:
        every = TICK_SECONDS if points else WAITING_TICK_SECONDS
        st.fragment(explained(_tick), run_every=every)(run.id, run.status, waiting=not points)
    elif points:
        learning_curves(run, points)


def _tick(run_id: str, shown_status: str, waiting: bool) -> None:
    store = RunStore(workspace())
    refresh(workspace(), store)
    run = store.get(run_id)
    # The header lies outside this fragment and shows the status.
    if run.status != shown_status:
        st.rerun()
    points = store.points(run.id, *(POINT_NAMES if waiting else ("seconds",)))
    _progress(store, run, points)
    stall_notes([run])
    _draw(_curves(run, points) if waiting else _shared_curves(run_id))
    # Drawn first: from here on it looks less often.
    if waiting and points:
        st.rerun()


@st.cache_data(ttl=TICK_SECONDS / 2, max_entries=32, show_spinner=False)
def _shared_curves(run_id: str) -> list[Drawn]:
    """The curves of a run that trains, made once for all who watch it now."""
    store = RunStore(workspace())
    return _curves(store.get(run_id), store.points(run_id, *POINT_NAMES))


def _progress(store: RunStore, run: Run, points: Points) -> None:
    if run.status == "queued":
        ahead = store.count_ahead([run])
        waits = f"{ahead} run(s) come first" if ahead else "the worker takes it next"
        if not ahead and not worker_alive(workspace(), run.lane):
            waits = "the worker is starting, which takes some seconds"
        st.progress(0.0, text=f"Waiting: {waits}.")
        return
    share = run.step / run.steps if run.steps else 0.0
    phase = (run.phase or "starting").capitalize()
    if run.cancel_asked:
        phase = "Stopping"
    where = (
        f" · epoch {run.epoch} of {run.epochs} · step {run.step:,} of {run.steps:,}"
        if run.steps
        else ""
    )
    st.progress(share, text=f"{phase}{where}{_time_left(run, points)}")


def _time_left(run: Run, points: Points) -> str:
    _, seconds = points.get("seconds", (np.zeros(0), np.zeros(0)))
    if not run.step or not len(seconds):
        return ""
    left = float(seconds[-1]) / run.step * (run.steps - run.step)
    return f" · about {duration(left)} left, less if it stops early"


def learning_curves(run: Run, points: Points, best_step: int | None = None) -> None:
    """Loss, and beside it what the run's objective is scored by; best_step: where the weights were
    kept."""
    _draw(_curves(run, points, best_step))


def _curves(run: Run, points: Points, best_step: int | None = None) -> list[Drawn]:
    objective = run.request.get("objective", "supervised")
    if objective == "none":
        # Only the start learnt something, and has no validation rows.
        spoken = _spoken("Loss", points, "train_loss")
        return [
            Drawn(
                "Loss of the start",
                loss_figure(points, title=loss_title(run)).to_json(),
                f"loss-{run.id}",
                spoken,
            )
        ]
    title, name, draw = SCORES.get(objective, SCORES["supervised"])
    loss = loss_figure(points, best_step, loss_title(run)).to_json()
    return [
        Drawn("Loss", loss, f"loss-{run.id}", _spoken("Loss", points, "validation_loss")),
        Drawn(title, draw(points).to_json(), f"auc-{run.id}", _spoken(title, points, name)),
    ]


def _draw(curves: list[Drawn]) -> None:
    for place, curve in zip(st.columns(len(curves)), curves, strict=True):
        with place:
            st.markdown(f"**{curve.title}**")
            chart(curve.figure, curve.key, 320, curve.alt)


def loss_title(run: Run) -> str:
    """What the run's loss is."""
    if run.request.get("objective") == "none":
        return "Skip-gram loss"
    return "Contrastive loss" if run.request.get("objective") == "mfp" else "Log loss (nats)"


def _spoken(title: str, points: Points, name: str) -> str:
    _, values = points.get(name, (np.zeros(0), np.zeros(0)))
    return (
        f"{title} by step; validation now {decimals(float(values[-1]))}"
        if len(values)
        else f"{title}: no points yet"
    )
