"""The result of a finished run.

It shows the change from the backbone, and metrics and curves at a threshold.
"""

import numpy as np
import pandas as pd
import streamlit as st

from core.evaluation.curves import (
    ConfusionMatrix,
)
from core.evaluation.format_metrics import (
    format_metric,
    is_missing,
    metric_or_none,
    metric_rows,
    missing_sentence,
)
from core.evaluation.metric_registry import METRICS
from core.freezing.strategies import has_own_model, is_trained, iteration_word
from core.inference.run_model import describe_learner
from core.jobs.reporter import POINT_NAMES
from core.jobs.run_result import RunResult
from core.jobs.store import Run, RunStore
from core.models.objectives import OBJECTIVES, ORIGINS, stage_origins
from core.report.run_figures import (
    calibration_figure,
    confusion_figure,
    gains_figure,
    precision_recall_figure,
    roc_figure,
    score_histogram_figure,
)
from pages.components.run.blend_result import show_blend
from pages.components.run.calibration import show_calibration_note
from pages.components.run.live import show_learning_curves
from pages.components.run.new_backbone import show_new_backbone
from pages.components.shared.chart import chart
from pages.components.shared.common import workspace
from pages.components.shared.errors import catch_errors, catch_errors_in
from pages.components.shared.formatting import escape_markdown, format_int, format_percent
from pages.components.shared.run_predictions import (
    PART_TITLES,
    describe_change,
    load_curves,
    load_predictions,
)


def result_view(run: Run) -> None:
    """Draw the whole result of a finished run."""
    assert run.result is not None
    if run.kind == "pretrain":
        show_new_backbone(run)
    arrays = None
    with catch_errors():
        arrays = load_predictions(run)
        if run.kind == "blend":
            show_blend(run)
        elif run.kind != "pretrain":
            show_verdict(run, arrays)
        if learner := describe_learner(workspace(), run):
            st.caption(escape_markdown(learner))
    if run.result.training_warning and iteration_word(run.strategy) == "epoch":
        st.warning(run.result.training_warning, icon=":material/warning:")
    show_calibration_note(run)
    # Metrics are in the database, so they can be shown even if the scores are missing.
    measured = (
        run.result.metrics if arrays is None else [name.removesuffix("_label") for name in arrays]
    )
    parts = [part for part in PART_TITLES if part in measured]
    if parts:
        show_metrics_table(run.result, parts, beside_before=is_trained(run.strategy))
    if parts and arrays is not None:
        st.subheader("Results at one threshold")
        st.fragment(catch_errors_in(threshold_view))(run, parts)
    points = RunStore(workspace()).points(run.id, *POINT_NAMES)
    if points:
        st.subheader("Learning curves")
        steps, _ = points.get("validation_loss", (np.zeros(0), np.zeros(0)))
        kept = run.result.kept_step(steps.tolist())
        show_learning_curves(run, points, kept)
        if kept is not None:
            st.caption(describe_end(run))
    # Trees and a logistic regression have no stages that could be frozen.
    if run.result.stages and iteration_word(run.strategy) == "epoch":
        show_stages(run)


def describe_end(run: Run) -> str:
    """Say which weights, trees or penalty were kept, and why training ended."""
    assert run.result is not None
    best, word = run.result.best_epoch, iteration_word(run.strategy)
    kept = {
        "epoch": f"The weights of epoch {best} were kept" if best else "The start was kept",
        "tree": f"The first {format_int(best)} trees were kept",
        "penalty": f"Number {best} of the penalties was kept",
    }[word]
    ended = ""
    if run.halted:
        ended = (
            " The search ended it early because its validation loss was above the median of the"
            " other settings."
            if run.is_trial
            else " Successive halving stopped it here because other arms of its sweep had a lower "
            "validation loss."
        )
    elif run.result.stopped_early:
        ended = (
            " Weaker penalties were not tried because the validation loss no longer fell."
            if word == "penalty"
            else " Training stopped early because the validation loss no longer fell."
        )
    return f"{kept} (lowest validation loss).{ended}"


def show_verdict(run: Run, arrays: dict[str, np.ndarray]) -> None:
    """Say whether the run improved on the target and what it forgot on the source."""
    assert run.result is not None
    if run.result.before is None:
        st.info(
            "This backbone had no click head, so it has no scores to compare with. Compare "
            "the run with one trained from scratch instead.",
            icon=":material/info:",
        )
        return
    if not is_trained(run.strategy):
        st.info(
            "The backbone as it is: nothing was trained. Compare it with a fine-tuned run.",
            icon=":material/info:",
        )
        return
    texts = []
    for part, what in (("target_test", "On the target"), ("source_test", "On the source")):
        if f"{part}_label" in arrays:
            texts.append(f"**{what}** {describe_change(run, part)}")
    st.info("  \n".join(texts), icon=":material/gavel:")
    own_model = has_own_model(run.strategy)
    what = "this control, which has nothing of the backbone" if own_model else "this run"
    st.caption(
        f"Before: the backbone with its own head. After: {what}. Both on the same test rows."
    )


def show_metrics_table(result: RunResult, parts: list[str], beside_before: bool) -> None:
    """Show every metric on target and source test rows.

    With `beside_before`, the backbone's metrics before fine-tuning are shown next to them.
    """
    for column, part in zip(st.columns(len(parts)), parts, strict=True):
        after, before = (
            result.metrics[part],
            (result.before or {}).get(part) if beside_before else None,
        )
        rows = []
        for now, then in zip(metric_rows(after), metric_rows(before), strict=True):
            row = {"Metric": now.title, "After" if before else "Value": now.text}
            if before:
                row["Before"] = then.text
                change = now.value - then.value
                row["Change"] = (
                    "" if is_missing(change) else format_metric(change, now.digits, signed=True)
                )
            rows.append(row)
        with column.container(border=True):
            known = metric_or_none(after, "rows")
            n_rows = None if known is None else int(known)
            rate, threshold = (
                format_percent(after.get("click_rate")),
                format_metric(after.get("threshold")),
            )
            st.markdown(
                f"**{PART_TITLES[part]}** :gray[· {format_int(n_rows)} rows · "
                f"click rate {rate} · threshold {threshold}, {result.threshold_rule}]"
            )
            st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch", height="content")
            if reason := missing_sentence(after, "these rows"):
                st.caption(reason)


def threshold_view(run: Run, parts: list[str]) -> None:
    """Draw the slider, the confusion matrix and the curves with their operating point."""
    assert run.result is not None and run.result.threshold is not None
    key = f"threshold-{run.id}"
    default = round(run.result.threshold, 3)
    controls = st.columns([2, 4, 1], vertical_alignment="bottom")
    part = controls[0].segmented_control(
        "Rows",
        parts,
        format_func=PART_TITLES.__getitem__,
        default=parts[0],
        required=True,
        key=f"part-{run.id}",
        help="The test rows used for the numbers and figures below. It changes no score.",
    )
    st.session_state.setdefault(key, default)
    threshold = controls[1].slider(
        "Threshold",
        0.0,
        1.0,
        step=0.001,
        format="%.3f",
        key=key,
        help=(
            "A row is a predicted click when its score is at least this. The default was "
            "chosen on validation rows for the highest F1, without test rows."
        ),
    )

    def reset() -> None:
        st.session_state[key] = default

    controls[2].button(
        "Reset", on_click=reset, help=f"Back to {default:.3f}, chosen on validation rows"
    )
    arrays = load_predictions(run)
    names = {True: "score"}
    if f"{part}_before" in arrays and is_trained(run.strategy):
        names[False] = "before"
    shown = {after: load_curves(run, part, name) for after, name in names.items()}
    # The slider has three digits. At its default, use the exact threshold, as the table above does.
    exact = run.result.threshold
    at = {
        after: item[0].confusion_at(exact if threshold == default else threshold)
        for after, item in shown.items()
    }
    _show_threshold_metrics(at[True])
    grid = st.columns(2)
    labels = arrays[f"{part}_label"]
    figures = (
        ("Confusion matrix", confusion_figure(at[True]), _describe_confusion(at[True])),
        (
            "ROC",
            roc_figure({a: i[1] for a, i in shown.items()}, at),
            "ROC curve with the operating point",
        ),
        (
            "Precision and recall",
            precision_recall_figure({a: i[2] for a, i in shown.items()}, at, float(labels.mean())),
            "Precision by recall with the operating point",
        ),
        (
            "Calibration",
            calibration_figure({a: i[4] for a, i in shown.items()}),
            "Click rate by mean score",
        ),
        (
            "Scores",
            score_histogram_figure(shown[True][0], threshold),
            "Histogram of scores by class",
        ),
        ("Gains", gains_figure({a: i[3] for a, i in shown.items()}), "Clicks caught by rows taken"),
    )
    for index, (title, figure, alt) in enumerate(figures):
        with grid[index % 2]:
            st.markdown(f"**{title}**")
            chart(figure, f"{title}-{run.id}", 360, alt)


def _show_threshold_metrics(at: ConfusionMatrix) -> None:
    always_no = (at.tn + at.fp) / max(at.tn + at.fp + at.tp + at.fn, 1)
    numbers = {
        "Accuracy": at.accuracy,
        METRICS["always_no_accuracy"].row_title: always_no,
        "Precision": at.precision,
        "Recall": at.recall,
        "F1": at.f1,
    }
    with st.container(horizontal=True):
        for title, value in numbers.items():
            st.metric(title, format_metric(value), width="content")


def _describe_confusion(at: ConfusionMatrix) -> str:
    return (
        f"Confusion matrix: {at.tp:,} true positives, {at.fp:,} false positives,"
        f" {at.fn:,} false negatives, {at.tn:,} true negatives"
    )


def show_stages(run: Run) -> None:
    """Show which stages were trained and where their weights come from."""
    assert run.result is not None
    fresh = run.kind == "pretrain"
    came_from = final_origins(run) if fresh else [stage.origin for stage in run.result.stages]
    untrained = run.objective == "none"
    with st.expander("Stages, frozen and trained", icon=":material/stacks:"):
        rows = [
            {
                "Stage": stage.title,
                "State": (
                    "initial weights" if untrained else "frozen" if stage.frozen else "trained"
                ),
                "Weights" if fresh else "Started from": ORIGINS.get(origin, origin),
                "Parameters": format_int(stage.parameters),
            }
            for stage, origin in zip(run.result.stages, came_from, strict=True)
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch", height="content")
        trained = 0 if untrained else run.result.trained_parameters
        st.caption(
            f"{format_int(trained)} parameters were trained."
            if trained
            else ("Nothing was trained.")
        )


def final_origins(run: Run) -> list[str]:
    """Return the origins of the weights after a pretraining run, the head's last."""
    assert run.result is not None
    request = run.pretrain_request
    head = request.objective if OBJECTIVES[request.objective].trains else "random"
    return [*stage_origins(request.start, request.objective, len(run.result.stages) - 1), head]
