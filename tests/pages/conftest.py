"""What pages ask other processes for, done in this one."""

import subprocess
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from core.data.datasets import Dataset
from core.data.preprocessing import load_preprocessing
from core.errors import BadInput
from core.models import costs
from core.runs.command import Report
from core.workspace import Workspace


@pytest.fixture
def counted_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs counted without a process of their own, and no optional package installed: seconds less a page."""

    def count(workspace: Workspace, dataset: Dataset, group: costs.Wanted) -> subprocess.Popen[str]:
        from core.models.counting import count_cost

        sizes = load_preprocessing(dataset.folder / "preprocessing").field_sizes
        ended = subprocess.Popen(["true"], stderr=subprocess.PIPE, text=True)
        try:
            for name, settings in group.items():
                costs.keep_cost(workspace, dataset, count_cost(name, settings, sizes), settings)
        except BadInput as error:
            ended = subprocess.Popen(
                ["sh", "-c", 'echo "thaw: $0" >&2; exit 2', str(error)], stderr=subprocess.PIPE, text=True
            )
        ended.wait()
        return ended

    monkeypatch.setattr(costs, "_start", count)
    monkeypatch.setattr("core.models.registry.find_spec", lambda name: None)


@pytest.fixture
def commands_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands carried out in this process, before the page that starts one is drawn again."""
    from core.__main__ import build_parser
    from core.runs import errands

    def run(workspace: Workspace, words: Sequence[str], on_progress: Report | None = None) -> dict[str, Any]:
        if on_progress:
            on_progress(0.5)
        options = build_parser().parse_args(words)
        return options.run(workspace, options).data

    class Now:
        def __init__(self, target: Callable[..., None], args: tuple[Any, ...], daemon: bool) -> None:
            self.start = lambda: target(*args)

    monkeypatch.setattr("core.runs.command.run_command", run)
    monkeypatch.setattr(errands, "threading", SimpleNamespace(Thread=Now))
    monkeypatch.setattr(errands, "_errands", {})
