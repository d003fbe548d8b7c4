"""What pages ask other processes for, done in this one."""

import subprocess

import pytest

from core.data.datasets import Dataset
from core.data.preprocessing import load_preprocessing
from core.errors import BadInput
from core.models import costs
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
