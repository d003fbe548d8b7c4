"""A run while it waits, runs, or after it broke off: phase, progress, time left, curves."""

import numpy as np
import streamlit as st

from core.report.run_figures import auc_figure, loss_figure
from core.runs.launch import refresh, worker_alive
from core.runs.store import Run, RunStore
from pages.components.chart import chart
from pages.components.common import decimals, duration, workspace

TICK_SECONDS = 0.7


def live_view(run: Run) -> None:
    """Follows the run as long as it is active and reruns the whole page when that has ended."""
    if run.active:
        st.fragment(_tick, run_every=TICK_SECONDS)(run.id, run.status)
    else:
        _curves(RunStore(workspace()), run)


def _tick(run_id: str, shown_status: str) -> None:
    store = RunStore(workspace())
    refresh(workspace(), store)
    run = store.get(run_id)
    # The header lies outside this fragment and shows the status.
    if run.status != shown_status:
        st.rerun()
    _progress(store, run)
    _curves(store, run)


def _progress(store: RunStore, run: Run) -> None:
    if run.status == "queued":
        ahead = sum(other.created < run.created for other in store.list("queued") if other.lane == run.lane)
        ahead += sum(other.lane == run.lane for other in store.list("running"))
        waits = f"{ahead} run(s) come first" if ahead else "the worker takes it next"
        if not ahead and not worker_alive(workspace(), run.lane):
            waits = "the worker is starting, which takes some seconds"
        st.progress(0.0, text=f"Waiting: {waits}.")
        return
    share = run.step / run.steps if run.steps else 0.0
    phase = (run.phase or "starting").capitalize()
    if run.cancel_asked:
        phase = "Stopping"
    where = f" · epoch {run.epoch} of {run.epochs} · step {run.step:,} of {run.steps:,}" if run.steps else ""
    st.progress(share, text=f"{phase}{where}{_time_left(store, run)}")


def _time_left(store: RunStore, run: Run) -> str:
    _, seconds = store.points(run.id).get("seconds", (np.zeros(0), np.zeros(0)))
    if not run.step or not len(seconds):
        return ""
    left = float(seconds[-1]) / run.step * (run.steps - run.step)
    return f" · about {duration(left)} left, less if it stops early"


def _curves(store: RunStore, run: Run) -> None:
    points = store.points(run.id)
    if not points and not run.active:
        return
    loss, auc = st.columns(2)
    with loss:
        st.markdown("**Loss**")
        chart(loss_figure(points), f"loss-{run.id}", 320, _spoken("Loss", points, "validation_loss"))
    with auc:
        st.markdown("**Validation AUC**")
        chart(auc_figure(points), f"auc-{run.id}", 320, _spoken("AUC", points, "validation_auc"))


def _spoken(title: str, points: dict[str, tuple[np.ndarray, np.ndarray]], name: str) -> str:
    _, values = points.get(name, (np.zeros(0), np.zeros(0)))
    return (
        f"{title} by step; validation now {decimals(float(values[-1]))}" if len(values) else f"{title}: no points yet"
    )
