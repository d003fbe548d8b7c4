"""A hundred damaged files; benchmarks/fuzz.py takes ten thousand."""

from pathlib import Path

import pytest

from core.workspace import Workspace
from tests.core.data.helpers import write
from tests.faults.mutations import bring_in, spoilt_file


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_every_file_gives_a_dataset_or_a_message(
    first: int, workspace: Workspace, tmp_path: Path
) -> None:
    """Whatever else is raised fails the test, and so does a refusal that leaves something
    behind."""
    outcomes = []
    for seed in range(first, first + 25):
        path = write(tmp_path, spoilt_file(seed))
        outcomes.append(bring_in(workspace, path, ("reject", "skip")[seed % 2]))
    assert all(outcome == "dataset" or len(outcome) < 700 for outcome in outcomes)
    # Both happen, or the faults are too mild or too harsh to tell anything.
    assert 0 < outcomes.count("dataset") < 25
