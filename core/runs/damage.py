"""What of a workspace is damaged, in one list: pages show it once, and commands that list things
say it."""

from core.data.datasets import read_datasets
from core.data.samples import read_samples
from core.errors import Damaged
from core.jobs.run_cache import damaged_runs
from core.models.backbone_store import read_backbones
from core.runs.sweep import read_sweeps
from core.workspace import Workspace


def find_damaged(workspace: Workspace) -> list[Damaged]:
    """Samples, datasets, backbones, sweeps and the run store, as far as they cannot be read, each
    as its sentence.

    Of runs those that this process has met: reading thousands of them only for this would take
    long.
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
