"""A small sweep with trained runs, to report on."""

from core.data.datasets import Dataset
from core.jobs.requests import TrainSettings
from core.jobs.store import RunStore
from core.runs.dispatch import execute
from core.runs.launch import CLUSTER_QUEUE
from core.runs.sweep import Arm, Sweep, SweepSpec, submit_sweep
from core.runs.worker import run_job
from core.workspace import Workspace
from tests.core.training.helpers import pretrained

ARMS = (Arm("depth", 0), Arm("depth", 1), Arm("lora", options={"rank": 2}), Arm("zero-shot"))
TRAIN = TrainSettings(epochs=2, batch_size=256, early_stopping=0, device="cpu")


def finished_sweep(
    workspace: Workspace, dataset: Dataset, seeds: tuple[int, ...] = (0, 1)
) -> Sweep:
    """The sweep "first" of ARMS, trained in this process."""
    spec = SweepSpec(dataset.id, pretrained(workspace, "dnn").id, ARMS, seeds, train=TRAIN)
    sweep = submit_sweep(workspace, spec, "first", run_here=True)
    store = RunStore(workspace)
    while (run := store.claim(CLUSTER_QUEUE, 1)) is not None:
        run_job(workspace, store, run, execute)
    return sweep
