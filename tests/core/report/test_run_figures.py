"""Figures of one run draw what they are given, and are small enough to send."""

import numpy as np
import plotly.graph_objects as go
import pytest

from core.evaluation.curves import (
    ConfusionMatrix,
    calibration_curve,
    cumulative_gains,
    precision_recall_curve,
    roc_curve,
    threshold_table,
)
from core.report.run_figures import (
    NO_CURVE_NO_CLICKS,
    NO_CURVE_ONE_CLASS,
    auc_figure,
    calibration_figure,
    confusion_figure,
    gains_figure,
    loss_figure,
    precision_recall_figure,
    roc_figure,
    score_histogram_figure,
)

GENERATOR = np.random.default_rng(0)
SCORES = GENERATOR.random(20_000)
LABELS = (GENERATOR.random(20_000) < SCORES).astype(float)
TABLE = threshold_table(LABELS, SCORES)
POINTS = {
    "train_loss": (np.arange(1, 51), np.linspace(0.7, 0.5, 50)),
    "validation_loss": (np.array([0, 25, 50]), np.array([0.7, 0.52, 0.55])),
    "validation_auc": (np.array([0, 25, 50]), np.array([0.5, 0.75, 0.74])),
}


def by_name(figure: go.Figure) -> dict[str, go.Scatter]:
    return {trace.name: trace for trace in figure.data if trace.name}


def test_learning_curves_draw_the_points_and_mark_the_kept_epoch() -> None:
    traces = by_name(loss_figure(POINTS, best_step=25))
    np.testing.assert_array_equal(traces["training"].y, POINTS["train_loss"][1])
    assert (traces["kept"].x.tolist(), traces["kept"].y.tolist()) == ([25], [0.52])
    assert auc_figure(POINTS).data[0].y.tolist() == [0.5, 0.75, 0.74]
    assert len(loss_figure({}).data[0].x) == 0


def test_the_curves_of_a_control_name_what_it_counts_and_lines_that_have_points() -> None:
    figure = loss_figure({"validation_loss": POINTS["validation_loss"]}, step_title="Tree")
    assert [*by_name(figure)] == ["validation"]
    assert figure.layout.xaxis.title.text == "Tree"


def test_operating_points_lie_on_their_curves() -> None:
    at = TABLE.confusion_at(0.6)
    figure = roc_figure({True: roc_curve(TABLE)}, {True: at})
    point = by_name(figure)["after, at the threshold"]
    assert (point.x[0], point.y[0]) == (at.false_positive_rate, at.recall)
    figure = precision_recall_figure({True: precision_recall_curve(TABLE)}, {True: at}, 0.5)
    point = by_name(figure)["after, at the threshold"]
    assert (point.x[0], point.y[0]) == (at.recall, at.precision)
    assert by_name(figure)["click rate"].y.tolist() == [0.5, 0.5]


def test_confusion_counts_and_row_shares() -> None:
    figure = confusion_figure(ConfusionMatrix(tp=30, fp=20, tn=180, fn=10))
    texts = {(note.y, note.x): note.text for note in figure.layout.annotations}
    assert texts["click", "click"] == "<b>30</b><br>75.0%"
    assert texts["no click", "click"] == "<b>20</b><br>10.0%"
    assert confusion_figure(ConfusionMatrix(0, 0, 0, 0)).data[0].z.max() == 0


def test_score_shares_are_the_histogram_of_each_class() -> None:
    scores = np.append(SCORES, [0.0, 1.0, 0.5, 1.0])
    labels = np.append(LABELS, [0, 1, 1, 0])
    figure = score_histogram_figure(threshold_table(labels, scores), 0.3)
    for label, trace in enumerate(figure.data):
        counts = np.histogram(scores[labels == label], np.linspace(0, 1, 51))[0]
        np.testing.assert_allclose(trace.y, counts / counts.sum())


def test_a_long_curve_is_thinned_to_both_its_ends() -> None:
    steps = np.arange(1, 30_001)
    figure = loss_figure(
        {"train_loss": (steps, 1 / steps), "validation_loss": (steps[:5], 1 / steps[:5])}
    )
    long, short = figure.data
    assert (
        len(long.x) == 2000
        and (long.x[0], long.x[-1]) == (1, 30_000)
        and (np.diff(long.x) > 0).all()
    )
    np.testing.assert_array_equal(long.y, 1 / np.asarray(long.x))
    assert len(short.x) == 5
    assert len(figure.to_json()) < 200_000


def test_every_figure_is_small_keeps_its_zoom_and_names_its_axes() -> None:
    curves = {True: roc_curve(TABLE), False: roc_curve(TABLE)}
    at = {True: TABLE.confusion_at(0.5), False: TABLE.confusion_at(0.4)}
    figures = [
        loss_figure(POINTS),
        auc_figure(POINTS),
        roc_figure(curves, at),
        precision_recall_figure({k: precision_recall_curve(TABLE) for k in at}, at, 0.3),
        calibration_figure({k: calibration_curve(LABELS, SCORES) for k in at}),
        gains_figure({k: cumulative_gains(TABLE) for k in at}),
        confusion_figure(at[True]),
        score_histogram_figure(TABLE, 0.5),
    ]
    for figure in figures:
        assert len(figure.to_json()) < 200_000
        assert (
            figure.layout.uirevision
            and figure.layout.xaxis.title.text
            and figure.layout.yaxis.title.text
        )


@pytest.mark.parametrize(
    ("clicks", "roc_says", "gains_says"),
    [(0, [NO_CURVE_ONE_CLASS], [NO_CURVE_NO_CLICKS]), (5, [NO_CURVE_ONE_CLASS], [])],
)
def test_rows_of_one_class_have_no_curve_and_the_figure_says_so(
    clicks: int, roc_says: list[str], gains_says: list[str]
) -> None:
    table = threshold_table(np.array([1.0] * clicks or [0.0] * 5), np.linspace(0.1, 0.9, 5))
    at = {True: table.confusion_at(0.5)}
    drawn = roc_figure({True: roc_curve(table)}, at), gains_figure({True: cumulative_gains(table)})
    assert [[note.text for note in figure.layout.annotations] for figure in drawn] == [
        roc_says,
        gains_says,
    ]
    # No point stands where there is no curve, and no axis counts what is not there.
    assert not any(trace.mode == "markers" for trace in drawn[0].data)
    assert drawn[0].layout.xaxis.showticklabels is False
