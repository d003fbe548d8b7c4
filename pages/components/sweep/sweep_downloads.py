"""The files that a sweep's page offers: its arms, its runs, and the report."""

from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd
import streamlit as st

from core.evaluation.verdicts import Verdict
from core.jobs.store import Run
from core.report.sweep_tables import arms_table, runs_table
from core.report.table_files import to_safe_csv
from core.runs.sweep import Sweep
from core.runs.sweep_result import ArmResult
from pages.components.shared.report_download import report_download


def show_downloads(
    sweep: Sweep,
    runs: Sequence[Run],
    results: Sequence[ArmResult],
    verdicts: Sequence[Verdict],
    reference: str,
) -> None:
    """Draw a button for each file; disabled as long as no arm has a result."""
    frames: dict[str, Callable[[], pd.DataFrame]] = {
        "arms": lambda: arms_table(results, verdicts, reference),
        "runs": lambda: runs_table(runs),
    }
    with st.container(horizontal=True):
        for what, frame in frames.items():
            for ending, mime, write in (
                ("csv", "text/csv", to_safe_csv),
                ("parquet", "", _parquet),
            ):
                st.download_button(
                    f"{what.capitalize()}, {'CSV' if ending == 'csv' else 'Parquet'}",
                    partial(_render_file, frame, write),
                    f"thaw-{sweep.id}-{what}.{ending}",
                    mime or "application/vnd.apache.parquet",
                    key=f"sweep_{what}_{ending}",
                    icon=":material/download:",
                    on_click="ignore",
                    disabled=not results,
                )
        report_download(f"report_{sweep.id}", sweep=sweep.id, disabled=not results)


def _render_file(
    frame: Callable[[], pd.DataFrame], write: Callable[[pd.DataFrame], str | bytes]
) -> str | bytes:
    return write(frame())


def _parquet(frame: pd.DataFrame) -> bytes:
    return frame.to_parquet(index=False)
