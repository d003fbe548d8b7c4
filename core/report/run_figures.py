"""Figures of one run: learning curves, ROC, precision-recall, calibration, gains, scores."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from core.evaluation.curves import CalibrationBins, ConfusionMatrix, Curve, ThresholdTable
from core.report.figure_base import Trace, axis, bar, make_figure, scatter, vertical_line
from core.report.palette import FROZEN, NEUTRAL, TRAINED, with_alpha

MetricSeries = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""By metric name, (steps, values), as `RunStore.points` returns them."""

MAX_CURVE_POINTS = 2000
"""Points of a learning curve that are sent; a screen has fewer columns."""

NO_CURVE_ONE_CLASS = "No curve: all rows are of one class"
NO_CURVE_NO_CLICKS = "No curve: there is no click among the rows"
NO_AUC_ONE_CLASS = "No AUC: all validation rows are of one class"
"""What a figure says if its rows define nothing to draw."""

_CURVE_NAMES = {True: "after", False: "before"}
_UNIT_RANGE = {"range": [-0.01, 1.01]}
_UNIT_RANGE_UP = {"range": [-0.01, 1.02]}


def loss_figure(
    points: MetricSeries,
    best_step: int | None = None,
    title: str = "Log loss (nats)",
    step_title: str = "Optimiser step",
) -> go.Figure:
    """Return training and validation loss by optimiser step.

    Args:
        points: of the run.
        best_step: end of the epoch whose weights were kept, marked by a star; None while training.
        title: of the y axis.
        step_title: of the x axis; a control may count something else than steps.
    """
    steps, values = points.get("train_loss", (np.zeros(0), np.zeros(0)))
    traces = []
    # A logistic regression has a validation loss alone.
    if len(steps) or "validation_loss" not in points:
        traces.append(_line(steps, values, "training", TRAINED, dash="dot", width=1.5))
    steps, values = points.get("validation_loss", (np.zeros(0), np.zeros(0)))
    traces.append(_line(steps, values, "validation", FROZEN, mode="lines+markers"))
    if best_step is not None:
        best = steps == best_step
        traces.append(
            scatter(
                x=steps[best],
                y=values[best],
                name="kept",
                mode="markers",
                marker={"color": FROZEN, "size": 13, "symbol": "star", "line": {"width": 1}},
                hovertemplate="step %{x}: %{y:.4f}, kept<extra></extra>",
            )
        )
    return make_figure(traces, axis(step_title), axis(title), "loss")


def auc_figure(points: MetricSeries, step_title: str = "Optimiser step") -> go.Figure:
    """Return validation AUC by optimiser step, or by what else a control counts."""
    steps, values = points.get("validation_auc", (np.zeros(0), np.zeros(0)))
    traces = [_line(steps, values, "validation", FROZEN, mode="lines+markers")]
    # Once there is a loss there would be an AUC beside it.
    nothing = NO_AUC_ONE_CLASS if "validation_loss" in points else ""
    return make_figure(traces, axis(step_title), axis("AUC"), "auc", nothing)


def accuracy_figure(points: MetricSeries, step_title: str = "Optimiser step") -> go.Figure:
    """Return validation accuracy by optimiser step."""
    steps, values = points.get("validation_accuracy", (np.zeros(0), np.zeros(0)))
    traces = [_line(steps, values, "validation", FROZEN, mode="lines+markers")]
    return make_figure(traces, axis(step_title), axis("Accuracy"), "accuracy")


def roc_figure(
    curves: Mapping[bool, Curve], at_threshold: Mapping[bool, ConfusionMatrix]
) -> go.Figure:
    """Return a figure of the ROC curves after (True) and before (False) fine-tuning.

    Each has its operating point.
    """
    traces = [_diagonal()]
    for after, curve in curves.items():
        traces.append(
            _state_line(curve, after, "false positive rate %{x:.3f}, true positive rate %{y:.3f}")
        )
        # Rows of one class have no curve, and so no point on it.
        if len(curve.x):
            traces.append(
                _operating_point(
                    at_threshold[after].false_positive_rate, at_threshold[after].recall, after
                )
            )
    x, y = (
        axis("False positive rate", **_UNIT_RANGE),
        axis("True positive rate (recall)", **_UNIT_RANGE_UP),
    )
    return make_figure(traces, x, y, "roc", NO_CURVE_ONE_CLASS)


def precision_recall_figure(
    curves: Mapping[bool, Curve], at_threshold: Mapping[bool, ConfusionMatrix], click_rate: float
) -> go.Figure:
    """Return a figure of precision by recall after (True) and before (False) fine-tuning.

    Each curve has its operating point.

    Args:
        curves: by state.
        at_threshold: confusion matrix at the threshold, by state.
        click_rate: of the rows; it is the precision of a random classifier.
    """
    traces = [
        scatter(
            x=np.array([0.0, 1.0]),
            y=np.array([click_rate, click_rate]),
            mode="lines",
            line={"color": NEUTRAL, "dash": "dash", "width": 1},
            name="click rate",
            **(
                {"hovertemplate": "guessing: precision %{y:.3f}<extra></extra>"}
                if click_rate
                else {"hoverinfo": "skip"}
            ),
        )
    ]
    for after, curve in curves.items():
        traces.append(_state_line(curve, after, "recall %{x:.3f}, precision %{y:.3f}"))
        if len(curve.x):
            traces.append(
                _operating_point(at_threshold[after].recall, at_threshold[after].precision, after)
            )
    return make_figure(
        traces,
        axis("Recall", **_UNIT_RANGE),
        axis("Precision", **_UNIT_RANGE_UP),
        "pr",
        NO_CURVE_NO_CLICKS,
    )


def calibration_figure(bins: Mapping[bool, CalibrationBins]) -> go.Figure:
    """Return click rate by mean score in 15 bins of equally many rows, with 95 % intervals.

    On the diagonal, a score is the click rate of the rows that have it.
    """
    limit = max(
        (float(max(b.predicted.max(), b.actual.max())) for b in bins.values() if len(b.rows)),
        default=1.0,
    )
    traces = [_diagonal(limit)]
    for after, values in bins.items():
        spread = 1.96 * np.sqrt(values.actual * (1 - values.actual) / np.maximum(values.rows, 1))
        traces.append(
            scatter(
                x=values.predicted,
                y=values.actual,
                error_y={"type": "data", "array": spread, "thickness": 1, "width": 0},
                mode="lines+markers",
                name=_CURVE_NAMES[after],
                line=_state_style(after),
                marker={"size": 6},
                hovertemplate=(
                    "mean score %{x:.3f}, click rate %{y:.3f}<extra>%{fullData.name}</extra>"
                ),
            )
        )
    return make_figure(
        traces, axis("Mean predicted click probability"), axis("Click rate"), "calibration"
    )


def gains_figure(curves: Mapping[bool, Curve]) -> go.Figure:
    """Return the share of clicks by the share of rows taken, best scored first."""
    traces = [_diagonal()]
    for after, curve in curves.items():
        traces.append(
            _state_line(curve, after, "the best %{x:.1%} of rows hold %{y:.1%} of clicks")
        )
    x, y = (
        axis("Rows taken, best scored first", tickformat=".0%"),
        axis("Clicks among them", tickformat=".0%"),
    )
    return make_figure(traces, x, y, "gains", NO_CURVE_NO_CLICKS)


def confusion_figure(confusion: ConfusionMatrix) -> go.Figure:
    """Return the confusion matrix; the colour is the share of the row of the same true class."""
    counts = np.array([[confusion.tn, confusion.fp], [confusion.fn, confusion.tp]])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    classes = ["no click", "click"]
    heatmap = {
        "type": "heatmap",
        "z": shares,
        "x": classes,
        "y": classes,
        "customdata": counts,
        "colorscale": [[0, with_alpha(FROZEN, 0.06)], [1, with_alpha(FROZEN, 0.6)]],
        "zmin": 0,
        "zmax": 1,
        "showscale": False,
        "hovertemplate": "%{y}, predicted as %{x}: %{customdata:,} rows, %{z:.1%}<extra></extra>",
        "xgap": 4,
        "ygap": 4,
    }
    # Annotations take the theme's text colour; a heatmap's own texts take one that fits an opaque
    # white page.
    notes = [
        {
            "x": predicted,
            "y": truth,
            "text": f"<b>{counts[i, j]:,}</b><br>{shares[i, j]:.1%}",
            "showarrow": False,
            "font": {"size": 16},
        }
        for i, truth in enumerate(classes)
        for j, predicted in enumerate(classes)
    ]
    x, y = (
        axis("Predicted", showgrid=False, side="bottom"),
        axis("Truth", autorange="reversed", showgrid=False),
    )
    return make_figure([heatmap], x, y, "confusion", annotations=notes)


def score_histogram_figure(table: ThresholdTable, threshold: float) -> go.Figure:
    """Return a figure of the score distributions of rows with and without a click.

    A line marks the threshold.
    """
    edges = np.linspace(0, 1, 51)
    middle = (edges[1:] + edges[:-1]) / 2
    traces = []
    clicks, others = (np.append(above[:-1], 0) for above in table.positives_at(edges))
    for above, name, color in ((others, "no click", FROZEN), (clicks, "click", TRAINED)):
        # A score of 1 belongs to the last bar.
        counts = above[:-1] - above[1:]
        traces.append(
            bar(
                x=middle,
                y=counts / max(counts.sum(), 1),
                name=name,
                marker={"color": with_alpha(color, 0.55)},
                hovertemplate=(
                    "score about %{x:.2f}: %{y:.1%} of these rows<extra>%{fullData.name}</extra>"
                ),
            )
        )
    x, y = axis("Predicted click probability"), axis("Share of rows of the class", tickformat=".0%")
    line = vertical_line(threshold, color=NEUTRAL, width=2)
    return make_figure(traces, x, y, "scores", shapes=[line], barmode="overlay", bargap=0)


def scored_file_figure(counts: Mapping[str, Sequence[int]], threshold: float) -> go.Figure:
    """Return the distribution of a file's scores beside that of the run's test rows.

    Args:
        counts: rows in bins of equal width from 0 to 1, by name, the file's first.
        threshold: of the run, marked by a line.
    """
    traces = []
    for (name, rows), color in zip(counts.items(), (TRAINED, FROZEN), strict=False):
        edges = np.linspace(0, 1, len(rows) + 1)
        # Steps and not bars: where two spreads lie over one another, both stay readable.
        traces.append(
            scatter(
                x=(edges[1:] + edges[:-1]) / 2,
                y=np.array(rows) / max(sum(rows), 1),
                name=name,
                line={"color": color, "width": 2, "shape": "hvh"},
                fill="tozeroy",
                fillcolor=with_alpha(color, 0.15),
                hovertemplate=(
                    "score about %{x:.2f}: %{y:.1%} of these rows<extra>%{fullData.name}</extra>"
                ),
            )
        )
    x, y = (
        axis("Predicted click probability"),
        axis("Share of rows", tickformat=".0%", rangemode="tozero"),
    )
    return make_figure(
        traces, x, y, "scored", shapes=[vertical_line(threshold, color=NEUTRAL, width=2)]
    )


def _line(
    x: np.ndarray, y: np.ndarray, name: str, color: str, mode: str = "lines", **line: object
) -> Trace:
    indices = np.linspace(0, len(x) - 1, min(MAX_CURVE_POINTS, len(x))).round().astype(int)
    return scatter(
        x=x[indices],
        y=y[indices],
        name=name,
        mode=mode,
        line={"color": color, "width": 2, **line},
        hovertemplate="step %{x}: %{y:.4f}<extra>%{fullData.name}</extra>",
    )


def _state_style(after: bool) -> dict[str, object]:
    """Return the line of a state: after fine-tuning warm and solid, before it cold and dashed."""
    return (
        {"color": TRAINED, "width": 2.5} if after else {"color": FROZEN, "width": 2, "dash": "dash"}
    )


def _state_line(curve: Curve, after: bool, hover: str) -> Trace:
    return scatter(
        x=curve.x,
        y=curve.y,
        mode="lines",
        name=_CURVE_NAMES[after],
        line=_state_style(after),
        customdata=curve.threshold,
        hovertemplate=hover + ", threshold %{customdata:.3f}<extra>%{fullData.name}</extra>",
    )


def _operating_point(x: float, y: float, after: bool) -> Trace:
    return scatter(
        x=np.array([x]),
        y=np.array([y]),
        mode="markers",
        name=f"{_CURVE_NAMES[after]}, at the threshold",
        showlegend=after,
        marker={"size": 12, "color": _state_style(after)["color"], "line": {"width": 2}},
        hovertemplate="at the threshold: %{x:.3f}, %{y:.3f}<extra>%{fullData.name}</extra>",
    )


def _diagonal(limit: float = 1.0) -> Trace:
    return scatter(
        x=np.array([0.0, limit]),
        y=np.array([0.0, limit]),
        mode="lines",
        line={"color": NEUTRAL, "dash": "dash", "width": 1},
        showlegend=False,
        hoverinfo="skip",
    )
