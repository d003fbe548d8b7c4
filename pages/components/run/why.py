"""Why a run scores as it does: which fields matter, one row, response curves.

Computed by a separate process when asked for, and stored with the run.
"""

import json
import shlex
from collections.abc import Callable

import numpy as np
import pandas as pd
import streamlit as st

from core.data.datasets import find_dataset, select_test_rows
from core.data.schema import FIELDS
from core.inference.explanation_files import (
    REFERENCES,
    Response,
    RowExplanation,
    checked_values,
    explanation_key,
    read,
    response_key,
)
from core.inference.importance_files import importance_sentence, read_importance
from core.jobs.predictions import read_predictions
from core.jobs.store import Run
from core.program import PROGRAM
from core.report.importance_figures import (
    SHOWN_FIELDS,
    explanation_figure,
    importance_figure,
    importance_height,
    response_figure,
    value_text,
)
from core.runs import tasks
from core.runs.subprocess_commands import ProgressFn, why_in_subprocess
from pages.components.shared.access import guarded_button
from pages.components.shared.chart import chart
from pages.components.shared.common import show_command, workspace
from pages.components.shared.errors import catch_errors_in
from pages.components.shared.task_progress import show_task_progress

PICKS = ("highest score", "lowest score", "false positive", "false negative", "random")
"""Ways to pick a test row, beside its number."""
ABOUT = (
    "**Permutation importance**: a field's values are permuted among the target test rows, with"
    " everything derived from them; what the log loss gains and the AUC loses is the field's"
    " importance. Bars are 95 % intervals over test rows. Fields that repeat each other share"
    " their importance."
)


def why_section(run: Run) -> None:
    """Draw the section, for a finished run that scores clicks."""
    st.subheader("Why", anchor="why")
    views: dict[str, Callable[[Run], None]] = {
        "Fields": _fields,
        "One row": _one_row,
        "Response": _response,
    }
    view = st.segmented_control(
        "Question",
        list(views),
        default="Fields",
        required=True,
        key=f"why-{run.id}",
        help="Which fields matter, why one row has its score, how the score follows one field.",
    )
    st.fragment(catch_errors_in(views[view]))(run)


def under_way(run: Run, words: list[str]) -> bool:
    """Show the progress of a command of this section; return whether it is running."""
    measured = words[0] == "importance"
    return show_task_progress(_key(run, words), "Computing", reports_progress=measured)


def start(run: Run, words: list[str]) -> None:
    """Run a command of this section for the run in a background process."""
    space, key = workspace(), _key(run, words)

    def job(report: ProgressFn) -> object:
        return why_in_subprocess(space, run.id, words, report)

    tasks.forget(key)
    tasks.start(key, job)
    st.rerun()


def _key(run: Run, words: list[str]) -> str:
    return f"why {workspace().root} {run.id} {words}"


def _fields(run: Run) -> None:
    against = ""
    st.caption(ABOUT)
    if run.kind == "finetune" and run.result and run.result.before is not None:
        chosen = st.segmented_control(
            "Importance of",
            ["this run", "this run minus backbone"],
            default="this run",
            required=True,
            key=f"against-{run.id}",
            help="The difference, on the same permutations, is what fine-tuning learnt to rely on.",
        )
        against = "backbone" if chosen == "this run minus backbone" else ""
    words = ["importance", *(["--against", against] if against else [])]
    found = read_importance(workspace(), run.id, against)
    if found is None:
        if not under_way(run, words) and guarded_button(
            "Measure importance", icon=":material/calculate:", key=f"compute-importance-{run.id}"
        ):
            start(run, words)
    else:
        st.markdown(importance_sentence(found))
        everything = st.checkbox(
            "All fields",
            key=f"all-fields-{run.id}",
            help="Show every field, not only the most important ones.",
        )
        count = len(found.fields) if everything else SHOWN_FIELDS
        for column, metric, title in zip(
            st.columns(2), ("log_loss", "auc"), ("Log loss", "AUC"), strict=True
        ):
            with column:
                st.markdown(f"**{title}**")
                chart(
                    importance_figure(found, metric, count),
                    f"importance-{metric}-{run.id}",
                    importance_height(count),
                    f"Importance of fields by {title}",
                )
        st.caption(
            f"{found.rows:,} test rows, {found.permutations} permutations of each field,"
            f" {found.seconds:.1f} s on {found.device}."
        )
    show_command(f"{PROGRAM} importance --run {run.id} {' '.join(words[1:])}".rstrip())


def pick_row(run: Run, pick: str) -> int:
    """Return the number of a target test row; its position decides ties."""
    numbers = select_test_rows(find_dataset(workspace(), run.dataset), "target")
    arrays = read_predictions(workspace(), run.id, ["target_test_score", "target_test_label"])
    scores = np.asarray(arrays["target_test_score"], float)
    clicks = np.asarray(arrays["target_test_label"]) == 1
    if pick == "random":
        return int(np.random.default_rng().choice(numbers))
    order = {
        "highest score": scores,
        "lowest score": -scores,
        "false positive": np.where(clicks, -np.inf, scores),
        "false negative": np.where(clicks, -scores, -np.inf),
    }[pick]
    return int(numbers[int(np.argmax(order))])


def _one_row(run: Run) -> None:
    key = f"why-row-{run.id}"
    st.session_state.setdefault(key, pick_row(run, "highest score"))
    with st.container(horizontal=True):
        for pick in PICKS:

            def choose(pick: str = pick) -> None:
                st.session_state[key] = pick_row(run, pick)

            st.button(pick.capitalize(), key=f"{pick}-{run.id}", on_click=choose)
    left, right = st.columns(2)
    row = left.number_input("Row", min_value=0, step=1, key=key, help="Its number in the dataset.")
    reference = right.selectbox(
        "Reference row",
        list(REFERENCES),
        format_func=lambda name: REFERENCES[name].capitalize(),
        key=f"reference-{run.id}",
        help="Each value is compared with the reference row's value of its field.",
    )
    with st.expander("Edit its values (what-if)", icon=":material/edit:"):
        table = st.data_editor(
            pd.DataFrame({"Field": FIELDS, "New value": [None] * len(FIELDS)}).astype("string"),
            disabled=["Field"],
            hide_index=True,
            key=f"edit-{row}-{run.id}",
        )
        edits = {
            str(field): str(value)
            for field, value in zip(table["Field"], table["New value"], strict=True)
            if not pd.isna(value) and str(value).strip()
        }
        st.caption("Empty keeps the row's own value.")
    values = checked_values(edits)
    words = ["explain", "--row", str(int(row)), "--reference", reference]
    words += ["--values", json.dumps(values)] if values else []
    name = explanation_key(int(row), values, reference)
    found = read(RowExplanation, workspace(), run.id, name)
    if found is None:
        if not under_way(run, words) and guarded_button(
            "Explain this row", icon=":material/calculate:", key=f"compute-explain-{run.id}"
        ):
            start(run, words)
    else:
        show_explanation(run, found)
    show_command(f"{PROGRAM} explain --run {run.id} {shlex.join(words[1:])}")


def show_explanation(run: Run, found: RowExplanation) -> None:
    """Draw an explained row: scores, figure and table."""
    before = "" if found.score_before is None else f", backbone **{found.score_before:.4f}**"
    label = "" if found.label is None else f" · label {found.label}"
    st.markdown(
        f"Score **{found.score:.4f}**{before}{label} · reference row {found.reference_score:.4f}"
    )
    height = importance_height(SHOWN_FIELDS)
    chart(explanation_figure(found), f"explanation-{run.id}", height, "Change of the logit")
    st.dataframe(
        pd.DataFrame(
            {
                "Field": [one.field for one in found.ranked()],
                "Value": [value_text(one.value) for one in found.ranked()],
                "Reference": [value_text(one.reference) for one in found.ranked()],
                "Occlusion": [one.occlusion for one in found.ranked()],
                "Backbone": [one.occlusion_before for one in found.ranked()],
                "Integrated gradient": [one.gradient for one in found.ranked()],
            }
        ),
        hide_index=True,
        height=300,
    )
    if found.completeness_gap is None:
        st.caption("This model has no embeddings with a gradient, so only occlusion is shown.")
    else:
        st.caption(
            "Integrated gradients add up to the difference of the logits within"
            f" {abs(found.completeness_gap):.1e} ({found.steps} steps)."
        )


def _response(run: Run) -> None:
    left, right = st.columns(2, vertical_alignment="bottom")
    field = left.selectbox(
        "Field", FIELDS, key=f"response-{run.id}", help="The field whose values are set."
    )
    lines = right.checkbox(
        "Lines of single rows",
        key=f"lines-{run.id}",
        help="Show how the score of some single test rows changes beside their mean.",
    )
    found = read(Response, workspace(), run.id, response_key(field))
    if found is None:
        if not under_way(run, ["response", "--field", field]) and guarded_button(
            "Compute the response", icon=":material/calculate:", key=f"compute-response-{run.id}"
        ):
            start(run, ["response", "--field", field])
    else:
        chart(
            response_figure(found, lines), f"response-chart-{run.id}", 380, f"Response to {field}"
        )
        st.caption(
            f"Mean score of {found.rows:,} test rows when {field} is set to a value in all of them"
            " (partial dependence); bars are 95 % intervals over rows."
        )
    show_command(f"{PROGRAM} response --run {run.id} --field {field}")
