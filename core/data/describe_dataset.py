"""What a dataset is made of and what should be known of it, in sentences for pages, command line
and report."""

from collections.abc import Sequence

from core.data.dataset_files import SampleRole
from core.data.datasets import Dataset
from core.data.duplicates import Duplicates
from core.data.preprocessing import default_min_count


def describe_dataset(dataset: Dataset) -> list[str]:
    """Files, minimum count, what the split changed, and duplicate rows."""
    files = [describe_files(dataset.samples)] if dataset.samples else []
    count = describe_min_count(dataset.min_count, dataset.fitted_rows)
    return [
        *files,
        count,
        *dataset.notes,
        *describe_duplicates(dataset.samples, dataset.duplicates),
    ]


def describe_files(samples: Sequence[SampleRole]) -> str:
    """Which file is what: "Source from 'May' (1,000 rows), target from 'June' (500 rows)."."""
    named = ", ".join(
        f"{one.role.replace('_', ' ')} from {one.name!r} ({one.rows:,} rows)" for one in samples
    )
    return f"{named[:1].upper()}{named[1:]}."


def describe_min_count(min_count: int, training_rows: int) -> str:
    """The minimum count, and whether it is the default for so many training rows."""
    default = f", the default for {training_rows:,} training rows" * (
        min_count == default_min_count(training_rows)
    )
    return f"Minimum count {min_count}{default}."


def describe_duplicates(
    samples: Sequence[SampleRole], duplicates: Sequence[Duplicates]
) -> list[str]:
    """A sentence for each kind of duplicate rows, or one that there are none; nothing of a dataset
    of one sample."""
    if not samples:
        return []
    names = {one.role: one.name for one in samples}
    found = [_describe_pair(one, names) for one in duplicates]
    return found or ["No row occurs both in training and in validation or test, nor in two files."]


def _describe_pair(one: Duplicates, names: dict[str, str]) -> str:
    if one.files:
        return (
            f"{one.rows:,} of the {one.total:,} rows of {names[one.part]!r} also occur in"
            f" {names[one.other]!r}."
        )
    return (
        f"{one.rows:,} of the {one.total:,} {_name_rows(one.part)} also occur among the"
        f" {_name_rows(one.other)}."
    )


def _name_rows(part: str) -> str:
    domain, _, name = part.partition("_")
    return f"{domain} {'training' if name == 'train' else name} rows"
