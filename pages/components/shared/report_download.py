"""The HTML report of a sweep or of some runs, written when it is downloaded."""

from collections.abc import Sequence

import streamlit as st

from core.errors import ThawError
from core.files.durable import staging
from core.jobs.store import RunStore
from core.program import PROGRAM
from core.report.report_data import runs_report_data, sweep_report_data
from core.runs.subprocess_commands import report_in_subprocess
from core.runs.sweep import find_sweep
from core.workspace import Workspace
from pages.components.shared.common import workspace
from pages.components.shared.compute_slots import compute_slot
from pages.components.shared.errors import show_error
from pages.components.shared.recommendation import margin_words

ABOUT = (
    "One HTML file that opens without a network: interactive plots, the data's hash, settings,"
    " verdicts, and the commands that do it all again."
)


def report_download(
    key: str, sweep: str = "", runs: Sequence[str] = (), disabled: bool = False
) -> None:
    """Draw the button that opens the download.

    Args:
        sweep: id of a sweep, or "".
        runs: otherwise, ids of finished runs on one dataset.
    """
    with st.popover(
        "Report", icon=":material/summarize:", key=key, disabled=disabled, on_change="rerun"
    ) as opened:
        if opened.open:
            show_report_offer(key, sweep, runs)


def show_report_offer(key: str, sweep: str, runs: Sequence[str]) -> None:
    """Show what the report contains, the download and its command, or why there is no report."""
    st.markdown(ABOUT)
    space = workspace()
    try:
        if sweep:
            sweep_report_data(space, find_sweep(space, sweep))
        else:
            runs_report_data(space, [RunStore(space).get(run_id) for run_id in runs])
    except ThawError as error:
        show_error(error)
        return
    words = ["--sweep", sweep] if sweep else ["--runs", ",".join(runs)]
    words += margin_words()
    name = f"thaw-report-{sweep or (runs[0] if len(runs) == 1 else f'{len(runs)}-runs')}.html"
    st.download_button(
        "Download the report",
        lambda: report_bytes(space, words),
        name,
        "text/html",
        key=f"{key}_download",
        type="primary",
        icon=":material/download:",
        on_click="ignore",
        help="It is written when you click, which takes some seconds.",
    )
    st.code(f"{PROGRAM} report {' '.join(words)} --out {name}", language=None, wrap_lines=True)


def report_bytes(space: Workspace, subject: Sequence[str]) -> bytes:
    """Return the report.

    Args:
        subject: command-line words such as ("--sweep", "s-…").
    """
    # In a separate process: the bootstrap of a large sweep would slow down all sessions.
    with compute_slot(), staging(space.uploads) as folder:
        path = folder / "report.html"
        report_in_subprocess(space, subject, path)
        return path.read_bytes()
