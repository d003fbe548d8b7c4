"""Which rows are source and which target, and which of each train, validate and test."""

from dataclasses import dataclass

import numpy as np

from core.data.schema import CATEGORICAL, NUMERIC
from core.errors import BadInput

PARTS = (
    "source_train",
    "source_validation",
    "source_test",
    "target_train",
    "target_validation",
    "target_test",
)
"""Names of the parts; a part's code in the stored int8 array is its place here."""

METHODS = {
    "order": "By row order (time): the first rows are the source domain, the rest the target domain",
    "column": "By the value of a column (segment): rows with the chosen values are the target domain",
    "random": "At random, with a seed",
}


@dataclass(frozen=True)
class SplitSpec:
    """How a sample is split.

    method: see METHODS. source_share: rows of the source domain ("order" and "random"); 0 means no source domain.
    column, target_values: for "column"; the empty string in target_values is the missing value. *_test_share: of a
    domain's rows. *_validation_share: of the domain's other rows. Inside a domain the rows are cut into training,
    validation and test in row order, so the test rows are the latest; "random" shuffles them first. seed: of "random".
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

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise BadInput(f"Split method {self.method!r} is unknown; choose one of {[*METHODS]}.")
        if not 0 <= self.source_share < 1:
            raise BadInput(f"The source share is {self.source_share!r}; it must be at least 0 and below 1.")
        for name in ("target_test", "target_validation", "source_test", "source_validation"):
            share = getattr(self, f"{name}_share")
            if not 0 < share < 1:
                raise BadInput(f"The {name.replace('_', ' ')} share is {share!r}; it must lie between 0 and 1.")
        if self.method == "column" and (self.column not in NUMERIC + CATEGORICAL or not self.target_values):
            raise BadInput(
                f"A split by column needs one of I1..I13 or C1..C26 and the values that mean target; "
                f"the column is {self.column!r}, the values are {list(self.target_values)}."
            )


@dataclass(frozen=True)
class PartSummary:
    """Rows and clicks of one part; clicks is None without labels. click_rate is NaN then, and when it is empty."""

    part: str
    rows: int
    clicks: int | None

    @property
    def click_rate(self) -> float:
        """Clicks over rows."""
        return float("nan") if self.clicks is None or not self.rows else self.clicks / self.rows


def assign(rows: int, spec: SplitSpec, in_target: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(parts int8 (rows,) of codes into PARTS, order int64 (rows,): all row numbers in the order domains are cut by).

    in_target: bool (rows,), for the method "column": whether the row's value is one of spec.target_values.
    """
    order = _order(rows, spec)
    if spec.method == "column":
        if in_target is None:
            raise ValueError("a split by column needs in_target")
        source, target = order[~in_target[order]], order[in_target[order]]
    else:
        cut = round(rows * spec.source_share)
        source, target = order[:cut], order[cut:]
    parts = np.empty(rows, dtype=np.int8)
    cuts = (
        ("source", source, spec.source_test_share, spec.source_validation_share),
        ("target", target, spec.target_test_share, spec.target_validation_share),
    )
    for domain, members, test_share, validation_share in cuts:
        test_from = len(members) - round(len(members) * test_share)
        validation_from = test_from - round(test_from * validation_share)
        for part, chosen in (
            ("train", members[:validation_from]),
            ("validation", members[validation_from:test_from]),
            ("test", members[test_from:]),
        ):
            parts[chosen] = PARTS.index(f"{domain}_{part}")
    return parts, order


def without_domains(spec: SplitSpec) -> SplitSpec:
    """What is left of `spec` for rows without labels, which are all source rows: order, seed and validation share."""
    if spec.method == "column":
        raise BadInput(
            "Rows without labels all become source rows, so no column can tell a target domain from them; split them "
            "by row order or at random."
        )
    seed = spec.seed if spec.method == "random" else 0
    return SplitSpec(method=spec.method, source_validation_share=spec.source_validation_share, seed=seed)


def assign_unlabelled(rows: int, spec: SplitSpec) -> tuple[np.ndarray, np.ndarray]:
    """As `assign` for rows without labels: all are source rows that train or, the last ones, validate; none tests."""
    order = _order(rows, spec)
    parts = np.full(rows, PARTS.index("source_train"), dtype=np.int8)
    parts[order[rows - round(rows * spec.source_validation_share) :]] = PARTS.index("source_validation")
    return parts, order


def _order(rows: int, spec: SplitSpec) -> np.ndarray:
    if spec.method == "random":
        return np.random.default_rng(spec.seed).permutation(rows)
    return np.arange(rows)


def summarise(labels: np.ndarray | None, parts: np.ndarray) -> tuple[PartSummary, ...]:
    """Rows and clicks of every part, in the order of PARTS; labels None: there are none."""
    rows = np.bincount(parts, minlength=len(PARTS))
    if labels is None:
        return tuple(PartSummary(part, int(rows[i]), None) for i, part in enumerate(PARTS))
    clicks = np.bincount(parts, weights=labels, minlength=len(PARTS))
    return tuple(PartSummary(part, int(rows[i]), int(clicks[i])) for i, part in enumerate(PARTS))


def check_parts(summaries: tuple[PartSummary, ...]) -> None:
    """BadInput when a part is empty or holds one class only; source parts may all be empty together.

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
            raise BadInput(f"This split leaves the part {name!r} without rows; change the shares or the target values.")
        if summary.clicks in (0, summary.rows):
            kind = "clicks" if summary.clicks else "rows without a click"
            raise BadInput(
                f"The part {name!r} holds only {kind} ({summary.rows:,} rows), so nothing can be learnt or measured "
                "on it; change the shares or take more rows."
            )
