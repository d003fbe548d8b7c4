"""Which rows are source and target, and which of them train, validate and test."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import BadInput
from core.files.typed_json import check_types

SPLIT_PARTS = (
    "source_train",
    "source_validation",
    "source_test",
    "target_train",
    "target_validation",
    "target_test",
)
"""Names of the parts. The stored int8 array holds indices into this tuple."""


EARLIER_PARTS = ("earlier_train", "earlier_windows")
"""Parts that only a window of a dataset has (core.data.windows): the training rows of the windows
before it, and their validation rows. Their indices follow those of SPLIT_PARTS."""
ALL_PARTS = (*SPLIT_PARTS, *EARLIER_PARTS)


@dataclass(frozen=True)
class SplitMethod:
    """How rows are assigned to the source and the target domain.

    Args:
        title: names the method where one is chosen.
        description: says in a report what the method did.
        of_one_sample: whether it splits a single sample, so that a form and a command offer it.
    """

    title: str
    description: str
    of_one_sample: bool = True


SPLIT_METHODS: dict[str, SplitMethod] = {
    "order": SplitMethod(
        "Row order (time)",
        "By row order (time): the first rows are the source domain, the rest the target domain",
    ),
    "column": SplitMethod(
        "Value of a column (segment)",
        "By the value of a column (segment): rows with the chosen values are the target domain",
    ),
    "random": SplitMethod("At random", "At random, with a seed"),
    "files": SplitMethod(
        "File",
        "By file: each file is a domain, or the validation or test rows of one",
        of_one_sample=False,
    ),
}
SAMPLE_SPLIT_METHODS = tuple(name for name, method in SPLIT_METHODS.items() if method.of_one_sample)

DOMAINS = ("source", "target")
FILE_ROLES = (
    "source",
    "source_validation",
    "source_test",
    "target",
    "target_validation",
    "target_test",
)
"""Roles of a file for the method "files". "source" and "target" hold the training rows of a domain,
and its validation and test rows unless these have a file of their own."""


@dataclass(frozen=True)
class SplitSpec:
    """How a sample is split.

    Within a domain the rows are cut into training, validation and test rows in row order, so the
    test rows are the latest.

    Attributes:
        method: a key of SPLIT_METHODS.
        source_share: share of source rows ("order" and "random"); 0 means no source domain.
        column, target_values: for "column"; "" in target_values is the missing value.
        target_test_share, source_test_share: share of the domain's rows.
        target_validation_share, source_validation_share: share of the domain's other rows.
        seed: for "random" and `shuffle`.
        shuffle: for "column" and "files": shuffle the rows of each domain before they are cut.
            "random" always does.

    Raises:
        BadInput: a field has no valid value.
    """

    method: str = "order"
    source_share: float = 0.6
    column: str = ""
    target_values: tuple[str, ...] = ()
    target_test_share: float = 0.5
    target_validation_share: float = 0.1
    source_test_share: float = 0.1
    source_validation_share: float = 0.05
    seed: int = 0
    shuffle: bool = False

    def __post_init__(self) -> None:
        check_types(self)
        if self.method not in SPLIT_METHODS:
            raise BadInput(
                f"Split method {self.method!r} is unknown; choose one of {[*SPLIT_METHODS]}."
            )
        if not 0 <= self.source_share < 1:
            raise BadInput(
                f"The source share is {self.source_share!r}; it must be at least 0 and below 1."
            )
        for name in ("target_test", "target_validation", "source_test", "source_validation"):
            share = getattr(self, f"{name}_share")
            if not 0 < share < 1:
                raise BadInput(
                    f"The {name.replace('_', ' ')} share is {share!r}; it must lie between 0 and 1."
                )
        if self.method == "column" and not (self.column and self.target_values):
            raise BadInput(
                "A split by column needs a column and its values that mean target; the column is"
                f" {self.column!r}, the values are {list(self.target_values)}."
            )

    @property
    def shuffled(self) -> bool:
        """Whether rows are shuffled before they are cut into parts."""
        return self.method == "random" or (self.shuffle and self.method in ("column", "files"))

    def as_json(self) -> dict[str, Any]:
        """Return the fields as they are stored and hashed.

        `shuffle` is left out if false, as in versions before it existed.
        """
        values = dataclasses.asdict(self)
        if not self.shuffle:
            del values["shuffle"]
        return values


@dataclass(frozen=True)
class PartSummary:
    """Rows and clicks of a part; clicks is None without labels."""

    part: str
    rows: int
    clicks: int | None

    @property
    def click_rate(self) -> float:
        """Clicks per row; NaN without labels or rows."""
        return float("nan") if self.clicks is None or not self.rows else self.clicks / self.rows

    @property
    def minority_rows(self) -> int:
        """Number of rows of the rarer class; 0 without labels."""
        return 0 if self.clicks is None else min(self.clicks, self.rows - self.clicks)


@dataclass(frozen=True)
class RowBlock:
    """Rows that are cut into consecutive parts.

    Attributes:
        rows: row numbers, int64, in the order in which they are cut.
        parts: names in SPLIT_PARTS.
        sizes: number of rows of each of these parts; they add up to ``len(rows)``.
    """

    rows: np.ndarray
    parts: tuple[str, ...]
    sizes: tuple[int, ...]


def cut_into_blocks(
    rows: int,
    spec: SplitSpec,
    in_target: np.ndarray | None = None,
    files: Mapping[str, int] | None = None,
) -> tuple[list[RowBlock], np.ndarray]:
    """Cut labelled rows into parts by the shares of `spec`, whatever their labels are.

    Args:
        rows: number of rows.
        spec: the split.
        in_target: for the method "column", whether each row's value is one of `spec.target_values`,
            bool, shape ``(n_rows,)``.
        files: for the method "files", number of rows by role, in the order of the rows.

    Returns:
        Blocks, each a domain or a file that is a part as a whole (a source domain without rows is
        left out), and all row numbers in the order in which domains are cut, int64.
    """
    order = _row_order(rows, spec)
    if spec.method == "files":
        if files is None:
            raise ValueError("a split by file needs the files' rows")
        blocks = _file_blocks(spec, files)
        return blocks, np.concatenate([block.rows for block in blocks])
    if spec.method == "column":
        if in_target is None:
            raise ValueError("a split by column needs in_target")
        source, target = order[~in_target[order]], order[in_target[order]]
    else:
        n_source = round(rows * spec.source_share)
        source, target = order[:n_source], order[n_source:]
    domains = zip(DOMAINS, (source, target), strict=True)
    return [
        _domain_block(domain, rows, spec)
        for domain, rows in domains
        if len(rows) or domain == "target"
    ], order


def assign_parts(
    rows: int, spec: SplitSpec, in_target: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return (part of every row as int8 indices into SPLIT_PARTS, order of `cut_into_blocks`).

    >>> assign_parts(4, SplitSpec(source_share=0))[0].tolist()
    [3, 3, 5, 5]
    """
    blocks, order = cut_into_blocks(rows, spec, in_target)
    return encode_parts(blocks, rows), order


def encode_parts(blocks: Sequence[RowBlock], rows: int) -> np.ndarray:
    """Return the part of every row as an index into SPLIT_PARTS, int8, shape ``(n_rows,)``."""
    indices = np.empty(rows, dtype=np.int8)
    for block in blocks:
        ends = np.cumsum(block.sizes)
        for part, part_rows in zip(block.parts, np.split(block.rows, ends[:-1]), strict=True):
            indices[part_rows] = SPLIT_PARTS.index(part)
    return indices


def _domain_block(
    domain: str, rows: np.ndarray, spec: SplitSpec, own_files: Sequence[str] = ()
) -> RowBlock:
    """Cut the rows of a domain. Parts in `own_files` have their own file and get none of them."""
    has_rows = {name: f"{domain}_{name}" not in own_files for name in ("validation", "test")}
    n_test = round(len(rows) * getattr(spec, f"{domain}_test_share")) if has_rows["test"] else 0
    n_rest = len(rows) - n_test
    n_validation = (
        round(n_rest * getattr(spec, f"{domain}_validation_share")) if has_rows["validation"] else 0
    )
    sizes = {"train": n_rest - n_validation, "validation": n_validation, "test": n_test}
    names = [name for name in sizes if has_rows.get(name, True)]
    return RowBlock(
        rows, tuple(f"{domain}_{name}" for name in names), tuple(sizes[name] for name in names)
    )


def _file_blocks(spec: SplitSpec, files: Mapping[str, int]) -> list[RowBlock]:
    blocks, start = [], 0
    generator = np.random.default_rng(spec.seed)
    for role, rows in files.items():
        row_numbers = np.arange(start, start + rows)
        if spec.shuffled:
            row_numbers = generator.permutation(row_numbers)
        file_block = RowBlock(row_numbers, (role,), (rows,))
        blocks.append(
            _domain_block(role, row_numbers, spec, [*files]) if role in DOMAINS else file_block
        )
        start += rows
    return blocks


def unlabelled_spec(spec: SplitSpec) -> SplitSpec:
    """Return the parts of `spec` that apply to rows without labels, which are all source rows.

    These are the order, the seed and the validation share.
    """
    if spec.method == "column":
        raise BadInput(
            "Rows without labels all become source rows, so no column can tell a target domain from"
            " them; split them by row order or at random."
        )
    seed = spec.seed if spec.method == "random" else 0
    return SplitSpec(
        method=spec.method, source_validation_share=spec.source_validation_share, seed=seed
    )


def assign_unlabelled_parts(rows: int, spec: SplitSpec) -> tuple[np.ndarray, np.ndarray]:
    """Like `assign_parts` for rows without labels: all are source rows that train or validate.

    The last rows validate, at least one if there are two.
    """
    order = _row_order(rows, spec)
    parts = np.full(rows, SPLIT_PARTS.index("source_train"), dtype=np.int8)
    n_validation = max(round(rows * spec.source_validation_share), int(rows > 1))
    parts[order[rows - n_validation :]] = SPLIT_PARTS.index("source_validation")
    return parts, order


def _row_order(rows: int, spec: SplitSpec) -> np.ndarray:
    if spec.shuffled:
        return np.random.default_rng(spec.seed).permutation(rows)
    return np.arange(rows)


def summarise_parts(labels: np.ndarray | None, parts: np.ndarray) -> tuple[PartSummary, ...]:
    """Return the rows and clicks of every part, in the order of SPLIT_PARTS.

    Args:
        labels: of all rows, None without labels.
        parts: indices into SPLIT_PARTS.
    """
    rows = np.bincount(parts, minlength=len(SPLIT_PARTS))
    if labels is None:
        return tuple(PartSummary(part, int(rows[i]), None) for i, part in enumerate(SPLIT_PARTS))
    clicks = np.bincount(parts, weights=labels, minlength=len(SPLIT_PARTS))
    return tuple(
        PartSummary(part, int(rows[i]), int(clicks[i])) for i, part in enumerate(SPLIT_PARTS)
    )


def summarise_blocks(labels: np.ndarray, blocks: Sequence[RowBlock]) -> tuple[PartSummary, ...]:
    """Like `summarise_parts`, for blocks of rows; `labels` are those of all rows."""
    return summarise_parts(labels, encode_parts(blocks, len(labels)))


def check_parts(summaries: tuple[PartSummary, ...]) -> None:
    """Raise BadInput if a part has no rows or a single class.

    Source parts may all be empty. Without labels only source training and validation rows are
    needed.
    """
    no_source = all(summary.rows == 0 for summary in summaries if summary.part.startswith("source"))
    for summary in summaries:
        if no_source and summary.part.startswith("source"):
            continue
        if summary.clicks is None and summary.part not in ("source_train", "source_validation"):
            continue
        name = summary.part.replace("_", " ")
        if summary.rows == 0:
            raise BadInput(
                f"This split leaves the part {name!r} without rows; change the shares or the target"
                " values."
            )
        if summary.clicks in (0, summary.rows):
            rows_of_class = "clicks" if summary.clicks else "rows without a click"
            raise BadInput(
                f"The part {name!r} holds only {rows_of_class} ({summary.rows:,} rows), so nothing"
                " can be trained or measured on it; change the shares or take more rows."
            )
