"""A scored file: how many clicks are predicted, how good that was where labels tell, how far the
rows have moved."""

from typing import Any

import pandas as pd
import streamlit as st

from core.data.profile import FieldDrift, explain_too_few_rows
from core.data.schema import FIELDS
from core.evaluation.format_metrics import format_interval, format_metric, metric_rows
from core.inference.score_sentences import label_sentence
from core.jobs.store import Run
from core.report.run_figures import scored_file_figure
from core.runs.artifacts import Scoring, check_scoring, delete_artifact
from pages.components.shared.access import guarded_button
from pages.components.shared.chart import chart
from pages.components.shared.common import (
    escape_inline,
    escape_markdown,
    format_datetime,
    format_decimals,
    format_int,
    format_percent,
)
from pages.components.shared.drift import drift_view

PREVIEW_ROWS = 100
MAX_ROWS_SHOWN_WHOLE = 8
"""Rows of a table that is shown whole."""
DRIFT_PHRASES = {
    "little": "have hardly moved",
    "some": "have moved somewhat",
    "strong": "have moved strongly",
}


def scoring_view(run: Run, scoring: Scoring) -> None:
    """Everything there is to say, and the predictions to take away."""
    check_scoring(scoring)
    said = scoring.output
    for sentence in said.get("unknown", {}).get("sentences", ()):
        st.warning(escape_inline(sentence), icon=":material/help:")
    for sentence in (*said.get("notes", ()), label_sentence(said)):
        if sentence:
            st.info(escape_inline(sentence), icon=":material/info:")
    show_numbers(said)
    if said["bad_rows"]:
        show_skipped_rows(said)
    show_downloads(run, scoring)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.markdown("**Scores**")
        show_score_histogram(said)
    with right:
        if said["metrics"]:
            show_quality(said["metrics"])
        else:
            st.markdown("**Predictions**")
            show_preview(scoring)
    st.subheader("Drift against the training rows", anchor="drift")
    show_drift(said)
    if said["metrics"]:
        st.subheader("Predictions")
        show_preview(scoring)


def show_numbers(said: dict[str, Any]) -> None:
    """Rows, predicted clicks and mean; what the labels say of the scores."""
    scores, metrics = said["scores"], said["metrics"]
    over = round(scores["predicted_click_share"] * scores["rows"])
    with st.grid(4, min_column_width=150):
        st.metric("Rows", format_int(said["rows"]), border=True)
        st.metric(
            "Over the threshold",
            format_int(over),
            border=True,
            help=(
                "Predicted clicks: rows whose score is at least the run's threshold,"
                f" {format_decimals(said['threshold'])}; {format_percent(scores['predicted_click_share'])} of"
                " all."
            ),
        )
        st.metric(
            "Predicted click rate",
            format_percent(scores["mean"], 2),
            border=True,
            help="The mean of all scores.",
        )
        if metrics:
            st.metric(
                "Actual click rate",
                format_percent(metrics.get("click_rate"), 2),
                border=True,
                help="By the labels.",
            )
        else:
            st.metric(
                "Share over threshold", format_percent(scores["predicted_click_share"]), border=True
            )


def show_skipped_rows(said: dict[str, Any]) -> None:
    """The bad rows that were left out."""
    bad = said["bad_rows"]
    title = f"{format_int(bad)} bad row{'s were' if bad > 1 else ' was'} skipped"
    with st.expander(title, icon=":material/warning:"):
        st.markdown("\n".join(f"- {escape_markdown(example)}" for example in said["bad_examples"]))
        st.caption(
            "The predictions are numbered as the file's rows are, so the skipped rows' numbers are"
            " not among them."
        )


def show_downloads(run: Run, scoring: Scoring) -> None:
    """The predictions as files."""
    name = f"thaw-{run.id}-{scoring.id}"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Predictions, CSV",
            scoring.csv.read_bytes,
            f"{name}.csv",
            "text/csv",
            key="scored_csv",
            icon=":material/download:",
            on_click="ignore",
        )
        st.download_button(
            "Predictions, Parquet",
            scoring.parquet,
            f"{name}.parquet",
            "application/vnd.apache.parquet",
            key="scored_parquet",
            icon=":material/download:",
            on_click="ignore",
        )
        if guarded_button(
            "Delete",
            key="scored_delete",
            icon=":material/delete:",
            help="Deletes these predictions here.",
        ):
            delete_artifact(scoring)
            st.query_params.pop("scored", None)
            st.rerun()
        st.caption(f"Scored {format_datetime(scoring.created)}; one line a row, in file order.")


def show_score_histogram(said: dict[str, Any]) -> None:
    """The histogram of scores beside that of the run's test rows, and whether they have moved."""
    counts = {"this file": said["scores"]["counts"]}
    if said["drift"]:
        counts["the run's test rows"] = said["drift"]["scores"]["test"]["counts"]
    mean = f"Scores of this file, mean {format_decimals(said['scores']['mean'])}"
    chart(scored_file_figure(counts, said["threshold"]), "scored", 340, mean)
    if said["drift"]:
        scores = said["drift"]["scores"]
        if explain_too_few_rows(said["drift"]["training_rows"], said["rows"]):
            st.caption("The line is the run's threshold.")
            return
        st.caption(
            f"The scores {DRIFT_PHRASES[scores['level']]} against those of the run's test rows (index"
            f" {format_metric(scores['psi'], 3)}): mean {format_decimals(scores['scored']['mean'])} here,"
            f" {format_decimals(scores['test']['mean'])} there. The line is the run's threshold."
        )


def show_quality(metrics: dict[str, Any]) -> None:
    """Every metric on the file's labels."""
    st.markdown(f"**By the file's labels** :gray[· {format_interval(metrics)}]")
    rows = [{"Metric": row.title, "Value": row.text} for row in metric_rows(metrics)]
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, height="content", alt="Metrics of the scored file"
    )
    rows_of = f"{format_int(metrics.get('rows'))} row{'' if metrics.get('rows') == 1 else 's'}"
    st.caption(f"On {rows_of}; F1, precision and recall at the run's own threshold.")


def show_preview(scoring: Scoring) -> None:
    """The first predictions."""
    table = scoring.head(PREVIEW_ROWS).to_pandas()
    st.dataframe(
        table.rename(
            columns={
                "row": "Row in the file",
                "score": "Score",
                "predicted_click": "Predicted click",
            }
        ),
        key="scored_first",
        hide_index=True,
        height=340 if len(table) > MAX_ROWS_SHOWN_WHOLE else "content",
        alt="The first predictions",
        column_config={
            "Row in the file": st.column_config.NumberColumn(format="localized"),
            "Score": st.column_config.ProgressColumn(format="%.4f", min_value=0, max_value=1),
        },
    )
    if len(table) < scoring.output["rows"]:
        st.caption(
            f"The first {format_int(len(table))} of {format_int(scoring.output['rows'])} predictions."
        )


def show_drift(said: dict[str, Any]) -> None:
    """How far the file's fields have moved from the rows that the run learnt from."""
    moved = said["drift"]
    if moved is None:
        st.info(
            "The run's dataset is gone, so there are no training rows to compare with.",
            icon=":material/info:",
        )
        return
    drifts = [
        FieldDrift(
            one["field"],
            one["psi"],
            one["unseen_training"],
            one["unseen_scored"],
            one["missing_training"],
            one["missing_scored"],
            one.get("noise", 0.0),
        )
        for one in moved["fields"]
    ]
    assert len(drifts) == len(FIELDS)
    drift_view(
        drifts,
        f"between the {format_int(moved['training_rows'])} training rows of"
        f" {escape_markdown(moved['dataset'])} and the {format_int(said['rows'])} rows of this file",
        ("training", "file"),
        "rare values are among them",
        explain_too_few_rows(moved["training_rows"], said["rows"]),
    )
