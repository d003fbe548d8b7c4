"""What the results of a sweep support: arms compared with a reference and with the leading arm.

The leading arm is chosen on validation rows, so comparing the others with it on test rows chooses
nothing by test rows. All p-values of a sweep are adjusted together (Holm 1979); what the adjusted
ones support is said by core.evaluation.significance, and noise is never ranked.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.evaluation.comparison_cache import Scores, SeedScores, compare_pairs
from core.evaluation.format_metrics import (
    NO_VARIANCE,
    format_bounds,
    format_metric,
    format_p,
    is_missing,
    reason_from_counts,
)
from core.evaluation.multiplicity import holm_adjust
from core.evaluation.paired_comparison import PairedDifference
from core.evaluation.significance import (
    NOT_COMPARABLE,
    NOT_DISTINGUISHABLE,
    Outcome,
    comparison_outcome,
)

COMPARED_METRICS = ("auc", "log_loss")
"""The metrics that arms are compared by: AUC by DeLong, log loss by a paired bootstrap."""


@dataclass(frozen=True)
class ArmScores:
    """The test scores of one arm in one setting.

    Args:
        title: names the arm in sentences.
        validation_loss: mean log loss on validation rows, by which the leading arm is chosen; NaN
            where the arm was validated on other rows than the rest, so it never leads.
        scores: of every seed on the test rows, each of shape ``(n_rows,)``.
        seeds: of each of `scores`; empty where nothing trained, so that a single scoring stands
            for every seed.
        keys: a key for each of `scores` that no other scoring of any rows has; comparisons of
            arms with keys are cached.
    """

    title: str
    validation_loss: float
    scores: Scores
    seeds: tuple[int, ...]
    keys: tuple[Hashable, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """Arm `a` compared with arm `b` on the test rows; differences are a minus b.

    Args:
        setting: the target size or the like that both share; "" where there is only one.
        a, b: titles of the arms.
        auc, log_loss: the differences; their intervals and p-values are NaN where the rows do not
            define them.
        auc_p, log_loss_p: p-values adjusted for all comparisons of the sweep.
        clicks: number of clicks among the test rows.
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
    def outcome(self) -> Outcome:
        """What the difference in AUC supports about `a`."""
        return comparison_outcome(self.auc.delta, self.auc_p)

    @property
    def outcome_with_rows(self) -> str:
        """The outcome with the number of rows, or with the reason why there is no interval."""
        if self.outcome == NOT_DISTINGUISHABLE:
            return f"{self.outcome} at n = {self.auc.rows:,}"
        return f"{self.outcome}: {self.reason}" if self.outcome == NOT_COMPARABLE else self.outcome

    @property
    def reason(self) -> str:
        """Why the AUCs are not comparable."""
        return reason_from_counts(self.auc.rows, self.clicks) or NO_VARIANCE


def leading_arms(arms: Sequence[ArmScores]) -> list[ArmScores]:
    """The arms with the lowest validation log loss, as two whose scores are equal share the lead.

    Empty where no loss is known.
    """
    known = [arm for arm in arms if not is_missing(arm.validation_loss)]
    lowest = min((arm.validation_loss for arm in known), default=0.0)
    return [arm for arm in known if arm.validation_loss == lowest]


def compare_arms(
    y_true: np.ndarray, settings: Mapping[str, Sequence[ArmScores]], reference: str
) -> list[Verdict]:
    """Compare every arm with the reference and with the leading arm of its setting.

    Args:
        y_true: labels of the test rows, 0 or 1, shape ``(n_rows,)``.
        settings: arms by setting (such as a target size), each with a title of its own.
        reference: title of the reference; a setting without it is compared with its leading arm
            alone.

    Returns:
        One verdict for each pair. Two arms are compared over the seeds that both have, and left
        out where they have none in common.
    """
    pairs = [
        (setting, a, b)
        for setting, arms in settings.items()
        for a, b in _pairs(arms, reference)
        if _common_seeds(a, b) != []
    ]
    scores = []
    for _, a, b in pairs:
        indices_a, indices_b = _common_seed_indices(a, b)
        scores.append(
            (SeedScores(a.scores, indices_a, a.keys), SeedScores(b.scores, indices_b, b.keys))
        )
    compared = compare_pairs(y_true, scores)
    auc_p = holm_adjust([auc.p for auc, _ in compared])
    log_loss_p = holm_adjust([log_loss.p for _, log_loss in compared])
    return [
        Verdict(
            setting=setting,
            a=a.title,
            b=b.title,
            auc=auc,
            log_loss=log_loss,
            auc_p=float(auc_p[index]),
            log_loss_p=float(log_loss_p[index]),
            clicks=int(np.sum(y_true)),
        )
        for index, ((setting, a, b), (auc, log_loss)) in enumerate(
            zip(pairs, compared, strict=True)
        )
    ]


def _pairs(arms: Sequence[ArmScores], reference: str) -> list[tuple[ArmScores, ArmScores]]:
    """The pairs of one setting that are compared, those with the reference first."""
    by_title = {arm.title: arm for arm in arms}
    leads = leading_arms(arms)
    titles = {arm.title for arm in leads}
    pairs = []
    if reference in by_title:
        pairs += [(arm, by_title[reference]) for arm in arms if arm.title != reference]
    if leads and reference not in titles:
        # Arms that share the lead have equal scores: the first one stands for all.
        pairs += [(arm, leads[0]) for arm in arms if arm.title not in {*titles, reference}]
    return pairs


def summarise_verdicts(
    verdicts: Sequence[Verdict], settings: Mapping[str, Sequence[ArmScores]], reference: str
) -> list[str]:
    """A few sentences for each setting; args as of `compare_arms`, which made the verdicts."""
    sentences = []
    for setting, arms in settings.items():
        found = [verdict for verdict in verdicts if verdict.setting == setting]
        prefix = f"{setting}: " if len(settings) > 1 else ""
        if found:
            leads = [arm.title for arm in leading_arms(arms)]
            sentences += [
                prefix + sentence for sentence in _summarise_setting(found, leads, reference)
            ]
    return sentences


def _summarise_setting(
    verdicts: Sequence[Verdict], leads: Sequence[str], reference: str
) -> list[str]:
    """The sentences of one setting. leads: titles of the leading arms."""
    if all(verdict.outcome == NOT_COMPARABLE for verdict in verdicts):
        return _not_comparable_sentences(verdicts, leads)
    sentences = []
    with_reference = {verdict.a: verdict for verdict in verdicts if verdict.b == reference}
    lead = reference if reference in leads else next(iter(leads), None)
    if len(leads) > 1 or (lead == reference and leads):
        sentences.append(_lead_sentence(leads))
    if lead in with_reference:
        verdict = with_reference.pop(lead)
        sentences.append(_comparison_sentence(verdict, ", chosen on validation rows,"))
    others = with_reference.values()
    for outcome in ("better", "worse"):
        if named := [_named(verdict) for verdict in others if verdict.outcome == outcome]:
            sentences.append(f"{_capitalise(outcome)} than {reference}: {'; '.join(named)}.")
    with_lead = [verdict for verdict in verdicts if verdict.b == lead and lead != reference]
    rows = f"n = {verdicts[0].auc.rows:,}"
    for title, compared in ((reference, others), (lead, with_lead)):
        if tied := [one.a for one in compared if one.outcome == NOT_DISTINGUISHABLE]:
            sentences.append(f"Not distinguishable from {title} at {rows}: {'; '.join(tied)}.")
    if named := [_named(verdict) for verdict in others if verdict.outcome == NOT_COMPARABLE]:
        sentences.append(f"Not comparable with {reference}: {'; '.join(named)}.")
    if max(verdict.auc.seeds for verdict in verdicts) == 1:
        sentences.append(
            "With one seed this holds only for these test rows: another seed may reverse it."
        )
    return sentences


def format_difference(verdict: Verdict) -> str:
    """The difference in AUC with its interval and adjusted p, or why they are missing."""
    if is_missing(verdict.auc.delta):
        return f"no AUC: {verdict.reason}"
    delta = f"ΔAUC {format_metric(verdict.auc.delta, signed=True)}"
    if verdict.outcome == NOT_COMPARABLE:
        return f"{delta}, no interval: {verdict.reason}"
    return (
        f"{delta}, 95 % {format_bounds(verdict.auc.low, verdict.auc.high, signed=True)},"
        f" adjusted p {format_p(verdict.auc_p)}"
    )


def _named(verdict: Verdict) -> str:
    return f"{verdict.a} ({format_difference(verdict)})"


def _not_comparable_sentences(verdicts: Sequence[Verdict], leads: Sequence[str]) -> list[str]:
    """The sentences of a setting whose test rows compare no two arms."""
    reason = f"{verdicts[0].reason}, so there is no interval and nothing is ranked"
    sentences = [f"The arms are not comparable by AUC on these test rows: {reason}."]
    return [*sentences, _lead_sentence(leads)] if leads else sentences


def _lead_sentence(leads: Sequence[str]) -> str:
    """Which arms lead on validation rows. leads: titles of at least one."""
    if len(leads) == 1:
        return f"{_capitalise(leads[0])} leads on validation rows."
    named = f"{', '.join(leads[:-1])} and {leads[-1]}"
    return f"{_capitalise(named)} share the lead on validation rows: their log losses are equal."


def _comparison_sentence(verdict: Verdict, note: str) -> str:
    """The verdict as a sentence. note: put behind the title of `a`."""
    preposition = {NOT_COMPARABLE: "with", NOT_DISTINGUISHABLE: "from"}.get(verdict.outcome, "than")
    seeds = f"{verdict.auc.seeds} seed{'s' if verdict.auc.seeds > 1 else ''}"
    return (
        f"{_capitalise(verdict.a)}{note} is {verdict.outcome} {preposition} {verdict.b} "
        f"({format_difference(verdict)}; n = {verdict.auc.rows:,}, {seeds})."
    )


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]


def _common_seeds(a: ArmScores, b: ArmScores) -> list[int] | None:
    """The seeds that both have, in the order of the first; None where neither depends on a seed."""
    if not a.seeds and not b.seeds:
        return None
    return [seed for seed in a.seeds or b.seeds if seed in (b.seeds or a.seeds)]


def _common_seed_indices(a: ArmScores, b: ArmScores) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Indices into the scores of both, one for each common seed.

    The only scoring of an arm that trained nothing is paired with every seed of the other.
    """
    seeds = _common_seeds(a, b)
    if seeds is None:
        return tuple(range(len(a.scores))), tuple(range(len(b.scores)))
    first, second = (
        tuple(arm.seeds.index(seed) if arm.seeds else 0 for seed in seeds) for arm in (a, b)
    )
    return first, second
