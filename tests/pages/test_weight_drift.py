"""Weight drift on the page Run: measured by its button in a separate process, then shown."""

import pytest

from core.data.datasets import Dataset
from core.inference.weight_drift_files import read_weight_drift
from core.jobs.requests import FinetuneRequest
from core.runs import tasks
from core.workspace import Workspace
from pages.components.shared.weight_drift import describe_weight_drift
from tests.core.training.helpers import QUICK, pretrained, run_request
from tests.pages.helpers import has_button, open_page, page_text


@pytest.mark.usefixtures("commands_in_process")
def test_weight_drift_is_measured_shown_and_stored(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    run = run_request(
        workspace,
        FinetuneRequest(dataset.id, pretrained(workspace, "dnn").id, "depth", 1, train=QUICK),
    )
    app = open_page(workspace, "run", monkeypatch, run=run.id)
    app.button(f"measure-{run.id}").click().run(timeout=120)
    assert not app.exception and not has_button(app, "Measure weight drift")
    found = read_weight_drift(workspace, run.id)
    assert found and describe_weight_drift(found) in page_text(app)
    assert "1 of 3 stages did not change." in page_text(app) and "No vector moved." in page_text(
        app
    )
    assert f"python -m core moved --run {run.id}" in [code.value for code in app.code]
    app.selectbox(f"field-{run.id}").select("I1").run()
    assert not app.exception


def test_the_page_is_there_while_it_measures(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    run = run_request(
        workspace,
        FinetuneRequest(dataset.id, pretrained(workspace, "dnn").id, "depth", 1, train=QUICK),
    )
    key = f"moved {workspace.root} {run.id}"
    monkeypatch.setitem(tasks._tasks, key, tasks.BackgroundTask(key, 0.4))
    for page in ("run", "learn"):
        app = open_page(workspace, page, monkeypatch, run=run.id)
        assert not has_button(app, "Measure weight drift") and has_button(app, "Stop")
