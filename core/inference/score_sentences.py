"""Sentences about a scored file that the command line and the page show before its metrics."""

from collections.abc import Mapping
from typing import Any


def skipped_sentence(summary: Mapping[str, Any]) -> str:
    """Return how many bad rows were skipped and what was wrong with the first; "" for none.

    Args:
        summary: see `core.inference.score_file.score_file`.

    >>> skipped_sentence({"bad_rows": 2, "bad_examples": ["row 7 has 39 columns"]})
    '2 bad rows skipped, such as: row 7 has 39 columns'
    """
    bad = summary["bad_rows"]
    if not bad:
        return ""
    examples = summary["bad_examples"]
    example = f", such as: {examples[0]}" if examples else "."
    return f"{bad:,} bad row{'s' if bad > 1 else ''} skipped{example}"


def label_sentence(summary: Mapping[str, Any]) -> str:
    """Return which rows have a label, and so which the metrics are of; "" if all have one.

    Args:
        summary: see `core.inference.score_file.score_file`.
    """
    rows, unlabelled = summary["rows"], summary.get("unlabelled_rows")
    if unlabelled is None:
        # Stored by a version that did not count them; there either all rows had a label or none.
        unlabelled = 0 if summary["metrics"] else rows
    if not unlabelled:
        return ""
    if not summary.get("labelled", bool(summary["metrics"])):
        return "The rows have no labels: scored without metrics."
    marker = "empty, ?, -1 or another marker of a missing value"
    if unlabelled == rows:
        which = "No row has a label (all are" if rows > 1 else "The row has no label (it is"
        return f"{which} {marker}): scored as unlabelled, without metrics."
    count = (
        f"{unlabelled:,} of {rows:,} rows have" if unlabelled > 1 else (f"1 of {rows:,} rows has")
    )
    labelled = rows - unlabelled
    measured = f"{labelled:,} labelled rows" if labelled > 1 else "one labelled row"
    return f"{count} no label ({marker}): the metrics are of the {measured}."


def sentences_before_metrics(summary: Mapping[str, Any]) -> list[str]:
    """Return everything that must be known before the metrics are read, in order."""
    sentences = [
        skipped_sentence(summary),
        *summary.get("notes", ()),
        label_sentence(summary),
        *summary.get("unknown", {}).get("sentences", ()),
    ]
    return [sentence for sentence in sentences if sentence]
