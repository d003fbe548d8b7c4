"""Drift levels by simulation: false alarms and power, at the smallest number of rows that is
judged."""

import numpy as np
import pytest
from scipy.stats import binom, chi2

from core.data.drift import (
    DRIFT_THRESHOLDS,
    FAMILYWISE_ERROR_RATE,
    drift_level,
    expected_psi,
    explain_too_few_rows,
    min_rows_for_drift,
    population_stability_index,
    psi_noise_limit,
)

BINS = 23
"""Missing, unseen, 20 values and all others: the most that core.data.profile counts."""
SHAPES = {
    "even": np.ones(BINS) / BINS,
    "power law": (1 / np.arange(1, BINS + 1)) / (1 / np.arange(1, BINS + 1)).sum(),
    "few values": np.array([0.9, 0.08, 0.02]),
    "one value": np.array([1.0]),
}


def levels(
    before: np.ndarray, after: np.ndarray, rows: tuple[int, int], files: int, seed: int
) -> list[str]:
    """Levels of a field drawn from two distributions, one per file."""
    generator = np.random.default_rng(seed)
    drawn = [
        (generator.multinomial(rows[0], before), generator.multinomial(rows[1], after))
        for _ in range(files)
    ]
    return [
        drift_level(population_stability_index(*counts), psi_noise_limit(*counts))
        for counts in drawn
    ]


@pytest.mark.parametrize("training", [300, 450, 2000, 10**6])
@pytest.mark.parametrize("shape", SHAPES)
def test_unchanged_fields_are_seldom_called_drifted(shape: str, training: int) -> None:
    needed = min_rows_for_drift(training)
    assert needed is not None and 220 <= needed < 1000
    p = SHAPES[shape]
    for rows in (needed, 10 * needed):
        found = levels(p, p, (training, rows), 2000, seed=rows)
        # 39 fields of a file are 39 draws; 4 standard deviations above what is promised.
        promised = FAMILYWISE_ERROR_RATE / 39
        assert np.mean([level != "little" for level in found]) <= promised + 4 * np.sqrt(
            promised / 2000
        )


def test_chance_exceeds_its_own_limit_as_often_as_promised() -> None:
    """From both sides, with many rows: a limit that is never exceeded would never detect drift."""
    generator = np.random.default_rng(7)
    files, p = 20_000, SHAPES["even"]
    before, after = generator.multinomial(20_000, p, files), generator.multinomial(20_000, p, files)
    exceeded = sum(
        population_stability_index(*counts) > psi_noise_limit(*counts)
        for counts in zip(before, after, strict=True)
    )
    low, high = binom.interval(0.9999, files, FAMILYWISE_ERROR_RATE / 39)
    assert 0 < low <= exceeded <= high


@pytest.mark.parametrize("training", [300, 2000])
def test_strong_drift_is_found_on_the_fewest_rows(training: int) -> None:
    p = SHAPES["power law"]
    moved = np.roll(p, 3)
    assert np.sum((p - moved) * np.log(p / moved)) > 2 * max(DRIFT_THRESHOLDS)
    needed = min_rows_for_drift(training)
    assert needed is not None
    assert levels(p, moved, (training, needed), 500, seed=1).count("strong") >= 495
    # A value in three that is new, as another kind of users brings it, in a field of few values.
    few, fewer = SHAPES["few values"], np.array([0.6, 0.1, 0.3])
    assert levels(few, fewer, (training, needed), 500, seed=2).count("little") == 0


def test_with_many_rows_the_usual_limits_hold() -> None:
    before = np.full(BINS, 10**6)
    assert psi_noise_limit(before, before) < 0.01
    assert [drift_level(psi, 0.01) for psi in (0.09, 0.11, 0.26)] == ["little", "some", "strong"]
    assert [drift_level(psi, 0.2) for psi in (0.11, 0.21, 0.26)] == ["little", "some", "strong"]
    assert drift_level(0.3, 0.4) == "little" and drift_level(0.3) == "strong"


def test_the_bound_is_where_chance_alone_reaches_the_first_limit() -> None:
    for training in (230, 500, 1440, 10**7):
        needed = min_rows_for_drift(training)
        assert needed is not None
        assert (
            expected_psi(training, needed)
            <= min(DRIFT_THRESHOLDS)
            < expected_psi(training, needed - 1)
        )
        assert (
            explain_too_few_rows(training, needed)
            == ""
            != explain_too_few_rows(training, needed - 1)
        )
    assert min_rows_for_drift(220) is None and min_rows_for_drift(1) is None
    uneven = np.array([50, 30, 20, 0])
    assert psi_noise_limit(uneven, 2 * uneven) == pytest.approx(
        chi2.ppf(1 - 0.05 / 39, 2) * (1 / 100 + 1 / 200)
    )
    assert psi_noise_limit(np.array([5, 0]), np.array([3, 0])) == 0


def test_the_sentences_name_the_rows_and_how_many_are_needed() -> None:
    one = explain_too_few_rows(1440, 1)
    assert (
        one.startswith("Drift is not judged on 1 row: ")
        and "At least 260 are needed against 1,440 training" in one
    )
    assert "against 200 training rows: with fewer than 221" in explain_too_few_rows(200, 10**6)
    names = ("source training", "target training")
    assert "on 270 target training rows: " in explain_too_few_rows(1000, 270, names)
