"""Figures of a sweep: both kinds of interval, unfinished rows, the frontier, controls as lines,
bands over seeds."""

import dataclasses
import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from core.evaluation.metrics import Metrics
from core.jobs.run_result import RunResult
from core.jobs.store import Run
from core.report.learning_bands import learning_band_figure, mean_band
from core.report.sweep_figures import (
    COST_AXES,
    arms_figure,
    arms_height,
    auc_by_cost_figure,
    depth_figure,
    depth_height,
    forgetting_figure,
    pareto_frontier,
    target_sizes_figure,
)
from core.runs.sweep_result import ArmResult, SeedSummary

NAN = math.nan


def arm(title: str, strategy: str, auc: float, **changes: Any) -> ArmResult:
    """An arm of one seed on 400 training rows, whose backbone had AUC 0.6 on the target and 0.7 on
    the source."""
    before = {"target_test": Metrics({"auc": 0.6}), "source_test": Metrics({"auc": 0.7})}
    values: dict[str, Any] = {field.name: None for field in dataclasses.fields(Run)}
    values |= {"id": "r-1"}
    values |= {"result": RunResult(before=before, train_rows=changes.pop("rows", 400))}
    run = Run(**values)
    result = ArmResult(
        title=title,
        strategy=strategy,
        setting="",
        target_rows=0,
        learning_rate=1e-3,
        depth=0,
        runs=(run,),
        metrics={
            "auc": {
                "target_test": SeedSummary(auc, 0.01, auc - 0.03, auc + 0.02),
                "source_test": SeedSummary(auc + 0.05, NAN, auc + 0.01, auc + 0.09),
            },
            "log_loss": {"target_test": SeedSummary(0.4, 0.02, NAN, NAN)},
            "ece": {"target_test": SeedSummary(0.01, 0.002, NAN, NAN)},
        },
        validation_loss=0.4,
        trained_parameters=100,
        seconds=2.0,
        peak_memory=5e8,
        halted=0,
    )
    return dataclasses.replace(result, **changes)


def trace(figure: go.Figure, name: str) -> go.Scatter:
    return next(one for one in figure.data if one.name == name)


def test_thin_intervals_are_of_test_rows_and_thick_ones_of_seeds() -> None:
    figure = arms_figure(["a"], [arm("a", "lora", 0.65)])
    thin = trace(figure, "target test rows").error_x
    assert thin.array == pytest.approx([0.02]) and thin.arrayminus == pytest.approx([0.03])
    thick = [one for one in figure.data if one.name is None]
    assert len(thick) == 1, "the source has one seed and so no spread"
    assert (
        thick[0].error_x.array == pytest.approx([0.01])
        and thick[0].error_x.thickness > thin.thickness
    )
    assert (
        "0.6500 ± 0.0100 over 1 seeds, 95 % 0.6200 to 0.6700"
        in trace(figure, "target test rows").text[0]
    )
    loss = trace(arms_figure(["a"], [arm("a", "lora", 0.65)], "log_loss"), "target test rows")
    assert loss.error_x.array == pytest.approx([0]) and "95 %" not in loss.text[0]


def test_arms_keep_their_rows_while_some_still_wait() -> None:
    waiting = arms_figure(["a", "b", "c"], [arm("c", "lora", 0.65)])
    assert list(waiting.layout.yaxis.ticktext) == ["a", "b", "c"]
    assert list(waiting.layout.yaxis.range) == [2.5, -0.5]
    assert trace(waiting, "target test rows").y == pytest.approx([2 - 0.16])
    assert len(arms_figure(["a"], []).data) == 0


def test_depths_are_in_order_and_controls_are_lines() -> None:
    results = [
        arm("linear probe", "linear-probe", 0.61, depth=3),
        arm("freeze depth 1", "depth", 0.66, depth=1),
        arm("LoRA", "lora", 0.9),
        arm("from scratch", "scratch", 0.5),
    ]
    figure = depth_figure(results)
    target, source = trace(figure, "target test rows"), trace(figure, "source test rows")
    assert np.round(target.x).tolist() == [1, 3] and target.y.tolist() == [0.66, 0.61]
    assert (target.x < source.x).all()
    assert trace(figure, "from scratch, target").y.tolist() == [0.5, 0.5]
    assert "LoRA" not in str(figure.to_dict())


def test_the_lines_of_a_control_on_other_rows_and_of_the_frontier_differ() -> None:
    controls = [
        arm("gradient boosting", "gradient-boosting", 0.7),
        arm("gradient boosting, rows target", "gradient-boosting", 0.6),
        arm("zero-shot", "zero-shot", 0.5, trained_parameters=0),
    ]
    lines = [one.line.dash for one in depth_figure(controls).data if one.mode == "lines"]
    assert len(lines) == len(set(lines)) == 3
    costs = {one.name: one.line.dash for one in auc_by_cost_figure(controls, "parameters").data}
    assert costs["frontier"] != costs["zero-shot: none"]


def test_long_titles_wrap_and_get_the_room_that_they_need() -> None:
    title = "blend of gradient boosting, target rows + retrained, source and target rows"
    results = [arm("zero-shot", "zero-shot", 0.6), arm(title, "blend", 0.7)]
    shown = arms_figure([title, "zero-shot"], results).layout.yaxis.ticktext
    assert shown[0].replace("<br>", " ") == title and shown[1] == "zero-shot"
    assert max(map(len, shown[0].split("<br>"))) <= 28
    assert arms_height([title] * 2) > arms_height(["zero-shot"] * 2) == 178
    controls = [
        arm(f"gradient boosting, {rows} rows", "gradient-boosting", 0.7)
        for rows in ("source", "target", "source and target")
    ]
    names = [one.name for one in depth_figure(controls).data if one.mode == "lines"]
    assert max(len(line) for name in names for line in name.split("<br>")) <= 40
    assert names[2].replace("<br>", " ") == f"{controls[2].title}, target"
    assert depth_height(controls[:1]) == depth_height([]) < depth_height(controls)


def test_a_figure_without_its_arms_says_so_instead_of_invented_axes() -> None:
    controls = [arm("zero-shot", "zero-shot", 0.6)]
    for figure in (forgetting_figure(controls), learning_band_figure({}, "loss")):
        assert "finished" in figure.layout.annotations[0].text
        assert figure.layout.xaxis.showticklabels is False


def test_forgetting_is_measured_from_the_backbone_before() -> None:
    figure = forgetting_figure([arm("LoRA", "lora", 0.64), arm("zero-shot", "zero-shot", 0.6)])
    assert [one.name for one in figure.data] == ["other strategies"]
    assert figure.data[0].x == pytest.approx([0.69 - 0.7]) and figure.data[0].y == pytest.approx(
        [0.04]
    )
    assert list(figure.data[0].text) == ["LoRA"]


def test_the_frontier_is_what_no_cheaper_place_reaches() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        costs, quality = (
            generator.integers(0, 6, 12).astype(float),
            generator.integers(0, 6, 12).astype(float),
        )
        found = pareto_frontier(costs, quality).tolist()
        points = {(costs[place], quality[place]) for place in found}
        beaten = {
            (c, q)
            for c, q in zip(costs, quality, strict=True)
            if any(
                (d < c and r >= q) or (d == c and r > q)
                for d, r in zip(costs, quality, strict=True)
            )
        }
        assert points == {*zip(costs, quality, strict=True)} - beaten
        assert costs[found].tolist() == sorted(set(costs[found]))
    assert len(pareto_frontier(np.zeros(0), np.zeros(0))) == 0


def test_what_trains_nothing_is_a_line_and_not_on_the_frontier() -> None:
    results = [
        arm("linear probe", "linear-probe", 0.62, trained_parameters=10),
        arm("LoRA", "lora", 0.61, trained_parameters=500),
        arm("full fine-tuning", "full", 0.66, trained_parameters=9000),
        arm("zero-shot", "zero-shot", 0.6, trained_parameters=0),
    ]
    figure = auc_by_cost_figure(results, "parameters")
    assert trace(figure, "frontier").x.tolist() == [10, 9000]
    assert trace(figure, "zero-shot: none").y.tolist() == [0.6, 0.6]
    assert figure.layout.xaxis.type == "log"
    assert [text for text in trace(figure, "freeze depths").text if text] == [
        "linear probe",
        "full fine-tuning",
    ]
    assert auc_by_cost_figure(results, "seconds").layout.xaxis.type is None
    unknown = [dataclasses.replace(one, peak_memory=NAN) for one in results]
    assert trace(auc_by_cost_figure(unknown, "memory"), "frontier").x.size == 0
    assert {*COST_AXES} == {"parameters", "seconds", "memory"}


def test_sizes_make_a_line_an_arm_and_zero_shot_a_level() -> None:
    results = [
        arm("LoRA", "lora", 0.65, rows=900),
        arm("LoRA", "lora", 0.61, rows=90),
        arm("zero-shot", "zero-shot", 0.6, rows=90),
    ]
    figure = target_sizes_figure(results, ["LoRA", "gone", "zero-shot"])
    assert trace(figure, "LoRA").x.tolist() == [90, 900] and trace(figure, "LoRA").y.tolist() == [
        0.61,
        0.65,
    ]
    assert trace(figure, "zero-shot").x.tolist() == [90, 900]
    assert list(figure.layout.xaxis.ticktext) == ["90", "900"]


def test_a_control_that_has_source_rows_too_stands_at_its_target_rows() -> None:
    results = [
        arm("LoRA", "lora", 0.61, rows=90, target_rows=100),
        arm("gradient boosting", "gradient-boosting", 0.6, rows=5090, target_rows=100),
        arm("a blend", "blend", 0.62, rows=0, target_rows=100),
    ]
    figure = target_sizes_figure(results, [one.title for one in results])
    assert {one.x[0] for one in figure.data if one.name} == {90}
    assert list(figure.layout.xaxis.ticktext) == ["90"]


def test_bands_are_mean_and_deviation_of_the_seeds_that_still_trained() -> None:
    steps = np.array([0, 10, 20])
    generator = np.random.default_rng(1)
    a, b, c = generator.random((3, 3))
    band = mean_band([(steps, a), (steps, b), (steps[:2], c[:2])])
    np.testing.assert_allclose(band.mean[:2], np.mean([a, b, c], axis=0)[:2])
    np.testing.assert_allclose(band.deviation[:2], np.std([a, b, c], axis=0, ddof=1)[:2])
    np.testing.assert_allclose(band.mean[2], (a[2] + b[2]) / 2)
    alone = mean_band([(steps, a)])
    assert alone.deviation.tolist() == [0, 0, 0]
    figure = learning_band_figure({"many": band, "one": alone}, "AUC")
    assert [one.name for one in figure.data] == [None, "many", "one"], "one seed has no band"
    np.testing.assert_allclose(figure.data[0].y[:3], band.mean + band.deviation)
