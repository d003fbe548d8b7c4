"""A search within a budget on its page: what it has found, what is left, and its trials."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from core.evaluation.format_metrics import MISSING_TEXT, format_metric
from core.jobs.store import Run
from core.report.search_figures import search_history_figure, search_slice_figure
from core.runs.search import SearchProgress, search_progress
from core.runs.search_result import VALIDATION_ONLY, search_sentences, trials_table
from core.runs.search_spec import SearchSpec
from core.runs.search_trials import FAILED, PARAMETERS, PRUNED, STATE_WORDS
from core.runs.sweep import Sweep
from pages.components.shared.chart import cached_figure_json, chart
from pages.components.shared.common import workspace
from pages.components.shared.formatting import bullet_list, escape_markdown, format_duration

HEIGHT = 320


def show_search_progress(sweep: Sweep, runs: Sequence[Run], search: SearchSpec) -> None:
    """Draw the budget: what is spent, what is left, and what became of the runs."""
    progress = search_progress(workspace(), sweep, runs)
    phases = {
        "searching": "Searching",
        "judging": "Judging the winner on test rows",
        "done": "Done",
        "stopped": "Stopped",
    }
    share = progress.share_spent if progress.phase in ("searching", "stopped") else 1.0
    st.progress(
        min(1.0, share), text=f"{phases[progress.phase]} · {_describe_left(progress, search)}"
    )
    if progress.message:
        st.warning(escape_markdown(progress.message), icon=":material/pause_circle:")
    best, ended = progress.best, (PRUNED, FAILED)
    columns = st.grid(4, min_column_width=150)
    with columns:
        st.metric("Trials", str(len(progress.trials)))
        st.metric("Lowest validation loss", format_metric(best.loss) if best else MISSING_TEXT)
        st.metric("Time in runs", format_duration(progress.seconds))
        st.metric(
            "Ended early, failed",
            ", ".join(str(progress.count(state)) for state in ended),
            help=(
                "Ended early by the search: after at least two epochs the validation loss was "
                "above the median of the other settings. A failed run counts, and the search "
                "goes on."
            ),
        )


def show_search(sweep: Sweep, runs: Sequence[Run]) -> None:
    """Draw what a search has found on validation rows: sentences, figures and every trial."""
    progress = search_progress(workspace(), sweep, runs)
    with st.container(border=True):
        st.markdown("**What the search found** :gray[· on validation rows]")
        sentences = search_sentences(sweep, runs, progress)
        st.markdown(bullet_list(sentences) if sentences else "Nothing yet: no trial has ended.")
        st.caption(VALIDATION_ONLY)
    trials = progress.trials
    st.markdown("**Validation log loss by trial** :gray[· lower is better]")
    chart(
        cached_figure_json(search_history_figure, trials),
        "search-history",
        HEIGHT,
        "Validation log loss of every trial, and the lowest so far",
    )
    st.markdown("**Validation log loss by setting** :gray[· the other settings differ too]")
    with st.grid(2, min_column_width=320):
        for parameter, title in PARAMETERS.items():
            chart(
                cached_figure_json(search_slice_figure, trials, parameter),
                f"search-{parameter}",
                HEIGHT,
                f"Validation log loss of every trial by {title.lower()}",
            )
    with st.expander(f"Every trial ({len(trials)})", icon=":material/list:"):
        _show_trials(progress)


def _show_trials(progress: SearchProgress) -> None:
    rows = [
        {
            "Trial": row["trial"],
            **{title: row[name] for name, title in PARAMETERS.items()},
            "State": row["state"],
            "Validation log loss": row["validation_log_loss"],
            "Ended after epoch": row["ended_after_epoch"],
            "Seconds": row["seconds"],
            "Run": f"run?run={row['runs'][0]}",
        }
        for row in trials_table(progress.trials)
    ]
    st.dataframe(
        pd.DataFrame(rows),
        key="search_trials",
        placeholder=MISSING_TEXT,
        hide_index=True,
        alt="Every trial of the search with its setting, state and validation log loss",
        column_config={
            "Learning rate": st.column_config.NumberColumn(format="%.3g"),
            "Weight decay": st.column_config.NumberColumn(format="%g"),
            "State": st.column_config.TextColumn(help=", ".join(STATE_WORDS.values())),
            "Validation log loss": st.column_config.NumberColumn(format="%.5f"),
            "Seconds": st.column_config.NumberColumn(format="%.1f"),
            "Run": st.column_config.LinkColumn(display_text="Open"),
        },
    )


def _describe_left(progress: SearchProgress, search: SearchSpec) -> str:
    """Return what is left of the budget, as in "8 of 20 runs and 4.5 of 10 minutes left"."""
    left = []
    if progress.runs_left is not None:
        left.append(f"{progress.runs_left} of {search.runs} runs")
    if progress.seconds_left is not None:
        left.append(f"{progress.seconds_left / 60:.1f} of {search.minutes:g} minutes")
    return f"{' and '.join(left)} left"
