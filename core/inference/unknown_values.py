"""Find columns of a scored file whose values the model does not know, and the likely reason.

A model looks every category up in the vocabulary of its training rows. If a file spells the same
values differently, or holds values of another hash, all of them share one "unseen" embedding:
nothing fails, but the scores are worth little.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from core.data.columns.value_counts import count_column
from core.data.preprocessing import MISSING, UNSEEN, Preprocessing
from core.data.schema import CATEGORICAL, FIELDS
from core.inference.spellings import Spelling, all_spellings, candidate_spellings

MIN_ROWS = 20
"""Rows that would have to be known, by the training rows, for a column to be called unknown; and
rows that a spelling must explain if other rows are known."""
NEARLY_NONE_SHARE = 0.05
"""A column is called unknown if at most this share of the rows that should be known are."""
EXPLAINED_SHARE = 0.5
"""Share of the rows that should be known that a spelling must explain to be the reason."""
PARTLY_EXPLAINED_SHARE = 0.01
"""The same if other rows of the column are known; of all rows."""
_BATCHES = 8
"""Batches of a long file, evenly spread over it, that are searched for unknown values."""
_MOST_FREQUENT = 5000
"""Most frequent values of a column that are searched for unknown ones."""
_MAX_TRIED = 100
"""Unknown values on which spellings are tried."""
_HASH_LENGTH = 8
_LETTERS = {
    "lower-case hexadecimal digits": "0123456789abcdef",
    "upper-case hexadecimal digits": "0123456789ABCDEF",
}


@dataclass(frozen=True)
class UnknownColumn:
    """A categorical column with unknown values that need an explanation.

    Args:
        field: name of the column, such as "C3".
        rows: rows with a value.
        known: of these, rows whose value the model knows.
        expected: rows that would be known if the file were like the training rows.
        reason: the name of a `Spelling`; "column:C7" if the values are those of C7; "another_hash"
            if they look like the model's; "another_spelling" if they do not.
        file: how the file has the values, in words.
        model: how the model has them, in words.
        example: a frequent unknown value.
    """

    field: str
    rows: int
    known: int
    expected: float
    reason: str = ""
    file: str = ""
    model: str = ""
    example: str = ""

    @property
    def nearly_all(self) -> bool:
        """Whether no value, or nearly none, is known.

        False if too few values would be known even in a file like the training data.
        """
        return self.expected >= MIN_ROWS and self.known <= NEARLY_NONE_SHARE * self.expected


def known_shares(preprocessing: Preprocessing, counts: np.ndarray | None) -> np.ndarray:
    """Return the share of the training rows with a value whose value is in the vocabulary.

    Values that were too rare for the vocabulary are unknown in training too.

    Args:
        preprocessing: has the vocabularies.
        counts: of the training rows, see `core.data.drift.drift_counts`. None if they are gone;
            then the least share that the vocabulary's own minimum count allows is returned.

    Returns:
        float64 ``(39,)``, by field.
    """
    if counts is None:
        values = np.array([len(preprocessing.vocabularies[field]) for field in FIELDS])
        return np.minimum(1.0, values * preprocessing.min_count / max(preprocessing.fitted_rows, 1))
    present = counts.sum(axis=1) - counts[:, MISSING]
    return 1 - counts[:, UNSEEN] / np.maximum(present, 1)


def unknown_columns(
    preprocessing: Preprocessing, rows: pa.Table, counts: np.ndarray, training: np.ndarray
) -> tuple[UnknownColumn, ...]:
    """Return the columns that need an explanation, in file order.

    Those of which almost no value is known although training knew enough of them, and those in
    which another spelling explains some of the unknown values. New values alone, as they come with
    time, are drift and are not returned.

    Args:
        preprocessing: of the model.
        rows: the scored rows, with columns C1 to C26.
        counts: of these rows, int64 ``(39, bins)``, see `core.data.drift.drift_counts`.
        training: see `known_shares`.
    """
    rows = _subsample_batches(rows)
    columns: list[UnknownColumn] = []
    # Most columns of a file are spelled in the same way: what explained one is tried first on the
    # next.
    explained: list[Spelling] = []
    for field in CATEGORICAL:
        index = FIELDS.index(field)
        present = int(counts[index].sum() - counts[index, MISSING])
        unknown = int(counts[index, UNSEEN])
        column = UnknownColumn(field, present, present - unknown, float(training[index] * present))
        if column.nearly_all:
            columns.append(_explain(preprocessing, rows[field], column, explained))
        elif unknown >= MIN_ROWS:
            columns += _explain_partly(preprocessing, rows[field], column)
    return tuple(columns)


def _explain(
    preprocessing: Preprocessing,
    rows: pa.ChunkedArray,
    column: UnknownColumn,
    explained: list[Spelling],
) -> UnknownColumn:
    """Return `column`, of which nearly nothing is known, with the likely reason.

    Args:
        preprocessing: of the model.
        rows: the column's values.
        column: to explain.
        explained: spellings that explained other columns; this one's is appended.
    """
    field = column.field
    values, totals = _unknown_values(preprocessing, rows, field)
    # Once the spelling is undone, about as many rows should be known as in training.
    required = EXPLAINED_SHARE * column.expected / column.rows * totals.sum()

    def best_of(candidates: Iterable[Spelling]) -> Spelling | None:
        """Return the simplest spelling that explains enough values.

        A later one is returned only if it explains clearly more.
        """
        best, best_rows = None, 0.0
        for spelling in candidates:
            explained_rows = _explained_rows(preprocessing, field, spelling, values, totals)
            if explained_rows >= required and explained_rows > 1.1 * best_rows:
                best, best_rows = spelling, explained_rows
            if best_rows == totals.sum():
                break
        return best

    spelling = best_of(explained)
    if spelling is None:
        spelling = best_of(candidate_spellings(values, _usual_length(preprocessing, field)))
        if spelling is not None:
            explained.append(spelling)
    if spelling is not None:
        return _with_reason(column, spelling, values[0])
    # No spelling: the values may be those of another column.
    for other in CATEGORICAL:
        if other == field:
            continue
        known = preprocessing.in_vocabulary(other, pa.array(values))
        if totals[known].sum() >= required:
            return dataclasses.replace(column, reason=f"column:{other}", example=values[0])
    file = _describe_values(values)
    model = _describe_values(preprocessing.vocabularies[field][:_MAX_TRIED].to_pylist())
    reason = "another_hash" if file == model else "another_spelling"
    return dataclasses.replace(column, reason=reason, file=file, model=model, example=values[0])


def _explain_partly(
    preprocessing: Preprocessing, rows: pa.ChunkedArray, column: UnknownColumn
) -> tuple[UnknownColumn, ...]:
    """Return `column`, of which some values are known, if a spelling explains why others are not.

    Upper case, for example, leaves values without letters as they are, and only some values can
    lose a leading zero.
    """
    values, totals = _unknown_values(preprocessing, rows, column.field)
    required = max(MIN_ROWS, PARTLY_EXPLAINED_SHARE * len(rows))
    for spelling in all_spellings(_usual_length(preprocessing, column.field)):
        if not spelling.partial:
            continue
        if _explained_rows(preprocessing, column.field, spelling, values, totals) >= required:
            example = next(
                value
                for value in values
                if _is_explained(preprocessing, column.field, spelling, value)
            )
            return (_with_reason(column, spelling, example),)
    return ()


def _subsample_batches(rows: pa.Table) -> pa.Table:
    """Return the categorical columns of all rows, or of some batches if there are many."""
    batches = rows.select(CATEGORICAL).to_batches()
    if len(batches) <= _BATCHES:
        return rows
    chosen = np.linspace(0, len(batches) - 1, _BATCHES).round().astype(int)
    return pa.Table.from_batches([batches[place] for place in chosen])


def _with_reason(column: UnknownColumn, spelling: Spelling, example: str) -> UnknownColumn:
    return dataclasses.replace(
        column, reason=spelling.name, file=spelling.file, model=spelling.model, example=example
    )


def _usual_length(preprocessing: Preprocessing, field: str) -> int:
    values = preprocessing.vocabularies[field][:_MOST_FREQUENT].to_pylist()
    return Counter(map(len, values)).most_common(1)[0][0] if values else 0


def _unknown_values(
    preprocessing: Preprocessing, column: pa.ChunkedArray, field: str
) -> tuple[list[str], np.ndarray]:
    """Return the most frequent unknown values and the rows of each."""
    values, totals = count_column(column).most_common(_MOST_FREQUENT)
    unknown = ~preprocessing.in_vocabulary(field, values)
    return values.filter(pa.array(unknown)).to_pylist()[:_MAX_TRIED], totals[unknown][:_MAX_TRIED]


def _is_explained(preprocessing: Preprocessing, field: str, spelling: Spelling, value: str) -> bool:
    return bool(
        preprocessing.in_vocabulary(field, pa.array([spelling.undo(value)], pa.string()))[0]
    )


def _explained_rows(
    preprocessing: Preprocessing,
    field: str,
    spelling: Spelling,
    values: list[str],
    totals: np.ndarray,
) -> int:
    """Return how many rows have an unknown value that is known once the spelling is undone."""
    undone = [spelling.undo(value) for value in values]
    known = preprocessing.in_vocabulary(field, pa.array(undone, pa.string()))
    return int(totals[known].sum())


def _describe_values(values: Sequence[str]) -> str:
    """Return what most of the values look like, in words."""
    return Counter(map(_describe_value, values)).most_common(1)[0][0]


def _describe_value(value: str) -> str:
    if len(value) < _HASH_LENGTH and value.isdigit():
        return "short numbers"
    for kind, letters in _LETTERS.items():
        if set(value) <= set(letters):
            return f"{len(value)} {kind}"
    return f"texts of {len(value)} characters"
