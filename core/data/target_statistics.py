"""Target statistics and counts of values and of field pairs, fitted on training rows.

The target statistic of a key (a value of a field, or a pair of values of two fields) is the
log-odds of its clicks, shrunk towards the base rate by PRIOR_ROWS rows (Micci-Barreca 2001):

    logit((clicks + 10 * base_rate) / (rows + 10))

where clicks and rows are counted over the training rows; a key that none of them has gets the logit
of the base rate itself. The count of a key is ln(1 + rows). A training row must not meet its own
label among its inputs, so its statistics are *out of fold*: the training rows are dealt at random
into N_FOLDS folds, and a row's clicks and rows are counted over the other folds (Prokhorenkova et
al., NeurIPS 2018, on why). Its count leaves out the row itself: ln(1 + rows - 1). Each column is
standardised by its mean and deviation over the training rows, out of fold.

Columns, in this order: the target statistic of C1..C26, the count of C1..C26, then the target
statistic of each pair.

Stored as `statistics.parquet`, one line a key:

- ``first`` (string): field of the table, "C1".."C26", or the first field of a pair, "I1".."C26";
- ``second`` (string): second field of a pair, "" for the table of one field;
- ``first_id`` (int32): for one field, in this order, 0 for a missing value, 1 for all values that
  are not listed (those of one training row, and unknown ones), 2, 3, ... for the listed values; for
  a pair the id of the first field's value: for a categorical field these same ids, for a numeric
  field that of its bucket in the vocabulary of the embeddings;
- ``second_id`` (int32): the same of a pair's second field, 0 for one field;
- ``value`` (string): the value of a listed one, null in any other line;
- ``clicks``, ``rows`` (int64): training rows with label 1, and all training rows, of this key.

A pair is listed if two training rows have it; one that is not has no clicks and no rows. The
object "statistics" of preprocessing.json holds ``base_rate``, ``pairs`` (a list of two field names
each, in the order of the columns), and ``mean`` and ``std`` of every column.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.data.schema import CATEGORICAL, NUMERIC

PRIOR_ROWS = 10.0
"""Rows at the base rate that are added to the rows of every key."""
N_PAIRS = 30
"""Pairs of fields whose statistics are among the inputs."""
N_FOLDS = 10
"""Folds of the out-of-fold values of training rows."""


@dataclass(frozen=True)
class KeyCounts:
    """Clicks and rows of every key that occurs in some rows.

    Attributes:
        keys: int64, distinct, ascending.
        clicks, rows: int64, same shape: rows with label 1, and all rows.
    """

    keys: np.ndarray
    clicks: np.ndarray
    rows: np.ndarray

    def look_up(self, keys: np.ndarray) -> np.ndarray:
        """Return the index of each key in `self.keys`, int32, -1 for a key that is not in it."""
        from core.data.columns.kernels import look_up_keys

        indices = np.empty(len(keys), np.int32)
        look_up_keys(keys.view(np.uint64), *self._index, indices)
        return indices

    def of_keys(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return clicks and rows of each key, int64; 0 for an unknown key."""
        index = self.look_up(keys)
        return np.append(self.clicks, 0)[index], np.append(self.rows, 0)[index]

    def plus(self, other: "KeyCounts", min_rows: int = 1) -> "KeyCounts":
        """Return the counts of both.

        Args:
            other: counts of other rows.
            min_rows: keys of fewer rows are left out.

        >>> one = count_keys(np.array([7, 8]), np.array([1, 0]))
        >>> one.plus(count_keys(np.array([8]), np.array([1])), min_rows=2).keys.tolist()
        [8]
        """
        keys = np.union1d(self.keys, other.keys)
        own, others = self.of_keys(keys), other.of_keys(keys)
        clicks, rows = own[0] + others[0], own[1] + others[1]
        enough = rows >= min_rows
        return KeyCounts(keys[enough], clicks[enough], rows[enough])

    @cached_property
    def _index(self) -> tuple[np.ndarray, np.ndarray, np.uint64]:
        from core.data.columns.vocabulary_index import HASH_MULTIPLIER, build_hash_table

        keys = self.keys.view(np.uint64)
        return build_hash_table(keys), keys, HASH_MULTIPLIER

    def target_statistics(self, keys: np.ndarray, base_rate: float) -> np.ndarray:
        """Return the target statistic of each key, float64; that of `base_rate` if unknown.

        >>> counts = count_keys(np.array([7, 7, 7]), np.array([1, 1, 0]))
        >>> counts.target_statistics(np.array([7, 8]), base_rate=0.2).round(4).tolist()
        [-0.8109, -1.3863]
        """
        known = smoothed_logit(self.clicks, self.rows, base_rate)
        # The index of an unknown key, -1, is that of the last value.
        return np.append(known, smoothed_logit(0, 0, base_rate))[self.look_up(keys)]

    def log_counts(self, keys: np.ndarray) -> np.ndarray:
        """Return ln(1 + rows) of each key, float64; 0 for an unknown key."""
        return np.append(np.log1p(self.rows), 0.0)[self.look_up(keys)]


def count_keys(keys: np.ndarray, labels: np.ndarray, min_rows: int = 1) -> KeyCounts:
    """Count clicks and rows of every key.

    Args:
        keys: int64, shape ``(n_rows,)``.
        labels: 0 or 1, same shape.
        min_rows: keys of fewer rows are left out.
    """
    distinct, index = np.unique(keys, return_inverse=True)
    clicks = np.bincount(index, labels, len(distinct)).round().astype(np.int64)
    rows = np.bincount(index, minlength=len(distinct))
    enough = rows >= min_rows
    return KeyCounts(distinct[enough], clicks[enough], rows[enough])


def count_dense(statistics: str) -> int:
    """Return the floats of a row beside its ids: numeric fields, statistics, counts and pairs.

    Args:
        statistics: of `core.jobs.requests.STATISTICS`.

    >>> [count_dense(name) for name in ("none", "fields", "pairs")]
    [13, 65, 95]
    """
    fields, pairs = statistics != "none", statistics == "pairs"
    return len(NUMERIC) + 2 * len(CATEGORICAL) * fields + N_PAIRS * pairs


def smoothed_logit(
    clicks: np.ndarray | float, rows: np.ndarray | float, base_rate: float
) -> np.ndarray:
    """Return the log-odds of ``(clicks + 10 * base_rate) / (rows + 10)``, float64.

    >>> float(smoothed_logit(0, 0, 0.5))
    0.0
    """
    smoothed_clicks = np.asarray(clicks + PRIOR_ROWS * base_rate, np.float64)
    return np.log(smoothed_clicks) - np.log(rows + PRIOR_ROWS - smoothed_clicks)


def assign_folds(n_rows: int, seed: int, n_folds: int = N_FOLDS) -> np.ndarray:
    """Return a random fold for each row, int8, shape ``(n_rows,)``; sizes differ by at most one."""
    folds = (np.arange(n_rows) % n_folds).astype(np.int8)
    return np.random.default_rng(seed).permutation(folds)


def out_of_fold_statistics(
    keys: np.ndarray,
    labels: np.ndarray,
    folds: np.ndarray,
    base_rate: float,
    others: KeyCounts | None = None,
) -> np.ndarray:
    """Return each row's target statistic as counted over the rows of the other folds, float64.

    Args:
        keys: of the rows, int64, shape ``(n_rows,)``.
        labels: 0 or 1, same shape.
        folds: whole numbers from 0, same shape.
        base_rate: of clicks over all rows.
        others: counts of rows that are none of these, so that they count for every one of these.
    """
    distinct, index = np.unique(keys, return_inverse=True)
    clicks = np.bincount(index, labels, len(distinct))
    rows = np.bincount(index, minlength=len(distinct))
    if others is not None:
        other_clicks, other_rows = others.of_keys(distinct)
        clicks, rows = clicks + other_clicks, rows + other_rows
    values = np.empty(len(keys))
    # Fold by fold, so that memory does not grow with keys times folds.
    for fold in range(int(folds.max(initial=-1)) + 1):
        own = folds == fold
        own_index = index[own]
        other_clicks = clicks - np.bincount(own_index, labels[own], len(distinct))
        other_rows = rows - np.bincount(own_index, minlength=len(distinct))
        values[own] = smoothed_logit(other_clicks[own_index], other_rows[own_index], base_rate)
    return values


def log_counts_without_self(keys: np.ndarray, others: KeyCounts | None = None) -> np.ndarray:
    """Return ln(1 + n) of each row, n the number of *other* rows with its key; float64.

    Args:
        keys: of the rows, int64, shape ``(n_rows,)``.
        others: see `out_of_fold_statistics`.

    >>> log_counts_without_self(np.array([3, 3, 5])).round(4).tolist()
    [0.6931, 0.6931, 0.0]
    """
    distinct, index, rows = np.unique(keys, return_inverse=True, return_counts=True)
    if others is not None:
        rows = rows + others.of_keys(distinct)[1]
    return np.log(rows)[index]


def pair_keys(ids: np.ndarray, first: int, second: int) -> np.ndarray:
    """Return the key of each row's pair of values, int64.

    Args:
        ids: int32, shape ``(n_rows, n_fields)``.
        first, second: columns of it.
    """
    return join_ids(ids[:, first], ids[:, second])


def join_ids(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return one int64 for two ids: the first times 2^32, plus the second.

    >>> [ids.tolist() for ids in split_keys(join_ids(np.array([3]), np.array([7])))]
    [[3], [7]]
    """
    return (first.astype(np.int64) << 32) | second


def split_keys(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids that `join_ids` joined, int64."""
    return keys >> 32, keys & 0xFFFFFFFF


def click_rate(labels: np.ndarray) -> float:
    """Return the share of clicks, at least half a row of either label, so that it has a logit."""
    half_row = 0.5 / max(len(labels), 1)
    return float(np.clip(labels.mean(), half_row, 1 - half_row))
