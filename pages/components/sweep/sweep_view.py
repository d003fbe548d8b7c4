"""One sweep: progress, verdicts, table and figures; refreshed while runs are active."""

from collections.abc import Sequence
from contextlib import suppress

import streamlit as st

from core.data.datasets import list_datasets
from core.errors import BadInput
from core.freezing.strategies import untrained_titles
from core.jobs.store import RESUMABLE_STATUSES, Run, RunStore
from core.models.backbone_store import list_backbones
from core.program import PROGRAM
from core.runs.command_lines import sweep_command_line
from core.runs.launch import CLUSTER_QUEUE, is_worker_alive, max_parallel_runs, refresh_statuses
from core.runs.search import is_under_way, search_progress
from core.runs.sweep import Sweep, arm_title, cancel_sweep, extend_sweep, find_sweep, resume_sweep
from core.runs.sweep_result import (
    default_reference,
    default_reference_title,
    describe_setting,
    summarise_arms,
    window_number,
)
from pages.components.shared import url_state
from pages.components.shared.access import guarded_button
from pages.components.shared.arm_charts import BASELINE_HELP
from pages.components.shared.choosers import choose_text
from pages.components.shared.common import SIMULATED, show_command, status_markdown, workspace
from pages.components.shared.errors import catch_errors, catch_errors_in
from pages.components.shared.formatting import (
    escape_markdown,
    format_approx_duration,
    format_datetime,
    format_duration,
    format_int,
)
from pages.components.shared.stall_warnings import show_stall_warnings
from pages.components.sweep.blend_arms import blend_popover
from pages.components.sweep.rolling_view import show_windows, show_windows_verdict
from pages.components.sweep.search_view import show_search, show_search_progress
from pages.components.sweep.sweep_charts import sweep_charts
from pages.components.sweep.sweep_downloads import show_downloads
from pages.components.sweep.sweep_recommendation import sweep_recommendation
from pages.components.sweep.sweep_table import group_runs, sweep_table
from pages.components.sweep.sweep_tables_view import show_rates, show_runs, show_table
from pages.components.sweep.sweep_verdicts import (
    judge_results,
    sentences_by_setting,
    show_verdicts,
)

TICK_SECONDS = 1.0


def sweep_view(sweep: Sweep) -> None:
    """Follow the sweep while runs are active, and show its results."""
    runs = RunStore(workspace()).list_group(sweep.id)
    active = is_under_way(workspace(), sweep, runs)
    _header(sweep, runs)
    st.fragment(catch_errors_in(_live), run_every=TICK_SECONDS if active else None)(
        sweep.id, active
    )
    _show_commands(sweep, runs)


def _header(sweep: Sweep, runs: Sequence[Run]) -> None:
    title, actions = st.columns([5, 3], vertical_alignment="center")
    with title:
        st.subheader(escape_markdown(sweep.name))
        st.markdown(_describe_sweep(sweep))
    on_cluster = any(run.queue == CLUSTER_QUEUE for run in runs)
    with actions.container(horizontal=True, horizontal_alignment="right"):
        if is_under_way(workspace(), sweep, runs):
            if guarded_button(
                "Cancel",
                icon=":material/cancel:",
                disabled=bool(_active(runs)) and all(run.cancel_requested for run in _active(runs)),
            ):
                cancel_sweep(workspace(), sweep)
                st.rerun()
        elif (
            (_resumable(runs) if sweep.spec.search is None else _stopped(sweep, runs))
            and not on_cluster
            and guarded_button("Resume", icon=":material/play_arrow:", type="primary")
        ):
            resume_sweep(workspace(), sweep)
            st.rerun()
        if not on_cluster:
            _add_seeds(sweep)
        if not sweep.spec.windows:
            blend_popover(sweep, runs)
        if st.button(
            "Compare runs",
            icon=":material/compare_arrows:",
            help="Opens the finished runs of every arm, at its chosen rate, in the table of runs.",
        ):
            chosen = [run.id for arm in summarise_arms(sweep, runs) for run in arm.runs]
            st.switch_page("compare.py", query_params={"runs": ",".join(chosen)})
    if on_cluster and (_resumable(runs) or any(run.status == "queued" for run in runs)):
        st.caption(
            "This sweep was started on the command line, which runs it itself; the same "
            "command with the same name continues it."
        )


def _active(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.active]


def _resumable(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.status in RESUMABLE_STATUSES]


def _stopped(sweep: Sweep, runs: Sequence[Run]) -> bool:
    """Whether a search that no process goes on with has not come to its end."""
    return search_progress(workspace(), sweep, runs).phase != "done"


def _describe_sweep(sweep: Sweep) -> str:
    """Return backbone, dataset and size of the sweep in one line."""
    datasets = list_datasets(workspace())
    names = {item.id: escape_markdown(item.name) for item in datasets}
    names |= {item.id: escape_markdown(item.name) for item in list_backbones(workspace())}
    backbone, dataset = (
        names.get(item, item) for item in (sweep.spec.backbone, sweep.spec.dataset)
    )
    simulated = any(item.simulated for item in datasets if item.id == sweep.spec.dataset)
    arms, seeds = len(sweep.spec.arms), len(sweep.spec.seeds)
    counts = f"{arms} arm{'s' if arms > 1 else ''} × {seeds} seed{'s' if seeds > 1 else ''}"
    if sweep.spec.search is not None:
        counts = f"search within {sweep.spec.search.budget}"
    if sweep.spec.windows:
        start = "the last model" if sweep.spec.window_start == "last" else "the backbone"
        counts += f" × {sweep.spec.windows - 1} windows, each from {start}"
    if sweep.spec.choose_rate:
        counts += f" × {len(sweep.spec.learning_rates)} rates to choose from"
    mark = f" {SIMULATED}" if simulated else ""
    return (
        f"**{backbone}** on **{dataset}**{mark} :gray[· {counts} · started "
        f"{format_datetime(sweep.created)}]"
    )


def _add_seeds(sweep: Sweep) -> None:
    with st.popover("Add seeds", icon=":material/add:"):
        seeds = st.number_input(
            "More seeds for every arm",
            1,
            20,
            2,
            key="sweep_more",
            help=(
                "More seeds separate training noise from real differences better; every arm "
                "runs once more for each."
            ),
        )
        st.caption(f"It has {len(sweep.spec.seeds)} seeds now. Finished runs are not repeated.")
        if guarded_button("Add them", type="primary", key="sweep_extend"):
            with catch_errors():
                extend_sweep(workspace(), sweep, int(seeds or 0))
                st.rerun()


def _live(sweep_id: str, was_active: bool) -> None:
    store = RunStore(workspace())
    refresh_statuses(workspace(), store)
    sweep, runs = find_sweep(workspace(), sweep_id), store.list_group(sweep_id)
    # The header, outside of this fragment, has other buttons once no run is active: rerun the page.
    if was_active != is_under_way(workspace(), sweep, runs):
        st.rerun()
    if sweep.spec.search is not None:
        show_search_progress(sweep, runs, sweep.spec.search)
    else:
        _show_progress(store, sweep, runs)
    show_stall_warnings([run for run in runs if run.active])
    with catch_errors():
        if sweep.spec.search is not None:
            show_search(sweep, runs)
            if all(run.is_trial for run in runs):
                # Nothing is judged yet.
                return
        _show_result(sweep, runs)


def _show_progress(store: RunStore, sweep: Sweep, runs: Sequence[Run]) -> None:
    done = [run for run in runs if run.status == "done"]
    words = f"{len(done)} of {format_int(len(runs))} runs done"
    active = [run for run in runs if run.active]
    if active:
        running = [run for run in active if run.status == "running"]
        part = sum(run.step / run.steps for run in running if run.steps)
        now = _describe_activity(store, sweep, active, running, done, part)
        st.progress(min(1.0, (len(done) + part) / len(runs)), text=f"{words} · {now}")
        return
    ended = {status: sum(run.status == status for run in runs) for status in RESUMABLE_STATUSES}
    rest = " ".join(
        f"{number} × {status_markdown(status)}" for status, number in ended.items() if number
    )
    spent = sum(run.result.total_seconds for run in done if run.result)
    st.markdown(
        f"{status_markdown('done') if not rest else ''} {words}, {format_duration(spent)} "
        f"in total. {rest}"
    )
    messages = dict.fromkeys(run.message for run in runs if run.status == "failed" and run.message)
    for message in [*messages][:3]:
        st.error(escape_markdown(message), icon=":material/error:")


def _describe_activity(
    store: RunStore,
    sweep: Sweep,
    active: list[Run],
    running: list[Run],
    done: list[Run],
    part: float,
) -> str:
    """Say what is running and how long the rest takes, by the mean time of finished runs."""
    if all(run.cancel_requested for run in active):
        return "stopping"
    if not running:
        queue = active[0].queue
        ahead = store.count_ahead(active)
        if ahead:
            return (
                f"{ahead} other run{'s' if ahead > 1 else ''} come{'' if ahead > 1 else 's'} first"
            )
        if queue != CLUSTER_QUEUE and not is_worker_alive(workspace(), queue):
            return "the worker is starting, which takes some seconds"
        return "the worker is starting the next run"
    words = escape_markdown("; ".join(_run_title(sweep, run) for run in running[:2]))
    if len(done) > 1:
        mean = sum(run.result.total_seconds for run in done if run.result) / len(done)
        at_once = max(
            len(running),
            1 if active[0].queue == CLUSTER_QUEUE else max_parallel_runs(active[0].queue),
        )
        words += f" · {format_approx_duration(mean * max(len(active) - part, 0) / at_once)} left"
    return words


def _run_title(sweep: Sweep, run: Run) -> str:
    train = run.request.train
    setting = describe_setting(sweep, run.target_rows, train.learning_rate, window_number(run))
    rate = f"rate {train.learning_rate:g}" if sweep.spec.choose_rate else ""
    return ", ".join(filter(None, (arm_title(run), setting, rate, f"seed {train.seed}")))


def _show_result(sweep: Sweep, runs: Sequence[Run]) -> None:
    results = summarise_arms(sweep, runs)
    asked = [] if sweep.spec.search is not None else [arm.title for arm in sweep.spec.arms]
    judged = [run for run in runs if not run.is_trial]
    titles = [*dict.fromkeys([*asked, *map(arm_title, judged)])]
    places = group_runs(sweep, runs)
    if st.session_state.get("against") not in titles:
        st.session_state["against"] = (
            default_reference(sweep.spec.arms) if asked else default_reference_title(titles)
        )
    url_state.restore_choice("against", titles)
    reference = st.session_state["against"]
    settings = [
        *dict.fromkeys(setting for setting, title in places if title not in untrained_titles())
    ] or [""]
    if any(run.active for run in runs):
        # Reserve room for the verdicts, so that the page below does not jump with every sentence.
        room = 17 if len(settings) == 1 else 27
        st.html(f"<style>.st-key-sweep_said {{ min-height: {room}rem; }}</style>")
    if sweep.spec.windows:
        with st.container(border=True, key="sweep_said"):
            _, sentences = judge_results(results, reference)
            show_windows_verdict(runs, results, sentences, reference)
        with st.columns([2, 5])[0]:
            choose_text("Compared with (baseline)", titles, "against", BASELINE_HELP)
        show_windows(sweep, runs, results, reference)
        show_rates(results)
        show_downloads(sweep, runs, results, [], reference)
        with st.expander(f"Every run ({format_int(len(runs))})", icon=":material/list:"):
            show_runs(runs)
        return
    with catch_errors():
        sweep_recommendation(sweep, runs, results)
    with st.container(border=True, key="sweep_said"):
        verdicts, sentences = judge_results(results, reference)
        show_verdicts(
            judged, results, sentences_by_setting(sentences, settings, verdicts), reference
        )
    with st.columns([2, 5])[0]:
        choose_text("Compared with (baseline)", titles, "against", BASELINE_HELP)
    show_table(sweep_table(places, results, verdicts, reference))
    show_rates(results)
    show_downloads(sweep, runs, results, verdicts, reference)
    if results:
        sweep_charts(sweep, titles, settings, results, reference)
    with st.expander(f"Every run ({format_int(len(runs))})", icon=":material/list:"):
        show_runs(runs)


def _show_commands(sweep: Sweep, runs: Sequence[Run]) -> None:
    on_cluster, active = any(run.queue == CLUSTER_QUEUE for run in runs), bool(_active(runs))
    names = (
        ["watch", "cancel"] * active
        + ["resume"] * (not on_cluster and bool(_resumable(runs)))
        + ["compare"]
    )
    with catch_errors():
        lines = []
        # An earlier version may have given the sizes settings that no command of this one gives.
        with suppress(BadInput):
            lines.append(sweep_command_line(workspace(), sweep.spec, sweep.name))
        command = "sweep" if sweep.spec.search is None else "search"
        lines.append(f"{PROGRAM} {command} --name {sweep.id} --more-seeds 2")
        show_command(
            "\n".join([*lines, *(f"{PROGRAM} {name} --sweep {sweep.id}" for name in names)])
        )
