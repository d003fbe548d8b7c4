"""The result of scoring a file: predicted clicks, metrics if it has labels, and drift."""

from typing import Any

import pandas as pd
import streamlit as st

from core.data.drift import FieldDrift, explain_too_few_rows
from core.data.schema import FIELDS
from core.evaluation.format_metrics import format_interval, format_metric, metric_rows
from core.inference.score_sentences import label_sentence
from core.jobs.store import Run
from core.report.run_figures import scored_file_figure
from core.runs.artifacts import Scoring, check_scoring, delete_artifact
from pages.components.shared import url_state
from pages.components.shared.access import guarded_button
from pages.components.shared.chart import chart
from pages.components.shared.drift import drift_view
from pages.components.shared.formatting import (
    escape_inline,
    escape_markdown,
    format_datetime,
    format_int,
    format_percent,
)

PREVIEW_ROWS = 100
MAX_ROWS_SHOWN_WHOLE = 8
"""Tables with at most this many rows are shown without scrolling."""
DRIFT_PHRASES = {
    "little": "hardly differ",
    "some": "differ somewhat",
    "strong": "differ strongly",
}


def scoring_view(run: Run, scoring: Scoring) -> None:
    """Draw the whole result and the downloads."""
    check_scoring(scoring)
    output = scoring.output
    for sentence in output.get("unknown", {}).get("sentences", ()):
        st.warning(escape_inline(sentence), icon=":material/help:")
    for sentence in (*output.get("notes", ()), label_sentence(output)):
        if sentence:
            st.info(escape_inline(sentence), icon=":material/info:")
    if sentence := (output.get("calibration") or {}).get("sentence"):
        st.caption(f":material/balance: {sentence}")
    show_numbers(output)
    if output["bad_rows"]:
        show_skipped_rows(output)
    show_downloads(run, scoring)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.markdown("**Scores**")
        show_score_histogram(output)
    with right:
        if output["metrics"]:
            show_quality(output["metrics"])
        else:
            st.markdown("**Predictions**")
            show_preview(scoring)
    st.subheader("Drift from the training rows", anchor="drift")
    show_drift(output)
    if output["metrics"]:
        st.subheader("Predictions")
        show_preview(scoring)


def show_numbers(output: dict[str, Any]) -> None:
    """Show rows, predicted clicks and mean score, and the actual click rate if there are labels."""
    scores, metrics = output["scores"], output["metrics"]
    over = round(scores["predicted_click_share"] * scores["rows"])
    with st.grid(4, min_column_width=150):
        st.metric("Rows", format_int(output["rows"]), border=True)
        st.metric(
            "At or above the threshold",
            format_int(over),
            border=True,
            help=(
                "Predicted clicks: rows whose score is at least the run's threshold, "
                f"{format_metric(output['threshold'])}; "
                f"{format_percent(scores['predicted_click_share'])} of all."
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
                "Share at or above the threshold",
                format_percent(scores["predicted_click_share"]),
                border=True,
            )


def show_skipped_rows(output: dict[str, Any]) -> None:
    """Show the bad rows that were skipped."""
    bad = output["bad_rows"]
    title = f"{format_int(bad)} bad row{'s were' if bad > 1 else ' was'} skipped"
    with st.expander(title, icon=":material/warning:"):
        st.markdown(
            "\n".join(f"- {escape_markdown(example)}" for example in output["bad_examples"])
        )
        st.caption(
            "Predictions carry the row numbers of the file, so the numbers of skipped rows "
            "are missing."
        )


def show_downloads(run: Run, scoring: Scoring) -> None:
    """Offer the predictions as files."""
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
            url_state.remove("scored")
            st.rerun()
        st.caption(f"Scored {format_datetime(scoring.created)}; one line per row, in file order.")


def show_score_histogram(output: dict[str, Any]) -> None:
    """Draw the histogram of scores with that of the run's test rows.

    Also say whether they differ.
    """
    counts = {"this file": output["scores"]["counts"]}
    if output["drift"]:
        counts["the run's test rows"] = output["drift"]["scores"]["test"]["counts"]
    mean = f"Scores of this file, mean {format_metric(output['scores']['mean'])}"
    chart(scored_file_figure(counts, output["threshold"]), "scored", 340, mean)
    if output["drift"]:
        scores = output["drift"]["scores"]
        if explain_too_few_rows(output["drift"]["training_rows"], output["rows"]):
            st.caption("The line is the run's threshold.")
            return
        st.caption(
            f"The scores {DRIFT_PHRASES[scores['level']]} from those of the run's test rows "
            f"(index {format_metric(scores['psi'], 3)}): mean "
            f"{format_metric(scores['scored']['mean'])} here, "
            f"{format_metric(scores['test']['mean'])} there. The line is the run's "
            "threshold."
        )


def show_quality(metrics: dict[str, Any]) -> None:
    """Show every metric on the file's labels."""
    st.markdown(f"**By the file's labels** :gray[· {format_interval(metrics)}]")
    rows = [{"Metric": row.title, "Value": row.text} for row in metric_rows(metrics)]
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, height="content", alt="Metrics of the scored file"
    )
    rows_of = f"{format_int(metrics.get('rows'))} row{'' if metrics.get('rows') == 1 else 's'}"
    st.caption(f"On {rows_of}; F1, precision and recall at the run's own threshold.")


def show_preview(scoring: Scoring) -> None:
    """Show the first predictions."""
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
            f"The first {format_int(len(table))} of {format_int(scoring.output['rows'])} "
            "predictions."
        )


def show_drift(output: dict[str, Any]) -> None:
    """Show how far the file's fields have drifted from the run's training rows."""
    moved = output["drift"]
    if moved is None:
        st.info(
            "The run's dataset was deleted, so there are no training rows to compare with.",
            icon=":material/info:",
        )
        return
    drifts = [
        FieldDrift(
            field["field"],
            field["psi"],
            field["unseen_training"],
            field["unseen_scored"],
            field["missing_training"],
            field["missing_scored"],
            field.get("noise", 0.0),
        )
        for field in moved["fields"]
    ]
    assert len(drifts) == len(FIELDS)
    drift_view(
        drifts,
        f"between the {format_int(moved['training_rows'])} training rows of "
        f"{escape_markdown(moved['dataset'])} and the {format_int(output['rows'])} rows of "
        "this file",
        ("training", "file"),
        "rare values are among them",
        explain_too_few_rows(moved["training_rows"], output["rows"]),
    )
