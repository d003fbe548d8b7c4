"""Score page: a new file scored by a finished run.

Predictions can be downloaded, and the drift from the run's training rows is shown.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from core.data.read_options import DEFAULT_OPTIONS, ON_BAD_ROWS, ReadOptions, to_cli_args
from core.data.samples import Sample, list_samples
from core.errors import ThawError
from core.evaluation.format_metrics import format_metric, metric_or_none, missing_sentence
from core.evaluation.recalibration import NONE, TITLES
from core.inference.run_calibration import used_method
from core.jobs.store import Run, RunStore
from core.program import COMMAND
from core.runs import tasks
from core.runs.artifacts import Scoring, list_scorings, score_and_store
from core.runs.artifacts import scoring_id as id_of
from core.runs.launch import refresh_statuses
from pages.components.score.scoring_result import scoring_view
from pages.components.shared import url_state
from pages.components.shared.access import guarded_button
from pages.components.shared.choose_run import choose_run, simulated_suffix
from pages.components.shared.common import show_command, workspace
from pages.components.shared.errors import show_error
from pages.components.shared.formatting import escape_markdown, format_datetime, format_int
from pages.components.shared.no_runs import show_no_runs
from pages.components.shared.read_options_form import SourceFile, read_options_form
from pages.components.shared.task_progress import show_task_progress
from pages.components.shared.uploads import upload_field

WAYS = {
    "upload": ":material/upload_file: Upload",
    "sample": ":material/table_chart: Existing sample",
}
NO_RUNS = (
    "No finished run can score yet. Launch one on **Fine-tune**, pretrain a backbone on clicks on"
    " **Backbones**, or run the demo from **Home**."
)


@dataclass(frozen=True)
class Source:
    """A file to score.

    Attributes:
        name: the user's name for it.
        command: the path as a command line would give it.
        checked: whether it is known to have no bad rows.
    """

    path: Path
    name: str
    command: str
    checked: bool


def can_score(run: Run) -> bool:
    """Return whether the run's model was trained on click labels."""
    return run.status == "done" and run.result is not None and run.result.threshold is not None


def explain_unavailable(run_id: str) -> str:
    """Say why the run in the URL is not offered."""
    for run in RunStore(workspace()).list():
        if run.id == run_id:
            why = (
                "was never trained on click labels" if run.status == "done" else f"is {run.status}"
            )
            return (
                f"Run {run_id} {why}, so it cannot score rows; the newest that can is shown "
                "instead."
            )
    return (
        f"There is no run {run_id[:40]!r} in this workspace; the newest that can score is shown"
        " instead."
    )


def show_run(run: Run) -> None:
    """Show the run that scores: threshold, AUC, link."""
    assert run.result is not None
    metrics = run.result.metrics
    target = metrics.get("target_test") or metrics.get("source_test")
    known = metric_or_none(target, "auc")
    auc = f"AUC {format_metric(known)} on its test rows"
    if known is None:
        auc = missing_sentence(target, "its test rows").removesuffix(".")
    auc = f" · {auc}" if target else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        threshold = f"threshold {format_metric(run.result.threshold)}, {run.result.threshold_rule}"
        st.markdown(f":gray[{threshold}{auc}]{simulated_suffix(run)}", width="stretch")
        st.page_link(
            "run.py",
            label="Open the run",
            icon=":material/monitoring:",
            query_params={"run": run.id},
        )


def choose_source() -> Source | None:
    """Return the file to score, or None as long as there is none."""
    samples = list_samples(workspace())
    ways = [*WAYS] if samples else ["upload"]
    way = st.segmented_control(
        "Rows",
        ways,
        format_func=WAYS.__getitem__,
        default="upload",
        required=True,
        key="score_way",
        help="Where the rows to score come from; they do not change the model.",
    )
    if way == "sample":
        by_id = {sample.id: sample for sample in samples}
        picked = st.selectbox(
            "Sample",
            [*by_id],
            format_func=lambda key: sample_title(by_id[key]),
            key="score_sample",
            help="The rows to score; they do not change the model.",
        )
        chosen = by_id[picked]
        return Source(chosen.rows_path, chosen.name, str(chosen.rows_path), True)
    copied = upload_field(
        "Criteo rows, labels optional",
        "score_file",
        "score",
        help=(
            "Labels may be missing, empty, ?, -1 or NaN. An id column is copied to the predictions."
        ),
    )
    if copied is None:
        st.caption(
            "Text with 39 columns (40 with the label), CSV with a header, or Parquet; "
            "compressed or not."
        )
        return None
    return Source(copied[0], copied[1], copied[1], False)


def sample_title(sample: Sample) -> str:
    """Return name and size of a sample."""
    return (
        f"{sample.name}{' · simulated' if sample.simulated else ''} · {format_int(sample.rows)} "
        "rows"
    )


def scoring_form(run: Run) -> None:
    """Choose the file and start scoring it."""
    chosen = choose_source()
    if chosen is None:
        return
    # A sample is stored in Thaw's own format and needs no options.
    options = (
        DEFAULT_OPTIONS
        if chosen.checked
        else read_options_form(
            SourceFile(chosen.path, chosen.name, chosen.path.name), need_label=False
        )
    )
    if options is None:
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        calibration = choose_calibration(run)
        on_bad_rows = "reject" if chosen.checked else choose_bad_rows()
        if guarded_button(
            "Score", type="primary", icon=":material/playlist_add_check:", key="score"
        ):
            start_scoring(run, chosen, on_bad_rows, options, calibration)
    words = [
        "--run",
        run.id,
        "--input",
        chosen.command,
        "--output",
        "predictions.csv",
        *to_cli_args(options),
    ]
    skip = ["--on-bad-rows", "skip"] if on_bad_rows == "skip" else []
    how = ["--no-calibration"] if calibration == NONE else ["--calibration", calibration]
    how = [] if calibration == used_method(workspace(), run) else how
    show_command(shlex.join([*COMMAND, "score", *words, *skip, *how]))


def choose_calibration(run: Run) -> str:
    """Return the calibration method of the scores; there is a choice if the run uses one."""
    used = used_method(workspace(), run)
    if used == NONE:
        return NONE
    return st.segmented_control(
        "Probabilities",
        [used, NONE],
        format_func=lambda method: (
            "As trained" if method == NONE else f"Calibrated, {TITLES[method]}"
        ),
        default=used,
        required=True,
        key=f"score_calibration_{run.id}",
        help="Which probabilities are written. The run's page says what the calibration does.",
    )


def choose_bad_rows() -> str:
    """Return what to do with bad rows."""
    return st.segmented_control(
        "Bad rows",
        [*ON_BAD_ROWS],
        format_func=ON_BAD_ROWS.__getitem__,
        default="reject",
        required=True,
        key="score_bad",
        help=(
            "Rejecting scores the whole file or none of it. Skipping leaves bad rows unscored and"
            " counts them."
        ),
    )


def start_scoring(
    run: Run, chosen: Source, on_bad_rows: str, options: ReadOptions, calibration: str
) -> None:
    """Start the background task and write the id of its result to the URL."""
    space, scoring = workspace(), id_of(chosen.path, on_bad_rows, options, calibration)
    tasks.forget(task_key(run, scoring))
    tasks.start(
        task_key(run, scoring),
        lambda report: score_and_store(
            space, run.id, chosen.path, chosen.name, on_bad_rows, report, options, calibration
        ),
    )
    url_state.put("scored", scoring)
    st.rerun()


def task_key(run: Run, scoring: str) -> str:
    """Return the key of the task that scores this file with this run."""
    return f"score {workspace().root} {run.id} {scoring}"


def choose_scoring(run: Run, scorings: list[Scoring]) -> Scoring | None:
    """Return the scored file in the URL, else the newest; draws a box if there are several."""
    by_id = {scoring.id: scoring for scoring in scorings}
    requested = url_state.get("scored") or ""
    if requested and requested not in by_id and tasks.find(task_key(run, requested)) is None:
        instead = "; the newest are shown instead" if by_id else ""
        st.warning(f"Those predictions do not exist (any more){instead}. Score the file again.")
    if not by_id:
        return None
    names = {
        scoring.id: f"{scoring.file} · {format_datetime(scoring.created)}"
        + (" · calibrated" if is_calibrated(scoring) else "")
        for scoring in scorings
    }
    st.session_state["scored_pick"] = requested if requested in by_id else scorings[0].id
    if len(scorings) > 1:
        st.selectbox(
            "Scored files",
            [*by_id],
            format_func=lambda key: (
                f"{names[key]}{' · bad rows skipped' if key.endswith('-skip') else ''}"
            ),
            key="scored_pick",
            on_change=save_choice,
            help="Whose scores are shown. It changes none of them.",
        )
    return by_id[st.session_state["scored_pick"]]


def is_calibrated(scoring: Scoring) -> bool:
    """Return whether the stored scores are calibrated."""
    return (scoring.output.get("calibration") or {}).get("method", NONE) != NONE


def save_choice() -> None:
    """Write the chosen scored file to the URL."""
    url_state.put("scored", st.session_state["scored_pick"])


st.title("Score")
st.markdown(
    "Score a new file with a finished run: download its predictions and see how far its "
    "rows have drifted."
)
try:
    store = RunStore(workspace())
    refresh_statuses(workspace(), store)
    runs = [run for run in store.list(status="done") if can_score(run)]
    if not runs:
        show_no_runs(NO_RUNS)
        st.stop()
    run = choose_run(runs, explain_unavailable)
    show_run(run)
    with st.container(border=True):
        scoring_form(run)
        under_way = show_task_progress(
            task_key(run, url_state.get("scored") or ""), "Scoring the rows"
        )
    if not under_way and (scoring := choose_scoring(run, list_scorings(workspace(), run.id))):
        st.subheader(escape_markdown(scoring.file))
        scoring_view(run, scoring)
except ThawError as error:
    show_error(error)
