"""What to say about values of a scored file that the model does not know, or that are missing."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from core.data.preprocessing import MISSING, UNSEEN, Preprocessing
from core.data.schema import CATEGORICAL, FIELDS, NUMERIC
from core.inference.unknown_sentences import format_fields, unknown_sentences
from core.inference.unknown_values import NEARLY_NONE_SHARE, UnknownColumn, known_shares

CHANCE_LEVEL = 1e-3
"""A column that is missing in every row is named if that would happen by chance more rarely than
this."""
KNOWS_NONE_SENTENCE = (
    "The model knows almost no value of the categorical columns C1 to C26, neither of this file"
    " nor of its own training rows: the scores come from the numeric columns alone. Pretrain a"
    " backbone on rows of your own, which makes the vocabulary, fine-tune it, and score with that"
    " model."
)


def unknown_summary(
    preprocessing: Preprocessing,
    columns: Sequence[UnknownColumn],
    counts: np.ndarray,
    training_counts: np.ndarray | None,
) -> dict[str, Any]:
    """Return what is to be said of values that the model does not know or that are missing.

    Args:
        preprocessing: of the model.
        columns: see `unknown_columns`.
        counts: of the scored rows, int64 ``(39, bins)``, see `core.data.drift.drift_counts`.
        training_counts: the same of the training rows; None if they are gone.

    Returns:
        JSON-ready: `shares` of all rows with an unknown value, by field; the `columns` to explain;
        `knows_none`, see `knows_no_category`; `missing_columns`, see `missing_columns`; and
        `sentences` on all of these.
    """
    shares = counts[:, UNSEEN] / np.maximum(counts.sum(axis=1), 1)
    nothing = knows_no_category(counts, known_shares(preprocessing, training_counts))
    missing = missing_columns(counts, _missing_shares(preprocessing, training_counts))
    return {
        "shares": dict(zip(FIELDS, shares.tolist(), strict=True)),
        "columns": [dataclasses.asdict(column) for column in columns],
        "knows_none": nothing,
        "missing_columns": missing,
        "sentences": [
            *([KNOWS_NONE_SENTENCE] if nothing else []),
            *([missing_sentence(missing)] if missing else []),
            *unknown_sentences(columns),
        ],
    }


def knows_no_category(counts: np.ndarray, training: np.ndarray) -> bool:
    """Return whether the model knew (nearly) no category of these rows and of its training rows.

    That happens if a backbone's vocabulary holds none of the values of the rows that it was
    fine-tuned on, for example because it was pretrained on simulated rows.

    Args:
        counts: of the scored rows, int64 ``(39, bins)``, see `core.data.drift.drift_counts`.
        training: see `core.inference.unknown_values.known_shares`.
    """
    indices = [FIELDS.index(field) for field in CATEGORICAL]
    present = (counts.sum(axis=1) - counts[:, MISSING])[indices]
    known = present - counts[indices, UNSEEN]
    # Of these rows, and of as many training rows.
    limit = NEARLY_NONE_SHARE * present.sum()
    known_in_training = training[indices] * present
    return bool(present.any() and known.sum() <= limit and known_in_training.sum() <= limit)


def missing_columns(counts: np.ndarray, missing: np.ndarray) -> list[str]:
    """Return the fields that are missing in every row and were not in training, in file order.

    Args:
        counts: of the scored rows, int64 ``(39, bins)``, see `core.data.drift.drift_counts`.
        missing: share of the training rows in which each field is missing, float64 ``(39,)``.
    """
    rows = counts.sum(axis=1)
    all_missing = (rows > 0) & (counts[:, MISSING] == rows)
    # That all rows are missing by chance, if each is with the training rows' probability.
    chance = missing ** rows.astype(np.float64)
    return [
        field
        for field, named in zip(FIELDS, all_missing & (chance < CHANCE_LEVEL), strict=True)
        if named
    ]


def missing_sentence(fields: Sequence[str]) -> str:
    """Return the sentence that these fields, at least one, are missing in every row."""
    names = [
        format_fields([field for field in fields if field in kind])
        for kind in (NUMERIC, CATEGORICAL)
    ]
    where, verb = " and ".join(filter(None, names)), "are" if len(fields) > 1 else "is"
    which, they, them = (
        ("these columns", "they were", "them")
        if len(fields) > 1
        else ("this column", "it was", "it")
    )
    return (
        f"{where} {verb} missing in every row, though {they} not in training: the scores make no"
        f" use of {which}. If the file should have {them}, add the values, then score it again."
    )


def _missing_shares(preprocessing: Preprocessing, training_counts: np.ndarray | None) -> np.ndarray:
    """Return the share of the training rows in which each field is missing, float64 ``(39,)``.

    If the training rows are gone, the largest share that the vocabulary allows.
    """
    if training_counts is None:
        return 1 - known_shares(preprocessing, None)
    # Laplace's rule of succession: if none of few rows is missing, that does not mean never.
    return (training_counts[:, MISSING] + 1) / (training_counts.sum(axis=1) + 2)
