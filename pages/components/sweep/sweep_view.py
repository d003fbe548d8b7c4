"""One sweep: progress, verdicts, table and figures; refreshed while runs are active."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from core.data.datasets import list_datasets
from core.errors import BadInput
from core.evaluation.format_metrics import metric_or_none
from core.evaluation.metric_registry import HEADLINE_METRIC, metrics_shown_in
from core.evaluation.significance import RANKING_RULE
from core.evaluation.verdicts import Verdict
from core.freezing.strategies import untrained_titles
from core.jobs.store import RESUMABLE_STATUSES, Run, RunStore
from core.models.backbone_store import list_backbones
from core.program import PROGRAM
from core.report.sweep_tables import arms_table, runs_table
from core.report.table_files import to_safe_csv
from core.runs.command_lines import sweep_command_line
from core.runs.launch import CLUSTER_QUEUE, is_worker_alive, max_parallel_runs, refresh_statuses
from core.runs.sweep import Sweep, arm_title, cancel_sweep, extend_sweep, find_sweep, resume_sweep
from core.runs.sweep_result import (
    ArmResult,
    default_reference,
    describe_setting,
    forgetting_sentences,
    judge_arms,
    rates_table,
    summarise_arms,
)
from pages.components.shared import url_state
from pages.components.shared.access import guarded_button
from pages.components.shared.arm_charts import BASELINE_HELP
from pages.components.shared.choosers import choose_text
from pages.components.shared.common import SIMULATED, show_command, status_markdown, workspace
from pages.components.shared.compute_slots import compute_slot
from pages.components.shared.errors import catch_errors, catch_errors_in
from pages.components.shared.formatting import (
    bullet_list,
    escape_markdown,
    format_approx_duration,
    format_datetime,
    format_duration,
    format_int,
)
from pages.components.shared.report_download import report_download
from pages.components.shared.stall_warnings import show_stall_warnings
from pages.components.sweep.blend_arms import blend_popover
from pages.components.sweep.sweep_charts import sweep_charts
from pages.components.sweep.sweep_table import LAST_EPOCH_MARK, group_runs, sweep_table

TICK_SECONDS = 1.0


def sweep_view(sweep: Sweep) -> None:
    """Follow the sweep while runs are active, and show its results."""
    runs = RunStore(workspace()).list_group(sweep.id)
    active = any(run.active for run in runs)
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
        if any(run.active for run in runs):
            if guarded_button(
                "Cancel",
                icon=":material/cancel:",
                disabled=all(run.cancel_requested for run in _active(runs)),
            ):
                cancel_sweep(workspace(), sweep)
                st.rerun()
        elif (
            _resumable(runs)
            and not on_cluster
            and guarded_button("Resume", icon=":material/play_arrow:", type="primary")
        ):
            resume_sweep(workspace(), sweep)
            st.rerun()
        if not on_cluster:
            _add_seeds(sweep)
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
    if was_active != any(run.active for run in runs):
        st.rerun()
    _show_progress(store, sweep, runs)
    show_stall_warnings([run for run in runs if run.active])
    with catch_errors():
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
    setting = describe_setting(sweep, run.target_rows, train.learning_rate)
    rate = f"rate {train.learning_rate:g}" if sweep.spec.choose_rate else ""
    return ", ".join(filter(None, (arm_title(run), setting, rate, f"seed {train.seed}")))


def _show_result(sweep: Sweep, runs: Sequence[Run]) -> None:
    results = summarise_arms(sweep, runs)
    titles = [*dict.fromkeys([*(arm.title for arm in sweep.spec.arms), *map(arm_title, runs)])]
    places = group_runs(sweep, runs)
    if st.session_state.get("against") not in titles:
        st.session_state["against"] = default_reference(sweep.spec.arms)
    url_state.restore_choice("against", titles)
    reference = st.session_state["against"]
    settings = [
        *dict.fromkeys(setting for setting, title in places if title not in untrained_titles())
    ] or [""]
    if any(run.active for run in runs):
        # Reserve room for the verdicts, so that the page below does not jump with every sentence.
        room = 17 if len(settings) == 1 else 27
        st.html(f"<style>.st-key-sweep_said {{ min-height: {room}rem; }}</style>")
    with st.container(border=True, key="sweep_said"):
        verdicts, sentences = _cached_verdicts(
            tuple(_cache_key(result) for result in results), reference, results
        )
        _show_verdicts(
            runs, results, sentences_by_setting(sentences, settings, verdicts), reference
        )
    with st.columns([2, 5])[0]:
        choose_text("Compared with (baseline)", titles, "against", BASELINE_HELP)
    _show_table(sweep_table(places, results, verdicts, reference))
    _show_rates(results)
    _show_downloads(sweep, runs, results, verdicts, reference)
    if results:
        sweep_charts(sweep, titles, settings, results, reference)
    with st.expander(f"Every run ({format_int(len(runs))})", icon=":material/list:"):
        _show_runs(runs)


def _cache_key(result: ArmResult) -> tuple[str, str, tuple[str, ...]]:
    return result.setting, result.title, tuple(f"{run.id} {run.finished}" for run in result.runs)


@st.cache_data(max_entries=64, show_spinner="Comparing the arms")
def _cached_verdicts(
    identity: tuple[tuple[str, str, tuple[str, ...]], ...],
    reference: str,
    _results: Sequence[ArmResult],
) -> tuple[list[Verdict], list[str]]:
    if not _results:
        return [], []
    with compute_slot():
        verdicts, sentences = judge_arms(workspace(), _results, reference)
    return verdicts, [*sentences, *forgetting_sentences(_results)]


def sentences_by_setting(
    sentences: Sequence[str], settings: Sequence[str], verdicts: Sequence[Verdict]
) -> dict[str, list[str]]:
    """Return the sentences by setting, without the setting's name as prefix.

    Without a prefix a sentence belongs to the only setting that has verdicts yet.
    """
    by_setting: dict[str, list[str]] = {setting: [] for setting in settings}
    only = verdicts[0].setting if verdicts else settings[0]
    for sentence in sentences:
        setting = next(
            (
                candidate
                for candidate in settings
                if candidate and sentence.startswith(f"{candidate}: ")
            ),
            only,
        )
        words = sentence.removeprefix(f"{setting}: ")
        by_setting.setdefault(setting, []).append(words[:1].upper() + words[1:])
    return by_setting


def _show_verdicts(
    runs: Sequence[Run],
    results: Sequence[ArmResult],
    grouped: Mapping[str, Sequence[str]],
    reference: str,
) -> None:
    """Show what the results support, by setting, marked as provisional while runs are active."""
    n_active, n_done = sum(run.active for run in runs), sum(run.status == "done" for run in runs)
    mark = (
        f" :orange-badge[:material/hourglass_top: provisional: {n_done} of {len(runs)} runs done]"
        if n_active
        else ""
    )
    st.markdown(f"**What the results support**{mark}")
    if any(grouped.values()):
        for setting, sentences in grouped.items():
            if sentences:
                if len(grouped) > 1:
                    st.markdown(f"**{escape_markdown(setting[:1].upper() + setting[1:])}**")
                st.markdown(bullet_list(sentences))
    elif len({result.title for result in results}) < 2 and (
        n_active or len({arm_title(run) for run in runs}) > 1
    ):
        wait = "They appear as runs finish." if n_active else "Resume the sweep to get there."
        st.markdown(f"Nothing yet: a comparison needs finished runs of two arms. {wait}")
    else:
        st.markdown("Nothing: this sweep has only one arm.")
    st.caption(
        "On the same target test rows, each arm is compared with "
        f"{escape_markdown(reference)}, and with the arm that is best on validation rows. "
        "AUC by DeLong, log loss by paired bootstrap, both also over seeds; p-values are "
        f"Holm-adjusted over all comparisons of the sweep. {RANKING_RULE}"
    )


def _show_table(table: pd.DataFrame) -> None:
    st.dataframe(
        table,
        key="sweep_table",
        placeholder="–",
        hide_index=True,
        height=min(35 * (len(table) + 1) + 3, 600),
        alt="Arms of the sweep with their metrics, differences from the baseline and verdicts",
        column_config={
            "Arm": st.column_config.TextColumn(pinned=True),
            "Setting": st.column_config.TextColumn(
                help="Learning rate and target rows, where the sweep has several"
            ),
            "Runs": st.column_config.TextColumn(
                width=104,
                help=(
                    f"Runs done, of those requested; {LAST_EPOCH_MARK} marks arms whose best epoch "
                    "was their last: more epochs might have helped them"
                ),
            ),
            "Rate": st.column_config.TextColumn(
                width=76, help="Learning rate, chosen on validation rows over the seeds"
            ),
            "Target AUC": st.column_config.NumberColumn(
                format="%.4f", help="Mean over seeds, on target test rows"
            ),
            "Target ±": st.column_config.NumberColumn(
                format="%.4f", help="Standard deviation over seeds"
            ),
            "Source AUC": st.column_config.NumberColumn(
                format="%.4f", help="On source test rows; a drop means forgetting"
            ),
            "Source ±": st.column_config.NumberColumn(
                format="%.4f", help="Standard deviation over seeds"
            ),
            **_metric_columns(),
            "Verdict": st.column_config.TextColumn(
                width=130, help="On target AUC, compared with the baseline"
            ),
            "ΔAUC": st.column_config.TextColumn(width=68, help="Target AUC minus the baseline's"),
            "95 % interval": st.column_config.TextColumn(
                width=140,
                help=(
                    "Of the difference in AUC, unadjusted; the verdict is adjusted for the "
                    "number of comparisons"
                ),
            ),
            "Trained": st.column_config.NumberColumn(
                width=80, format="localized", help="Parameters trained"
            ),
            "Seconds": st.column_config.NumberColumn(format="%.1f", help="Mean per run"),
            "Compare": st.column_config.LinkColumn(
                "Open", width=72, display_text="Compare", help="Compare the runs of this arm"
            ),
        },
    )


def _show_rates(results: Sequence[ArmResult]) -> None:
    """Show what every rate of each arm gave, on demand; nothing where none is chosen."""
    rows = rates_table(results)
    if not rows:
        return
    with st.expander("Learning rates tried", icon=":material/tune:"):
        st.caption(
            "Each arm was trained with every rate and the same seeds. Its rate is the one with the "
            "lowest mean log loss on validation rows; test rows choose nothing."
        )
        frame = pd.DataFrame(rows).rename(
            columns={
                "arm": "Arm",
                "setting": "Setting",
                "learning_rate": "Rate",
                "seeds": "Seeds done",
                "validation_log_loss": "Validation log loss",
                "chosen": "Chosen",
            }
        )
        st.dataframe(
            frame if frame["Setting"].any() else frame.drop(columns="Setting"),
            key="sweep_rates_tried",
            placeholder="–",
            hide_index=True,
            height=min(35 * (len(frame) + 1) + 3, 422),
            alt="Validation log loss of every arm at each learning rate",
            column_config={
                "Rate": st.column_config.NumberColumn(format="%g"),
                "Validation log loss": st.column_config.NumberColumn(format="%.5f"),
            },
        )


def _metric_columns() -> dict[str, Any]:
    """The columns of the metrics of arms besides AUC."""
    columns = {}
    for key, metric in metrics_shown_in("arms").items():
        if key != HEADLINE_METRIC:
            text = "mean over seeds, on target test rows"
            text = f"{metric.long_name}, {text}" if metric.long_name else text
            columns[metric.heading] = st.column_config.NumberColumn(
                format=f"%.{metric.digits}f", help=text[:1].upper() + text[1:]
            )
    return columns


def _show_downloads(
    sweep: Sweep,
    runs: Sequence[Run],
    results: Sequence[ArmResult],
    verdicts: Sequence[Verdict],
    reference: str,
) -> None:
    frames: dict[str, Callable[[], pd.DataFrame]] = {
        "arms": lambda: arms_table(results, verdicts, reference),
        "runs": lambda: runs_table(runs),
    }
    with st.container(horizontal=True):
        for what, frame in frames.items():
            for ending, mime, write in (
                ("csv", "text/csv", to_safe_csv),
                ("parquet", "", _parquet),
            ):
                st.download_button(
                    f"{what.capitalize()}, {'CSV' if ending == 'csv' else 'Parquet'}",
                    partial(_render_file, frame, write),
                    f"thaw-{sweep.id}-{what}.{ending}",
                    mime or "application/vnd.apache.parquet",
                    key=f"sweep_{what}_{ending}",
                    icon=":material/download:",
                    on_click="ignore",
                    disabled=not results,
                )
        report_download(f"report_{sweep.id}", sweep=sweep.id, disabled=not results)


def _render_file(
    frame: Callable[[], pd.DataFrame], write: Callable[[pd.DataFrame], str | bytes]
) -> str | bytes:
    return write(frame())


def _parquet(frame: pd.DataFrame) -> bytes:
    return frame.to_parquet(index=False)


def _show_runs(runs: Sequence[Run]) -> None:
    others = {
        key: metric for key, metric in metrics_shown_in("runs").items() if key != HEADLINE_METRIC
    }
    several_rates = len({run.request.train.learning_rate for run in runs}) > 1
    rows = []
    for run in runs:
        target = run.result.metrics.get("target_test") if run.result else None
        rows.append(
            {
                "Arm": arm_title(run),
                "Seed": run.seed,
                **({"Rate": run.request.train.learning_rate} if several_rates else {}),
                "Status": run.status,
                "Target AUC": metric_or_none(target, "auc"),
                **{metric.heading: metric_or_none(target, key) for key, metric in others.items()},
                "Seconds": run.result.seconds.get("total") if run.result else None,
                "Run": f"run?run={run.id}",
                "Message": run.message,
            }
        )
    st.dataframe(
        pd.DataFrame(rows),
        key="sweep_runs",
        placeholder="–",
        hide_index=True,
        height=min(35 * (len(rows) + 1) + 3, 422),
        alt="Every run of the sweep",
        column_config={
            "Target AUC": st.column_config.NumberColumn(format="%.4f"),
            **{
                metric.heading: st.column_config.NumberColumn(format=f"%.{metric.digits}f")
                for metric in others.values()
            },
            "Rate": st.column_config.NumberColumn(format="%g"),
            "Seconds": st.column_config.NumberColumn(format="%.1f"),
            "Run": st.column_config.LinkColumn(display_text="Open"),
        },
    )


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
        lines.append(f"{PROGRAM} sweep --name {sweep.id} --more-seeds 2")
        show_command(
            "\n".join([*lines, *(f"{PROGRAM} {name} --sweep {sweep.id}" for name in names)])
        )
