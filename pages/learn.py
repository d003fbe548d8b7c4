"""Learn page: the method in four figures, and the glossary.

Each figure is computed from one of the user's runs.
"""

import streamlit as st

from core.data.datasets import list_datasets
from core.errors import ThawError
from core.evaluation.verdict_sentences import describe_comparison
from core.evaluation.verdicts import compare_two
from core.freezing.inputs import check_same_inputs
from core.freezing.plan import make_plan
from core.freezing.strategies import (
    has_learning_rate,
    has_own_model,
    has_seed,
    is_control,
    is_trained,
)
from core.inference.weight_drift_files import read_weight_drift
from core.jobs.store import Run, RunStore
from core.models.backbone_store import find_backbone
from core.report.arm_traces import is_freeze_depth
from core.report.learn_figures import before_after_figure
from core.report.sweep_figures import depth_figure
from core.report.weight_drift_figures import weight_distance_figure
from core.runs.sweep import arm_title, list_sweeps
from core.runs.sweep_result import summarise_arm, summarise_arms
from pages.components.learn.glossary import show_glossary
from pages.components.shared.access import PRESENTER_KEY
from pages.components.shared.chart import cached_figure_json, chart
from pages.components.shared.choose_run import choose_run, simulated_suffix
from pages.components.shared.common import workspace
from pages.components.shared.errors import catch_errors, show_error
from pages.components.shared.formatting import format_int, format_percent
from pages.components.shared.no_runs import show_no_runs
from pages.components.shared.run_predictions import describe_change, load_predictions, score_key
from pages.components.shared.stack import draw_plan
from pages.components.shared.tour import tour_button
from pages.components.shared.weight_drift import describe_weight_drift, measure_weight_drift_button

CONTROL_WORDS = {
    "zero-shot": "the backbone as it is",
    "scratch": "a network trained from scratch",
    "retrain": "the same network trained on source and target rows",
    "logistic-regression": "a logistic regression on source and target rows",
    "gradient-boosting": "gradient boosting on source and target rows",
}
METHOD = (
    "A network trained on plentiful **source** rows is fine-tuned on scarce, different "
    "**target** rows: its lower stages are **frozen**, its **head** is kept or replaced, and "
    "everything that is not frozen is trained. How much to freeze is the question; the four "
    "figures below answer it for one of your own runs."
)
NO_RUNS = (
    "There is no finished fine-tuning run yet, and these figures are computed from one of yours."
    " Run the demo on **Home**, which takes a minute or two, or launch a run on **Fine-tune**; then"
    " come back."
)


def trained_runs() -> list[Run]:
    """Return finished fine-tuning runs that trained something, newest first."""
    runs = RunStore(workspace()).list("done", "finetune")
    return [run for run in runs if run.result and not is_control(run.strategy)]


def show_freezing(run: Run) -> None:
    """Show what freezing means, with the run's own stack."""
    assert run.result is not None
    st.subheader("1. What freezing means")
    stages = run.result.stages
    frozen = [stage for stage in stages if stage.frozen]
    parameters = sum(stage.parameters for stage in stages)
    st.markdown(
        "A frozen stage keeps its weights exactly: it gets no gradient, and no optimiser "
        f"sees it. In this run {len(frozen)} of {len(stages) - 1} stages "
        f"{'was' if len(frozen) == 1 else 'were'} frozen; of "
        f"{format_int(parameters)} parameters, including the head's, "
        f"{format_int(run.result.trained_parameters)} could move."
    )
    request = run.finetune_request
    with catch_errors():
        card = find_backbone(workspace(), run.result.backbone)
        draw_plan(
            make_plan(
                card,
                request.strategy,
                request.freeze_depth,
                request.head,
                request.options,
                request.keep_head,
            )
        )


def show_weight_drift(run: Run) -> None:
    """Show how far each stage moved."""
    st.subheader("2. Weight drift in each stage")
    st.markdown(
        "Training moves the weights away from the backbone's. A frozen stage does not move "
        "at all; of the others, those near the head usually move most."
    )
    with catch_errors():
        check_same_inputs(run.finetune_request, run.id)
        drift = read_weight_drift(workspace(), run.id)
        if drift is None:
            st.markdown("Not measured yet; it takes some seconds.")
            measure_weight_drift_button(run)
            return
        st.markdown(describe_weight_drift(drift))
        height = 130 + 34 * len(drift.stages)
        chart(
            weight_distance_figure(drift.stages),
            "learn-moved",
            height,
            "Distance of weights, stage by stage",
        )


def show_forgetting(run: Run) -> None:
    """Show what the target gained and what the source lost."""
    assert run.result is not None
    st.subheader("3. What was forgotten")
    st.markdown(
        "Training on the target can overwrite what was learned from the source. So the "
        "network is tested on rows of both, before and after: further right is better."
    )
    before, after = run.result.before, run.result.metrics
    if before is None:
        st.info("This backbone had no click head, so it has no scores to compare with.")
        return
    arrays = load_predictions(run)
    for part, where in (("target_test", "target"), ("source_test", "source")):
        if f"{part}_label" in arrays:
            st.markdown(f"- On the **{where}** {describe_change(run, part)}")
    chart(
        before_after_figure(before, after),
        "learn-forgotten",
        260,
        "AUC before and after on target and source rows",
    )


def comparable_runs(run: Run) -> list[Run]:
    """Return the finished runs that differ from `run` only by strategy, itself included.

    Of several runs with the same strategy (and freeze depth), only one is returned: that of the
    same sweep, which runs an arm at the rate it chose, else the newest.
    """
    found: dict[tuple[str, int], Run] = {(run.strategy, run.finetune_request.freeze_depth): run}
    others = RunStore(workspace()).list("done", "finetune")
    for other in [*runs_of_its_sweep(run), *(one for one in others if is_comparable(one, run))]:
        strategy, request = other.strategy, other.finetune_request
        # A control that was given options has other rows than CONTROL_WORDS says.
        usual_control = is_control(strategy) and not request.options
        if other.result and (strategy == "depth" or usual_control):
            depth = request.freeze_depth if strategy == "depth" else 0
            found.setdefault((strategy, depth), other)
    return list(found.values())


def runs_of_its_sweep(run: Run) -> list[Run]:
    """Return the runs of the same sweep, seed and target size, each arm at its chosen rate."""
    sweep = next((one for one in list_sweeps(workspace()) if one.id == run.group), None)
    if sweep is None:
        return []
    arms = summarise_arms(sweep, RunStore(workspace()).list_group(sweep.id))
    return [
        other
        for arm in arms
        for other in arm.runs
        if other.kind == "finetune"
        and (
            not is_trained(other.strategy)
            or (
                other.target_rows == run.target_rows
                and (other.seed == run.seed or not has_seed(other.strategy))
            )
        )
    ]


def is_comparable(other: Run, run: Run) -> bool:
    """Return whether the settings that matter to `other` are those of `run`."""
    theirs, mine = other.finetune_request, run.finetune_request
    if (theirs.dataset, theirs.backbone) != (mine.dataset, mine.backbone):
        return False
    # Zero-shot trains nothing, and what is not a network reads neither rate nor batch size.
    if not is_trained(other.strategy):
        return True
    if theirs.target_rows != mine.target_rows:
        return False
    if not has_learning_rate(other.strategy):
        shared = ["validation_share", *["seed"] * has_seed(other.strategy)]
        return all(getattr(theirs.train, one) == getattr(mine.train, one) for one in shared)
    inputs = has_own_model(other.strategy) or theirs.inputs == mine.inputs
    return inputs and (theirs.train, theirs.keep_head, theirs.head) == (
        mine.train,
        mine.keep_head,
        mine.head,
    )


def show_when_it_pays(run: Run) -> None:
    """Show whether fine-tuning pays: compared with the controls, and by freeze depth."""
    st.subheader("4. When it pays")
    st.markdown(
        "It pays when it beats every control: the backbone as it is, networks without a backbone, "
        "and models that need none. Where target rows are scarce, freezing more usually pays; "
        "with many, freezing less."
    )
    runs = comparable_runs(run)
    controls = {other.strategy: other for other in runs if is_control(other.strategy)}
    for strategy, what in CONTROL_WORDS.items():
        words = (
            compare_with_control(run, controls[strategy])
            if strategy in controls
            else ("there is no such run yet.")
        )
        st.markdown(f"- Compared with {what}: {words}")
    results = [summarise_arm([other], arm_title(other), "") for other in runs]
    deep = sum(is_freeze_depth(other) for other in results)
    if deep:
        chart(
            cached_figure_json(depth_figure, tuple(results)),
            "learn-depth",
            360,
            "AUC by freeze depth, with controls",
        )
    if deep < 2 or len(controls) < 2:
        st.markdown("Run more depths and controls with the same settings to complete this figure.")
        st.page_link("sweep.py", label="Sweep over freeze depths", icon=":material/experiment:")


def compare_with_control(run: Run, control: Run) -> str:
    """Say whether the run's AUC differs from the control's on the same target test rows."""
    scores, other = load_predictions(run), load_predictions(control)
    found = compare_two(
        scores["target_test_label"],
        scores["target_test_score"],
        other["target_test_score"],
        ("this run", "it"),
        (score_key(run, "target_test_score"), score_key(control, "target_test_score")),
    )
    return f"this run {describe_comparison(found)}"


def show_figures(runs: list[Run]) -> None:
    """Show the four figures of the chosen run."""
    run = choose_run(
        runs,
        lambda named: (
            f"There is no finished fine-tuning run {named[:40]!r}; the newest is shown instead."
        ),
    )
    dataset = next(
        (candidate for candidate in list_datasets(workspace()) if candidate.id == run.dataset), None
    )
    if dataset is not None:
        rows = sum(part.rows for part in dataset.parts if part.part.startswith("target"))
        share = format_percent(rows / dataset.rows)
        st.markdown(
            f"{simulated_suffix(run)} :gray[{format_int(dataset.rows)} rows, {share} of them "
            "target.]"
        )
    with st.container(border=True):
        show_freezing(run)
    with st.container(border=True):
        show_weight_drift(run)
    with st.container(border=True):
        show_forgetting(run)
    with st.container(border=True):
        show_when_it_pays(run)


st.title("Learn")
st.markdown(METHOD)
try:
    if mine := trained_runs():
        show_figures(mine)
    else:
        show_no_runs(NO_RUNS)
except ThawError as error:
    show_error(error)
st.subheader("Glossary")
show_glossary()
with st.container(horizontal=True, vertical_alignment="center"):
    tour_button()
    st.page_link(
        "home.py",
        label="Presenter mode",
        icon=":material/co_present:",
        query_params={PRESENTER_KEY: "1"},
    )
