"""docs/notebook.ipynb runs from its first cell to its last, and shows what a reader is to see."""

from pathlib import Path
from typing import Any

import pytest

from core.workspace import PROJECT

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
NOTEBOOK = PROJECT / "docs" / "notebook.ipynb"


def shown(notebook: Any, beginning: str) -> dict[str, str]:
    """The last output of the cell whose source begins so, by MIME type."""
    (cell,) = [one for one in notebook.cells if one.source.startswith(beginning)]
    return cell.outputs[-1].data


@pytest.mark.timeout(600)
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THAW_HOME", str(tmp_path / "workspace"))
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=500,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    assert "<table>" in shown(notebook, "ws.backbones")["text/html"]
    run = shown(notebook, "run = ws.finetune")["text/html"]
    assert "target test" in run and ">done<" in run and ">simulated<" in run
    progress = next(one for one in notebook.cells if one.source.startswith("sweep = "))
    assert "done after" in progress.outputs[0].data["text/html"], "progress ends with the seconds"
    for figure in ("run.roc()", "run.calibration()", "run.learning_curves()", "sweep.figure()"):
        assert "application/vnd.plotly.v1+json" in shown(notebook, figure)
    assert (tmp_path / "run.html").stat().st_size > 10_000


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(
        not one.get("outputs") and one.get("execution_count") is None for one in notebook.cells
    )
