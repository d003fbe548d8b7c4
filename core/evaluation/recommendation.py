"""A recommendation: the cheapest arm that is shown to lose less than a margin.

Validation rows choose, test rows claim:

1. The *leading arm* is the fine-tuning arm with the lowest log loss on validation rows. Every arm
   is judged against it, and against the *reference*, which trains everything.
2. *Candidates* are the arms that cost less than the reference, the leading arm among them, and
   zero-shot. An arm that trails the leading one on validation rows, by more than the margin and by
   more than one standard error, is none (the one-standard-error rule of Breiman et al. 1984).
3. A candidate is *non-inferior* where it is shown on test rows to lose less than the margin, in AUC
   and in log loss, against the leading arm and against the reference
   (`core.evaluation.non_inferiority`). With k candidates every bound is at the level 0.05 / k
   (Bonferroni), so that the bounds of all hold together and whichever is taken.
4. The recommended arm is the cheapest that is non-inferior. Where there is none, the leading arm
   stands, unless it is shown to lose more than the margin against the reference, or costs more than
   the reference without being shown to be better; then the reference stands. How many more rows or
   seeds would settle what is open is in `core.evaluation.power`.

Controls and blends are then compared with the recommended arm on test rows, two-sided, adjusted for
their number, both metrics and the arms that might have been recommended.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from core.evaluation.arm_cost import Cost, cheapest, is_cheaper
from core.evaluation.choice_error import PairedLoss
from core.evaluation.format_metrics import is_missing
from core.evaluation.multiplicity import holm_adjust
from core.evaluation.non_inferiority import Margins, NonInferiority, non_inferiority
from core.evaluation.paired_comparison import PairedDifference
from core.evaluation.power import Power, power_of
from core.evaluation.significance import SIGNIFICANCE_LEVEL, Outcome, comparison_outcome
from core.evaluation.variance_parts import pool_differences

ArmKind = Literal["fine-tuning", "zero-shot", "control", "blend"]
Decision = Literal["cheaper", "do not fine-tune", "better", "settled", "open", "impossible"]
"""cheaper: a cheaper arm is non-inferior. do not fine-tune: it is zero-shot. better: the leading
arm costs more than the reference and is better. settled: no cheaper arm is left that might be
non-inferior. open: rows and seeds do not tell. impossible: nothing can be compared."""
CompareFn = Callable[[str, str], Sequence[PairedDifference]]
"""AUC and log loss of one arm minus those of another on test rows, by their titles; what follows in
the sequence is not read."""
ValidateFn = Callable[[str, str], PairedLoss | None]
"""How much higher the validation loss of one arm is than that of another, by their titles; None
where they were validated on other rows."""


@dataclass(frozen=True)
class JudgedArm:
    """What is known of an arm without its test rows, and its log loss on them.

    Args:
        title: as tables have it; unique.
        name: begins a sentence that recommends it, such as "Freeze embedding and block 1".
        activity: the same within a sentence, such as "freezing embedding and block 1".
        kind: of the arm.
        cost: of a run.
        validation_loss: mean log loss on validation rows; NaN where the arm was validated on other
            rows than the rest, so that it never leads.
        log_loss: mean log loss on test rows; the margin is a part of that of the arm compared with.
        halted: whether successive halving ended it, so that it is not recommended.
        trains_all: whether it trains the whole network, as the reference does.
    """

    title: str
    name: str
    activity: str
    kind: ArmKind
    cost: Cost
    validation_loss: float
    log_loss: float
    halted: bool = False
    trains_all: bool = False


@dataclass(frozen=True)
class Candidate:
    """An arm that might be recommended, and what test rows say of it.

    Args:
        arm: the arm.
        screened: why it is no candidate; "" for one that is.
        claims: against the reference and the leading arm, the reference first; empty for the
            reference itself, and for what is no candidate.
    """

    arm: JudgedArm
    screened: str
    claims: tuple[NonInferiority, ...]

    @property
    def outcome(self) -> str:
        """What its claims come to together; "standard" for an arm that is compared with none."""
        if self.screened:
            return "no candidate"
        outcomes = [claim.outcome for claim in self.claims]
        if not outcomes:
            return "standard"
        for found in ("undefined", "inferior", "open"):
            if found in outcomes:
                return found
        return "non-inferior"

    @property
    def superior(self) -> bool:
        """Whether it is non-inferior, and against each shown to be better in one of the metrics."""
        return self.outcome == "non-inferior" and all(
            any(one.at_most < 0 for one in claim.metrics) for claim in self.claims
        )

    @property
    def near(self) -> bool:
        """Whether every estimated loss is within its margin."""
        return all(one.loss < one.margin for claim in self.claims for one in claim.metrics)


@dataclass(frozen=True)
class Contrast:
    """A control, blend or zero-shot compared with the recommended arm.

    Args:
        arm: the control.
        comparison: AUC and log loss of it minus those of the recommended arm.
        auc_p, log_loss_p: adjusted.
    """

    arm: JudgedArm
    comparison: Sequence[PairedDifference]
    auc_p: float
    log_loss_p: float

    @property
    def auc(self) -> Outcome:
        """What the difference in AUC supports of the control."""
        return comparison_outcome(self.comparison[0].delta, self.auc_p)

    @property
    def log_loss(self) -> Outcome:
        """What the difference in log loss supports of the control."""
        return comparison_outcome(-self.comparison[1].delta, self.log_loss_p)

    @property
    def is_better(self) -> bool:
        """Whether the control is better in at least one of the two metrics."""
        return "better" in (self.auc, self.log_loss)


@dataclass(frozen=True)
class Recommendation:
    """What to do, on what it rests, and what would settle it otherwise.

    Args:
        setting: target size or the like; "" where there is only one.
        decision: which of the cases it is.
        margins: that the user set.
        arm: the recommended arm; in the cases "settled" and "open" the leading one. None where
            nothing can be said.
        reference: trains everything; None where no such arm is there.
        leader: the leading arm.
        candidates: all fine-tuning arms and zero-shot.
        controls: compared with `arm`.
        zero_shot: compared with `arm`; None where it is not there, or is `arm`.
        power: of the cheapest candidate that is open; None where none is.
        level: one-sided level of each bound.
        reason: why nothing can be said; "" where something can.
        seeds: fewest seeds that a comparison rests on.
    """

    setting: str
    decision: Decision
    margins: Margins
    arm: JudgedArm | None = None
    reference: JudgedArm | None = None
    leader: JudgedArm | None = None
    candidates: tuple[Candidate, ...] = ()
    controls: tuple[Contrast, ...] = ()
    zero_shot: Contrast | None = None
    power: Power | None = None
    level: float = SIGNIFICANCE_LEVEL
    reason: str = ""
    seeds: int = 0

    @property
    def chosen(self) -> Candidate | None:
        """The candidate that is recommended or leads."""
        return next((one for one in self.candidates if one.arm is self.arm), None)

    @property
    def standard(self) -> JudgedArm | None:
        """The arm that a sentence compares with: the reference, else the leading arm."""
        return self.reference or self.leader


def recommend(
    arms: Sequence[JudgedArm],
    compare: CompareFn,
    validate: ValidateFn,
    margins: Margins,
    setting: str = "",
) -> Recommendation:
    """Recommend one of the arms of a setting.

    Args:
        arms: with a title of their own, all tested on the same rows.
        compare: of test rows; called for the pairs that are needed.
        validate: of validation rows; called with the leading arm as the second.
        margins: what counts as lost.
        setting: names the target size or the like.
    """
    tuned = [one for one in arms if one.kind == "fine-tuning" and not one.halted]
    reference = next((one for one in tuned if one.trains_all), None)
    known = [one for one in tuned if not is_missing(one.validation_loss)]
    leader = min(known, key=lambda one: one.validation_loss, default=reference)
    if leader is None or len(arms) < 2:
        return Recommendation(
            setting, "impossible", margins, reason=_why_impossible(arms, tuned, leader)
        )
    compare = _pooled(arms, [one for one in (reference, leader) if one], compare)
    candidates, level = _judge(arms, reference, leader, compare, validate, margins)
    if all(one.outcome == "undefined" for one in candidates if one.claims) and any(
        one.claims for one in candidates
    ):
        return Recommendation(
            setting,
            "impossible",
            margins,
            reference=reference,
            leader=leader,
            candidates=candidates,
            level=level,
            reason="the test rows define no interval of AUC or log loss",
        )
    decision, arm = _decide(candidates, reference, leader)
    controls, zero_shot = _contrast(arms, arm, compare, len(candidates))
    return Recommendation(
        setting,
        decision,
        margins,
        arm,
        reference,
        leader,
        candidates,
        controls,
        zero_shot,
        _power(candidates, arm, decision),
        level,
        seeds=_seeds(candidates, controls, zero_shot),
    )


def _why_impossible(
    arms: Sequence[JudgedArm], tuned: Sequence[JudgedArm], leader: JudgedArm | None
) -> str:
    if not tuned:
        return "no fine-tuning arm is done"
    if leader is None:
        return "the arms were validated on different rows, and none of them trains everything"
    return "only one arm is done, and there is nothing to compare it with"


def _pooled(
    arms: Sequence[JudgedArm], standards: Sequence[JudgedArm], compare: CompareFn
) -> CompareFn:
    """Return `compare` with the variance between seeds pooled, see core.evaluation.pooled_seeds.

    A few seeds say little of how much seeds differ. It is pooled over the arms of the backbone,
    which are trained alike; a control adds what it says to its own comparison alone.
    """
    alike = [one for one in arms if one.kind in ("fine-tuning", "zero-shot")]
    pairs = {
        (one.title, standard.title): compare(one.title, standard.title)
        for standard in standards
        for one in alike
        if one is not standard
    }

    def pooled(a: str, b: str) -> Sequence[PairedDifference]:
        found = pairs if (a, b) in pairs else {**pairs, (a, b): compare(a, b)}
        place, n_arms = [*found].index((a, b)), len({title for pair in found for title in pair})
        return [
            pool_differences([pair[metric] for pair in found.values()], n_arms, of_rows)[place]
            for metric, of_rows in ((0, False), (1, True))
        ]

    return lru_cache(maxsize=None)(pooled)


def _judge(
    arms: Sequence[JudgedArm],
    reference: JudgedArm | None,
    leader: JudgedArm,
    compare: CompareFn,
    validate: ValidateFn,
    margins: Margins,
) -> tuple[tuple[Candidate, ...], float]:
    """Return the candidates with their claims, and the level of each bound."""
    standards = [one for one in dict.fromkeys((reference, leader)) if one]
    screened = {
        one.title: _screen(one, reference, leader, validate, margins)
        for one in arms
        if one.kind in ("fine-tuning", "zero-shot")
    }
    claiming = [
        one
        for one in arms
        if screened.get(one.title) == ""
        and one is not reference
        and any(one is not standard for standard in standards)
    ]
    level = SIGNIFICANCE_LEVEL / max(len(claiming), 1)
    candidates = []
    for one in arms:
        if one.title not in screened:
            continue
        compared = [standard for standard in standards if standard is not one]
        claims = tuple(
            non_inferiority(
                one.title,
                standard.title,
                compare(one.title, standard.title),
                standard.log_loss,
                margins,
                level,
                len(compared),
            )
            for standard in compared
            if one in claiming
        )
        candidates.append(Candidate(one, screened[one.title], claims))
    return tuple(candidates), level


def _screen(
    arm: JudgedArm,
    reference: JudgedArm | None,
    leader: JudgedArm,
    validate: ValidateFn,
    margins: Margins,
) -> str:
    """Return why an arm is no candidate, by its cost and validation rows alone; "" for one."""
    if arm.halted:
        return "ended by successive halving"
    if arm is reference or arm is leader:
        return ""
    if arm.kind == "fine-tuning" and not is_cheaper(arm.cost, (reference or leader).cost):
        return f"not cheaper than {(reference or leader).title}"
    if is_missing(arm.validation_loss):
        return ""
    found = validate(arm.title, leader.title)
    margin = margins.log_loss_percent / 100 * leader.validation_loss
    if found and found.difference > max(margin, _zero_if_nan(found.standard_error)):
        return f"behind {leader.title} on validation rows, by {found.difference:.4f} nats"
    return ""


def _decide(
    candidates: Sequence[Candidate], reference: JudgedArm | None, leader: JudgedArm
) -> tuple[Decision, JudgedArm]:
    """Return the case and the arm that it is about."""
    standard = reference or leader
    claimed = [one for one in candidates if one.outcome == "non-inferior"]
    zero_shot = next((one.arm for one in claimed if one.arm.kind == "zero-shot"), None)
    if zero_shot:
        return "do not fine-tune", zero_shot
    if cheaper := [one.arm for one in claimed if is_cheaper(one.arm.cost, standard.cost)]:
        return "cheaper", cheaper[cheapest([one.cost for one in cheaper])]
    of_leader = next(one for one in candidates if one.arm is leader)
    if of_leader.superior:
        return "better", leader
    stays = is_cheaper(leader.cost, standard.cost) and of_leader.outcome != "inferior"
    is_open = any(one.outcome == "open" for one in candidates)
    return "open" if is_open else "settled", leader if stays else standard


def _power(candidates: Sequence[Candidate], arm: JudgedArm, decision: Decision) -> Power | None:
    """Return the power of the cheapest open candidate, of those within the margins if any is.

    Where an arm is recommended, only a cheaper one is of interest.
    """
    found = [one for one in candidates if one.outcome == "open"]
    if decision in ("cheaper", "better", "do not fine-tune"):
        found = [one for one in found if is_cheaper(one.arm.cost, arm.cost)]
    found = [one for one in found if one.near] or found
    if not found:
        return None
    chosen = found[cheapest([one.arm.cost for one in found])]
    powers = [power_of(claim) for claim in chosen.claims if claim.outcome == "open"]
    return min(powers, key=lambda one: one.now)


def _contrast(
    arms: Sequence[JudgedArm], arm: JudgedArm, compare: CompareFn, n_candidates: int
) -> tuple[tuple[Contrast, ...], Contrast | None]:
    """Return controls and blends, and zero-shot, compared with the arm that is recommended."""
    others = [one for one in arms if one.kind != "fine-tuning" and one is not arm]
    compared = [compare(one.title, arm.title) for one in others]
    adjusted = holm_adjust([found.p for pair in compared for found in pair[:2]])
    # Test rows had a say in which arm is recommended, so the claim must hold for each of them.
    p_values = [min(1.0, p * max(n_candidates, 1)) if p == p else p for p in map(float, adjusted)]
    contrasts = [
        Contrast(one, pair, p_values[2 * place], p_values[2 * place + 1])
        for place, (one, pair) in enumerate(zip(others, compared, strict=True))
    ]
    zero_shot = next((one for one in contrasts if one.arm.kind == "zero-shot"), None)
    return tuple(one for one in contrasts if one is not zero_shot), zero_shot


def _seeds(
    candidates: Sequence[Candidate], controls: Sequence[Contrast], zero_shot: Contrast | None
) -> int:
    found = [claim.seeds for one in candidates for claim in one.claims]
    found += [one.comparison[0].seeds for one in (*controls, zero_shot) if one]
    return min(found, default=0)


def _zero_if_nan(value: float) -> float:
    return 0.0 if math.isnan(value) else value
