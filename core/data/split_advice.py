"""Explains why a split is impossible and what would work: other shares, shuffling, more rows."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from core.data.split import DOMAINS, PartSummary, RowBlock, SplitSpec, summarise_blocks
from core.data.split_cuts import place_cuts

CutFunction = Callable[[SplitSpec], list[RowBlock]]
"""Cuts the rows at hand by a split, see `core.data.split.cut_into_blocks`."""

_SHARE_DIGITS = (2, 3, 4, 6)
_NO_CLICK_WORDS = ("row without a click", "rows without a click")
_BLOCK_FACTOR = 4
"""Labels with this many times fewer runs than in random order count as sorted in blocks."""


def explain_refusal(
    labels: np.ndarray, spec: SplitSpec, cut: CutFunction, summaries: Sequence[PartSummary]
) -> tuple[str, SplitSpec | None]:
    """Explain why no dataset can be made of a split.

    Args:
        labels: 0 or 1 of all rows, in file order.
        spec: the split.
        cut: cuts these rows by a split.
        summaries: of its parts, at least one of which lacks a class.

    Returns:
        What is wrong and what would work; the split that is recommended, if one is.
    """
    needed, blocks = required_parts(summaries), cut(spec)
    untrained = [part for part in needed if part.part.endswith("_train") and not part.rows]
    if untrained:
        domain = untrained[0].part.split("_")[0]
        if any(part.rows for part in summaries if part.part.startswith(domain)):
            defect = _describe_defect(untrained[0])
            return f"{defect} Lower the {domain} test and validation shares.", None
    worst = min(needed, key=lambda part: (part.minority_rows, part.rows))
    defect = _describe_defect(worst)
    block = next((block for block in blocks if worst.part in block.parts), None)
    if spec.method in ("order", "random") or block is None:
        block = merge_blocks(blocks)
    if len(block.parts) == 1:
        advice = "It is a file of its own: choose a file with rows of both classes for this part."
        return f"{defect} {advice}", None
    block_labels = labels[block.rows]
    if too_few := _describe_too_few(block_labels, block):
        return f"{defect} {too_few} {_suggest_fewer_parts(labels, spec, cut)}", None
    flags = _find_working_shares(labels, spec, cut, block)
    shares = f"Shares that would work: {flags}." if flags else "No other shares would help."
    if spec.shuffled:
        return f"{defect} {shares}", None
    shuffled, advice = _suggest_shuffle(spec)
    subject = f"The {worst.part.split('_')[0]} file" if spec.method == "files" else "This file"
    if sorting := describe_label_order(labels if spec.method == "order" else block_labels, subject):
        return f"{defect} {sorting} {advice[0].upper()}{advice[1:]}", shuffled
    if flags:
        return f"{defect} {shares} Or {advice}", shuffled
    return f"{defect} {shares} {advice[0].upper()}{advice[1:]}", shuffled


def describe_label_order(labels: np.ndarray, subject: str = "This file") -> str:
    """Return a sentence if rows are sorted by label or come in blocks of one label, else "".

    Rows come in blocks if the label changes far less often than in random order, where the expected
    number of runs is 1 + 2 clicks * others / rows (Wald and Wolfowitz 1940).

    >>> describe_label_order(np.array([0, 0, 0, 1, 1]))
    'This file is sorted by label: all 3 rows without a click come before the 2 clicks.'
    >>> describe_label_order(np.array([0, 1, 0, 0, 1]))
    ''
    """
    clicks = int(np.count_nonzero(labels))
    others = len(labels) - clicks
    runs = 1 + int(np.count_nonzero(np.diff(labels)))
    if runs == 2:
        pair = [f"{clicks:,} clicks", f"{others:,} rows without a click"]
        first, last = pair if labels[0] else pair[::-1]
        return f"{subject} is sorted by label: all {first} come before the {last}."
    if runs * _BLOCK_FACTOR < 1 + 2 * clicks * others / max(1, len(labels)):
        return (
            f"{subject} is sorted by label in {runs} blocks: each holds either only clicks or only"
            " rows without."
        )
    return ""


def required_parts(summaries: Sequence[PartSummary]) -> list[PartSummary]:
    """Return the parts that a dataset needs; the source domain may be missing as a whole."""
    source = any(summary.rows for summary in summaries if summary.part.startswith("source"))
    return [summary for summary in summaries if source or summary.part.startswith("target")]


def _describe_defect(part: PartSummary) -> str:
    name = part.part.replace("_", " ")
    if not part.rows:
        return f"This split leaves the part {name!r} without rows."
    kind = "clicks" if part.clicks else "rows without a click"
    return f"The part {name!r} holds only {kind} ({part.rows:,} row{'s' if part.rows > 1 else ''})."


def merge_blocks(blocks: Sequence[RowBlock]) -> RowBlock:
    """Return several blocks as one, whose parts are cut one after another."""
    return RowBlock(
        np.concatenate([block.rows for block in blocks]),
        tuple(part for block in blocks for part in block.parts),
        tuple(size for block in blocks for size in block.sizes),
    )


def _describe_too_few(labels: np.ndarray, block: RowBlock) -> str:
    """Return a sentence if there are fewer rows of a class than parts, else ""."""
    clicks, parts = int(np.count_nonzero(labels)), len(block.parts)
    domains = " and ".join(
        domain for domain in DOMAINS if any(part.startswith(domain) for part in block.parts)
    )
    for count, one, many in ((clicks, "click", "clicks"), (len(labels) - clicks, *_NO_CLICK_WORDS)):
        if count < parts:
            return (
                f"There {'is' if count == 1 else 'are'} {count or 'no'}"
                f" {one if count == 1 else many} among {len(labels):,} {domains} rows; each of the"
                f" {parts} parts needs at least one, better two, so at least {parts} {many} are"
                " needed."
            )
    return ""


def _suggest_fewer_parts(labels: np.ndarray, spec: SplitSpec, cut: CutFunction) -> str:
    if spec.method == "column":
        return "Add rows, or choose other target values."
    if spec.method == "files":
        return "Choose a file with more of them, or name validation and test files of their own."
    if spec.method in ("order", "random") and spec.source_share:
        target_only = dataclasses.replace(spec, source_share=0.0)
        block = merge_blocks(cut(target_only))
        block_labels = labels[block.rows]
        if not _describe_too_few(block_labels, block):
            cuts = spec.shuffled or place_cuts(block_labels, block.sizes, [0] * len(block.sizes), 1)
            flags = "--source-share 0" if cuts else "--split random --source-share 0"
            return f"Add rows, or leave out the source domain, which needs fewer: {flags}."
    return "Add rows."


def _suggest_shuffle(spec: SplitSpec) -> tuple[SplitSpec, str]:
    """Return (the split with shuffled rows, how to ask for it)."""
    if spec.method in ("column", "files"):
        return (
            dataclasses.replace(spec, shuffle=True),
            "shuffle the rows inside each domain first: --shuffle.",
        )
    random_split = dataclasses.replace(spec, method="random", column="", target_values=())
    return random_split, "use the random split: --split random."


def _share_fields(block: RowBlock) -> list[str]:
    cut = [f"{part}_share" for part in block.parts if not part.endswith("_train")]
    both = {part.split("_")[0] for part in block.parts} == {*DOMAINS}
    return ["source_share", *cut] if both else cut


def _find_working_shares(
    labels: np.ndarray, spec: SplitSpec, cut: CutFunction, block: RowBlock
) -> str:
    """Return flags with shares by which every part of `block` has both classes; "" if none.

    Training parts get at least a tenth of the rows each.
    """
    min_rows = [len(block.rows) // 10 if part.endswith("_train") else 0 for part in block.parts]
    for min_per_class in (2, 1):
        if (sizes := place_cuts(labels[block.rows], block.sizes, min_rows, min_per_class)) is None:
            continue
        shares = _shares_of(dict(zip(block.parts, sizes, strict=True)), _share_fields(block))
        for digits in _SHARE_DIGITS:
            rounded = {name: round(share, digits) for name, share in shares.items()}
            if not all(0 < share < 1 for share in rounded.values()):
                continue
            parts = summarise_blocks(labels, cut(dataclasses.replace(spec, **rounded)))  # type: ignore[arg-type]
            if all(part.minority_rows >= 1 for part in parts if part.part in block.parts):
                changed = {
                    name: share for name, share in rounded.items() if share != getattr(spec, name)
                }
                return " ".join(
                    f"--{name.replace('_', '-')} {share:g}" for name, share in changed.items()
                )
    return ""


def _shares_of(rows: dict[str, int], fields: Sequence[str]) -> dict[str, float]:
    def total(*parts: str) -> int:
        return sum(rows.get(part, 0) for part in parts)

    shares = {}
    for field in fields:
        domain, _, name = field.removesuffix("_share").partition("_")
        train_and_validation = total(f"{domain}_train", f"{domain}_validation")
        if not name:
            shares[field] = total("source_train", "source_validation", "source_test") / total(*rows)
        elif name == "test":
            shares[field] = rows[f"{domain}_test"] / (train_and_validation + rows[f"{domain}_test"])
        else:
            shares[field] = rows[f"{domain}_validation"] / train_and_validation
    return shares
