"""A fitted vocabulary and new rows, for the tests of values that a model does not know."""

import numpy as np
import pytest

from core.data.drift import drift_counts
from core.data.preprocessing import Preprocessing, fit_preprocessing
from core.inference.unknown_values import known_shares
from tests.core.inference.changed_spellings import Columns, simulate_columns, to_table


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Preprocessing, np.ndarray]:
    """A vocabulary fitted on 4,000 source rows, and the share of each column's training rows that
    it knows."""
    rows = to_table(
        simulate_columns(tmp_path_factory.mktemp("rows") / "train.tsv", 4000, "source", 1)
    )
    preprocessing = fit_preprocessing(rows, min_count=3)
    return preprocessing, known_shares(preprocessing, drift_counts(preprocessing.encode(rows).ids))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Columns:
    """500 more rows of the same kind."""
    return simulate_columns(tmp_path_factory.mktemp("rows") / "fresh.tsv", 500, "source", 2)
