"""What to do with bad rows: refuse the file with a message, or skip and count them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from core.data.reading.values import NO_LABEL, parse_label
from core.errors import BadInput, UnreadableRow

MAX_EXAMPLES = 20
"""Number of messages about skipped rows that are kept."""
_MANY_SHARE = 0.5
"""If more of the rows are bad, the user is advised to check the file instead of skipping them."""
_NEARLY_ALL_SHARE = 0.8
"""If at least this share of bad rows has the same cell, the message names it."""


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be read.

    Attributes:
        row_number: its number in the file.
        sentence: what is wrong.
        column, cell: where it is, if it is one cell.
    """

    row_number: int
    sentence: str
    column: str = ""
    cell: str | None = None


@dataclass
class BadRowHandler:
    """Collects bad rows, then refuses the file or skips them.

    Attributes:
        skip: whether to skip them.
        count: number of rows skipped.
        examples: messages about the first of them.
    """

    skip: bool
    count: int = 0
    examples: list[str] = field(default_factory=list)
    _pending: list[BadRow] = field(default_factory=list)

    def add(self, row: int, sentence: str, column: str = "", cell: str | None = None) -> None:
        """Add a bad row. Faults are found column by column, so `flush` sorts and decides."""
        self._pending.append(BadRow(row, sentence, column, cell))

    def flush(self, rows: int) -> None:
        """Decide on the rows added since the last call.

        Args:
            rows: number of rows examined since then.

        Raises:
            UnreadableRow, BadInput: `skip` is false; the message is about the first bad row.
        """
        self._pending.sort(key=lambda bad: bad.row_number)
        if self._pending and not self.skip:
            self._refuse(rows)
        self.count += len(self._pending)
        self.examples += [
            bad.sentence for bad in self._pending[: MAX_EXAMPLES - len(self.examples)]
        ]
        self._pending.clear()

    def _refuse(self, rows: int) -> NoReturn:
        first, n_bad = self._pending[0].sentence, len(self._pending)
        if n_bad == 1 or n_bad <= _MANY_SHARE * rows:
            raise UnreadableRow(f"{first} Fix the row, or choose to skip bad rows.")
        if all(
            row.column == "label" and parse_label(row.cell) == NO_LABEL for row in self._pending
        ):
            raise UnreadableRow(
                f"{first} {n_bad:,} of the {rows:,} rows read have no label: choose to skip"
                " bad rows to keep those that have one."
            )
        cell, n_times = Counter(row.cell for row in self._pending).most_common(1)[0]
        cause = "check the delimiter and the columns."
        if cell and n_times >= _NEARLY_ALL_SHARE * n_bad:
            cause = f"if {cell[:40]!r} stands for a missing value, write nothing or NaN instead."
        raise BadInput(
            f"{first} {n_bad:,} of the {rows:,} rows read are bad, so skipping bad rows would"
            f" leave few: {cause}"
        )


def number_rows(first: int, count: int, dropped: Sequence[int]) -> np.ndarray:
    """Return the row numbers of the `count` rows that Arrow returned from a text.

    Args:
        first: number of the text's first row.
        count: number of rows.
        dropped: numbers of the rows that Arrow left out.

    >>> number_rows(5, 3, dropped=[6]).tolist()
    [5, 7, 8]
    """
    missing = np.array([number for number in dropped if number >= first], dtype=np.int64)
    numbers = np.arange(first, first + count + len(missing))
    return numbers[~np.isin(numbers, missing)][:count]
