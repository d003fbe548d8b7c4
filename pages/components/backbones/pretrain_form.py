"""The pretraining form.

It asks for the dataset, architecture, initial weights, objective and settings, and shows the cost
and the button.
"""

from collections.abc import Sequence

import streamlit as st

from core.data.datasets import Dataset
from core.data.target_statistics import N_PAIRS
from core.jobs.requests import MASK_SHARE, STATISTICS, PretrainRequest, TrainSettings
from core.jobs.store import RunStore
from core.models.model_stats import count_in_background
from core.models.objectives import INITIALISATIONS, OBJECTIVES
from core.models.recommended_settings import pretraining_rows
from core.models.registry import ARCHITECTURES, Architecture, is_installed
from core.program import install_command
from core.runs.command_lines import command_line
from core.runs.estimate import calibration_runs
from core.runs.submit import submit_pretrain
from core.training.default_settings import count_training_rows, default_settings
from core.training.pretraining_defaults import recommended_statistics
from pages.components.backbones.architecture_fields import architecture_fields
from pages.components.backbones.pretraining_costs import (
    read_costs,
    show_chosen_cost,
    show_cost_table,
    show_stages,
    wait_for_costs,
)
from pages.components.backbones.start_file import start_file
from pages.components.shared.access import guarded_button
from pages.components.shared.choosers import choice_caption, choose_named
from pages.components.shared.common import NAME_HELP, show_command, workspace
from pages.components.shared.errors import catch_errors
from pages.components.shared.formatting import format_int
from pages.components.shared.training_fields import suggest_value, training_fields
from pages.components.shared.widget_sync import reapply_unseen, render_ack_field

DEFAULT_ARCHITECTURE = "dnn"
MASK_SHARES = (0.1, 0.3)
"""The range that the paper tries."""


def pretrain_form(datasets: list[Dataset], taken: set[str]) -> None:
    """Draw the whole section.

    Args:
        taken: names of existing and queued backbones.
    """
    usable = [candidate for candidate in datasets if candidate.has_source]
    if not usable:
        st.info(
            "Pretraining needs a dataset with a source domain. Add a sample and split it first."
        )
        st.page_link("data.py", label="Prepare a dataset", icon=":material/table_chart:")
        return
    with catch_errors():
        reapply_unseen()
        what, how = st.columns(2, gap="medium")
        with what, st.container(border=True):
            st.markdown("##### What to train")
            dataset = choose_dataset(usable)
            architecture = choose_architecture()
            spec = ARCHITECTURES[architecture]
            start, path = choose_start(spec)
            objective, mask_share = choose_objective(spec, dataset)
            statistics = choose_statistics(architecture, objective, dataset)
            free = free_name(f"{spec.title} {dataset.name}", taken)
            name = (
                st.text_input(
                    "Name of the backbone",
                    placeholder=free,
                    key="pt_name",
                    max_chars=64,
                    help=NAME_HELP,
                ).strip()
                or free
            )
            rows = count_training_rows(dataset, "source")
            settings = architecture_fields(architecture, rows)
        with how, st.container(border=True):
            train = train_fields(objective, rows)
            summary = st.container()
            ready = is_installed(architecture) and bool(path) == bool(
                INITIALISATIONS[start].file_type
            )
            request = None
            if ready:
                request = PretrainRequest(
                    dataset.id,
                    architecture,
                    name,
                    train,
                    settings,
                    objective,
                    start,
                    path,
                    mask_share,
                    statistics,
                )
            launch_button(request, dataset)
            costs = read_costs(dataset, request)
            history = calibration_runs(RunStore(workspace()).list("done"), train)
            if request and costs.chosen:
                show_stages(costs.chosen, request)
        with summary:
            if not is_installed(architecture):
                show_missing_package(spec)
            elif request is None:
                st.info(
                    f"First upload its file: {INITIALISATIONS[start].file_type}.",
                    icon=":material/attach_file:",
                )
            else:
                show_chosen_cost(costs, request, rows, history)
        show_cost_table(costs, rows, history)
        render_ack_field()
        wait_for_costs(costs)


def choose_dataset(datasets: list[Dataset]) -> Dataset:
    """Return the dataset in the URL, and show its number of training rows."""
    dataset = choose_named("Dataset", datasets, "dataset")
    rows = count_training_rows(dataset, "source")
    labels = "" if dataset.labelled else ", without labels"
    choice_caption(f"{format_int(rows)} source rows to train on{labels}", dataset.simulated)
    return dataset


def choose_architecture() -> str:
    """Return the architecture; shows its summary and source."""
    architecture = _selectbox(
        "Architecture", [*ARCHITECTURES], "pt_architecture", DEFAULT_ARCHITECTURE
    )
    spec = ARCHITECTURES[architecture]
    st.caption(f"{spec.summary} ({spec.source})")
    return architecture


def choose_start(architecture: Architecture) -> tuple[str, str]:
    """Return (key of the initial weights, path of the file they are read from or "")."""
    titles = {key: entry.title for key, entry in INITIALISATIONS.items()}
    start = _selectbox(
        "Initial weights",
        architecture.initialisations,
        "pt_start",
        architecture.initialisations[0],
        titles,
    )
    st.caption(_with_source(INITIALISATIONS[start].summary, INITIALISATIONS[start].source))
    return start, start_file(start) if INITIALISATIONS[start].file_type else ""


def choose_objective(architecture: Architecture, dataset: Dataset) -> tuple[str, float]:
    """Return (objective, share of fields masked).

    Without labels, objectives that need clicks are left out.
    """
    allowed = [
        name
        for name in architecture.objectives
        if dataset.labelled or not OBJECTIVES[name].reads_labels
    ]
    titles = {key: entry.title for key, entry in OBJECTIVES.items()}
    objective = _selectbox("Objective", allowed, "pt_objective", allowed[0], titles)
    st.caption(_with_source(OBJECTIVES[objective].summary, OBJECTIVES[objective].source))
    if not dataset.labelled:
        st.caption("This dataset has no labels, so objectives that need clicks are not available.")
    if objective not in ("rfd", "mfp"):
        return objective, MASK_SHARE
    word = "replaced" if objective == "rfd" else "hidden"
    share = st.slider(
        f"Share of fields {word}",
        *MASK_SHARES,
        MASK_SHARE,
        0.05,
        key="pt_mask_share",
        help="A higher share makes the task harder. The paper tries 0.1 to 0.3.",
    )
    return objective, share


def choose_statistics(architecture: str, objective: str, dataset: Dataset) -> str:
    """Return which target statistics are among the inputs; only click labels allow any."""
    if objective != "supervised":
        return "none"
    usual = recommended_statistics(architecture, objective, pretraining_rows(dataset))
    suggest_value("pt_statistics", usual)
    return _selectbox("Target statistics", STATISTICS, "pt_statistics", usual, STATISTICS_TITLES)


def train_fields(objective: str, rows: int) -> TrainSettings:
    """Draw the training settings, or say that nothing is trained."""
    st.markdown("##### How to train")
    if not OBJECTIVES[objective].trains:
        st.markdown(
            "Nothing is trained: the backbone is stored with its initial weights, to be "
            "compared with trained ones."
        )
        return default_settings(rows, objective)[1]
    return training_fields("pt", rows, objective)


def launch_button(request: PretrainRequest | None, dataset: Dataset) -> None:
    """Draw the button; it is disabled until the form is complete."""
    trains = request is None or OBJECTIVES[request.objective].trains
    pressed = guarded_button(
        "Pretrain" if trains else "Make the backbone",
        type="primary",
        icon=":material/play_arrow:",
        key="pt_launch",
        disabled=request is None,
        width="stretch",
    )
    st.caption("Training runs in the background: you can close this page.")
    if request is None:
        return
    if pressed:
        # Refuse settings that cannot build a network now, not minutes later in the worker.
        wanted = {request.architecture: request.settings}
        count_in_background(workspace(), dataset, wanted, request.statistics)
        run = submit_pretrain(workspace(), request)
        st.switch_page("run.py", query_params={"run": run.id})
    show_command(command_line(workspace(), request))


def show_missing_package(architecture: Architecture) -> None:
    """Say which package to install."""
    st.warning(
        f"**{architecture.title}** needs the optional package "
        f"`{architecture.required_package}`, which is not installed here. Install it into "
        "the environment Thaw runs in, then load this page again:",
        icon=":material/extension:",
    )
    st.code(install_command(architecture.required_package), language=None)


def free_name(name: str, taken: set[str]) -> str:
    """Return `name` as a valid backbone name, with the first number appended that makes it free."""
    name = name.replace("&", "and").strip()[:58].strip()
    numbered = (f"{name} {number}" for number in range(2, len(taken) + 3))
    return (
        name
        if name not in taken
        else next(candidate for candidate in numbered if candidate not in taken)
    )


STATISTICS_TITLES = {
    "none": "None",
    "fields": "Of every categorical field",
    "pairs": f"Of every categorical field and {N_PAIRS} pairs of fields",
}
HELP = {
    "Target statistics": (
        "How often rows with the same value were clicked, and how many there were, as further "
        "numbers of each row. They are counted on the source training rows, and for these rows "
        "without their own labels. The pairs of fields that say most are chosen on the same rows."
    ),
    "Architecture": (
        "The network that is built: its stages, its size, and the objectives it supports."
    ),
    "Initial weights": "The stages' weights before training.",
    "Objective": (
        "What the network is trained to predict. Only clicks give it a head that can score "
        "rows without fine-tuning."
    ),
}


def _selectbox(
    label: str, options: Sequence[str], key: str, first: str, titles: dict[str, str] | None = None
) -> str:
    """Draw a select box that falls back to `first` if its value is no longer among the options."""
    titles = titles or {name: ARCHITECTURES[name].title for name in options}
    if st.session_state.get(key) not in options:
        st.session_state[key] = first
    return st.selectbox(
        label,
        options,
        format_func=titles.__getitem__,
        key=key,
        persist_state="session",
        help=HELP[label],
    )


def _with_source(text: str, source: str) -> str:
    return f"{text} ({source})" if source else text
