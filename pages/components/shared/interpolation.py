"""Interpolation between a fine-tuned run and its backbone (WiSE-FT): a slider over alpha."""

import numpy as np
import streamlit as st

from core.evaluation.format_metrics import (
    format_bounds,
    format_metric,
    is_missing,
    reason_from_labels,
)
from core.evaluation.metric_registry import METRICS
from core.evaluation.roc_auc import auc_interval, auc_variance
from core.evaluation.verdict_sentences import describe_comparison
from core.evaluation.verdicts import compare_two
from core.freezing.heads import keeps_head
from core.freezing.inputs import check_same_inputs
from core.jobs.store import Run, RunStore
from core.program import PROGRAM
from core.report.decision_figures import interpolation_figure
from core.runs.launch import refresh_statuses
from core.runs.submit import list_interpolations, submit_interpolation
from pages.components.shared.access import guarded_button
from pages.components.shared.arm_charts import direction_note
from pages.components.shared.chart import chart
from pages.components.shared.common import show_command, workspace
from pages.components.shared.errors import catch_errors, catch_errors_in
from pages.components.shared.formatting import escape_inline
from pages.components.shared.run_predictions import load_predictions

ABOUT = (
    "Interpolating between the backbone's weights (alpha 0) and the fine-tuned ones (alpha "
    "1) often keeps more source quality at no cost on the target (WiSE-FT, Wortsman et al. "
    "2022). The worker scores eleven values of alpha; the best is chosen on validation rows."
)
NEW_HEAD = (
    "Only a run that kept its backbone's head can be interpolated: a new head has nothing in"
    " common with the backbone's, and a mixture of the two scores worse than either."
)
METRICS_SHOWN = ("auc", "log_loss")


def interpolation_section(run: Run) -> None:
    """Draw the section, for a run that fine-tuned something."""
    st.subheader("Interpolation with the backbone")
    if not keeps_head(run.finetune_request):
        st.caption(NEW_HEAD)
        return
    st.caption(ABOUT)
    with catch_errors():
        check_same_inputs(run.finetune_request, run.id)
        interpolations = list_interpolations(workspace(), run)
        if interpolations and interpolations[0].active:
            st.fragment(catch_errors_in(_wait), run_every=1.0)(interpolations[0].id)
        elif interpolations and interpolations[0].status == "done":
            st.fragment(catch_errors_in(interpolation_result))(interpolations[0])
        else:
            if interpolations and interpolations[0].message:
                st.error(escape_inline(interpolations[0].message))
            if guarded_button(
                "Interpolate with the backbone", icon=":material/blender:", key=f"mix-{run.id}"
            ):
                submit_interpolation(workspace(), run)
                st.rerun()
        show_command(f"{PROGRAM} interpolate --run {run.id}")


def _wait(run_id: str) -> None:
    store = RunStore(workspace())
    refresh_statuses(workspace(), store)
    run = store.get(run_id)
    if not run.active:
        st.rerun()
    share = run.step / run.steps if run.steps else 0.0
    text = f"{run.step} of {run.steps} mixtures scored" if run.steps else "Waiting for the worker"
    st.progress(share, text=text)


def interpolation_result(mixing: Run) -> None:
    """Draw the slider over a finished interpolation, and AUC and log loss of every alpha."""
    assert mixing.result is not None and mixing.result.interpolation is not None
    result = mixing.result.interpolation
    alphas, parts = result.alphas, result.parts
    alpha = st.select_slider(
        "Share of the fine-tuned weights (alpha)",
        alphas,
        result.chosen,
        key=f"alpha-{mixing.id}",
        help=(
            "0 is the backbone as it was, 1 the fine-tuned run. It changes no model, only what is"
            " shown."
        ),
    )
    index = alphas.index(alpha)
    left, right = st.columns([3, 2])
    with left:
        for metric in METRICS_SHOWN:
            curves = {
                part: values[metric]
                for part, values in parts.items()
                if part != "target_validation"
            }
            alt = ", ".join(
                f"{part.replace('_', ' ')} {format_metric(values[index])}"
                for part, values in curves.items()
            )
            heading = METRICS[metric].heading
            st.markdown(f"**{heading}**{direction_note(metric)}")
            chart(
                interpolation_figure(alphas, curves, result.chosen, alpha, metric),
                f"mixing-{metric}-{mixing.id}",
                260,
                f"{heading}: {alt}",
            )
        st.caption(
            f"The star marks alpha {result.chosen:g}, chosen on validation rows; the line "
            "marks the slider."
        )
    with right:
        arrays = load_predictions(mixing)
        for part, title in (
            ("target_test", "Target test rows"),
            ("source_test", "Source test rows"),
        ):
            if part in parts:
                st.metric(f"AUC, {title.lower()}", format_metric(parts[part]["auc"][index]))
                st.caption(_compare_with_finetuned(arrays, part, alpha))
                loss = format_metric(parts[part]["log_loss"][index])
                st.metric(f"Log loss, {title.lower()}", loss)


def _compare_with_finetuned(arrays: dict[str, np.ndarray], part: str, alpha: float) -> str:
    """Return the interval of the interpolated model's AUC.

    Also say whether it differs from the fine-tuned run's.
    """
    labels = arrays[f"{part}_label"]
    auc, variance = auc_variance(labels, arrays[f"{part}_{alpha}"])
    low, high = auc_interval(auc, variance)
    if is_missing(low):
        return f"No {'AUC' if is_missing(auc) else 'interval'}: {reason_from_labels(labels)}."
    interval = f"95 % interval {format_bounds(low, high)}."
    if alpha == 1:
        return f"{interval} The fine-tuned run itself."
    found = compare_two(
        labels,
        arrays[f"{part}_{alpha}"],
        arrays[f"{part}_1.0"],
        ("this model", "the fine-tuned run"),
    )
    return f"{interval} This model {describe_comparison(found)}"
