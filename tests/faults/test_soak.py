"""A light version of benchmarks/fault_soak.py: after random faults nothing is lost and nothing done
twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.processes import Processes
from tests.faults.soak import Soak
from tests.faults.soak_world import make_template


@pytest.fixture
def soak(tmp_path: Path) -> Iterator[type[Soak]]:
    """The state machine with its processes."""
    folder = tmp_path / "processes"
    folder.mkdir()
    processes = Processes(folder)
    Soak.template, Soak.processes, Soak.folder = (
        make_template(tmp_path, processes),
        processes,
        tmp_path,
    )
    yield Soak
    processes.close()


def test_random_faults_leave_every_run_complete(soak: type[Soak]) -> None:
    """Every listed run was submitted and ends like the undisturbed one; what commands made is
    listed and complete."""
    soak.counted.clear()
    few = settings(
        max_examples=2,
        stateful_step_count=25,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(soak, settings=few)
    assert soak.counted["runs"] > 10 and soak.counted["runs compared"] > 10
