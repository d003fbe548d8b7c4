"""Progress of a background task: how far it is, a stop button, or the sentence of its error."""

import streamlit as st

from core.runs import tasks
from pages.components.shared.errors import catch_errors_in
from pages.components.shared.formatting import escape_inline

TICK_SECONDS = 0.5


def show_task_progress(key: str, activity: str, reports_progress: bool = True) -> bool:
    """Show the task with this key and rerun the page when it has ended.

    Args:
        activity: what the task does, as in "Scoring the rows".
        reports_progress: whether the task reports its progress; only then can it be stopped.

    Returns:
        Whether the task is still running.
    """
    task = tasks.find(key)
    if task is None:
        return False
    if task.error:
        # The error may quote the content of an uploaded file.
        st.error(escape_inline(str(task.error)), icon=":material/error:")
        return False
    st.fragment(catch_errors_in(_tick), run_every=TICK_SECONDS)(key, activity, reports_progress)
    return True


def _tick(key: str, doing: str, measured: bool) -> None:
    task = tasks.find(key)
    if task is None or not task.active:
        st.rerun()
        return
    if not measured:
        st.markdown(f":material/hourglass_top: {doing}, which takes some seconds.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(
            min(task.progress or 0.0, 1.0), text=_progress_text(task, doing), width="stretch"
        )
        if st.button(
            "Stop", key=f"stop {key}", icon=":material/stop_circle:", disabled=task.stopping
        ):
            task.stop()
            st.rerun(scope="fragment")


def _progress_text(task: tasks.BackgroundTask, doing: str) -> str:
    if task.stopping:
        return "Stopping"
    if task.progress is None:
        return "Waiting for other tasks to finish"
    if not task.progress:
        return f"{doing}: starting, which takes some seconds"
    return f"{doing}: {task.progress:.0%}"
