"""Labels and scores that leave metrics undefined, drawn by hypothesis."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st


@dataclass(frozen=True)
class Example:
    """Rows of a test part. labels: 0 or 1. after, before: scores of a run and of its backbone; all
    (rows,)."""

    kind: str
    labels: tuple[int, ...]
    after: tuple[float, ...]
    before: tuple[float, ...]

    @property
    def rows(self) -> int:
        return len(self.labels)

    @property
    def has_auc(self) -> bool:
        """Whether there are rows of both classes."""
        return 0 < sum(self.labels) < self.rows

    @property
    def has_interval(self) -> bool:
        """Whether there are two rows of each class."""
        return 2 <= sum(self.labels) <= self.rows - 2


KINDS = (
    "one row",
    "two rows",
    "one click",
    "one row without a click",
    "no clicks",
    "only clicks",
    "all scores equal",
    "completely separated",
    "few rows",
)
_PROBABILITY = st.floats(0, 1, width=32)
_CERTAIN = st.sampled_from([0.0, 1.0, 0.5])


@st.composite
def examples(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS) -> Example:
    """An example of one of `kinds`."""
    kind = draw(st.sampled_from(kinds))
    rows = {"one row": 1, "two rows": 2}.get(kind) or draw(st.sampled_from([4, 5, 30, 50]))
    clicks = {
        "one click": 1,
        "one row without a click": rows - 1,
        "no clicks": 0,
        "only clicks": rows,
        "completely separated": 2,
    }.get(kind)
    clicks = draw(st.integers(0, rows)) if clicks is None else clicks
    labels = draw(st.permutations([1] * clicks + [0] * (rows - clicks)))
    if kind == "all scores equal":
        same = draw(_PROBABILITY)
        return Example(kind, tuple(labels), (same,) * rows, (draw(_PROBABILITY),) * rows)
    if kind == "completely separated":
        return Example(
            kind, tuple(labels), tuple(map(float, labels)), tuple(1.0 - label for label in labels)
        )
    scores = st.lists(_PROBABILITY | _CERTAIN, min_size=rows, max_size=rows).map(tuple)
    return Example(kind, tuple(labels), draw(scores), draw(scores))


def arrays(example: Example) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(labels, scores after, scores before) float32 (rows,)."""
    labels, after, before = (
        np.array(one, dtype=np.float32) for one in (example.labels, example.after, example.before)
    )
    return labels, after, before
