"""What a sweep's results support: the verdicts, and their sentences by setting."""

from collections.abc import Mapping, Sequence

import streamlit as st

from core.evaluation.significance import RANKING_RULE
from core.evaluation.verdicts import Verdict
from core.jobs.store import Run
from core.runs.arm_verdicts import forgetting_sentences, judge_arms
from core.runs.sweep import arm_title
from core.runs.sweep_result import ArmResult
from pages.components.shared.common import workspace
from pages.components.shared.compute_slots import compute_slot
from pages.components.shared.formatting import bullet_list, escape_markdown


def judge_results(results: Sequence[ArmResult], reference: str) -> tuple[list[Verdict], list[str]]:
    """Return the verdicts and their sentences, from a cache where the runs are the same."""
    return _cached_verdicts(tuple(map(_cache_key, results)), reference, results)


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
    return verdicts, [*sentences, *forgetting_sentences(workspace(), _results)]


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


def verdict_heading(runs: Sequence[Run]) -> int:
    """Draw the heading, marked as provisional while runs are active; return how many are."""
    n_active, n_done = sum(run.active for run in runs), sum(run.status == "done" for run in runs)
    mark = (
        f" :orange-badge[:material/hourglass_top: provisional: {n_done} of {len(runs)} runs done]"
        if n_active
        else ""
    )
    st.markdown(f"**What the results support**{mark}")
    return n_active


def show_verdicts(
    runs: Sequence[Run],
    results: Sequence[ArmResult],
    grouped: Mapping[str, Sequence[str]],
    reference: str,
) -> None:
    """Show what the results support, by setting, marked as provisional while runs are active."""
    n_active = verdict_heading(runs)
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
        "AUC (DeLong) and log loss are paired over rows and seeds, with Student's t; p-values are "
        f"Holm-adjusted over all comparisons of the sweep. {RANKING_RULE}"
    )
