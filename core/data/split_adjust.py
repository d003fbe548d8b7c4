"""Splits of small or uneven samples, changed as little as possible so that every part has rows of
both classes.

A split is changed only if some part would have no click or no row without one; each part then gets
two of either if it can, since a class with a single row gives no confidence interval. Parts cut in
row order stay in row order: only the cuts between them move. Shuffled rows are distributed class by
class (stratified).
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
"""Rows of each class that every part of an adjusted split should have: the first number that is
possible."""
_MIN_KEPT_SHARES = ((0.75, 1.0), (0.5, 1.0), (0.5, 0.5))
"""Share of their rows that training parts, and validation and test parts, keep at least: the first
that is possible."""
_STRATIFIED_NOTE = (
    "Rows were distributed class by class (stratified), so that every part has both clicks and no"
    " clicks."
)


@dataclass(frozen=True)
class Split:
    """What a split makes of the rows of a dataset.

    parts: code into PARTS of every row, int8 (rows,). order: int64 (rows,), all row numbers in the
    order domains are cut by. notes: a sentence for each thing that was changed or should be known.
    adjusted: whether the parts differ from what the shares alone give. refusal: why no dataset can
    be made of it, empty if one can; the parts are then what the shares alone give. remedy: the
    split that the refusal recommends, if it is one with shuffled rows.
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
    """The split of labelled rows that `spec` asks for, adjusted where a part lacks a class.

    labels: 0 or 1 for every row, in file order. in_target, files: see `core.data.split.cut_into_blocks`.
    """
    blocks, order = cut_into_blocks(len(labels), spec, in_target, files)
    plain = _make_split(labels, blocks, order)
    if all(part.minority_rows for part in required_parts(plain.summaries)):
        return dataclasses.replace(plain, notes=tuple(_describe_single_rows(plain.summaries)))
    adjusted = (
        _stratify(labels, spec, blocks) if spec.shuffled else _move_cuts(labels, spec, blocks)
    )
    split = _make_split(labels, adjusted, order) if adjusted else plain
    if not all(part.minority_rows for part in required_parts(split.summaries)):
        cut = lambda other: cut_into_blocks(len(labels), other, in_target, files)[0]  # noqa: E731
        refusal, remedy = explain_refusal(labels, spec, cut, plain.summaries)
        return dataclasses.replace(plain, refusal=refusal, remedy=remedy)
    changed = not np.array_equal(split.parts, plain.parts)
    changes = _describe_changes(spec, plain.summaries, split.summaries) if changed else []
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
    """Blocks with cuts moved as little as possible; None if that would take most of a part's rows.

    The domains stay as they are if they can; in a split by row order, the cut between them may move
    too.
    """
    trains = [
        rows for block in blocks for part, rows in _part_sizes(block) if part.endswith("_train")
    ]
    if not all(trains):
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
    """keep: one of _KEPT."""
    shares = [keep[0] if part.endswith("_train") else keep[1] for part in block.parts]
    least = [int(np.ceil(share * rows)) for share, rows in zip(shares, block.sizes, strict=True)]
    for need in MIN_ROWS_PER_CLASS:
        if (sizes := place_cuts(labels[block.rows], block.sizes, least, need)) is not None:
            return dataclasses.replace(block, sizes=tuple(sizes))
    return None


def _stratify(
    labels: np.ndarray, spec: SplitSpec, blocks: Sequence[RowBlock]
) -> list[RowBlock] | None:
    """Blocks whose shuffled rows are distributed class by class; in the random split over both
    domains together."""
    whole = [merge_blocks(blocks)] if spec.method == "random" else blocks
    if not all(
        rows for block in whole for part, rows in _part_sizes(block) if part.endswith("_train")
    ):
        return None
    made = [_stratify_block(labels, block) for block in whole]
    return [block for block in made if block] if all(made) else None


def _stratify_block(labels: np.ndarray, block: RowBlock) -> RowBlock | None:
    members: list[list[np.ndarray]] = [[] for _ in block.parts]
    for label in (0, 1):
        rows = block.rows[labels[block.rows] == label]
        need = next(
            (need for need in MIN_ROWS_PER_CLASS if len(rows) >= need * len(block.parts)), None
        )
        if need is None:
            return None
        counts = apportion(len(rows), block.sizes, need)
        for place, chosen in enumerate(np.split(rows, np.cumsum(counts)[:-1])):
            members[place].append(chosen)
    parts = [np.concatenate(chosen) for chosen in members]
    return RowBlock(np.concatenate(parts), block.parts, tuple(len(rows) for rows in parts))


def _part_sizes(block: RowBlock) -> list[tuple[str, int]]:
    return [*zip(block.parts, block.sizes, strict=True)]


def _describe_changes(
    spec: SplitSpec, before: Sequence[PartSummary], after: Sequence[PartSummary]
) -> list[str]:
    """A sentence for every share that is no longer the one asked for."""
    old, new = ({summary.part: summary.rows for summary in one} for one in (before, after))
    rarer = {summary.part: summary.minority_rows for summary in before}
    # Distributing each class for itself rounds twice, which changes no share that was asked for.
    tolerance = 1 if spec.shuffled else 0
    notes = [_STRATIFIED_NOTE] if spec.shuffled else []
    sources = [
        sum(one[f"source_{name}"] for name in ("train", "validation", "test")) for one in (old, new)
    ]
    if abs(sources[1] - sources[0]) > tolerance:
        total = sum(new.values())
        notes.append(
            _describe_change("source", sources, (spec.source_share, sources[1] / total), None)
        )
    for domain in DOMAINS:
        rows = new[f"{domain}_train"] + new[f"{domain}_validation"]
        for name, whole in (("test", rows + new[f"{domain}_test"]), ("validation", rows)):
            part = f"{domain}_{name}"
            asked = getattr(spec, f"{part}_share")
            if new[part] != old[part] and abs(new[part] - round(whole * asked)) > tolerance:
                notes.append(
                    _describe_change(
                        part, (old[part], new[part]), (asked, new[part] / whole), rarer[part]
                    )
                )
    return notes


def _describe_change(
    part: str, rows: Sequence[int], shares: tuple[float, float], rarer: int | None
) -> str:
    """rarer: rows of the part's rarer class before; None for a domain."""
    verb = "widened" if shares[1] > shares[0] else "narrowed"
    why: dict[int | None, str] = {
        0: "it has both clicks and no clicks",
        1: "it has at least two clicks and two rows without a click",
    }
    return (
        f"The {part.replace('_', ' ')} share was {verb} from {100 * shares[0]:.3g} % to"
        f" {100 * shares[1]:.3g} % ({rows[0]:,} to {rows[1]:,} rows) so that"
        f" {why.get(rarer, 'every part has both clicks and no clicks')}."
    )


def _describe_single_rows(summaries: Sequence[PartSummary]) -> list[str]:
    """A sentence if metrics of validation or test rows have no interval, as a class has a single
    row there."""
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
