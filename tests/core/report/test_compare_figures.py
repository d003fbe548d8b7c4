"""Figures of several runs: own colours, intervals, controls as lines."""

import numpy as np
import pytest

from core.evaluation.curves import roc, threshold_table
from core.report.compare_figures import (
    Bar,
    DepthPoint,
    backbone_depths_figure,
    depth_figure,
    metric_bars,
    roc_overlay,
    run_styles,
)


def test_styles_are_fixed_by_the_id_and_differ_within_a_figure() -> None:
    ids = [f"r-{number:08x}" for number in range(0, 28)]
    styles = run_styles(ids)
    assert len(set(styles.values())) == 28
    assert run_styles([ids[3]]) == {ids[3]: styles[ids[3]]}
    assert run_styles(list(reversed(ids))) == styles
    assert len(run_styles([f"r-{number:08x}" for number in range(40)])) == 40


def test_bars_carry_their_intervals() -> None:
    figure = metric_bars([Bar("a", "r-1", 0.7, 0.68, 0.73), Bar("b", "r-2", 0.6, float("nan"), float("nan"))], "AUC")
    trace = figure.data[0]
    assert trace.x.tolist() == [0.7, 0.6] and list(trace.y) == ["a", "b"]
    assert trace.error_x.array == pytest.approx([0.03, 0]) and trace.error_x.arrayminus == pytest.approx([0.02, 0])


def test_depth_is_sorted_and_controls_are_lines() -> None:
    target = [DepthPoint(2, "b", 0.7, 0.69, 0.71), DepthPoint(0, "a", 0.8, 0.78, 0.81)]
    figure = depth_figure(target, [], {"scratch": 0.6, "zero-shot": 0.65})
    assert [trace.name for trace in figure.data] == ["target test rows"]
    assert figure.data[0].x.tolist() == [0, 2]
    assert figure.data[0].error_y.arrayminus == pytest.approx([0.02, 0.01])
    assert [shape.y0 for shape in figure.layout.shapes] == [0.6, 0.65]


def test_overlay_names_every_run() -> None:
    generator = np.random.default_rng(0)
    scores = generator.random(300)
    curve = roc(threshold_table((generator.random(300) < scores).astype(float), scores))
    figure = roc_overlay({"r-1": ("one", curve), "r-2": ("two", curve)})
    assert [trace.name for trace in figure.data[1:]] == ["one", "two"]
    assert len(figure.to_json()) < 200_000


def test_every_backbone_has_a_line_of_its_own() -> None:
    points = {
        "b": [DepthPoint(2, "x", 0.7, 0.69, 0.71), DepthPoint(0, "y", 0.8, 0.78, 0.81)],
        "a": [DepthPoint(1, "z", 0.6, 0.5, 0.7)],
    }
    figure = backbone_depths_figure(points)
    assert [trace.name for trace in figure.data] == ["b", "a"]
    assert figure.data[0].x.tolist() == [0, 2] and figure.data[0].y.tolist() == [0.8, 0.7]
    assert figure.data[0].line.color != figure.data[1].line.color
    assert figure.data[1].error_y.array == pytest.approx([0.1])
