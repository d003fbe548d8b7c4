"""What is particular to the result of a blend: its weights, and how it compares with its runs."""

import pandas as pd
import streamlit as st

from core.errors import ThawError
from core.evaluation.format_metrics import (
    is_missing,
    metric_or_none,
    metric_value,
)
from core.evaluation.verdict_sentences import describe_comparison
from core.evaluation.verdicts import compare_two
from core.jobs.run_result import BlendedRun, BlendResult, MetricsByPart
from core.jobs.store import Run, RunStore
from pages.components.shared.common import workspace
from pages.components.shared.formatting import escape_markdown, format_int
from pages.components.shared.run_predictions import load_predictions


def show_blend(run: Run) -> None:
    """Show the weights of a finished blend, and whether it beats the best of its runs."""
    assert run.result is not None and run.result.blend is not None
    blend = run.result.blend
    best = best_run(blend)
    sentence = describe_gain(run, best) if best else ""
    if sentence:
        st.info(sentence, icon=":material/gavel:")
    st.subheader("Weights")
    existing = {one.id for one in RunStore(workspace()).list()}
    rows = [_row(one, existing) for one in blend.runs]
    rows.append(
        {
            "Arm": "this blend",
            "Weight": None,
            **_metrics(run.result.metrics),
            "Run": None,
        }
    )
    rows.append({"Arm": "equal weights", "Weight": 1 / len(blend.runs), **_metrics(blend.mean)})
    number = st.column_config.NumberColumn(format="%.4f")
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        width="stretch",
        height="content",
        placeholder="–",
        alt="Weights and metrics of the runs of this blend",
        column_config={
            "Arm": st.column_config.TextColumn(pinned=True),
            "Weight": st.column_config.NumberColumn(
                format="%.3f", help="Of the run's logits; 0 means that it does not count."
            ),
            "Validation log loss": number,
            "Target AUC": number,
            "Target log loss": number,
            "Source AUC": number,
            "Run": st.column_config.LinkColumn(display_text="Open"),
        },
    )
    st.caption(
        "The blend is the mean of the runs' logits with these weights. They have the lowest log "
        f"loss on {format_int(blend.validation_rows)} target validation rows (none is below 0, and "
        "their sum is 1); test rows chose nothing. The validation log loss of the blend is of the "
        "rows that its weights were fitted on, so it is a little too low."
    )


def best_run(blend: BlendResult) -> BlendedRun | None:
    """Return the run with the lowest log loss on validation rows; None where none has one."""
    known = {
        metric_value(one.metrics.get("target_validation"), "log_loss"): one for one in blend.runs
    }
    known = {loss: one for loss, one in known.items() if not is_missing(loss)}
    return known[min(known)] if known else None


def describe_gain(run: Run, best: BlendedRun) -> str:
    """Say whether the blend's AUC differs from that of its best run,"""
    title = escape_markdown(best.title)
    try:
        own, other = load_predictions(run), load_predictions(RunStore(workspace()).get(best.run))
    except ThawError:
        return f"{title}, the best of its runs on validation rows, was deleted since."
    found = compare_two(
        own["target_test_label"],
        own["target_test_score"],
        other["target_test_score"],
        ("this blend", f"{title}, the best of its runs on validation rows,"),
    )
    return f"On the target this blend {describe_comparison(found)}"


def _row(one: BlendedRun, existing: set[str]) -> dict[str, object]:
    link = f"run?run={one.run}" if one.run in existing else None
    return {"Arm": one.title, "Weight": one.weight, **_metrics(one.metrics), "Run": link}


def _metrics(metrics: MetricsByPart) -> dict[str, float | None]:
    return {
        "Validation log loss": metric_or_none(metrics.get("target_validation"), "log_loss"),
        "Target AUC": metric_or_none(metrics.get("target_test"), "auc"),
        "Target log loss": metric_or_none(metrics.get("target_test"), "log_loss"),
        "Source AUC": metric_or_none(metrics.get("source_test"), "auc"),
    }
