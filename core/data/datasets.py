"""Datasets: one sample, or several, prepared for training, with split, preprocessing and encoded
rows."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from core.data.dataset_files import (
    SampleRole,
    check_files,
    columns_in_all,
    concat_rows,
    decode_column,
    hash_dataset_content,
)
from core.data.duplicates import Duplicates, count_duplicates
from core.data.integrity import find_dataset_fault
from core.data.parallel import map_ordered
from core.data.preprocessing import (
    MISSING,
    UNSEEN,
    Encoded,
    Preprocessing,
    default_min_count,
    fit_preprocessing,
)
from core.data.samples import Sample, read_samples
from core.data.schema import FIELDS, LABEL, NUMERIC
from core.data.split import SPLIT_PARTS, PartSummary, SplitSpec, unlabelled_spec
from core.data.split_adjust import Split
from core.data.split_plan import file_split_spec, plan_files, plan_split
from core.errors import BadInput, Damaged, NameTaken
from core.files.durable import publish_folder, remove_folder, staging, sync_tree
from core.names import find_by_name_or_id, find_damaged_id, names_lock, unused_id
from core.read_only import require_writable
from core.stored import (
    check_files_intact,
    check_timestamp,
    load_stored,
    parse_stored,
    read_array,
    read_entries,
)
from core.workspace import Workspace, check_name, write_json

DATASET_FILE = "dataset.json"
_FILES = (
    "parts.npy",
    "order.npy",
    "labels.npy",
    "preprocessing/preprocessing.json",
    "preprocessing/vocabulary.parquet",
)
REPAIR_ADVICE = (
    "prepare the dataset again from its sample, put a copy of the folder back, or delete the folder"
)
"""What to do about a damaged file of a dataset."""

_NAME_NUMBER = re.compile(r"-name\d+$")
"""What core.names.unused_id puts behind the id of rows that have several names."""


@dataclass(frozen=True)
class Dataset:
    """One sample or several, prepared. content_hash covers the samples' bytes, the split and the
    minimum count.

    sample_id, sample_name: of the one sample; with several the id is empty and the name lists
    theirs. labelled: whether the rows have labels; without them all are source rows, and labels.npy
    holds NaN. folder holds parts.npy (int8), order.npy (int64), labels.npy (float32),
    preprocessing/ and encoded rows. notes: sentences on what the split changed so that every part
    has both classes. samples: of a dataset of several files, each with its role, in the order their
    rows follow each other; empty with one. duplicates: rows that occur in two parts or files,
    counted with several.
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
    notes: tuple[str, ...] = ()
    samples: tuple[SampleRole, ...] = ()
    duplicates: tuple[Duplicates, ...] = ()

    @property
    def sample_ids(self) -> tuple[str, ...]:
        """Ids of the samples that it is made of, one or several, in the order of its rows."""
        return tuple(one.id for one in self.samples) or (self.sample_id,)

    @property
    def fitted_rows(self) -> int:
        """Training rows that vocabulary and statistics are fitted on."""
        return count_fitted_rows(self.parts)

    @property
    def has_source(self) -> bool:
        """Whether there are source rows."""
        return any(part.rows for part in self.parts if part.part.startswith("source"))


def count_fitted_rows(parts: Sequence[PartSummary]) -> int:
    """Rows of the part that vocabulary and statistics are fitted on: source training rows, else
    target ones."""
    rows = {part.part: part.rows for part in parts}
    return rows["source_train"] or rows["target_train"]


def prepare(
    workspace: Workspace,
    sample: Sample,
    spec: SplitSpec,
    name: str,
    min_count: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Dataset:
    """Splits, fits on training rows, encodes and stores under `name`; all or nothing.

    Fitted on the source training rows, or on the target training rows where there is no source
    domain. Rows without labels all become source rows; of `spec` only order, seed and source
    validation share are kept for them. min_count: None takes `default_min_count` of the training
    rows. The same sample, split and minimum count give under the same name the same dataset again,
    and under another name another one. NameTaken where a dataset of another content has the name.
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
    """As `prepare`, for a dataset of several samples, each with its role (see FILE_ROLES).

    The source and target files are cut by the shares of `spec` into those of their parts without a
    file of their own, in row order or, with spec.shuffle, shuffled.
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
    """files: by role; a sample that is a dataset alone has the role ""."""
    if split.refusal:
        raise BadInput(split.refusal)
    samples, several = [*files.values()], "" not in files
    min_count = (
        default_min_count(count_fitted_rows(split.summaries)) if min_count is None else min_count
    )
    content_hash = hash_dataset_content(files, spec, min_count, split)
    dataset_id = _choose_id(workspace, name, content_hash)
    table = concat_rows(samples)
    roles = tuple(
        SampleRole(role, one.id, one.name, one.rows) for role, one in files.items() if several
    )
    with staging(workspace.datasets) as folder:
        report(0.05)
        duplicates = (
            count_duplicates(table, split.parts, [(one.role, one.rows) for one in roles])
            if several
            else ()
        )
        train = SPLIT_PARTS.index("source_train" if split.summaries[0].rows else "target_train")
        fitting = lambda share: report(0.05 + 0.35 * share)  # noqa: E731
        preprocessing = fit_preprocessing(table, min_count, split.parts == train, fitting)
        labels = table[LABEL].to_numpy() if samples[0].labelled else np.full(table.num_rows, np.nan)
        np.save(folder / "parts.npy", split.parts)
        np.save(folder / "order.npy", split.order)
        np.save(folder / "labels.npy", labels.astype(np.float32))
        preprocessing.save(folder / "preprocessing")
        dataset = Dataset(
            id=dataset_id,
            name=name,
            sample_id="" if several else samples[0].id,
            sample_name=", ".join(one.name for one in samples),
            simulated=any(one.simulated for one in samples),
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
        _encode(table, preprocessing, folder, lambda share: report(0.4 + 0.6 * share))
        # What takes time goes before the names are held.
        sync_tree(folder)
        with names_lock(workspace):
            # Another process may have taken the name since.
            dataset = dataclasses.replace(dataset, id=_choose_id(workspace, name, content_hash))
            write_json(folder / DATASET_FILE, _as_json(dataset))
            # The same dataset prepared before is there until the new one is, whole, in its place.
            publish_folder(folder, target := workspace.datasets / dataset.id)
    return dataclasses.replace(dataset, folder=target)


def check_dataset_name(
    workspace: Workspace, name: str, content_hash: str | None = None
) -> Dataset | None:
    """The dataset of that name, None where there is none; NameTaken where it has another content
    than this."""
    named = next((one for one in list_datasets(workspace) if one.name == name), None)
    if named and content_hash is not None and named.content_hash != content_hash:
        raise NameTaken(
            f"There is already a dataset named {name!r}, with another content; choose another name,"
            " or rename or delete that one first."
        )
    return named


def _choose_id(workspace: Workspace, name: str, content_hash: str) -> str:
    """The id of the dataset of that name and content: the one it has, else one that no other
    has."""
    if named := check_dataset_name(workspace, name, content_hash):
        return named.id
    first = f"d-{content_hash[:12]}"
    whole = (one.id for one in list_datasets(workspace))
    return find_damaged_id(workspace.datasets, DATASET_FILE, first, name, whole) or unused_id(
        workspace.datasets, first
    )


def _as_json(dataset: Dataset) -> dict[str, Any]:
    """What dataset.json holds; of a dataset of one sample that needed no adjusting, what it always
    held."""
    values = dataclasses.asdict(dataset) | {"spec": dataset.spec.as_json()}
    del values["folder"]
    return {
        name: value
        for name, value in values.items()
        if value or name not in ("notes", "samples", "duplicates")
    }


def load_dataset(folder: Path) -> Dataset:
    """The dataset stored in `folder`; `Damaged` where its description or one of its files is not
    whole."""

    def make(values: dict[str, Any]) -> Dataset:
        dataset = dataclasses.replace(parse_stored(Dataset, values), folder=folder)
        if dataset.id != folder.name:
            raise ValueError(f"it describes the dataset {dataset.id[:40]!r}")
        if tuple(part.part for part in dataset.parts) != SPLIT_PARTS:
            raise ValueError(f"its parts are not {', '.join(SPLIT_PARTS)}")
        if dataset.rows < 1 or sum(part.rows for part in dataset.parts) != dataset.rows:
            raise ValueError(f"its parts do not add up to its {dataset.rows} rows")
        check_timestamp(dataset.created, "created")
        return dataset

    dataset = load_stored(folder / DATASET_FILE, REPAIR_ADVICE, make)
    advice = REPAIR_ADVICE.replace("the dataset", f"the dataset {dataset.name!r}")
    check_files_intact(folder, _FILES, lambda: find_dataset_fault(folder, dataset.rows), advice)
    return dataset


def read_datasets(workspace: Workspace) -> tuple[list[Dataset], list[Damaged]]:
    """(every dataset that is whole, newest first; what is damaged)."""
    whole, broken = read_entries(workspace.datasets, DATASET_FILE, load_dataset, "d-")
    return sorted(whole, key=lambda dataset: dataset.created, reverse=True), broken


def list_datasets(workspace: Workspace) -> list[Dataset]:
    """Every dataset that is whole, newest first."""
    return read_datasets(workspace)[0]


def find_dataset(workspace: Workspace, name_or_id: str) -> Dataset:
    """The dataset of that id or name; BadInput lists the names there are."""
    return find_by_name_or_id(*read_datasets(workspace), name_or_id, "dataset")


def require_labels(dataset: Dataset) -> None:
    """BadInput when the dataset has no labels."""
    if not dataset.labelled:
        raise BadInput(
            f"The dataset {dataset.name!r} has no labels (39 columns): only pretraining by RFD or"
            " MFP, or a start without training, can use it; choose a dataset with labels for"
            " anything else."
        )


def delete_dataset(dataset: Dataset) -> None:
    """Removes the dataset; its runs keep their results."""
    require_writable()
    remove_folder(dataset.folder)


def load_parts(dataset: Dataset) -> np.ndarray:
    """Code into PARTS of every row, int8 (rows,)."""
    return read_array(dataset.folder / "parts.npy", REPAIR_ADVICE, (dataset.rows,), "i")


def load_labels(dataset: Dataset) -> np.ndarray:
    """0.0 or 1.0 for every row, NaN where the dataset has no labels; float32 (rows,)."""
    return read_array(
        dataset.folder / "labels.npy", REPAIR_ADVICE, (dataset.rows,), "f", mmap_mode="r"
    )


def select_training_rows(
    dataset: Dataset, domain: str, validation_share: float | None, n_last: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(training, validation) row numbers of "source" or "target", in the order the domain is cut
    by.

    validation_share None keeps the dataset's own cut; a share re-cuts the same rows, the last ones
    validate. last: only so many rows of both together, the last ones, cut by the same share; 0 for
    all. Smaller ones lie in larger. Where the validation rows are a file of their own and no share
    is given, they are the last ones of either file. Where rows that are cut anew would validate on
    one class alone, more of them validate, if that gives both classes.
    """
    train, validation = (
        _rows_of_part(dataset, f"{domain}_train"),
        _rows_of_part(dataset, f"{domain}_validation"),
    )
    rows = np.concatenate([train, validation])
    if n_last > len(rows):
        raise BadInput(
            f"There are {len(rows):,} {domain} rows to train and validate on; {n_last:,} were asked"
            " for."
        )
    if validation_share is None and not n_last:
        return train, validation
    share = len(validation) / len(rows) if validation_share is None else validation_share
    validated = max(1, round((n_last or len(rows)) * share))
    rows = rows[-n_last:]
    cut = len(rows) - validated
    if cut < 1:
        raise BadInput(
            f"A validation share of {share:g} leaves no {domain} row to train on; lower it."
        )
    if validation_share is None and any(
        one.role == f"{domain}_validation" for one in dataset.samples
    ):
        return train[-cut:], validation[-validated:]
    cut = _cut_with_both_classes(load_labels(dataset)[rows], cut)
    return rows[:cut], rows[cut:]


def _cut_with_both_classes(labels: np.ndarray, cut: int) -> int:
    """The last place up to `cut` that leaves both classes on both sides; `cut` where there is none,
    or no label."""
    clicks = labels == 1
    places = np.arange(1, cut + 1)
    before = np.cumsum(clicks)[: len(places)]
    behind, after = clicks.sum() - before, len(labels) - places
    fits = (before > 0) & (before < places) & (behind > 0) & (behind < after)
    return int(places[fits][-1]) if fits.any() else cut


def select_test_rows(dataset: Dataset, domain: str) -> np.ndarray:
    """Row numbers of the test rows of "source" or "target"."""
    return _rows_of_part(dataset, f"{domain}_test")


def find_samples(workspace: Workspace, dataset: Dataset) -> list[Sample]:
    """The samples that the dataset is made of, in the order of its rows; BadInput where one has
    been deleted.

    A sample of another name that has the same rows stands in for one that is gone.
    """
    whole, broken = read_samples(workspace)
    named = {one.id: one.name for one in dataset.samples} or {
        dataset.sample_id: dataset.sample_name
    }
    found = []
    for sample_id, name in named.items():
        same = [one for one in whole if sample_id in (one.id, one.rows_id)]
        same += [one for one in whole if _NAME_NUMBER.sub("", sample_id) == one.rows_id]
        if not same:
            why = next((f" {one}" for one in broken if one.path.parent.name == sample_id), "")
            raise BadInput(
                f"There is no sample {name!r} any more, of whose rows the dataset {dataset.name!r}"
                f" is made; ingest its file again.{why}"
            )
        found.append(min(same, key=lambda one: one.id != sample_id))
    return found


def read_dataset_rows(workspace: Workspace, dataset: Dataset) -> pa.Table:
    """All rows as `core.data.dataset_files.concat_rows` has them; BadInput where a sample has been
    deleted."""
    return concat_rows(find_samples(workspace, dataset))


def shared_extra_columns(workspace: Workspace, dataset: Dataset) -> tuple[str, ...]:
    """Names of the columns beyond label and fields that every row has; none where a sample has been
    deleted."""
    try:
        return columns_in_all(find_samples(workspace, dataset))
    except BadInput:
        return ()


def read_column(workspace: Workspace, dataset: Dataset, column: str) -> pa.ChunkedArray:
    """A column's values in all rows, float64 or string, null where missing. BadInput where there is
    no such column."""
    table = read_dataset_rows(workspace, dataset)
    if column not in table.column_names:
        raise BadInput(f"The rows of the dataset {dataset.name!r} have no column {column!r}.")
    return decode_column(table[column])


def load_encoded(workspace: Workspace, dataset: Dataset, preprocessing: Preprocessing) -> Encoded:
    """All rows as `preprocessing` encodes them, memory-mapped; computed once per preprocessing and
    kept.

    Raises BadInput when a sample has been deleted and this encoding was never made.
    """
    folder = dataset.folder / f"encoded-{preprocessing.hash[:12]}"
    # What is damaged is made of the rows, so it can be made again; what cannot says why.
    with suppress(Damaged):
        return _read_encoded(folder, dataset.rows)
    _encode(
        read_dataset_rows(workspace, dataset), preprocessing, dataset.folder, lambda share: None
    )
    return _read_encoded(folder, dataset.rows)


def _read_encoded(folder: Path, rows: int) -> Encoded:
    return Encoded(
        read_array(folder / "ids.npy", REPAIR_ADVICE, (rows, len(FIELDS)), "i", mmap_mode="r"),
        read_array(
            folder / "numerics.npy", REPAIR_ADVICE, (rows, len(NUMERIC)), "f", mmap_mode="r"
        ),
    )


@dataclass(frozen=True)
class FieldCoverage:
    """How well a vocabulary covers the target training rows of one field: shares of rows."""

    field: str
    unseen_share: float
    missing_share: float


def measure_coverage(
    workspace: Workspace, dataset: Dataset, preprocessing: Preprocessing
) -> list[FieldCoverage]:
    """Per field the share of target training rows whose value `preprocessing` does not know (or saw
    too rarely).

    BadInput when the dataset has no labels, and so no target rows.
    """
    if not dataset.labelled:
        raise BadInput(
            f"The dataset {dataset.name!r} has no labels and so no target rows to check a"
            " vocabulary against; choose a dataset with labels."
        )
    ids = load_encoded(workspace, dataset, preprocessing).ids[
        select_training_rows(dataset, "target", None)[0]
    ]
    unseen, missing = (ids == UNSEEN).mean(axis=0), (ids == MISSING).mean(axis=0)
    return [
        FieldCoverage(field, float(unseen[i]), float(missing[i])) for i, field in enumerate(FIELDS)
    ]


def _rows_of_part(dataset: Dataset, part: str) -> np.ndarray:
    order = read_array(
        dataset.folder / "order.npy", REPAIR_ADVICE, (dataset.rows,), "i", mmap_mode="r"
    )
    return np.asarray(order[load_parts(dataset)[order] == SPLIT_PARTS.index(part)])


def _encode(
    table: pa.Table, preprocessing: Preprocessing, folder: Path, report: Callable[[float], None]
) -> None:
    batches = (pa.Table.from_batches([batch]) for batch in table.to_batches())
    with staging(folder) as part:
        with (part / "ids.npy").open("wb") as ids, (part / "numerics.npy").open("wb") as numerics:
            _write_npy_header(ids, np.int32, (table.num_rows, len(FIELDS)))
            _write_npy_header(numerics, np.float32, (table.num_rows, len(NUMERIC)))
            done = 0
            for rows in map_ordered(preprocessing.encode, batches):
                ids.write(rows.ids.data)
                numerics.write(rows.numerics.data)
                done += len(rows.ids)
                report(done / table.num_rows)
        publish_folder(part, folder / f"encoded-{preprocessing.hash[:12]}")


def _write_npy_header(stream: BinaryIO, dtype: type, shape: tuple[int, ...]) -> None:
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(stream, header)
