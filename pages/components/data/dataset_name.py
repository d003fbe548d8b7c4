"""The name that a page proposes for a dataset: one under which it can be prepared."""

import itertools
from collections.abc import Mapping

from core.data.datasets import Dataset, list_datasets
from core.data.samples import Sample
from core.data.split import SplitSpec
from pages.components.shared.common import workspace


def propose_dataset_name(
    wanted: str, files: Mapping[str, Sample], spec: SplitSpec, min_count: int | None
) -> str:
    """`wanted`, or it with the first number behind it that no dataset of other samples or another
    split has.

    A dataset that was prepared so before keeps its name: preparing it again makes it again. files:
    by role; a sample that is a dataset alone has the role "". spec: as the dataset would store it.
    """
    made_of = {role: sample.id for role, sample in files.items()}
    datasets = {one.name: one for one in list_datasets(workspace())}

    def fits(found: Dataset) -> bool:
        again = {one.role: one.id for one in found.samples} or {"": found.sample_id}
        return again == made_of and found.spec == spec and min_count in (None, found.min_count)

    for number in itertools.count(1):
        name = wanted if number == 1 else f"{wanted[:60]} {number}"
        if name not in datasets or fits(datasets[name]):
            return name
    raise AssertionError
