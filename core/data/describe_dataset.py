"""Sentences about a dataset for pages, command line and report."""

from collections.abc import Sequence

from core.data.dataset_files import SampleRole
from core.data.datasets import Dataset
from core.data.duplicates import Duplicates
from core.data.preprocessing import default_min_count


def describe_dataset(dataset: Dataset) -> list[str]:
    """Return sentences about files, minimum count, changes by the split, and duplicate rows."""
    files = [describe_files(dataset.samples)] if dataset.samples else []
    count = describe_min_count(dataset.min_count, dataset.fitted_rows)
    return [
        *files,
        count,
        *dataset.notes,
        *describe_duplicates(dataset.samples, dataset.duplicates),
    ]


def describe_files(samples: Sequence[SampleRole]) -> str:
    """Return the role of each file, such as "Source from 'May' (1,000 rows), target from …"."""
    roles = ", ".join(
        f"{sample.role.replace('_', ' ')} from {sample.name!r} ({sample.rows:,} rows)"
        for sample in samples
    )
    return f"{roles[:1].upper()}{roles[1:]}."


def describe_min_count(min_count: int, training_rows: int) -> str:
    """Return the minimum count, and whether it is the default for this number of training rows."""
    default = f", the default for {training_rows:,} training rows" * (
        min_count == default_min_count(training_rows)
    )
    return f"Minimum count {min_count}{default}."


def describe_duplicates(
    samples: Sequence[SampleRole], duplicates: Sequence[Duplicates]
) -> list[str]:
    """Return a sentence per pair of parts or files that share rows; [] for a single sample."""
    if not samples:
        return []
    names = {pair.role: pair.name for pair in samples}
    sentences = [_describe_pair(pair, names) for pair in duplicates]
    return sentences or [
        "No row occurs both in training and in validation or test, nor in two files."
    ]


def _describe_pair(pair: Duplicates, names: dict[str, str]) -> str:
    verb = "occurs" if pair.rows == 1 else "occur"
    if pair.files:
        return (
            f"{pair.rows:,} of the {pair.total:,} rows of {names[pair.part]!r} also {verb} in"
            f" {names[pair.other]!r}."
        )
    return (
        f"{pair.rows:,} of the {pair.total:,} {_name_rows(pair.part)} also {verb} among the"
        f" {_name_rows(pair.other)}."
    )


def _name_rows(part: str) -> str:
    domain, _, name = part.partition("_")
    return f"{domain} {'training' if name == 'train' else name} rows"
