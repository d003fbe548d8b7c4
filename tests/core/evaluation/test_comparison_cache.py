"""Cached comparisons: the same bits as computed afresh, and nothing is read that has not
changed."""

import dataclasses

import numpy as np
import pytest

from core.evaluation import comparison_cache as module
from core.evaluation.comparison_cache import SeedScores, compare_pairs
from core.evaluation.metric_functions import calibration_error
from core.evaluation.paired_comparison import PairedDifference, compare_auc, compare_log_loss
from core.evaluation.verdicts import ArmScores, Verdict, compare_arms

ROWS = 700
GENERATOR = np.random.default_rng(11)
LABELS = (GENERATOR.random(ROWS) < 0.3).astype(float)


class Counted:
    """Scores that note how often each seed was read."""

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = scores
        self.reads = [0] * len(scores)

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, seed: int, /) -> np.ndarray:
        self.reads[seed] += 1
        own: np.ndarray = self.scores[seed]
        return own


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_cache", {})


def scores(seeds: int, skill: float) -> np.ndarray:
    noise = GENERATOR.normal(size=(seeds, ROWS))
    return np.asarray(1 / (1 + np.exp(-(skill * LABELS + noise - 1))), dtype=np.float32)


def arms(number: int, seeds: int = 3) -> list[ArmScores]:
    return [
        ArmScores(
            f"arm {arm}",
            0.5 + arm / 100,
            Counted(scores(seeds, 0.5 + arm / 20)),
            tuple(range(seeds)),
            tuple(f"r-{arm}-{seed}" for seed in range(seeds)),
        )
        for arm in range(number)
    ]


def with_fewer_seeds(arm: ArmScores, seeds: int) -> ArmScores:
    return dataclasses.replace(arm, seeds=arm.seeds[:seeds], keys=arm.keys[:seeds])


def anew(settings: dict[str, list[ArmScores]], reference: str) -> list[Verdict]:
    return compare_arms(
        LABELS,
        {
            name: [dataclasses.replace(one, keys=()) for one in found]
            for name, found in settings.items()
        },
        reference,
    )


def reads(arm: ArmScores) -> list[int]:
    assert isinstance(arm.scores, Counted)
    return arm.scores.reads


def test_a_growing_sweep_gives_the_same_verdicts_as_one_judged_afresh() -> None:
    found = arms(7)
    settings = {"small": found[:4], "all": found[4:]}
    for seeds in ((1, 1, 1, 1, 1, 1, 1), (1, 2, 1, 1, 3, 1, 2), (3, 2, 1, 3, 3, 3, 2), (3,) * 7):
        grown = [with_fewer_seeds(arm, own) for arm, own in zip(found, seeds, strict=True)]
        now = {"small": grown[:4], "all": grown[4:]}
        for reference in ("arm 0", "arm 5"):
            # As text, which tells every bit and takes NaN for equal.
            assert repr(compare_arms(LABELS, now, reference)) == repr(anew(now, reference))
            assert repr(compare_arms(LABELS, now, reference)) == repr(anew(now, reference))
    assert now == settings


def test_only_what_the_new_run_changes_is_read() -> None:
    found = arms(6)
    before = [*found[:4], with_fewer_seeds(found[4], 2), found[5]]
    compare_arms(LABELS, {"": before}, "arm 1")
    read = [sum(reads(arm)) for arm in found]
    compare_arms(LABELS, {"": before}, "arm 1")
    assert [sum(reads(arm)) for arm in found] == read
    compare_arms(LABELS, {"": found}, "arm 1")
    # Arm 0 leads and arm 1 is the reference; arm 4 is compared with both.
    changed = [sum(reads(arm)) - old for arm, old in zip(found, read, strict=True)]
    assert changed == [3, 3, 0, 0, 3, 0]


def test_the_result_of_a_pair_depends_on_no_other_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [scores(3, 0.4 + place / 10) for place in range(9)]
    sides = [SeedScores(one, (0, 1, 2)) for one in found]
    pairs = [(a, b) for a in sides for b in sides if a is not b]
    pairs += [
        (SeedScores(found[0], (2,)), SeedScores(found[1], (0,))),
        (SeedScores(found[0], (0, 2)), SeedScores(found[1], (1, 1))),
    ]
    together = compare_pairs(LABELS, pairs)
    assert repr(together) == repr([compare_pairs(LABELS, [pair])[0] for pair in pairs])
    monkeypatch.setattr(module, "MIN_SCORINGS_AT_ONCE", 7)
    monkeypatch.setattr(module, "BLOCK_BYTES", 1)
    assert repr(compare_pairs(LABELS, pairs)) == repr(together)
    auc, log_loss, ece = together[0]
    a, b = (one.astype(np.float64) for one in found[:2])
    assert auc == compare_auc(LABELS, a, b) and log_loss == compare_log_loss(LABELS, a, b)
    errors = [np.mean([calibration_error(LABELS, seed) for seed in arm]) for arm in (a, b)]
    assert ece.delta == pytest.approx(errors[0] - errors[1], abs=1e-12)


def test_numbers_of_another_recipe_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    found = arms(2)
    compare_arms(LABELS, {"": found}, "arm 1")
    read = sum(reads(found[0]))
    monkeypatch.setattr(module, "RECIPE", module.RECIPE + 1)
    compare_arms(LABELS, {"": found}, "arm 1")
    assert sum(reads(found[0])) == 2 * read


def test_no_more_is_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CACHED", 5)
    found = arms(4)
    for reference in ("arm 0", "arm 1", "arm 2", "arm 3"):
        assert compare_arms(LABELS, {"": found}, reference) == anew({"": found}, reference)
        assert 0 < len(module._cache) <= 5
    assert all(isinstance(one, PairedDifference) for pair in module._cache.values() for one in pair)
