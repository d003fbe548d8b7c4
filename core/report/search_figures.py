"""Figures of a search within a budget: validation loss over its trials, and by each setting."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from core.report.figure_base import axis, make_figure, scatter
from core.report.palette import FROZEN, NEUTRAL, TRAINED
from core.runs.search_result import describe_parameters
from core.runs.search_trials import COMPLETE, PARAMETERS, PRUNED, STATE_WORDS, Trial

LOSS_TITLE = "Validation log loss (nats)"
_STATES = ((COMPLETE, FROZEN, "circle"), (PRUNED, NEUTRAL, "x-thin-open"))
"""State, colour and symbol of the trials that have a loss."""


def search_history_figure(trials: Sequence[Trial]) -> go.Figure:
    """Return the loss of every trial in their order, and the lowest so far of complete ones."""
    complete = [trial for trial in trials if trial.state == COMPLETE]
    traces = _loss_traces(trials, [trial.number + 1.0 for trial in trials])
    if complete:
        lowest = np.minimum.accumulate([trial.loss for trial in complete])
        traces.append(
            scatter(
                name="lowest so far",
                x=[trial.number + 1 for trial in complete] + [trials[-1].number + 1],
                y=[*lowest.tolist(), float(lowest[-1])],
                mode="lines",
                line={"color": TRAINED, "shape": "hv", "width": 2},
            )
        )
    return make_figure(
        traces,
        axis("Trial", rangemode="nonnegative"),
        axis(LOSS_TITLE),
        "search-history",
        "No trial has ended yet",
    )


def search_slice_figure(trials: Sequence[Trial], parameter: str) -> go.Figure:
    """Return the loss of every trial by one setting.

    Other settings differ between the trials of a figure, so that it shows where low losses were
    found and not what a setting does by itself.

    Args:
        trials: of the search.
        parameter: a key of core.runs.search_trials.PARAMETERS.
    """
    values = [trial.parameters[parameter] for trial in trials]
    fields: dict[str, Any] = {}
    if parameter == "learning_rate":
        places, fields = (
            [float(value) for value in values],
            {"type": "log", "dtick": 1, "tickformat": "~g"},
        )
    else:
        known = sorted(set(values), key=_by_number)
        # Spread a little, in the order of the trials, so that equal values do not hide each other.
        shift = np.linspace(-0.2, 0.2, len(trials)) if len(trials) > 1 else np.zeros(1)
        places = [known.index(value) + float(by) for value, by in zip(values, shift, strict=True)]
        texts = [f"{value:g}" if isinstance(value, float) else value for value in known]
        fields = {"tickvals": [*range(len(known))], "ticktext": texts}
        fields["range"] = [-0.5, len(known) - 0.5]
    return make_figure(
        _loss_traces(trials, places),
        axis(PARAMETERS[parameter], **fields),
        axis(LOSS_TITLE),
        f"search-{parameter}",
        "No trial has ended yet",
    )


def _loss_traces(trials: Sequence[Trial], places: Sequence[float]) -> list[dict[str, Any]]:
    traces = []
    for state, color, symbol in _STATES:
        found = [
            (x, trial) for x, trial in zip(places, trials, strict=True) if trial.state == state
        ]
        if found:
            traces.append(
                scatter(
                    name=STATE_WORDS[state],
                    x=[x for x, _ in found],
                    y=[trial.loss for _, trial in found],
                    text=[
                        f"trial {trial.number + 1}: {describe_parameters(trial.parameters)}"
                        for _, trial in found
                    ],
                    mode="markers",
                    marker={"color": color, "symbol": symbol, "size": 9, "line": {"width": 2}},
                    hovertemplate="%{text}<br>%{y:.5f} nats<extra></extra>",
                )
            )
    return traces


def _by_number(value: str | float) -> tuple[bool, float, str]:
    is_text = isinstance(value, str)
    return is_text, 0.0 if isinstance(value, str) else value, str(value)
