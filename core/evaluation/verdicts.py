"""What a sweep's numbers allow to say, in words: strategies held against a reference and against
the leading one.

The leader is chosen on validation rows, so that comparing the others with it on test rows is no
choice by test rows. All p-values of a sweep are adjusted together (Holm 1979); where the adjusted
one is 0.05 or more, two strategies are "not distinguishable", never ranked. Where the test rows
allow no interval at all (one class, a single click), two are "not comparable", which says nothing
about how close they are.
"""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.evaluation.comparison_cache import Scores, SeedScores, compare_pairs
from core.evaluation.format_metrics import (
    NO_VARIANCE,
    format_bounds,
    format_metric,
    is_missing,
    reason_from_counts,
)
from core.evaluation.multiplicity import holm_adjust
from core.evaluation.paired_comparison import PairedDifference

SIGNIFICANCE_LEVEL = 0.05
COMPARED_METRICS = ("auc", "log_loss")
"""The metrics that arms are compared by: AUC by DeLong, log loss by a paired bootstrap."""
NOT_DISTINGUISHABLE, NOT_COMPARABLE = "not distinguishable", "not comparable"


def comparison_outcome(delta: float, adjusted_p: float) -> str:
    """What a difference in AUC allows to say: "better", "worse", "not distinguishable" or "not
    comparable"."""
    if is_missing(delta) or is_missing(adjusted_p):
        return NOT_COMPARABLE
    if adjusted_p >= SIGNIFICANCE_LEVEL:
        return NOT_DISTINGUISHABLE
    return "better" if delta > 0 else "worse"


@dataclass(frozen=True)
class ArmScores:
    """A strategy in one setting: scores of every seed on the test rows, and its mean log loss on
    validation rows.

    validation_loss: NaN for one that was validated on other rows than the rest; such a one never
    leads.

    seeds: of each of the scores; none where no seed matters, as in zero-shot, which then has a
    single one. keys: of each of the scores, what no other scoring of any rows has; comparisons with
    keys are kept.
    """

    title: str
    validation_loss: float
    scores: Scores
    seeds: tuple[int, ...]
    keys: tuple[Hashable, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """`a` compared with `b` on the test rows of `setting`; differences are a less b.

    auc_p, log_loss_p: adjusted for all comparisons of the sweep. clicks: among the test rows. A
    difference, its interval and its p are NaN where the rows do not define them.
    """

    setting: str
    a: str
    b: str
    auc: PairedDifference
    log_loss: PairedDifference
    auc_p: float = float("nan")
    log_loss_p: float = float("nan")
    clicks: int | None = None

    def comparison(self, metric: str) -> tuple[PairedDifference, float]:
        """The difference in a metric of COMPARED_METRICS, and its adjusted p."""
        return {"auc": (self.auc, self.auc_p), "log_loss": (self.log_loss, self.log_loss_p)}[metric]

    @property
    def outcome(self) -> str:
        """Whether a's AUC is "better", "worse", "not distinguishable" or, without an interval, "not
        comparable"."""
        return comparison_outcome(self.auc.delta, self.auc_p)

    @property
    def outcome_with_rows(self) -> str:
        """The word with what it rests on: the number of rows, or why there is no interval."""
        word = self.outcome
        if word == NOT_DISTINGUISHABLE:
            return f"{word} at n = {self.auc.rows:,}"
        return f"{word}: {self.reason}" if word == NOT_COMPARABLE else word

    @property
    def reason(self) -> str:
        """Why the AUCs are not comparable."""
        return reason_from_counts(self.auc.rows, self.clicks) or NO_VARIANCE


def leading_arm(contenders: Sequence[ArmScores]) -> ArmScores | None:
    """The one with the lowest mean log loss on validation rows; None where that of no one is
    known."""
    known = [one for one in contenders if not is_missing(one.validation_loss)]
    return min(known, key=lambda one: one.validation_loss, default=None)


def compare_arms(
    y_true: np.ndarray, settings: Mapping[str, Sequence[ArmScores]], reference: str
) -> list[Verdict]:
    """Every strategy against the reference, and against the leader, in every setting.

    labels: of the test rows. settings: contenders by setting (such as a target size), each with a
    title of its own. reference: a title; a setting without it is held against its leader alone. Two
    are compared over the seeds that both have, and not at all where they have none in common yet.
    """
    pairs: list[tuple[str, ArmScores, ArmScores]] = []
    for setting, contenders in settings.items():
        by_title = {one.title: one for one in contenders}
        lead = leading_arm(contenders)
        if reference in by_title:
            pairs += [
                (setting, one, by_title[reference]) for one in contenders if one.title != reference
            ]
        if lead and lead.title != reference:
            pairs += [
                (setting, one, lead)
                for one in contenders
                if one.title not in (lead.title, reference)
            ]
    pairs = [(setting, a, b) for setting, a, b in pairs if _common_seeds(a, b) != []]
    sides = []
    for _, a, b in pairs:
        of_a, of_b = _common_seed_indices(a, b)
        sides.append((SeedScores(a.scores, of_a, a.keys), SeedScores(b.scores, of_b, b.keys)))
    found = [
        Verdict(setting, a.title, b.title, *differences)
        for (setting, a, b), differences in zip(pairs, compare_pairs(y_true, sides), strict=True)
    ]
    auc_p = holm_adjust([one.auc.p for one in found])
    log_loss_p = holm_adjust([one.log_loss.p for one in found])
    return [
        dataclasses.replace(
            one, auc_p=float(auc_p[i]), log_loss_p=float(log_loss_p[i]), clicks=int(np.sum(y_true))
        )
        for i, one in enumerate(found)
    ]


def summarise_verdicts(
    verdicts: Sequence[Verdict], settings: Mapping[str, Sequence[ArmScores]], reference: str
) -> list[str]:
    """A few sentences for each setting."""
    sentences = []
    for setting, contenders in settings.items():
        own = [one for one in verdicts if one.setting == setting]
        if not own:
            continue
        rows, seeds = own[0].auc.rows, own[0].auc.seeds
        first = leading_arm(contenders)
        lead = first.title if first else None
        begin = f"{setting}: " if len(settings) > 1 else ""
        against = {one.a: one for one in own if one.b == reference}
        if all(one.outcome == NOT_COMPARABLE for one in own):
            sentences += _not_comparable_sentences(own, begin, lead)
            continue
        if lead in against:
            sentences.append(
                f"{begin}{_comparison_sentence(against[lead], ', chosen on validation rows,')}"
            )
        elif lead == reference:
            sentences.append(f"{begin}{_capitalise(reference)} leads on validation rows.")
        for word in ("better", "worse"):
            others = [one for one in against.values() if one.outcome == word and one.a != lead]
            if others:
                named = "; ".join(f"{one.a} ({format_difference(one)})" for one in others)
                sentences.append(f"{begin}{_capitalise(word)} than {reference}: {named}.")
        alike = [
            one.a
            for one in against.values()
            if one.outcome == NOT_DISTINGUISHABLE and one.a != lead
        ]
        if alike:
            sentences.append(
                f"{begin}Not distinguishable from {reference} at n = {rows:,}: {'; '.join(alike)}."
            )
        tied = [
            one.a
            for one in own
            if one.b == lead and lead != reference and one.outcome == NOT_DISTINGUISHABLE
        ]
        if tied:
            sentences.append(
                f"{begin}Not distinguishable from {lead} at n = {rows:,}: {'; '.join(tied)}."
            )
        unknown = [
            one for one in against.values() if one.outcome == NOT_COMPARABLE and one.a != lead
        ]
        if unknown:
            named = "; ".join(f"{one.a} ({format_difference(one)})" for one in unknown)
            sentences.append(f"{begin}Not comparable with {reference}: {named}.")
        if seeds == 1:
            sentences.append(
                f"{begin}With one seed this holds only for these test rows: another seed may "
                "reverse it round."
            )
    return sentences


def format_difference(verdict: Verdict) -> str:
    """The difference in AUC with its interval and adjusted p, or why they are missing."""
    if is_missing(verdict.auc.delta):
        return f"no AUC: {verdict.reason}"
    delta = f"ΔAUC {format_metric(verdict.auc.delta, signed=True)}"
    if verdict.outcome == NOT_COMPARABLE:
        return f"{delta}, no interval: {verdict.reason}"
    p = "p < 0.0001" if verdict.auc_p < 1e-4 else f"p {verdict.auc_p:.3g}"
    return (
        f"{delta}, 95 % {format_bounds(verdict.auc.low, verdict.auc.high, signed=True)},"
        f" adjusted {p}"
    )


def _not_comparable_sentences(
    verdicts: Sequence[Verdict], begin: str, lead: str | None
) -> list[str]:
    """The sentences of a setting whose test rows compare no two arms."""
    reason = f"{verdicts[0].reason}, so there is no interval and nothing is ranked"
    sentences = [f"{begin}The arms are not comparable by AUC on these test rows: {reason}."]
    if lead:
        sentences.append(f"{begin}{_capitalise(lead)} leads on validation rows.")
    return sentences


def _comparison_sentence(verdict: Verdict, how: str) -> str:
    rows = (
        f"n = {verdict.auc.rows:,}, {verdict.auc.seeds} seed{'s' if verdict.auc.seeds > 1 else ''}"
    )
    if verdict.outcome == NOT_COMPARABLE:
        return (
            f"{_capitalise(verdict.a)}{how} is not comparable with {verdict.b} "
            f"({format_difference(verdict)}; {rows})."
        )
    if verdict.outcome == NOT_DISTINGUISHABLE:
        return (
            f"{_capitalise(verdict.a)}{how} is not distinguishable from {verdict.b}"
            f" ({format_difference(verdict)}; {rows})."
        )
    return (
        f"{_capitalise(verdict.a)}{how} is {verdict.outcome} than {verdict.b} "
        f"({format_difference(verdict)}; {rows})."
    )


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]


def _common_seeds(a: ArmScores, b: ArmScores) -> list[int] | None:
    """The seeds that both have, in the order of the first; None where neither hangs on a seed."""
    if not a.seeds and not b.seeds:
        return None
    return [seed for seed in a.seeds or b.seeds if seed in (b.seeds or a.seeds)]


def _common_seed_indices(a: ArmScores, b: ArmScores) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Places in both's scores, one for each common seed; what hangs on no seed stands beside each
    of them."""
    seeds = _common_seeds(a, b)
    if seeds is None:
        return tuple(range(len(a.scores))), tuple(range(len(b.scores)))
    own, other = (
        tuple(one.seeds.index(seed) if one.seeds else 0 for seed in seeds) for one in (a, b)
    )
    return own, other
