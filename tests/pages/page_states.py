"""Every page in each of its states, over a workspace with something on each."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.data.datasets import Dataset, find_dataset
from core.jobs.requests import FinetuneRequest
from core.jobs.store import RunStore
from core.runs.sweep import Arm, SweepSpec, submit_sweep
from core.workspace import PROJECT, Workspace, open_workspace
from tests.core.training.helpers import QUICK, pretrained, run_request
from tests.pages.helpers import clear_workspace_cache


@dataclass(frozen=True)
class Place:
    """A page by its file's stem. query: its address. view: the tab of Data that is open, which no
    address names."""

    page: str
    query: dict[str, str] = field(default_factory=dict)
    view: str = ""

    def open(self) -> AppTest:
        """The page as a visitor sees it who follows a link to it."""
        app = AppTest.from_file(str(PROJECT / "pages" / "router.py"), default_timeout=60)
        for key, value in self.query.items():
            app.query_params[key] = value
        if self.view:
            app.session_state["view"] = self.view
        return app.switch_page(f"{self.page}.py").run()


def furnish(workspace: Workspace, dataset: Dataset) -> dict[str, str]:
    """Adds a backbone, a finished run that kept its head, and a sweep that waits; ids of "run",
    "sweep" and "waits", a run of the sweep."""
    card = pretrained(workspace, "dnn")
    request = FinetuneRequest(dataset.id, card.id, "depth", 1, train=QUICK, keep_head=True)
    done = run_request(workspace, request)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.runs.sweep.ensure_worker", lambda *_: None)
        sweep = submit_sweep(
            workspace,
            SweepSpec(dataset.id, card.id, (Arm("depth", 0), Arm("zero-shot"))),
            "a sweep",
        )
    return {
        "run": done.id,
        "sweep": sweep.id,
        "waits": RunStore(workspace).list_group(sweep.id)[0].id,
    }


def furnished_copy(template: Path, root: Path) -> tuple[Workspace, dict[str, str]]:
    """A copy of the workspace `template`, with something on every page, at `root`; ids as `furnish`
    gives them."""
    shutil.copytree(template, root)
    workspace = open_workspace(root)
    return workspace, furnish(workspace, find_dataset(workspace, "tiny"))


def serve(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the pages opened from now on show this workspace; no worker starts."""
    monkeypatch.setenv("THAW_HOME", str(workspace.root))
    monkeypatch.setattr("core.runs.launch.ensure_worker", lambda *_: None)
    clear_workspace_cache()


def places(ids: dict[str, str]) -> list[Place]:
    """Every page, with the states that have buttons of their own. ids: as `furnish` gives them."""
    return [
        Place("home"),
        *(Place("data", view=view) for view in ("Sample", "Split", "Datasets")),
        *(
            Place("backbones", {"section": section})
            for section in ("Shelf", "Vocabulary check", "Pretrain")
        ),
        Place("finetune"),
        Place("sweep"),
        Place("sweep", {"sweep": ids["sweep"]}),
        Place("run", {"run": ids["run"]}),
        Place("run", {"run": ids["waits"]}),
        Place("score", {"run": ids["run"]}),
        Place("compare", {"runs": ids["run"]}),
        Place("learn"),
    ]
