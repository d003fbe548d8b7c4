"""The words of verdicts: both metrics named, noise neither ranked nor called equality."""

import numpy as np
import pytest

from core.evaluation.paired_comparison import PairedDifference
from core.evaluation.significance import combine_outcomes
from core.evaluation.verdict_sentences import (
    calibration_sentences,
    outcome_phrase,
    outcome_sentences,
    room_sentence,
    summarise_verdicts,
)
from core.evaluation.verdicts import ArmScores, Verdict, compare_arms

ROWS = 4000


def difference(delta: float, error: float = 0.001) -> PairedDifference:
    low, high = delta - 2 * error, delta + 2 * error
    return PairedDifference(delta, low, high, 0.5, error, error, 3, ROWS, error)


def verdict(
    title: str,
    auc: tuple[float, float],
    log_loss: tuple[float, float],
    ece: tuple[float, float] = (0.0, 1.0),
) -> Verdict:
    """A verdict from (difference, adjusted p) of each metric."""
    return Verdict(
        "", title, "full", difference(auc[0]), difference(log_loss[0]), auc[1], log_loss[1], 900,
        difference(ece[0]), ece[1],
    )  # fmt: skip


SUFFERED = verdict("freeze depth 5", (0.0001, 1.0), (0.0508, 0.013), (0.0203, 0.001))
"""The ranking is as before, the probabilities are not."""
MIXED = verdict("mixed", (0.01, 0.001), (0.02, 0.001))
TIED = verdict("tied", (0.0001, 1.0), (-0.0002, 1.0))
BOTH = verdict("both", (0.01, 0.001), (-0.02, 0.001))


@pytest.mark.parametrize(
    ("found", "outcome", "phrase"),
    [
        (SUFFERED, "worse in log loss",
         "worse than full in log loss, not distinguishable from it in AUC"),
        (MIXED, "better in AUC, worse in log loss",
         "better than full in AUC, worse than it in log loss"),
        (TIED, "not distinguishable", "not distinguishable from full in AUC or log loss"),
        (BOTH, "better in AUC and log loss", "better than full in AUC and log loss"),
    ],
)  # fmt: skip
def test_outcomes_name_both_metrics(found: Verdict, outcome: str, phrase: str) -> None:
    assert found.outcome == outcome
    assert outcome_phrase(found, "full") == phrase


def test_no_outcome_is_said_of_what_was_not_tested() -> None:
    nan = float("nan")
    untested = verdict("untested", (0.1, nan), (0.1, nan))
    assert untested.outcome == "not comparable" == combine_outcomes(untested.outcomes)
    assert verdict("partly", (0.1, nan), (0.1, 0.5)).outcome == "not distinguishable in log loss"
    assert room_sentence([untested]) == ""


def test_scores_that_are_the_same_are_said_to_be() -> None:
    labels = np.array([0.0, 1, 0, 1, 1])
    scores = np.array([[0.2, 0.8, 0.4, 0.6, 0.3]])
    arms = [ArmScores(title, 0.5, scores, (0,)) for title in ("full", "frozen")]
    (same,) = compare_arms(labels, {"": arms}, "full")
    assert room_sentence([same]) == "On these rows their losses are the same."


def test_worse_probabilities_are_said_only_where_the_calibration_error_shows_it() -> None:
    (sentence,) = calibration_sentences([SUFFERED, MIXED, TIED, BOTH])
    assert sentence == (
        "Compared with full, the probabilities suffered rather than the ranking, as calibration"
        " shows: freeze depth 5 (ΔECE +0.0203, 95 % +0.0183 to +0.0223, adjusted p 0.0010)."
    )
    improved = verdict("x", (0.0, 1.0), (-0.02, 0.001), (-0.02, 0.001))
    assert "improved" in calibration_sentences([improved])[0]
    # The ranking is worse too, which explains the log loss.
    worse = verdict("x", (-0.02, 0.001), (0.02, 0.001), (0.02, 0.001))
    assert calibration_sentences([worse]) == []


def test_differences_come_before_ties_which_say_how_much_room_is_left() -> None:
    sentences = outcome_sentences([TIED, SUFFERED, BOTH], "full")
    assert [text.split(" ", 1)[0] for text in sentences] == ["Better", "Worse", "Not"]
    assert sentences[0].startswith("Better than full in AUC and log loss: both (ΔAUC +0.0100, 95 %")
    assert sentences[2] == (
        "Not distinguishable from full in AUC or log loss at n = 4,000: tied. That does not mean"
        " equal: the 95 % intervals reach differences of 0.0021 AUC and 0.0022 nats."
    )


def test_an_arm_whose_probabilities_drift_is_not_called_the_same() -> None:
    """From scores: the same ranking, with probabilities far too high."""
    generator = np.random.default_rng(0)
    logits = generator.normal(-1, 1, ROWS)
    labels = (generator.random(ROWS) < 1 / (1 + np.exp(-logits))).astype(float)

    def arm(title: str, loss: float, shift: float) -> ArmScores:
        noisy = logits + 0.02 * generator.normal(size=(3, ROWS))
        return ArmScores(title, loss, 1 / (1 + np.exp(-(noisy + shift))), (0, 1, 2))

    arms = [arm("full", 0.5, 0), arm("drifted", 0.6, 0.5)]
    verdicts = compare_arms(labels, {"": arms}, "full")
    assert verdicts[0].outcome == "worse in log loss"
    said = summarise_verdicts(verdicts, {"": arms}, "full")
    assert any(
        text.startswith("Compared with full, the probabilities suffered rather than the ranking")
        for text in said
    )
    assert not any("equal" in text and "not mean equal" not in text for text in said)
