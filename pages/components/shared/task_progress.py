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
    errand = tasks.find(key)
    if errand is None:
        return False
    if errand.error:
        # The error may quote the content of an uploaded file.
        st.error(escape_inline(str(errand.error)), icon=":material/error:")
        return False
    st.fragment(catch_errors_in(_tick), run_every=TICK_SECONDS)(key, activity, reports_progress)
    return True


def _tick(key: str, doing: str, measured: bool) -> None:
    errand = tasks.find(key)
    if errand is None or not errand.active:
        st.rerun()
        return
    if not measured:
        st.markdown(f":material/hourglass_top: {doing}, which takes some seconds.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(
            min(errand.progress or 0.0, 1.0), text=_progress_text(errand, doing), width="stretch"
        )
        if st.button(
            "Stop", key=f"stop {key}", icon=":material/stop_circle:", disabled=errand.stopping
        ):
            errand.stop()
            st.rerun(scope="fragment")


def _progress_text(errand: tasks.BackgroundTask, doing: str) -> str:
    if errand.stopping:
        return "Stopping"
    if errand.progress is None:
        return "Waiting for other tasks to finish"
    if not errand.progress:
        return f"{doing}: starting, which takes some seconds"
    return f"{doing}: {errand.progress:.0%}"
