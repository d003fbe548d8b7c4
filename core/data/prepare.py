"""Prepares samples for training: splits, fits the preprocessing, encodes and stores a dataset."""

import dataclasses
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from core.data.dataset_files import (
    SampleRole,
    check_files,
    concat_rows,
    hash_dataset_content,
)
from core.data.dataset_rows import encode_rows
from core.data.datasets import DATASET_FILE, Dataset, count_fitted_rows, list_datasets
from core.data.duplicates import count_duplicates
from core.data.preprocessing import (
    default_min_count,
    fit_preprocessing,
)
from core.data.samples import Sample
from core.data.schema import LABEL
from core.data.split import SPLIT_PARTS, SplitSpec, unlabelled_spec
from core.data.split_adjust import Split
from core.data.split_plan import file_split_spec, plan_files, plan_split
from core.errors import BadInput, NameTaken
from core.files.durable import publish_folder, staging, sync_tree
from core.files.typed_json import require_whole_number
from core.names import find_damaged_id, names_lock, unused_id
from core.read_only import require_writable
from core.workspace import Workspace, check_name, write_json


def prepare(
    workspace: Workspace,
    sample: Sample,
    spec: SplitSpec,
    name: str,
    min_count: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Dataset:
    """Split a sample, fit on its training rows, encode and store it as a dataset; all or nothing.

    The preprocessing is fitted on the source training rows, or on the target ones if there is no
    source domain. The same sample, split and minimum count give the same dataset again under the
    same name, and another dataset under another name.

    Args:
        workspace: where to store it.
        sample: the rows. Without labels all become source rows, and of `spec` only order, seed and
            source validation share apply.
        spec: how to split.
        name: of the dataset.
        min_count: minimum count of a vocabulary entry; None for `default_min_count`.
        progress: called with 0 to 1.

    Raises:
        BadInput: no dataset can be made of this split, or `min_count` is no whole number.
        NameTaken: a dataset with other content has the name.
    """
    require_writable()
    name = check_name(name, "dataset")
    spec = spec if sample.labelled else unlabelled_spec(spec)
    split = plan_split(sample, spec)
    return _prepare(
        workspace, {"": sample}, spec, split, name, min_count, progress or (lambda share: None)
    )


def prepare_files(
    workspace: Workspace,
    files: Mapping[str, Sample],
    spec: SplitSpec,
    name: str,
    min_count: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Dataset:
    """Prepare several samples as one dataset, each with its role; otherwise like `prepare`.

    The source and the target file are split, by the shares of `spec`, into the parts that have no
    file of their own: in row order, or shuffled if ``spec.shuffle``.

    Args:
        files: samples by role, see `core.data.split.FILE_ROLES`.
    """
    require_writable()
    name = check_name(name, "dataset")
    files, spec = check_files(files), file_split_spec(spec)
    return _prepare(
        workspace,
        files,
        spec,
        plan_files(files, spec),
        name,
        min_count,
        progress or (lambda share: None),
    )


def _prepare(
    workspace: Workspace,
    files: Mapping[str, Sample],
    spec: SplitSpec,
    split: Split,
    name: str,
    min_count: int | None,
    report: Callable[[float], None],
) -> Dataset:
    """Prepare samples by role; a single sample has the role ""."""
    if split.refusal:
        raise BadInput(split.refusal)
    if min_count is not None:
        min_count = require_whole_number(min_count, "minimum count", 1)
    samples, has_roles = [*files.values()], "" not in files
    min_count = (
        default_min_count(count_fitted_rows(split.summaries)) if min_count is None else min_count
    )
    content_hash = hash_dataset_content(files, spec, min_count, split)
    dataset_id = _choose_id(workspace, name, content_hash)
    table = concat_rows(samples)
    roles = tuple(
        SampleRole(role, sample.id, sample.name, sample.rows)
        for role, sample in files.items()
        if has_roles
    )
    with staging(workspace.datasets) as folder:
        report(0.05)
        duplicates = (
            count_duplicates(table, split.parts, [(sample.role, sample.rows) for sample in roles])
            if has_roles
            else ()
        )
        train_part = SPLIT_PARTS.index(
            "source_train" if split.summaries[0].rows else "target_train"
        )
        report_fit = lambda share: report(0.05 + 0.35 * share)  # noqa: E731
        preprocessing = fit_preprocessing(table, min_count, split.parts == train_part, report_fit)
        labels = table[LABEL].to_numpy() if samples[0].labelled else np.full(table.num_rows, np.nan)
        np.save(folder / "parts.npy", split.parts)
        np.save(folder / "order.npy", split.order)
        np.save(folder / "labels.npy", labels.astype(np.float32))
        preprocessing.save(folder / "preprocessing")
        dataset = Dataset(
            id=dataset_id,
            name=name,
            sample_id="" if has_roles else samples[0].id,
            sample_name=", ".join(sample.name for sample in samples),
            simulated=any(sample.simulated for sample in samples),
            rows=table.num_rows,
            spec=spec,
            parts=split.summaries,
            content_hash=content_hash,
            preprocessing_hash=preprocessing.hash,
            min_count=min_count,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            labelled=samples[0].labelled,
            folder=folder,
            notes=split.notes,
            samples=roles,
            duplicates=duplicates,
        )
        encode_rows(table, preprocessing, folder, lambda share: report(0.4 + 0.6 * share))
        # Slow work is done before the lock on names is taken.
        sync_tree(folder)
        with names_lock(workspace):
            # Another process may have taken the name since.
            dataset = dataclasses.replace(dataset, id=_choose_id(workspace, name, content_hash))
            write_json(folder / DATASET_FILE, _as_json(dataset))
            # An earlier copy of the same dataset stays until the new one replaces it as a whole.
            publish_folder(folder, target := workspace.datasets / dataset.id)
    return dataclasses.replace(dataset, folder=target)


def check_dataset_name(
    workspace: Workspace, name: str, content_hash: str | None = None
) -> Dataset | None:
    """Return the dataset of this name, None if there is none.

    Raises:
        NameTaken: its content is not that of `content_hash`.
    """
    named = next((one for one in list_datasets(workspace) if one.name == name), None)
    if named and content_hash is not None and named.content_hash != content_hash:
        raise NameTaken(
            f"There is already a dataset named {name!r}, with other content; choose another name,"
            " or rename or delete that one first."
        )
    return named


def _choose_id(workspace: Workspace, name: str, content_hash: str) -> str:
    """Return the id for a dataset: its own, that of a damaged one it replaces, or a free one."""
    if named := check_dataset_name(workspace, name, content_hash):
        return named.id
    default_id = f"d-{content_hash[:12]}"
    ids = (dataset.id for dataset in list_datasets(workspace))
    return find_damaged_id(workspace.datasets, DATASET_FILE, default_id, name, ids) or unused_id(
        workspace.datasets, default_id
    )


def _as_json(dataset: Dataset) -> dict[str, Any]:
    """Return what dataset.json holds. Fields that earlier versions lack are left out if empty."""
    values = dataclasses.asdict(dataset) | {"spec": dataset.spec.as_json()}
    del values["folder"]
    return {
        name: value
        for name, value in values.items()
        if value or name not in ("notes", "samples", "duplicates")
    }
