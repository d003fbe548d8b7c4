"""Check whether a backbone knows the values of a dataset.

Freezing embeddings of values that the backbone never saw freezes noise.
"""

from collections.abc import Sequence

from core.data.dataset_rows import FieldCoverage
from core.data.schema import CATEGORICAL

UNSEEN_LIMIT = 0.5
"""Above this share of unseen categorical values, frozen embeddings are called noise.

Half, because rare values share the id "unseen" even on a backbone's own traffic: 19 % of the values
in the public 100,000 real rows, with the vocabulary of their own source rows; a vocabulary of
another hash leaves 100 %.
"""

UNSEEN_WARNING_RULE = (
    f"Thaw warns when more than {100 * UNSEEN_LIMIT:.0f} % of the non-missing categorical values"
    " are unseen."
)


def unseen_share(fields: Sequence[FieldCoverage]) -> float:
    """Return the share of the categorical values of target training rows that are unseen.

    Missing values do not count. A value is unseen if the vocabulary lacks it. The share is 0 if no
    values are present.
    """
    categorical = [field for field in fields if field.field in CATEGORICAL]
    present = sum(1 - field.missing_share for field in categorical)
    return sum(field.unseen_share for field in categorical) / present if present else 0.0
