"""Which rows are source and which target, and which of each train, validate and test."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import BadInput

SPLIT_PARTS = (
    "source_train",
    "source_validation",
    "source_test",
    "target_train",
    "target_validation",
    "target_test",
)
"""Names of the parts; a part's code in the stored int8 array is its place here."""

SPLIT_METHODS = {
    "order": (
        "By row order (time): the first rows are the source domain, the rest the target domain"
    ),
    "column": (
        "By the value of a column (segment): rows with the chosen values are the target domain"
    ),
    "random": "At random, with a seed",
    "files": "By file: each file is a domain, or the validation or test rows of one",
}

DOMAINS = ("source", "target")
FILE_ROLES = (
    "source",
    "source_validation",
    "source_test",
    "target",
    "target_validation",
    "target_test",
)
"""What a file can be for the method "files". "source" and "target" hold a domain's training rows,
and those of its validation and test rows that have no file of their own."""


@dataclass(frozen=True)
class SplitSpec:
    """How a sample is split.

    method: see METHODS. source_share: rows of the source domain ("order" and "random"); 0 means no
    source domain. column, target_values: for "column"; the empty string in target_values is the
    missing value. *_test_share: of a domain's rows. *_validation_share: of the domain's other rows.
    Inside a domain the rows are cut into training, validation and test in row order, so the test
    rows are the latest; "random" shuffles them first. shuffle: of "column" and "files", shuffle the
    rows of each domain before they are cut. seed: of "random" and of shuffle.
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
        """The fields as they are stored and hashed: without `shuffle` where it is off, as before
        there was one."""
        values = dataclasses.asdict(self)
        if not self.shuffle:
            del values["shuffle"]
        return values


@dataclass(frozen=True)
class PartSummary:
    """Rows and clicks of one part; clicks is None without labels. click_rate is NaN then, and when
    it is empty."""

    part: str
    rows: int
    clicks: int | None

    @property
    def click_rate(self) -> float:
        """Clicks over rows."""
        return float("nan") if self.clicks is None or not self.rows else self.clicks / self.rows

    @property
    def minority_rows(self) -> int:
        """Rows of the class that has fewer of them; 0 without labels."""
        return 0 if self.clicks is None else min(self.clicks, self.rows - self.clicks)


@dataclass(frozen=True)
class RowBlock:
    """Rows that are cut into parts one after another.

    rows: row numbers, int64, in the order they are cut in. parts: names in PARTS. sizes: rows of
    each of these parts, which add up to len(rows).
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
    """(blocks, order): how `spec` cuts labelled rows into parts, whatever their labels are.

    A block is a domain, or a file that is one part as a whole; a source domain without rows is left
    out. order: int64 (rows,), all row numbers in the order domains are cut by. in_target: bool
    (rows,), for the method "column": whether the row's value is one of spec.target_values. files:
    for the method "files", rows of each role, in the order the files follow each other.
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
        cut = round(rows * spec.source_share)
        source, target = order[:cut], order[cut:]
    pairs = zip(DOMAINS, (source, target), strict=True)
    return [
        _domain_block(domain, rows, spec)
        for domain, rows in pairs
        if len(rows) or domain == "target"
    ], order


def assign_parts(
    rows: int, spec: SplitSpec, in_target: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(parts int8 (rows,) of codes into PARTS, order int64 (rows,)) of `cut_into_blocks`."""
    blocks, order = cut_into_blocks(rows, spec, in_target)
    return encode_parts(blocks, rows), order


def encode_parts(blocks: Sequence[RowBlock], rows: int) -> np.ndarray:
    """Code into PARTS of every row, int8 (rows,)."""
    codes = np.empty(rows, dtype=np.int8)
    for block in blocks:
        ends = np.cumsum(block.sizes)
        for part, chosen in zip(block.parts, np.split(block.rows, ends[:-1]), strict=True):
            codes[chosen] = SPLIT_PARTS.index(part)
    return codes


def _domain_block(
    domain: str, members: np.ndarray, spec: SplitSpec, own: Sequence[str] = ()
) -> RowBlock:
    """A domain's rows; own: those of its parts that have a file of their own and get no row of
    these."""
    cut = {name: f"{domain}_{name}" not in own for name in ("validation", "test")}
    test = round(len(members) * getattr(spec, f"{domain}_test_share")) if cut["test"] else 0
    rest = len(members) - test
    validation = (
        round(rest * getattr(spec, f"{domain}_validation_share")) if cut["validation"] else 0
    )
    sizes = {"train": rest - validation, "validation": validation, "test": test}
    names = [name for name in sizes if cut.get(name, True)]
    return RowBlock(
        members, tuple(f"{domain}_{name}" for name in names), tuple(sizes[name] for name in names)
    )


def _file_blocks(spec: SplitSpec, files: Mapping[str, int]) -> list[RowBlock]:
    blocks, start = [], 0
    generator = np.random.default_rng(spec.seed)
    for role, rows in files.items():
        members = np.arange(start, start + rows)
        if spec.shuffled:
            members = generator.permutation(members)
        whole = RowBlock(members, (role,), (rows,))
        blocks.append(_domain_block(role, members, spec, [*files]) if role in DOMAINS else whole)
        start += rows
    return blocks


def unlabelled_spec(spec: SplitSpec) -> SplitSpec:
    """What is left of `spec` for rows without labels, which are all source rows: order, seed and
    validation share."""
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
    """As `assign` for rows without labels: all are source rows that train or, the last ones,
    validate; none tests.

    At least one row validates where there are two.
    """
    order = _row_order(rows, spec)
    parts = np.full(rows, SPLIT_PARTS.index("source_train"), dtype=np.int8)
    validation = max(round(rows * spec.source_validation_share), int(rows > 1))
    parts[order[rows - validation :]] = SPLIT_PARTS.index("source_validation")
    return parts, order


def _row_order(rows: int, spec: SplitSpec) -> np.ndarray:
    if spec.shuffled:
        return np.random.default_rng(spec.seed).permutation(rows)
    return np.arange(rows)


def summarise_parts(labels: np.ndarray | None, parts: np.ndarray) -> tuple[PartSummary, ...]:
    """Rows and clicks of every part, in the order of PARTS; labels None: there are none."""
    rows = np.bincount(parts, minlength=len(SPLIT_PARTS))
    if labels is None:
        return tuple(PartSummary(part, int(rows[i]), None) for i, part in enumerate(SPLIT_PARTS))
    clicks = np.bincount(parts, weights=labels, minlength=len(SPLIT_PARTS))
    return tuple(
        PartSummary(part, int(rows[i]), int(clicks[i])) for i, part in enumerate(SPLIT_PARTS)
    )


def summarise_blocks(labels: np.ndarray, blocks: Sequence[RowBlock]) -> tuple[PartSummary, ...]:
    """As `summarise`, of the rows that blocks cut; labels: of all rows."""
    return summarise_parts(labels, encode_parts(blocks, len(labels)))


def check_parts(summaries: tuple[PartSummary, ...]) -> None:
    """BadInput when a part is empty or holds one class only; source parts may all be empty
    together.

    Without labels only source rows that train and that validate are needed.
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
            kind = "clicks" if summary.clicks else "rows without a click"
            raise BadInput(
                f"The part {name!r} holds only {kind} ({summary.rows:,} rows), so nothing can be"
                " learnt or measured on it; change the shares or take more rows."
            )
