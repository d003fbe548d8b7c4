"""The dataset as a run sees it: as it was prepared, or one window of its target rows."""

from core.data.datasets import Dataset, find_dataset
from core.data.windows import select_window
from core.jobs.requests import FinetuneRequest, InterpolateRequest, Request
from core.jobs.store import Run, RunStore
from core.workspace import Workspace


def find_run_dataset(workspace: Workspace, run: Run) -> Dataset:
    """Return the dataset of a run, see `find_request_dataset`."""
    return find_request_dataset(workspace, run.request)


def find_request_dataset(workspace: Workspace, request: Request) -> Dataset:
    """Return the dataset with the rows that a request trains, validates and tests on.

    Raises:
        BadInput: the dataset was deleted, or the samples that its windows are cut by; or it has no
            such window.
    """
    dataset = find_dataset(workspace, request.dataset)
    if isinstance(request, InterpolateRequest):
        # It is measured on the rows of the run whose weights it mixes.
        return find_run_dataset(workspace, RunStore(workspace).get(request.run))
    if not isinstance(request, FinetuneRequest) or request.window is None:
        return dataset
    window, share = request.window, request.train.validation_share
    return select_window(workspace, dataset, window.number, window.windows, window.column, share)
