"""The examples of docs/extending.md, run word for word: a backbone that freezes, a strategy that
plans."""

import re
import sys
from types import ModuleType

import torch

from core.data.datasets import Dataset
from core.freezing.plan import make_plan
from core.freezing.strategies import STRATEGIES, describe_strategy
from core.models.backbone import load_backbone
from core.models.backbone_store import find_backbone
from core.models.card import HeadSettings, load_card
from core.models.registry import ARCHITECTURES
from core.training.settings import FinetuneRequest
from core.workspace import PROJECT, Workspace
from tests.core.training.helpers import QUICK, carry_out, pretrained

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
    run(network, "core.models.gated")
    try:
        run(entry, "entry")
        card = pretrained(workspace, "gated")
        names = ["embedding", *(f"gated{number}" for number in range(1, len(card.stages)))]
        assert [stage.name for stage in card.stages] == names and len(names) > 2
        done = carry_out(workspace, FinetuneRequest(dataset.id, card.id, "depth", 2, train=QUICK))
        before = load_backbone(card).state_dict()
        after = load_backbone(load_card(workspace.runs / done.id / "model")).state_dict()
        for name, weights in before.items():
            frozen = name.startswith(("stages.0.", "stages.1."))
            assert torch.equal(weights, after[name]) == frozen, name
    finally:
        ARCHITECTURES.pop("gated", None)
        sys.modules.pop("core.models.gated", None)


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
