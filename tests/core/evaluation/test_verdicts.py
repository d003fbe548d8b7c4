"""Verdicts: which arms are compared, how p-values are adjusted, and how the result is worded."""

import dataclasses

import numpy as np
import pytest

from core.evaluation.multiplicity import holm_adjust
from core.evaluation.paired_comparison import compare_auc, pool_over_comparisons
from core.evaluation.verdict_sentences import summarise_verdicts
from core.evaluation.verdicts import ArmScores, compare_arms, leading_arms

ROWS = 600


def contenders(
    skills: dict[str, float], seeds: int = 3, seed: int = 0
) -> tuple[np.ndarray, list[ArmScores]]:
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=ROWS)
    labels = (generator.random(ROWS) < 1 / (1 + np.exp(-2 * truth))).astype(float)
    noise = generator.normal(size=ROWS)
    found = []
    for title, skill in skills.items():
        own = 0.05 * generator.normal(size=(1 if title == "zero-shot" else seeds, ROWS))
        scores = 1 / (1 + np.exp(-(skill * truth + noise + own)))
        found.append(
            ArmScores(
                title, 1 - skill / 10, scores, () if title == "zero-shot" else tuple(range(seeds))
            )
        )
    return labels, found


def array(one: ArmScores) -> np.ndarray:
    return np.stack([one.scores[seed] for seed in range(len(one.scores))])


def test_the_leader_is_chosen_on_validation_rows_and_every_pair_is_judged_once() -> None:
    labels, found = contenders({"full": 1, "a": 1.01, "b": 0.2, "zero-shot": 0.9})
    assert [arm.title for arm in leading_arms(found)] == ["a"]
    verdicts = compare_arms(labels, {"": found}, "full")
    assert [(one.a, one.b) for one in verdicts] == [
        ("a", "full"),
        ("b", "full"),
        ("zero-shot", "full"),
        ("b", "a"),
        ("zero-shot", "a"),
    ]
    np.testing.assert_allclose(
        [one.auc_p for one in verdicts], holm_adjust([one.auc.p for one in verdicts])
    )
    arms = {one.title: np.repeat(array(one), 4 - len(one.scores), axis=0)[:3] for one in found}
    by_hand = [compare_auc(labels, arms[one.a], arms[one.b]) for one in verdicts]
    assert [one.auc.delta for one in verdicts] == [one.delta for one in by_hand]
    # Five comparisons of four arms know the variance between seeds together.
    assert [one.auc for one in verdicts] == pool_over_comparisons(by_hand, 4, of_rows=False)
    assert verdicts[1].outcome == "worse in AUC and log loss" and verdicts[1].auc.seeds == 3


def test_a_leading_reference_is_compared_once() -> None:
    labels, found = contenders({"full": 1.2, "a": 1, "b": 0.2})
    verdicts = compare_arms(labels, {"": found}, "full")
    assert [(one.a, one.b) for one in verdicts] == [("a", "full"), ("b", "full")]
    words = " ".join(summarise_verdicts(verdicts, {"": found}, "full"))
    assert words.startswith("Full leads on validation rows.")


def test_arms_with_equal_scores_share_the_lead() -> None:
    """Kept heads that no epoch improved on are the backbone itself, and so is zero-shot."""
    labels, found = contenders({"full": 1, "a": 1.5, "b": 0.2})
    found.append(dataclasses.replace(found[1], title="same as a"))
    verdicts = compare_arms(labels, {"": found}, "full")
    pairs = [(one.a, one.b) for one in verdicts]
    assert pairs == [("a", "full"), ("b", "full"), ("same as a", "full"), ("b", "a")]
    words = summarise_verdicts(verdicts, {"": found}, "full")
    assert words[0] == (
        "A and same as a share the lead on validation rows: their log losses are equal."
    )
    # The reference may be one of them, wherever it stands; nothing else leads then.
    verdicts = compare_arms(labels, {"": found}, "same as a")
    assert {one.b for one in verdicts} == {"same as a"}
    words = summarise_verdicts(verdicts, {"": found}, "same as a")
    assert words[0].startswith("A and same as a share the lead")
    assert not any("chosen on validation rows" in one for one in words)


def test_an_arm_that_no_seed_changes_is_compared_with_every_seed() -> None:
    labels, found = contenders({"full": 1, "zero-shot": 0.9})
    rigid = dataclasses.replace(found[1], title="logistic regression")
    arms = [found[1], rigid, found[0]]
    verdicts = compare_arms(labels, {"": arms}, "zero-shot")
    assert [one.auc.seeds for one in verdicts if "regression" in one.a + one.b] == [1, 3]
    # Two arms without seeds have one scoring each, which says nothing about the seeds of others.
    assert not any("With one seed" in one for one in summarise_verdicts(verdicts, {"": arms}, ""))


def test_p_values_are_adjusted_over_all_settings() -> None:
    labels, found = contenders({"full": 1, "b": 0.75})
    alone = compare_arms(labels, {"1k": found}, "full")[0]
    together = compare_arms(labels, {"1k": found, "5k": found, "20k": found}, "full")
    assert together[0].auc_p == pytest.approx(min(1, 3 * alone.auc_p))


def test_verdicts_rank_no_noise() -> None:
    labels, found = contenders(
        {"full": 1, "freeze depth 1": 1.001, "freeze depth 2": 3, "probe": 0.1}
    )
    verdicts = compare_arms(labels, {"": found}, "full")
    words = summarise_verdicts(verdicts, {"": found}, "full")
    assert words[0].startswith(
        "Freeze depth 2, chosen on validation rows, is better than full in AUC and log loss"
        " (ΔAUC +0."
    )
    assert "adjusted p" in words[0] and "n = 600, 3 seeds" in words[0]
    assert "; Δ log loss -0." in words[0]
    assert any(
        text.startswith("Worse than full in AUC, not distinguishable from it in log loss: probe")
        or text.startswith("Worse than full in AUC and log loss: probe (ΔAUC -0.")
        for text in words
    )
    tied = [text for text in words if text.startswith("Not distinguishable from full")]
    found_verdict = next(one for one in verdicts if one.a == "freeze depth 1")
    widest = max(abs(found_verdict.auc.low), abs(found_verdict.auc.high))
    assert len(tied) == 1 and tied[0].startswith(
        "Not distinguishable from full in AUC or log loss at n = 600: freeze depth 1. That does"
        f" not mean equal: the 95 % intervals reach differences of {widest:.4f} AUC and "
    )


def test_with_several_settings_every_sentence_names_its_own() -> None:
    labels, found = contenders({"full": 1, "a": 1.001, "b": 0.1}, seeds=1)
    settings = {"1,000 target rows": found, "all target rows": found}
    words = summarise_verdicts(compare_arms(labels, settings, "full"), settings, "full")
    assert len(words) >= 6 and all(
        text.startswith(("1,000 target rows: ", "all target rows: ")) for text in words
    )


def test_one_seed_says_what_it_cannot_tell() -> None:
    labels, found = contenders({"full": 1, "a": 2}, seeds=1)
    assert (
        "With one seed"
        in summarise_verdicts(compare_arms(labels, {"": found}, "full"), {"": found}, "full")[-1]
    )


def test_without_the_reference_the_leader_is_the_measure() -> None:
    labels, found = contenders({"a": 1, "b": 0.2, "c": 0.3})
    assert [(one.a, one.b) for one in compare_arms(labels, {"": found}, "full")] == [
        ("b", "a"),
        ("c", "a"),
    ]


def test_a_seed_that_is_missing_is_left_out_of_both() -> None:
    labels, (full, other) = contenders({"full": 1, "a": 1.3})
    gap = dataclasses.replace(other, scores=array(other)[[2, 0]], seeds=(2, 0))
    (verdict,) = compare_arms(labels, {"": [full, gap]}, "full")
    assert verdict.auc == compare_auc(labels, array(other)[[2, 0]], array(full)[[2, 0]])
    alone = dataclasses.replace(other, scores=array(other)[:1], seeds=(7,))
    assert compare_arms(labels, {"": [full, alone]}, "full") == []
