"""Open the app's pages in Streamlit's AppTest and read what they show."""

import dataclasses
import shutil
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from core.data.datasets import Dataset
from core.jobs.requests import FinetuneRequest
from core.jobs.store import Run, RunStore
from core.models.backbone_store import list_backbones
from core.models.card import BackboneCard, save_card
from core.workspace import PROJECT, Workspace


def open_page(
    workspace: Workspace, name: str, monkeypatch: pytest.MonkeyPatch, **query: str
) -> AppTest:
    monkeypatch.setenv("THAW_HOME", str(workspace.root))
    monkeypatch.setattr("core.runs.launch.ensure_worker", lambda workspace, queue: None)
    monkeypatch.setattr("core.runs.submit.ensure_worker", lambda workspace, queue: None)
    clear_workspace_cache()
    app = AppTest.from_file(str(PROJECT / "pages" / "router.py"), default_timeout=30).run()
    for key, value in query.items():
        app.query_params[key] = value
    app.switch_page(f"{name}.py").run()
    assert not app.exception
    return app


def clear_workspace_cache() -> None:
    """The server keeps one workspace; each test has its own."""
    from pages.components.shared.common import workspace

    workspace.clear()


def stage_table(app: AppTest) -> str:
    return next(one.value for one in app.markdown if one.value.startswith("| :small[Stage]"))


def copy_to_workspace(
    workspace: Workspace, architecture: str, origins: tuple[str, ...], **changes: Any
) -> BackboneCard:
    """A bundled backbone copied to the workspace's shelf with the given origins."""
    card = next(card for card in list_backbones(workspace) if card.architecture == architecture)
    stages = tuple(
        dataclasses.replace(stage, origin=origin)
        for stage, origin in zip(card.stages, origins, strict=True)
    )
    card = dataclasses.replace(
        card, id="b-0001", name="mine", bundled=False, stages=stages, **changes
    )
    shutil.copytree(card.folder, workspace.backbones / card.id)
    save_card(card, workspace.backbones / card.id)
    return card


def page_text(app: AppTest) -> str:
    """Every text on the page, joined."""
    elements = [
        *app.markdown,
        *app.caption,
        *app.info,
        *app.warning,
        *app.error,
        *app.success,
        *app.subheader,
    ]
    return "\n".join(element.value for element in elements)


def submit_finetune(workspace: Workspace, dataset: Dataset, name: str = "a run") -> Run:
    return RunStore(workspace).submit(FinetuneRequest(dataset.id, "simulated-dnn"), name, "cpu")


def table_with_column(app: AppTest, column: str) -> pd.DataFrame:
    """The table that has that column."""
    return next(one.value for one in app.dataframe if column in one.value.columns)


def has_button(app: AppTest, label: str) -> bool:
    return any(one.label == label for one in app.button)


def send_stale_edits(
    page: AppTest, edit: Callable[[AppTest], Any], next_edit: Callable[[AppTest], Any]
) -> None:
    """Send both edits, the second from a browser that has not received the answer to the first."""
    edit(page)
    first = page._tree.get_widget_states()
    for button in page.button:
        # A press is sent once; the values of fields are sent every time.
        button.set_value(False)
    next_edit(page)
    second = page._tree.get_widget_states()
    page._run(first)
    page._run(second)
    assert not page.exception


PAGE_FILES = sorted(
    path.name for path in (PROJECT / "pages").glob("[!_]*.py") if path.name != "router.py"
)
