"""The HTML report of a sweep or of some runs, written when someone asks for it."""

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
from pages.components.shared.common import show_error, workspace
from pages.components.shared.compute_slots import compute_slot

ABOUT = (
    "One HTML file that opens without a network: interactive plots, the data's hash, settings,"
    " verdicts, and the commands that do it all again."
)


def report_download(
    key: str, sweep: str = "", runs: Sequence[str] = (), disabled: bool = False
) -> None:
    """A button that opens the download. sweep: a sweep's id; runs: else ids of runs that ended well
    on one dataset."""
    with st.popover(
        "Report", icon=":material/summarize:", key=key, disabled=disabled, on_change="rerun"
    ) as opened:
        if opened.open:
            show_report_offer(key, sweep, runs)


def show_report_offer(key: str, sweep: str, runs: Sequence[str]) -> None:
    """What the report holds, the download and its command; the sentence where there can be none."""
    st.markdown(ABOUT)
    space = workspace()
    try:
        if sweep:
            sweep_report_data(space, find_sweep(space, sweep))
        else:
            runs_report_data(space, [RunStore(space).get(one) for one in runs])
    except ThawError as error:
        show_error(error)
        return
    words = ["--sweep", sweep] if sweep else ["--runs", ",".join(runs)]
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
    """The report's bytes. subject: words such as ("--sweep", "s-…")."""
    # In a process of its own: the bootstrap of a big sweep would slow down everyone's pages.
    with compute_slot(), staging(space.uploads) as folder:
        path = folder / "report.html"
        report_in_subprocess(space, subject, path)
        return path.read_bytes()
