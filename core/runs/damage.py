"""Everything in a workspace that is damaged, in one list for pages and commands."""

from core.data.datasets import read_datasets
from core.data.samples import read_samples
from core.errors import Damaged
from core.jobs.run_cache import damaged_runs
from core.models.backbone_store import read_backbones
from core.runs.sweep import read_sweeps
from core.workspace import Workspace


def find_damaged(workspace: Workspace) -> list[Damaged]:
    """Return what is wrong with samples, datasets, backbones, sweeps and the run store.

    Of runs only those that this process has already met: reading thousands of them only for this
    list would take long.
    """
    found = [
        *read_samples(workspace)[1],
        *read_datasets(workspace)[1],
        *read_backbones(workspace)[1],
    ]
    try:
        found += read_sweeps(workspace)[1]
    except Damaged as error:
        found.append(error)
    return [*found, *damaged_runs(workspace)]
