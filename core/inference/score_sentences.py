"""What is to be said of a scored file before its metrics, in sentences that the command line and
the page share."""

from collections.abc import Mapping
from typing import Any


def skipped_sentence(summary: Mapping[str, Any]) -> str:
    """How many bad rows were skipped and what was wrong with the first; "" when none was. said: see
    score_file."""
    bad = summary["bad_rows"]
    if not bad:
        return ""
    examples = summary["bad_examples"]
    return f"{bad:,} bad row{'s' if bad > 1 else ''} skipped" + (
        f", such as: {examples[0]}" if examples else "."
    )


def label_sentence(summary: Mapping[str, Any]) -> str:
    """What labels the metrics are computed from; "" when every row has one. said: see score_file.

    What was kept of a scoring by an earlier version has no such count, and then every row has a
    label or none has.
    """
    rows, without = summary["rows"], summary.get("unlabelled_rows")
    if without is None:
        without = 0 if summary["metrics"] else rows
    if not without:
        return ""
    if not summary.get("labelled", bool(summary["metrics"])):
        return "The rows have no labels: scored without metrics."
    if without == rows:
        every = "No row has a label (all are" if rows > 1 else "The row has no label (it is"
        return (
            f"{every} empty, ?, -1 or another marker of a missing value): scored as unlabelled,"
            " without metrics."
        )
    few = f"{without:,} of {rows:,} rows have" if without > 1 else f"1 of {rows:,} rows has"
    left = rows - without
    return (
        f"{few} no label (empty, ?, -1 or another marker of a missing value): the metrics are of"
        f" the {f'{left:,} labelled rows' if left > 1 else 'one labelled row'}."
    )


def sentences_before_metrics(summary: Mapping[str, Any]) -> list[str]:
    """Everything that must be known before the metrics are read, in order."""
    found = [skipped_sentence(summary), *summary.get("notes", ()), label_sentence(summary)]
    return [
        sentence
        for sentence in (*found, *summary.get("unknown", {}).get("sentences", ()))
        if sentence
    ]
