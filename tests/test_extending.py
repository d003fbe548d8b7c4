"""The examples of docs/extending.md, run word for word: a backbone that freezes, a strategy that
plans, a metric that is measured and shown."""

import re
import sys
from types import ModuleType

import pytest
import torch
from sklearn.metrics import brier_score_loss

from core.data.datasets import Dataset
from core.evaluation.format_metrics import format_arm_metrics, format_metrics, metric_rows
from core.evaluation.metric_registry import METRICS
from core.evaluation.metrics import all_names
from core.freezing.plan import make_plan
from core.freezing.strategies import STRATEGIES, describe_strategy
from core.jobs.requests import FinetuneRequest
from core.jobs.run import Run, ValidationSummary
from core.models.backbone import load_backbone
from core.models.backbone_store import find_backbone
from core.models.card import HeadSettings, load_card
from core.models.registry import ARCHITECTURES
from core.report.html_report import render_report
from core.report.report_data import runs_report_data
from core.report.run_tables import run_frame
from core.report.sweep_figures import depth_figure
from core.report.sweep_tables import runs_table
from core.runs.sweep_result import summarise_arm, sweep_table
from core.runs.verify import verify
from core.workspace import PROJECT, Workspace
from pages.components.learn.glossary import number_terms
from tests.core.training.helpers import QUICK, load_predictions, pretrained, run_request

CODE = re.findall(
    r"```python\n(.*?)```",
    (PROJECT / "docs" / "extending.md").read_text(encoding="utf-8"),
    re.DOTALL,
)


def run(code: str, name: str) -> ModuleType:
    """The code as a module of that name, which dataclasses look up."""
    module = ModuleType(name)
    sys.modules[name] = module
    exec(compile(code, name, "exec"), module.__dict__)
    return module


def test_the_backbone_pretrains_freezes_and_loads(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, dataset = tiny
    network, entry = CODE[:2]
    run(network, "core.models.zoo.gated")
    try:
        run(entry, "entry")
        card = pretrained(workspace, "gated")
        names = ["embedding", *(f"gated{number}" for number in range(1, len(card.stages)))]
        assert [stage.name for stage in card.stages] == names and len(names) > 2
        done = run_request(workspace, FinetuneRequest(dataset.id, card.id, "depth", 2, train=QUICK))
        before = load_backbone(card).state_dict()
        after = load_backbone(load_card(workspace.runs / done.id / "model")).state_dict()
        for name, weights in before.items():
            frozen = name.startswith(("stages.0.", "stages.1."))
            assert torch.equal(weights, after[name]) == frozen, name
    finally:
        ARCHITECTURES.pop("gated", None)
        sys.modules.pop("core.models.zoo.gated", None)


def test_the_strategy_plans_and_says_what_it_does(tiny: tuple[Workspace, Dataset]) -> None:
    card = find_backbone(tiny[0], "Simulated DCNv2")
    try:
        run(CODE[2], "strategy")
        assert describe_strategy("largest", 0, {"share": 0.3}).startswith("largest stages")
        for share in (0.2, 0.5, 1.0):
            plan = make_plan(card, "largest", 0, HeadSettings(), {"share": share})
            trained = sum(stage.parameters for stage in plan.stages[:-1] if not stage.frozen)
            assert trained <= share * card.parameters
        assert trained == card.parameters
    finally:
        STRATEGIES.pop("largest", None)


def test_the_metric_is_measured_stored_and_shown_everywhere(
    tiny: tuple[Workspace, Dataset],
) -> None:
    workspace, dataset = tiny
    card = find_backbone(workspace, "Simulated DCNv2")
    request = FinetuneRequest(dataset.id, card.id, "depth", 1, train=QUICK)
    older = run_request(workspace, request)
    try:
        run(CODE[3], "metric")
        done = run_request(workspace, request)
        assert done.result and older.result
        arrays = load_predictions(workspace, done)
        for part in ("target_validation", "target_test", "source_test"):
            labels, scores = arrays[f"{part}_label"], arrays[f"{part}_score"]
            assert done.result.metrics[part].brier == pytest.approx(
                brier_score_loss(labels, scores)
            )
        value = f"{done.result.metrics['target_test'].brier:.4f}"
        assert_shown(workspace, done, value)
        assert_shown(workspace, older, "–")
        assert done.result.metrics["target_test"].keys() == set(all_names())
        model = load_card(workspace.runs / done.id / "model")
        assert model.metrics["brier"] == done.result.metrics["target_test"].brier
        assert verify(workspace, older).same, "what the older result lacks is no difference"
    finally:
        METRICS.pop("brier", None)


def assert_shown(workspace: Workspace, done: Run, value: str) -> None:
    """The metric, or that it is missing, in each table and line that shows metrics."""
    assert done.result
    measured = done.result.metrics["target_test"]
    assert f"Brier score {value}" in format_metrics(measured)
    assert {row.title: row.text for row in metric_rows(measured)}["Brier score"] == value
    assert "Brier score" in number_terms()
    known = None if value == "–" else pytest.approx(float(value), abs=1e-4)
    result = summarise_arm([done], "an arm", "")
    (row,) = sweep_table([result])
    assert row["brier"] == known and f"Brier score {value}" in format_arm_metrics(row)
    assert runs_table([done])["target_test_brier"].tolist() == [known]
    no_points = {done.id: ValidationSummary()}
    table = run_frame(workspace, [done], no_points, {})
    assert table["Brier score"].tolist() == [known]
    figure = depth_figure([result], "brier")
    assert figure.layout.yaxis.title.text == "Brier score"
    notes = [note.text for note in figure.layout.annotations]
    assert ("No arm has a Brier score on these rows" in notes) == (known is None)
    report = render_report(workspace, runs_report_data(workspace, [done]), [], [])
    assert "Brier score, target" in report and (value in report)
