"""Uses of a finished run: score new rows, report, export, verify."""

from typing import Any

import pandas as pd
import streamlit as st

from core.evaluation.format_metrics import MISSING_TEXT
from core.evaluation.recalibration import NONE
from core.inference.run_calibration import has_scores, used_method
from core.jobs.store import Run
from core.program import PROGRAM
from core.runs import tasks
from core.runs.artifacts import (
    EXPORT,
    VERIFICATION,
    Artifact,
    export_and_store,
    export_path,
    find_artifact,
    verify_and_store,
)
from core.workspace import Workspace
from pages.components.shared.access import guarded_button
from pages.components.shared.common import show_command, workspace
from pages.components.shared.formatting import (
    escape_markdown,
    format_bytes,
    format_datetime,
    format_int,
)
from pages.components.shared.report_download import report_download
from pages.components.shared.task_progress import show_task_progress

EXPORT_HELP = (
    "One zip with the weights (safetensors), the model as ONNX, preprocessing, threshold, "
    "card, and a short Python file that scores a TSV without Thaw."
)
VERIFY_HELP = "Repeats the run separately, and reports whether every metric is the same."


def use_run(run: Run) -> None:
    """Draw the section, for a finished run."""
    st.subheader("Use this run", anchor="use")
    _score_and_report(run)
    with st.grid(2, min_column_width=330):
        # A blend has no network of its own.
        if run.kind != "blend":
            with st.container(border=True):
                _export(workspace(), run)
        with st.container(border=True):
            _verify(workspace(), run)


def _score_and_report(run: Run) -> None:
    assert run.result is not None
    with st.container(horizontal=True, vertical_alignment="center"):
        if run.result.threshold is not None:
            label = "Score a file with it"
            st.page_link(
                "score.py",
                label=label,
                icon=":material/playlist_add_check:",
                query_params={"run": run.id},
            )
        if run.kind in ("finetune", "blend"):
            report_download(f"report_{run.id}", runs=[run.id])


def _export(space: Workspace, run: Run) -> None:
    key = f"export {space.root} {run.id}"
    st.markdown("**Export**")
    under_way = show_task_progress(key, "Exporting and checking", reports_progress=False)
    if not under_way:
        used = used_method(space, run) if has_scores(run) else NONE
        done = find_artifact(space, run.id, EXPORT)
        if done and ((done.output.get("calibration") or {}).get("method", NONE)) != used:
            # It has other probabilities than the run uses now.
            done = None
        archive = export_path(done.folder, run.id) if done else None
        if done and archive and archive.exists():
            st.markdown(describe_onnx_check(done.output["onnx"]))
            if sentence := (done.output.get("calibration") or {}).get("sentence"):
                st.caption(sentence)
            st.download_button(
                f"Download the zip ({format_bytes(archive.stat().st_size)})",
                archive.read_bytes,
                archive.name,
                "application/zip",
                key=f"exported_{run.id}",
                type="primary",
                icon=":material/download:",
                on_click="ignore",
            )
        else:
            st.caption(EXPORT_HELP)
            if guarded_button("Export", key=f"export_{run.id}", icon=":material/package_2:"):
                tasks.forget(key)
                tasks.start(key, lambda report: export_and_store(space, run.id))
                st.rerun()
    show_command(f"{PROGRAM} export --run {run.id} --out thaw-{run.id}.zip")


def describe_onnx_check(onnx: dict[str, Any]) -> str:
    """Say what the comparison of the ONNX model with torch found."""
    if not onnx.get("checked"):
        return escape_markdown(onnx["why"])
    largest = onnx["largest_difference"]
    differ = f"at most {largest:.1e}" if largest else "not at all"
    return (
        ":material/check_circle: The ONNX model was compared with torch on "
        f"{format_int(onnx['rows'])} {escape_markdown(onnx['rows_from'])}: scores differ by "
        f"{differ} (allowed: {onnx['tolerance']:g})."
    )


def _verify(space: Workspace, run: Run) -> None:
    key = f"verify {space.root} {run.id}"
    st.markdown("**Verify**")
    if not show_task_progress(key, "Running it again"):
        done = find_artifact(space, run.id, VERIFICATION)
        if done:
            show_verification(done)
        else:
            st.caption(VERIFY_HELP)
        label = "Verify again" if done else "Verify"
        if guarded_button(label, key=f"verify_{run.id}", icon=":material/replay:"):
            tasks.forget(key)
            tasks.start(key, lambda report: verify_and_store(space, run.id, report))
            st.rerun()
    show_command(f"{PROGRAM} verify --run {run.id}")


def show_verification(done: Artifact) -> None:
    """Say whether every metric was reproduced, and list those that were not."""
    output = done.output
    notice, icon = (
        (st.success, ":material/check_circle:")
        if output["same"]
        else (st.warning, ":material/difference:")
    )
    notice(escape_markdown(output["sentence"]), icon=icon)
    if output["differences"]:
        table = pd.DataFrame(
            {
                "Number": [difference["name"] for difference in output["differences"]],
                "Then": [_exact(difference["first"]) for difference in output["differences"]],
                "Again": [_exact(difference["again"]) for difference in output["differences"]],
            }
        )
        st.dataframe(
            table,
            hide_index=True,
            height=min(35 * (len(table) + 1) + 3, 300),
            alt="Numbers that differ",
        )
    st.caption(f"Repeated {format_datetime(done.created)}.")


def _exact(value: float | None) -> str:
    return MISSING_TEXT if value is None else repr(value)
