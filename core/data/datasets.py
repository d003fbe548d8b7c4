"""Datasets: a sample prepared for training, with its split, its preprocessing and its encoded rows."""

import dataclasses
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.access import require_writable
from core.data.parallel import in_order
from core.data.preprocessing import (
    DEFAULT_MIN_COUNT,
    MISSING,
    UNSEEN,
    Encoded,
    Preprocessing,
    fit,
)
from core.data.samples import Sample, coded_rows, find_sample, read_rows
from core.data.schema import FIELDS, LABEL, NUMERIC
from core.data.split import (
    PARTS,
    PartSummary,
    SplitSpec,
    assign,
    assign_unlabelled,
    check_parts,
    summarise,
    without_domains,
)
from core.errors import BadInput, name_write_error
from core.workspace import Workspace, check_name, hash_json, read_json, write_json


@dataclass(frozen=True)
class Dataset:
    """A prepared sample. content_hash covers the sample's bytes, the split and the minimum count.

    labelled: whether the rows have labels; without them all are source rows, and labels.npy holds NaN. folder holds
    parts.npy (int8), order.npy (int64), labels.npy (float32), preprocessing/ and encoded rows.
    """

    id: str
    name: str
    sample_id: str
    sample_name: str
    simulated: bool
    rows: int
    spec: SplitSpec
    parts: tuple[PartSummary, ...]
    content_hash: str
    preprocessing_hash: str
    min_count: int
    created: str
    labelled: bool = True
    folder: Path = Path()

    @property
    def has_source(self) -> bool:
        """Whether there are source rows."""
        return any(part.rows for part in self.parts if part.part.startswith("source"))


def preview_split(sample: Sample, spec: SplitSpec) -> tuple[PartSummary, ...]:
    """Rows and clicks per part that `spec` would give."""
    return summarise(_labels(coded_rows(sample)), _assign(sample, spec)[0])


def prepare(
    workspace: Workspace,
    sample: Sample,
    spec: SplitSpec,
    name: str,
    min_count: int = DEFAULT_MIN_COUNT,
    progress: Callable[[float], None] | None = None,
) -> Dataset:
    """Splits, fits on training rows, encodes and stores under `name`; all or nothing.

    Fitted on the source training rows, or on the target training rows where there is no source domain. Rows without
    labels all become source rows; of `spec` only order, seed and source validation share are kept for them. The same
    sample, split and minimum count give the same dataset again, under the new name.
    """
    require_writable()
    name = check_name(name, "dataset")
    report = progress or (lambda share: None)
    spec = spec if sample.labelled else without_domains(spec)
    table = coded_rows(sample)
    labels = _labels(table)
    parts, order = _assign(sample, spec)
    summaries = summarise(labels, parts)
    check_parts(summaries)
    content_hash = hash_json([sample.content_hash, dataclasses.asdict(spec), min_count, sample.rows])
    dataset_id = f"d-{content_hash[:12]}"
    for other in list_datasets(workspace):
        if other.name == name and other.id != dataset_id:
            raise BadInput(f"There is already a dataset named {name!r}; choose another name or delete that one first.")
    folder = Path(tempfile.mkdtemp(dir=workspace.datasets, prefix=".part-"))
    try:
        report(0.05)
        train = PARTS.index("source_train" if summaries[0].rows else "target_train")
        fitting = lambda share: report(0.05 + 0.35 * share)  # noqa: E731
        preprocessing = fit(table, min_count, parts == train, fitting)
        np.save(folder / "parts.npy", parts)
        np.save(folder / "order.npy", order)
        stored = np.full(sample.rows, np.nan) if labels is None else labels
        np.save(folder / "labels.npy", stored.astype(np.float32))
        preprocessing.save(folder / "preprocessing")
        dataset = Dataset(
            id=dataset_id,
            name=name,
            sample_id=sample.id,
            sample_name=sample.name,
            simulated=sample.simulated,
            rows=sample.rows,
            spec=spec,
            parts=summaries,
            content_hash=content_hash,
            preprocessing_hash=preprocessing.hash,
            min_count=min_count,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            labelled=sample.labelled,
            folder=folder,
        )
        _encode(table, preprocessing, folder, lambda share: report(0.4 + 0.6 * share))
        values = dataclasses.asdict(dataset)
        del values["folder"]
        write_json(folder / "dataset.json", values)
        target = workspace.datasets / dataset_id
        if target.exists():
            shutil.rmtree(target)
        folder.rename(target)
    except Exception as error:
        name_write_error(error, folder, folder.parent)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return dataclasses.replace(dataset, folder=target)


def load_dataset(folder: Path) -> Dataset:
    """The dataset stored in `folder`."""
    values = read_json(folder / "dataset.json")
    values["spec"] = SplitSpec(**{**values["spec"], "target_values": tuple(values["spec"]["target_values"])})
    values["parts"] = tuple(PartSummary(**part) for part in values["parts"])
    return Dataset(**{**values, "folder": folder})


def list_datasets(workspace: Workspace) -> list[Dataset]:
    """Every dataset, newest first."""
    datasets = [load_dataset(path.parent) for path in workspace.datasets.glob("d-*/dataset.json")]
    return sorted(datasets, key=lambda dataset: dataset.created, reverse=True)


def find_dataset(workspace: Workspace, name_or_id: str) -> Dataset:
    """The dataset of that id or name; BadInput lists the names there are."""
    datasets = list_datasets(workspace)
    for dataset in datasets:
        if name_or_id in (dataset.id, dataset.name):
            return dataset
    raise BadInput(
        f"There is no dataset {name_or_id!r}; the datasets here are {sorted(dataset.name for dataset in datasets)}."
    )


def require_labels(dataset: Dataset) -> None:
    """BadInput when the dataset has no labels."""
    if not dataset.labelled:
        raise BadInput(
            f"The dataset {dataset.name!r} has no labels (39 columns): only pretraining by RFD or MFP, or a start "
            "without training, can use it; choose a dataset with labels for anything else."
        )


def delete_dataset(dataset: Dataset) -> None:
    """Removes the dataset; its runs keep their results."""
    require_writable()
    shutil.rmtree(dataset.folder)


def parts_of(dataset: Dataset) -> np.ndarray:
    """Code into PARTS of every row, int8 (rows,)."""
    return np.load(dataset.folder / "parts.npy")


def labels_of(dataset: Dataset) -> np.ndarray:
    """0.0 or 1.0 for every row, NaN where the dataset has no labels; float32 (rows,)."""
    return np.load(dataset.folder / "labels.npy", mmap_mode="r")


def training_rows(
    dataset: Dataset, domain: str, validation_share: float | None, last: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(training, validation) row numbers of "source" or "target", in the order the domain is cut by.

    validation_share None keeps the dataset's own cut; a share re-cuts the same rows, the last ones validate. last:
    only so many rows of both together, the last ones, cut by the same share; 0 for all. Smaller ones lie in larger.
    """
    train, validation = _in_order(dataset, f"{domain}_train"), _in_order(dataset, f"{domain}_validation")
    rows = np.concatenate([train, validation])
    if last > len(rows):
        raise BadInput(f"There are {len(rows):,} {domain} rows to train and validate on; {last:,} were asked for.")
    if validation_share is None and not last:
        return train, validation
    share = len(validation) / len(rows) if validation_share is None else validation_share
    rows = rows[-last:]
    cut = len(rows) - max(1, round(len(rows) * share))
    if cut < 1:
        raise BadInput(f"A validation share of {share:g} leaves no {domain} row to train on; lower it.")
    return rows[:cut], rows[cut:]


def test_rows(dataset: Dataset, domain: str) -> np.ndarray:
    """Row numbers of the test rows of "source" or "target"."""
    return _in_order(dataset, f"{domain}_test")


def encoded(workspace: Workspace, dataset: Dataset, preprocessing: Preprocessing) -> Encoded:
    """All rows as `preprocessing` encodes them, memory-mapped; computed once per preprocessing and kept.

    Raises BadInput when the sample has been deleted and this encoding was never made.
    """
    folder = dataset.folder / f"encoded-{preprocessing.hash[:12]}"
    if not folder.exists():
        table = coded_rows(find_sample(workspace, dataset.sample_id))
        _encode(table, preprocessing, dataset.folder, lambda share: None)
    return Encoded(np.load(folder / "ids.npy", mmap_mode="r"), np.load(folder / "numerics.npy", mmap_mode="r"))


@dataclass(frozen=True)
class FieldCoverage:
    """How well a vocabulary covers the target training rows of one field: shares of rows."""

    field: str
    unseen_share: float
    missing_share: float


def coverage(workspace: Workspace, dataset: Dataset, preprocessing: Preprocessing) -> list[FieldCoverage]:
    """Per field the share of target training rows whose value `preprocessing` does not know (or saw too rarely).

    BadInput when the dataset has no labels, and so no target rows.
    """
    if not dataset.labelled:
        raise BadInput(
            f"The dataset {dataset.name!r} has no labels and so no target rows to check a vocabulary against; choose "
            "a dataset with labels."
        )
    ids = encoded(workspace, dataset, preprocessing).ids[training_rows(dataset, "target", None)[0]]
    unseen, missing = (ids == UNSEEN).mean(axis=0), (ids == MISSING).mean(axis=0)
    return [FieldCoverage(field, float(unseen[i]), float(missing[i])) for i, field in enumerate(FIELDS)]


def _labels(table: pa.Table) -> np.ndarray | None:
    return table[LABEL].to_numpy() if LABEL in table.column_names else None


def _assign(sample: Sample, spec: SplitSpec) -> tuple[np.ndarray, np.ndarray]:
    if not sample.labelled:
        return assign_unlabelled(sample.rows, without_domains(spec))
    if spec.method != "column":
        return assign(sample.rows, spec)
    column = read_rows(sample, [spec.column])[spec.column]
    if spec.column in NUMERIC:
        column = pa.chunked_array([pc.cast(column, pa.int64(), safe=False).combine_chunks()])
    texts = pc.fill_null(column.cast(pa.string()), "")
    in_target = pc.is_in(texts, value_set=pa.array(spec.target_values, pa.string())).to_numpy()
    if not in_target.any():
        raise BadInput(f"No row of column {spec.column} holds one of {list(spec.target_values)}; choose other values.")
    return assign(sample.rows, spec, in_target)


def _in_order(dataset: Dataset, part: str) -> np.ndarray:
    order = np.load(dataset.folder / "order.npy", mmap_mode="r")
    return np.asarray(order[parts_of(dataset)[order] == PARTS.index(part)])


def _encode(table: pa.Table, preprocessing: Preprocessing, folder: Path, report: Callable[[float], None]) -> None:
    part = Path(tempfile.mkdtemp(dir=folder, prefix=".part-"))
    batches = (pa.Table.from_batches([batch]) for batch in table.to_batches())
    try:
        with (part / "ids.npy").open("wb") as ids, (part / "numerics.npy").open("wb") as numerics:
            _npy_header(ids, np.int32, (table.num_rows, len(FIELDS)))
            _npy_header(numerics, np.float32, (table.num_rows, len(NUMERIC)))
            done = 0
            for rows in in_order(preprocessing.encode, batches):
                ids.write(rows.ids.data)
                numerics.write(rows.numerics.data)
                done += len(rows.ids)
                report(done / table.num_rows)
        target = folder / f"encoded-{preprocessing.hash[:12]}"
        if not target.exists():
            part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _npy_header(stream: BinaryIO, dtype: type, shape: tuple[int, ...]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
