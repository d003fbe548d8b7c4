"""Score: a new file through a finished run's model; predictions to take away, drift against what it
learnt."""

import shlex
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from core.data.read_options import DEFAULT_OPTIONS, ReadOptions, to_cli_args
from core.data.samples import Sample, list_samples
from core.errors import ThawError
from core.evaluation.format_metrics import format_metric, metric_or_none, missing_sentence
from core.jobs.store import Run, RunStore
from core.program import COMMAND
from core.runs import tasks
from core.runs.artifacts import Scoring, list_scorings, score_and_store
from core.runs.artifacts import scoring_id as id_of
from core.runs.launch import refresh_statuses
from pages.components.score.scoring_result import scoring_view
from pages.components.shared.access import guarded_button
from pages.components.shared.choose_run import choose_run, simulated_suffix
from pages.components.shared.common import (
    escape_markdown,
    format_datetime,
    format_decimals,
    format_int,
    show_command,
    show_error,
    workspace,
)
from pages.components.shared.no_runs import show_no_runs
from pages.components.shared.read_options_form import SourceFile, read_options_form
from pages.components.shared.task_progress import show_task_progress
from pages.components.shared.uploads import upload_field

WAYS = {
    "upload": ":material/upload_file: Upload",
    "sample": ":material/table_chart: A sample that is here",
}
ON_BAD_ROWS = {"reject": "Reject the file", "skip": "Skip and count them"}
NO_RUNS = (
    "No finished run can score yet. Launch one on **Fine-tune**, pretrain a backbone on clicks on"
    " **Backbones**, or run the demo from **Home**."
)


@dataclass(frozen=True)
class Source:
    """A file to score. name: as the user calls it. command: the path that a command line would
    name.

    checked: whether it holds no bad rows.
    """

    path: Path
    name: str
    command: str
    checked: bool


def able(run: Run) -> bool:
    """Whether the run's model was trained on click labels."""
    return run.status == "done" and run.result is not None and run.result.threshold is not None


def why_not(named: str) -> str:
    """Why the run in the address is not offered."""
    for run in RunStore(workspace()).list():
        if run.id == named:
            why = (
                "was never trained on click labels" if run.status == "done" else f"is {run.status}"
            )
            return (
                f"Run {named} {why}, so it cannot score rows; the newest that can is shown instead."
            )
    return (
        f"There is no run {named[:40]!r} in this workspace; the newest that can score is shown"
        " instead."
    )


def about(run: Run) -> None:
    """What scores."""
    assert run.result is not None
    metrics = run.result.metrics
    target = metrics.get("target_test") or metrics.get("source_test")
    known = metric_or_none(target, "auc")
    auc = f"AUC {format_metric(known)} on its test rows"
    if known is None:
        auc = missing_sentence(target, "its test rows").removesuffix(".")
    auc = f" · {auc}" if target else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        threshold = (
            f"threshold {format_decimals(run.result.threshold)}, {run.result.threshold_rule}"
        )
        st.markdown(f":gray[{threshold}{auc}]{simulated_suffix(run)}", width="stretch")
        st.page_link(
            "run.py",
            label="Open the run",
            icon=":material/monitoring:",
            query_params={"run": run.id},
        )


def source() -> Source | None:
    """The file to score, or None as long as there is none."""
    samples = list_samples(workspace())
    ways = [*WAYS] if samples else ["upload"]
    way = st.segmented_control(
        "Rows",
        ways,
        format_func=WAYS.__getitem__,
        default="upload",
        required=True,
        key="score_way",
        help="Where the rows to score come from; nothing of them enters the model.",
    )
    if way == "sample":
        by_id = {sample.id: sample for sample in samples}
        picked = st.selectbox(
            "Sample",
            [*by_id],
            format_func=lambda key: sample_title(by_id[key]),
            key="score_sample",
            help="The rows to score; nothing of them enters the model.",
        )
        chosen = by_id[picked]
        return Source(chosen.rows_path, chosen.name, str(chosen.rows_path), True)
    copied = upload_field(
        "Criteo rows, labels optional",
        "score_file",
        "score",
        help=(
            "Labels may be missing, empty, ?, -1 or NaN. An id column is handed through to the"
            " predictions."
        ),
    )
    if copied is None:
        st.caption(
            "Text with 39 columns (40 with the label), CSV with a header, or Parquet; packed or"
            " plain."
        )
        return None
    return Source(copied[0], copied[1], copied[1], False)


def sample_title(sample: Sample) -> str:
    """Name and size of a sample."""
    return f"{sample.name}{' · simulated' if sample.simulated else ''} · {format_int(sample.rows)} rows"


def form(run: Run) -> None:
    """Chooses the file and starts scoring it."""
    chosen = source()
    if chosen is None:
        return
    # The rows of a sample are read as they were taken in.
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
        on_bad_rows = "reject" if chosen.checked else bad_rows_choice()
        if guarded_button(
            "Score", type="primary", icon=":material/playlist_add_check:", key="score"
        ):
            begin(run, chosen, on_bad_rows, options)
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
    show_command(shlex.join([*COMMAND, "score", *words, *skip]))


def bad_rows_choice() -> str:
    """What to do with bad rows."""
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


def begin(run: Run, chosen: Source, on_bad_rows: str, options: ReadOptions) -> None:
    """Starts the errand and puts the file's id into the address, where its result will be found."""
    space, asked = workspace(), id_of(chosen.path, on_bad_rows, options)
    tasks.forget(errand_key(run, asked))
    tasks.start(
        errand_key(run, asked),
        lambda report: score_and_store(
            space, run.id, chosen.path, chosen.name, on_bad_rows, report, options
        ),
    )
    st.query_params["scored"] = asked
    st.rerun()


def errand_key(run: Run, asked: str) -> str:
    """The key of scoring that file with that run."""
    return f"score {workspace().root} {run.id} {asked}"


def pick_scoring(run: Run, found: list[Scoring]) -> Scoring | None:
    """The scored file in the address, else the newest; a box for more than one."""
    by_id = {one.id: one for one in found}
    asked = st.query_params.get("scored", "")
    if asked and asked not in by_id and tasks.find(errand_key(run, asked)) is None:
        instead = "; the newest are shown instead" if by_id else ""
        st.warning(f"Those predictions are not here (any more){instead}. Score the file again.")
    if not by_id:
        return None
    names = {one.id: f"{one.file} · {format_datetime(one.created)}" for one in found}
    st.session_state["scored_pick"] = asked if asked in by_id else found[0].id
    if len(found) > 1:
        st.selectbox(
            "Scored files",
            [*by_id],
            format_func=lambda key: (
                f"{names[key]}{' · bad rows skipped' if key.endswith('-skip') else ''}"
            ),
            key="scored_pick",
            on_change=follow,
            help="Whose scores are shown. It changes none of them.",
        )
    return by_id[st.session_state["scored_pick"]]


def follow() -> None:
    """Puts the chosen scored file into the address."""
    st.query_params["scored"] = st.session_state["scored_pick"]


st.title("Score")
st.markdown(
    "A new file through a finished run: predictions to take away, and how far its rows have moved."
)
try:
    store = RunStore(workspace())
    refresh_statuses(workspace(), store)
    runs = [run for run in store.list(status="done") if able(run)]
    if not runs:
        show_no_runs(NO_RUNS)
        st.stop()
    run = choose_run(runs, why_not)
    about(run)
    with st.container(border=True):
        form(run)
        under_way = show_task_progress(
            errand_key(run, st.query_params.get("scored", "")), "Scoring the rows"
        )
    if not under_way and (scoring := pick_scoring(run, list_scorings(workspace(), run.id))):
        st.subheader(escape_markdown(scoring.file))
        scoring_view(run, scoring)
except ThawError as error:
    show_error(error)
