"""Figures of selected arms: one line per setting, parallel coordinates."""

import numpy as np
import pytest

from core.report.compare_figures import (
    MAX_LABEL_LENGTH,
    ParallelAxis,
    depth_by_setting_figure,
    parallel_coordinates_figure,
)
from core.runs.sweep_result import ArmResult, SeedSummary

NOTHING = float("nan")


def arm(setting: str, depth: int, auc: float, strategy: str = "depth") -> ArmResult:
    spread = SeedSummary(auc, NOTHING, auc - 0.01, auc + 0.02)
    return ArmResult(
        f"freeze depth {depth}", strategy, setting, 0, 1e-3, depth, (),
        {name: {"target_test": spread} for name in ("auc", "log_loss")}, 0.5, 10, 1.0, NOTHING, 0,
    )  # fmt: skip


def test_every_setting_has_a_line_of_its_own_by_depth() -> None:
    arms = [arm("b", 2, 0.7), arm("b", 0, 0.8), arm("a", 1, 0.6), arm("b", 3, 0.9, "lora")]
    figure = depth_by_setting_figure(arms)
    assert [trace.name for trace in figure.data] == ["b", "a"]
    # Side by side around their depth.
    assert figure.data[0].x == pytest.approx([0, 2], abs=0.1) and figure.data[0].y.tolist() == [
        0.8,
        0.7,
    ]
    assert figure.data[0].line.color != figure.data[1].line.color
    assert figure.data[1].error_y.array == pytest.approx([0.02])


def test_axes_have_a_tick_at_every_setting_and_short_names() -> None:
    long = "a strategy with a name that goes on"
    axes = [
        ParallelAxis("strategy", [0, 1, 0], ["depth", long]),
        ParallelAxis("rate", [1e-3, 3e-4, 1e-3]),
        ParallelAxis("AUC", [0.7, 0.71, 0.69]),
    ]
    (trace,) = parallel_coordinates_figure(axes, [1, 2, 3]).data
    first, second, third = trace.dimensions
    assert first.ticktext[0] == "depth" and len(first.ticktext[1]) == MAX_LABEL_LENGTH
    assert np.array(second.tickvals) == pytest.approx([3e-4, 1e-3]) and list(second.ticktext) == [
        "0.0003",
        "0.001",
    ]
    assert third.label == "AUC" and np.array(third["values"]).tolist() == [0.7, 0.71, 0.69]
