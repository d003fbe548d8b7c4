"""The name that a form proposes for a dataset: one that is free."""

import itertools
from collections.abc import Mapping

from core.data.datasets import Dataset, list_datasets
from core.data.samples import Sample
from core.data.split import SplitSpec
from pages.components.shared.common import workspace


def propose_dataset_name(
    wanted: str, files: Mapping[str, Sample], spec: SplitSpec, min_count: int | None
) -> str:
    """Return `wanted`, with the first number appended that makes the name free.

    A dataset with the same samples, split and minimum count keeps its name: preparing it again
    replaces it.

    Args:
        files: samples by role; the only sample of a dataset has the role "".
        spec: the split as the dataset would store it.
        min_count: minimum count of a value; None for the default.
    """
    ids_by_role = {role: sample.id for role, sample in files.items()}
    datasets = {one.name: one for one in list_datasets(workspace())}

    def fits(dataset: Dataset) -> bool:
        sample_by_role = {sample.role: sample.id for sample in dataset.samples} or {
            "": dataset.sample_id
        }
        return (
            sample_by_role == ids_by_role
            and dataset.spec == spec
            and min_count in (None, dataset.min_count)
        )

    for number in itertools.count(1):
        name = wanted if number == 1 else f"{wanted[:60]} {number}"
        if name not in datasets or fits(datasets[name]):
            return name
    raise AssertionError
