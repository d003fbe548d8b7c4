"""Recommendations on comparisons written out by hand, and what they say."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from scipy.stats import norm

from core.evaluation.arm_cost import Cost, cheapest, is_cheaper
from core.evaluation.choice_error import PairedLoss
from core.evaluation.non_inferiority import Margins
from core.evaluation.paired_comparison import PairedDifference, compare_row_means
from core.evaluation.recommendation import ArmKind, JudgedArm, Recommendation, recommend
from core.evaluation.recommendation_words import headline, notes

NAN = float("nan")
TRUTH: Mapping[str, tuple[float, float]] = {
    "full": (0.780, 0.450),
    "depth 1": (0.7799, 0.4500),
    "depth 3": (0.7797, 0.4502),
    "probe": (0.770, 0.460),
    "zero-shot": (0.760, 0.470),
    "boosting": (0.7829, 0.4480),
    "logistic": (0.750, 0.480),
}
"""AUC and log loss of every arm in these examples."""


def paired(delta: float, error: float, seeds: int = 3, rows: int = 20_000) -> PairedDifference:
    half = norm.ppf(0.975) * error
    p = 2 * norm.sf(abs(delta) / error) if error else 1.0
    seed = error / 1000 if seeds > 1 else NAN
    both = 0.0 if seeds > 1 else NAN
    row = (error**2 - (seed**2 if seeds > 1 else 0)) ** 0.5
    return PairedDifference(
        delta, delta - half, delta + half, float(p), row, seed, seeds, rows, error,
        float("inf"), both,
    )  # fmt: skip


def arm(
    title: str,
    kind: ArmKind = "fine-tuning",
    seconds: float = 100.0,
    parameters: int = 1000,
    epochs: float = 3,
    validation_loss: float | None = None,
    **fields: bool,
) -> JudgedArm:
    loss = TRUTH[title][1] if validation_loss is None else validation_loss
    name = {"full": "training everything", "zero-shot": "the backbone as it is"}.get(title, title)
    start = {"full": "Train everything", "boosting": "A refitted LightGBM"}.get(title, title)
    cost = Cost(seconds, parameters, epochs)
    return JudgedArm(title, start, name, kind, cost, loss, TRUTH[title][1], **fields)


FULL = arm("full", trains_all=True)
SHALLOW = arm("depth 1", seconds=70, parameters=700)
DEEP = arm("depth 3", seconds=48, parameters=380)
PROBE = arm("probe", seconds=10, parameters=10)
ZERO_SHOT = arm("zero-shot", "zero-shot", seconds=1, parameters=0, epochs=0)
BOOSTING = arm("boosting", "control", seconds=5)


def decide(
    *arms: JudgedArm,
    error: float = 0.0001,
    margins: Margins | None = None,
    truth: Mapping[str, tuple[float, float]] = TRUTH,
    seeds: int = 3,
    validation_error: float = 0.0001,
) -> Recommendation:
    def compare(a: str, b: str) -> Sequence[PairedDifference]:
        (auc_a, loss_a), (auc_b, loss_b) = truth[a], truth[b]
        return paired(auc_a - auc_b, error, seeds), paired(loss_a - loss_b, error, seeds)

    losses = {one.title: one.validation_loss for one in arms}

    def validate(a: str, b: str) -> PairedLoss:
        return PairedLoss(losses[a] - losses[b], validation_error)

    return recommend(arms, compare, validate, margins or Margins())


def test_the_cheapest_arm_within_the_margin_is_recommended() -> None:
    found = decide(FULL, SHALLOW, DEEP, PROBE, ZERO_SHOT, BOOSTING)
    assert (found.decision, found.arm) == ("cheaper", DEEP)
    # Probe and zero-shot trail by 0.01 nats on validation rows, so that two arms make claims.
    assert found.level == 0.05 / 2
    at_most = 3e-4 + norm.ppf(0.975) * 1e-4
    assert found.chosen and found.chosen.claims[0].auc.at_most == pytest.approx(at_most, rel=1e-4)
    assert headline(found) == (
        "depth 3: costs at most 0.0005 AUC and 0.0004 nats against training everything, and trains"
        " 62 % fewer parameters in 48 % of the time. A refitted LightGBM is better still"
        " (+0.0032 AUC)."
    )
    assert notes(found)[0].startswith("Depth 3 is better than the backbone as it is (+0.0197 AUC")


def test_the_same_scores_cost_nothing() -> None:
    truth = {**TRUTH, "depth 3": TRUTH["full"]}
    text = headline(decide(FULL, DEEP, truth=truth, error=0.0))
    assert text.startswith("depth 3: costs nothing against training everything, and trains 62 %")


def test_the_margin_decides() -> None:
    arms = FULL, SHALLOW, DEEP, PROBE, ZERO_SHOT
    assert decide(*arms, margins=Margins(0.0004, 0.1)).arm is SHALLOW
    assert decide(*arms, margins=Margins(0.0001, 0.02)).decision == "open"
    # Ten thousandths of AUC and 3 % of log loss: not fine-tuning is good enough.
    found = decide(*arms, margins=Margins(0.03, 10))
    assert (found.decision, found.arm) == ("do not fine-tune", ZERO_SHOT)
    assert headline(found) == (
        "Do not fine-tune: the backbone as it is costs at most 0.0203 AUC and 0.0203 nats against"
        " training everything, and nothing has to be trained."
    )


def test_both_metrics_count() -> None:
    truth = {**TRUTH, "depth 3": (0.7797, 0.4600)}
    found = decide(FULL, DEEP, truth=truth)
    assert (found.decision, found.arm) == ("settled", FULL)
    assert headline(found) == (
        "Train everything: what is cheaper, depth 3, is shown to lose more than 0.001 AUC or 0.1 %"
        " of log loss."
    )


def test_what_validation_rows_rule_out_makes_no_claim() -> None:
    late = dataclasses.replace(DEEP, validation_loss=0.46)
    found = decide(FULL, late)
    assert (found.decision, found.arm, found.level) == ("settled", FULL, 0.05)
    assert not next(one for one in found.candidates if one.arm is late).claims
    # Within one standard error it is a candidate again, and test rows are asked.
    assert decide(FULL, late, validation_error=0.02).arm is late


def test_the_choice_uses_no_test_rows() -> None:
    """Test results of arms that validation rows and cost rule out change nothing."""
    arms = FULL, SHALLOW, DEEP, PROBE
    for auc in (0.5, 0.99):
        found = decide(*arms, truth={**TRUTH, "probe": (auc, 1 - auc)})
        assert found.arm is DEEP


def test_a_deeper_freeze_with_more_epochs_is_not_cheaper() -> None:
    slow = dataclasses.replace(DEEP, cost=Cost(130.0, 380, 10))
    found = decide(FULL, slow)
    assert found.arm is FULL and "not cheaper" in found.candidates[1].screened
    # As quick, to a few percent, with more epochs: fewer parameters alone do not make it cheaper.
    assert not is_cheaper(Cost(95.0, 380, 10), FULL.cost)
    assert is_cheaper(Cost(95.0, 380, 3), FULL.cost)
    # A lower time alone may be that of a machine that was less busy.
    assert not is_cheaper(Cost(35.0, 1000, 3), FULL.cost) and is_cheaper(
        Cost(35.0, 1000, 2), FULL.cost
    )
    unknown = Cost(NAN, 1000, 3)
    assert is_cheaper(Cost(NAN, 380, 3), unknown) and not is_cheaper(Cost(NAN, 380, 10), unknown)
    quick = dataclasses.replace(DEEP, cost=Cost(48.0, 380, 10))
    assert "in 48 % of the time (10 epochs against 3)" in headline(decide(FULL, quick))


def test_ties_go_to_fewer_parameters_then_to_the_first() -> None:
    costs = [Cost(20, 500, 3), Cost(20, 500, 3), Cost(21, 400, 3), Cost(30, 1, 1)]
    assert cheapest(costs) == 2 and cheapest(costs[:2]) == 0
    assert cheapest([Cost(NAN, 5, 1), Cost(NAN, 4, 9)]) == 1


def test_open_says_what_would_settle_it() -> None:
    found = decide(FULL, DEEP, error=0.0006)
    assert found.decision == "open" and found.power and found.power.arm == "depth 3"
    text = headline(found)
    assert text.startswith(
        "Nothing cheaper can be recommended yet: whether depth 3 loses less than 0.001 AUC and"
        " 0.1 % of log loss against training everything is open at 20,000 test rows and 3 seeds."
        " About "
    )
    assert "more test rows" in text and text.endswith("would settle it. Seeds alone would not.")


def test_one_seed_holds_for_these_rows_only() -> None:
    found = decide(FULL, DEEP, seeds=1)
    assert any("these test rows only" in one for one in notes(found))
    assert not any("these test rows only" in one for one in notes(decide(FULL, DEEP)))
    open_one = headline(decide(FULL, DEEP, seeds=1, error=0.0006))
    assert "more seeds" not in open_one and "A second seed would tell" in open_one


def test_the_leading_arm_must_not_lose_against_training_everything() -> None:
    """On validation rows the shallow arm leads; on test rows it is shown to be worse."""
    lucky = dataclasses.replace(SHALLOW, validation_loss=0.44)
    truth = {**TRUTH, "depth 1": (0.770, 0.460)}
    found = decide(FULL, lucky, truth=truth)
    assert (found.leader, found.decision, found.arm) == (lucky, "settled", FULL)


def test_cheap_arms_are_judged_against_the_leading_arm_too() -> None:
    """Full fine-tuning overfits: against it everything looks good, against the leader not."""
    truth = {**TRUTH, "full": (0.70, 0.52)}
    bad_full = dataclasses.replace(FULL, validation_loss=0.52, log_loss=0.52)
    near = dataclasses.replace(ZERO_SHOT, validation_loss=0.4501)
    found = decide(bad_full, SHALLOW, near, truth=truth)
    assert (found.decision, found.arm) == ("cheaper", SHALLOW)
    assert "gains at least 0.0797 AUC and 0.0698 nats of log loss" in headline(found)


def test_an_arm_that_costs_more_has_to_be_better() -> None:
    dear = dataclasses.replace(arm("boosting", seconds=150), validation_loss=0.44)
    assert decide(FULL, dear).decision == "better" and decide(FULL, dear).arm is dear
    same = {**TRUTH, "boosting": TRUTH["full"]}
    found = decide(FULL, dear, truth=same)
    assert (found.decision, found.arm) == ("settled", FULL)


def test_fine_tuning_that_does_not_help_is_said() -> None:
    truth = {**TRUTH, "zero-shot": TRUTH["full"]}
    far = dataclasses.replace(ZERO_SHOT, validation_loss=0.47)
    found = decide(FULL, far, truth=truth)
    assert headline(found).startswith("Fine-tuning is not shown to help: training everything")
    better = {**TRUTH, "zero-shot": (0.79, 0.44)}
    found = decide(FULL, DEEP, far, truth=better)
    assert found.arm is DEEP and "Fine-tuning does not help: depth 3" in notes(found)[0]


def test_a_control_that_is_better_in_one_metric_only() -> None:
    truth = {**TRUTH, "boosting": (0.7829, 0.4600)}
    text = headline(decide(FULL, DEEP, BOOSTING, truth=truth))
    assert "better still (+0.0032 AUC, but +0.0098 nats of log loss)" in text
    only_loss = {**TRUTH, "boosting": (0.7797, 0.4400)}
    text = headline(decide(FULL, DEEP, BOOSTING, truth=only_loss))
    assert "better still (-0.0102 nats of log loss)" in text
    # A difference without support is not mentioned.
    assert "LightGBM" not in headline(decide(FULL, DEEP, BOOSTING, error=0.003))


def test_halved_arms_are_set_aside() -> None:
    halved = dataclasses.replace(DEEP, halted=True)
    found = decide(FULL, SHALLOW, halved)
    assert found.arm is SHALLOW
    assert "successive halving ended them: depth 3" in notes(found)[-1]


def test_nothing_to_recommend() -> None:
    for arms, why in (
        ((FULL,), "only one arm is done"),
        ((ZERO_SHOT, BOOSTING), "no fine-tuning arm is done"),
        ((), "no fine-tuning arm is done"),
    ):
        found = decide(*arms)
        assert found.decision == "impossible" and why in headline(found)
        assert notes(found) == []
    unknown = [dataclasses.replace(one, validation_loss=NAN) for one in (SHALLOW, DEEP)]
    assert "validated on different rows" in headline(decide(*unknown))


def test_one_class_test_rows_have_no_auc() -> None:
    nothing = PairedDifference(NAN, NAN, NAN, NAN, NAN, NAN, 3, 100, NAN)
    found = recommend(
        [FULL, DEEP],
        lambda a, b: (nothing, paired(0.0, 1e-4)),
        lambda a, b: PairedLoss(0.0, 1.0),
        Margins(),
    )
    assert found.decision == "impossible" and found.arm is None
    assert headline(found) == (
        "Nothing can be recommended: the test rows define no interval of AUC or log loss."
    )


def test_without_full_fine_tuning_the_leading_arm_is_the_standard() -> None:
    found = decide(SHALLOW, DEEP)
    assert (found.reference, found.arm) == (None, DEEP)
    assert "against depth 1" in headline(found)


def test_one_arm_and_controls() -> None:
    found = decide(DEEP, ZERO_SHOT, BOOSTING)
    assert (found.decision, found.arm) == ("settled", DEEP)
    assert headline(found) == (
        "Depth 3 is better than the backbone as it is (+0.0197 AUC, -0.0198 nats of log loss)."
        " A refitted LightGBM is better than depth 3 (+0.0032 AUC)."
    )
    assert notes(found) == []
    weak = arm("logistic", "control", seconds=5)
    assert notes(decide(DEEP, ZERO_SHOT, weak)) == [
        "No control is shown to be better than depth 3: logistic."
    ]
    assert math.isclose(found.controls[0].comparison[0].delta, 0.0032)


@pytest.mark.parametrize(("loss", "low", "high"), [(0.001, 0.0, 0.08), (0.0, 0.85, 1.0)])
def test_a_recommendation_is_seldom_wrong_and_mostly_made(
    loss: float, low: float, high: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three cheaper arms that truly lose the margin, or nothing, drawn with rows and seeds."""
    monkeypatch.setattr("core.evaluation.recommendation._power", lambda *about: None)
    random, trials, made, n, seeds = np.random.default_rng(12), 120, 0, 400, 3
    cheap = [
        JudgedArm(f"arm {k}", "", "", "fine-tuning", Cost(10.0 + k, 10, 3), 0.46, 0.45)
        for k in range(3)
    ]
    for _ in range(trials):
        # AUC and log loss of every arm, less those of full fine-tuning, as means over rows.
        shared = random.normal(0, 0.002, (2, n))
        noise = {
            one.title: [
                shared[metric]
                + random.normal(0, 0.0001, (seeds, 1))
                + random.normal(0, 0.003, (seeds, n))
                for metric in (0, 1)
            ]
            for one in (FULL, *cheap)
        }

        def compare(a: str, b: str) -> list[PairedDifference]:
            true = loss * ((b == "full") - (a == "full"))
            pairs = zip(noise[a], noise[b], strict=True)  # noqa: B023 - called within the trial
            signs = (-1, 1)
            return [
                compare_row_means([*(one + sign * true)], [*other])
                for sign, (one, other) in zip(signs, pairs, strict=True)
            ]

        found = recommend(
            [FULL, *cheap], compare, lambda a, b: PairedLoss(0.0, 0.01), Margins(0.001, 100 / 450)
        )
        made += found.decision == "cheaper"
    assert low <= made / trials <= high
