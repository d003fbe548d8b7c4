"""Adjusts splits of few or unevenly distributed rows so that every part has both classes.

A split is changed only if a part would have no click or no row without one, and as little as
possible. Each part then gets two rows of either class if it can, since a class with a single row
has no confidence interval. In row order only the cuts between parts move; shuffled rows are
distributed class by class (stratified).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.data.split import (
    DOMAINS,
    PartSummary,
    RowBlock,
    SplitSpec,
    cut_into_blocks,
    encode_parts,
    summarise_parts,
)
from core.data.split_advice import (
    describe_label_order,
    explain_refusal,
    merge_blocks,
    required_parts,
)
from core.data.split_cuts import apportion, place_cuts

MIN_ROWS_PER_CLASS = (2, 1)
"""Rows of each class in every part of an adjusted split: the first of these that is possible."""
_MIN_KEPT_SHARES = ((0.75, 1.0), (0.5, 1.0), (0.5, 0.5))
"""Least share of their rows that (training parts, other parts) keep: the first that is possible."""
_STRATIFIED_NOTE = (
    "Rows were distributed class by class (stratified), so that every part has both clicks and no"
    " clicks."
)


@dataclass(frozen=True)
class Split:
    """The result of splitting the rows of a dataset.

    Attributes:
        parts: index into SPLIT_PARTS of every row, int8, shape ``(n_rows,)``.
        order: all row numbers in the order in which domains are cut, int64, shape ``(n_rows,)``.
        summaries: rows and clicks of every part.
        notes: sentences about what was changed or should be known.
        adjusted: whether the parts differ from what the shares alone give.
        refusal: why no dataset can be made of it, "" if one can. The parts are then what the shares
            alone give.
        remedy: the split with shuffled rows that the refusal recommends, if any.
    """

    parts: np.ndarray
    order: np.ndarray
    summaries: tuple[PartSummary, ...]
    notes: tuple[str, ...] = ()
    adjusted: bool = False
    refusal: str = ""
    remedy: SplitSpec | None = None


def split_rows(
    labels: np.ndarray,
    spec: SplitSpec,
    in_target: np.ndarray | None = None,
    files: Mapping[str, int] | None = None,
) -> Split:
    """Split labelled rows as `spec` asks, adjusted if a part lacks a class.

    Args:
        labels: 0 or 1 for every row, in file order.
        spec: the split.
        in_target, files: see `core.data.split.cut_into_blocks`.
    """
    blocks, order = cut_into_blocks(len(labels), spec, in_target, files)
    unadjusted = _make_split(labels, blocks, order)
    if all(part.minority_rows for part in required_parts(unadjusted.summaries)):
        return dataclasses.replace(
            unadjusted, notes=tuple(_describe_single_rows(unadjusted.summaries))
        )
    adjusted = (
        _stratify(labels, spec, blocks) if spec.shuffled else _move_cuts(labels, spec, blocks)
    )
    split = _make_split(labels, adjusted, order) if adjusted else unadjusted
    if not all(part.minority_rows for part in required_parts(split.summaries)):
        cut_by = lambda other: cut_into_blocks(len(labels), other, in_target, files)[0]  # noqa: E731
        refusal, remedy = explain_refusal(labels, spec, cut_by, unadjusted.summaries)
        return dataclasses.replace(unadjusted, refusal=refusal, remedy=remedy)
    changed = not np.array_equal(split.parts, unadjusted.parts)
    changes = _describe_changes(spec, unadjusted.summaries, split.summaries) if changed else []
    if changed and spec.method == "order" and (sorting := describe_label_order(labels)):
        changes.append(f"{sorting} The random split suits such a file better: --split random.")
    notes = (*changes, *_describe_single_rows(split.summaries))
    return dataclasses.replace(split, notes=notes, adjusted=changed)


def _make_split(labels: np.ndarray, blocks: Sequence[RowBlock], order: np.ndarray) -> Split:
    parts = encode_parts(blocks, len(order))
    return Split(parts, order, summarise_parts(labels, parts))


def _move_cuts(
    labels: np.ndarray, spec: SplitSpec, blocks: Sequence[RowBlock]
) -> list[RowBlock] | None:
    """Move the cuts as little as possible; None if that would take most rows of a part.

    The domains stay as they are if possible; in a split by row order the cut between them may move.
    """
    training_sizes = [
        rows for block in blocks for part, rows in _part_sizes(block) if part.endswith("_train")
    ]
    if not all(training_sizes):
        return None
    for keep in _MIN_KEPT_SHARES:
        separate = [_move_block_cuts(labels, block, keep) for block in blocks]
        if all(separate):
            return [block for block in separate if block]
        if (
            spec.method == "order"
            and len(blocks) > 1
            and (together := _move_block_cuts(labels, merge_blocks(blocks), keep))
        ):
            return [together]
    return None


def _move_block_cuts(
    labels: np.ndarray, block: RowBlock, keep: tuple[float, float]
) -> RowBlock | None:
    """Move the cuts of a block; `keep` is one of _MIN_KEPT_SHARES."""
    shares = [keep[0] if part.endswith("_train") else keep[1] for part in block.parts]
    min_rows = [int(np.ceil(share * rows)) for share, rows in zip(shares, block.sizes, strict=True)]
    for min_per_class in MIN_ROWS_PER_CLASS:
        sizes = place_cuts(labels[block.rows], block.sizes, min_rows, min_per_class)
        if sizes is not None:
            return dataclasses.replace(block, sizes=tuple(sizes))
    return None


def _stratify(
    labels: np.ndarray, spec: SplitSpec, blocks: Sequence[RowBlock]
) -> list[RowBlock] | None:
    """Distribute shuffled rows class by class; in a random split, over both domains together."""
    joined = [merge_blocks(blocks)] if spec.method == "random" else blocks
    if not all(
        rows for block in joined for part, rows in _part_sizes(block) if part.endswith("_train")
    ):
        return None
    stratified = [_stratify_block(labels, block) for block in joined]
    return [block for block in stratified if block] if all(stratified) else None


def _stratify_block(labels: np.ndarray, block: RowBlock) -> RowBlock | None:
    rows_of_part: list[list[np.ndarray]] = [[] for _ in block.parts]
    for label in (0, 1):
        rows = block.rows[labels[block.rows] == label]
        possible = [least for least in MIN_ROWS_PER_CLASS if len(rows) >= least * len(block.parts)]
        if not possible:
            return None
        counts = apportion(len(rows), block.sizes, possible[0])
        for i, part_rows in enumerate(np.split(rows, np.cumsum(counts)[:-1])):
            rows_of_part[i].append(part_rows)
    parts = [np.concatenate(part_rows) for part_rows in rows_of_part]
    return RowBlock(np.concatenate(parts), block.parts, tuple(len(rows) for rows in parts))


def _part_sizes(block: RowBlock) -> list[tuple[str, int]]:
    return [*zip(block.parts, block.sizes, strict=True)]


def _describe_changes(
    spec: SplitSpec, before: Sequence[PartSummary], after: Sequence[PartSummary]
) -> list[str]:
    """Return a sentence for every share that is no longer the one asked for."""
    rows_before, rows_after = (
        {summary.part: summary.rows for summary in rows_of} for rows_of in (before, after)
    )
    minority = {summary.part: summary.minority_rows for summary in before}
    # Each class is rounded for itself, which may differ by a row without changing the share.
    tolerance = 1 if spec.shuffled else 0
    notes = [_STRATIFIED_NOTE] if spec.shuffled else []
    sources = [
        sum(rows_of[f"source_{name}"] for name in ("train", "validation", "test"))
        for rows_of in (rows_before, rows_after)
    ]
    if abs(sources[1] - sources[0]) > tolerance:
        total = sum(rows_after.values())
        notes.append(
            _describe_change("source", sources, (spec.source_share, sources[1] / total), None)
        )
    for domain in DOMAINS:
        rows = rows_after[f"{domain}_train"] + rows_after[f"{domain}_validation"]
        for name, whole in (("test", rows + rows_after[f"{domain}_test"]), ("validation", rows)):
            part = f"{domain}_{name}"
            requested = getattr(spec, f"{part}_share")
            old, new = rows_before[part], rows_after[part]
            if new != old and abs(new - round(whole * requested)) > tolerance:
                shares = requested, new / whole
                notes.append(_describe_change(part, (old, new), shares, minority[part]))
    return notes


def _describe_change(
    part: str, rows: Sequence[int], shares: tuple[float, float], minority: int | None
) -> str:
    """Describe a changed share; `minority` is the part's rarer class before, None for a domain."""
    verb = "widened" if shares[1] > shares[0] else "narrowed"
    reasons: dict[int | None, str] = {
        0: "it has both clicks and no clicks",
        1: "it has at least two clicks and two rows without a click",
    }
    return (
        f"The {part.replace('_', ' ')} share was {verb} from {100 * shares[0]:.3g} % to"
        f" {100 * shares[1]:.3g} % ({rows[0]:,} to {rows[1]:,} rows) so that"
        f" {reasons.get(minority, 'every part has both clicks and no clicks')}."
    )


def _describe_single_rows(summaries: Sequence[PartSummary]) -> list[str]:
    """Say which validation or test parts have a single row of a class, so no interval."""
    single = [
        part.part.replace("_", " ")
        for part in summaries
        if part.minority_rows == 1 and "train" not in part.part
    ]
    if not single:
        return []
    where = ", ".join(single)
    return [
        "AUC has no confidence interval on these parts, in which one class has a single row:"
        f" {where}. Larger shares give one."
    ]
