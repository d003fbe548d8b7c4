"""Rows that cannot be read: the file is refused with a sentence, or they are skipped and
counted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from core.data.reading.values import NO_LABEL, parse_label
from core.errors import BadInput, UnreadableRow

MAX_EXAMPLES = 20
_MANY_SHARE = 0.5
_NEARLY_ALL_SHARE = 0.8


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be read. row_number: its number in the file. sentence: what is wrong. column,
    cell: where it is."""

    row_number: int
    sentence: str
    column: str = ""
    cell: str | None = None


@dataclass
class BadRowHandler:
    """What to do with a bad row: refuse the file with a sentence, or skip, count and remember a
    few."""

    skip: bool
    count: int = 0
    examples: list[str] = field(default_factory=list)
    _pending: list[BadRow] = field(default_factory=list)

    def add(self, row: int, sentence: str, column: str = "", cell: str | None = None) -> None:
        """Notes a bad row; faults are found out of order, so nothing is decided before `settle`."""
        self._pending.append(BadRow(row, sentence, column, cell))

    def flush(self, rows: int) -> None:
        """Decides on the rows noted, which were among so many: BadInput with the first of them, or
        skips all."""
        self._pending.sort(key=lambda bad: bad.row_number)
        if self._pending and not self.skip:
            self._refuse(rows)
        self.count += len(self._pending)
        self.examples += [
            bad.sentence for bad in self._pending[: MAX_EXAMPLES - len(self.examples)]
        ]
        self._pending.clear()

    def _refuse(self, rows: int) -> NoReturn:
        first, bad = self._pending[0].sentence, len(self._pending)
        if bad == 1 or bad <= _MANY_SHARE * rows:
            raise UnreadableRow(f"{first} Fix the row, or choose to skip bad rows.")
        if all(
            one.column == "label" and parse_label(one.cell) == NO_LABEL for one in self._pending
        ):
            raise UnreadableRow(
                f"{first} {bad:,} of the {rows:,} rows looked at have no label: choose to skip bad"
                " rows to keep those that have one."
            )
        cell, times = Counter(one.cell for one in self._pending).most_common(1)[0]
        cause = "check that delimiter and columns are what they seem."
        if cell and times >= _NEARLY_ALL_SHARE * bad:
            cause = (
                f"if {cell[:40]!r} stands for a missing value, write nothing, or NaN, in its place."
            )
        raise BadInput(
            f"{first} {bad:,} of the {rows:,} rows looked at are bad, so skipping bad rows would"
            f" leave few: {cause}"
        )


def number_rows(first: int, count: int, dropped: Sequence[int]) -> np.ndarray:
    """Numbers of the `count` rows that Arrow hands out of a text, which begin at `first`, without
    those `dropped`."""
    gone = np.array([number for number in dropped if number >= first], dtype=np.int64)
    numbers = np.arange(first, first + count + len(gone))
    return numbers[~np.isin(numbers, gone)][:count]
