"""Comparisons of a sweep's arms with a reference and with the leading arm, on test rows.

The leading arm is chosen on validation rows, so comparing the others with it on test rows chooses
nothing by test rows. The variance between seeds, of which a few seeds say little, is pooled over
the comparisons of a setting, see core.evaluation.pooled_seeds. All p-values of a metric are
adjusted together (Holm 1979); what the adjusted ones support is said by
core.evaluation.significance, and noise is never ranked. The sentences are in
core.evaluation.verdict_sentences.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.evaluation.comparison_cache import Comparison, Scores, SeedScores, compare_pairs
from core.evaluation.format_metrics import NO_VARIANCE, is_missing, reason_from_counts
from core.evaluation.metric_registry import METRICS
from core.evaluation.multiplicity import holm_adjust
from core.evaluation.paired_comparison import PairedDifference, pool_over_comparisons
from core.evaluation.significance import (
    NOT_COMPARABLE,
    NOT_DISTINGUISHABLE,
    Outcome,
    combine_outcomes,
    comparison_outcome,
)

JUDGED_METRICS = ("auc", "log_loss")
"""The metrics whose differences make an arm better or worse."""
COMPARED_METRICS = (*JUDGED_METRICS, "ece")
"""Those, and the calibration error, which says whether the probabilities caused a difference."""

_NAN = float("nan")
NOT_COMPUTED = PairedDifference(_NAN, _NAN, _NAN, _NAN, _NAN, _NAN, seeds=0, rows=0)


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
        ece, ece_p: the difference in calibration error and its adjusted p-value; NaN where it was
            not computed.
    """

    setting: str
    a: str
    b: str
    auc: PairedDifference
    log_loss: PairedDifference
    auc_p: float = float("nan")
    log_loss_p: float = float("nan")
    clicks: int | None = None
    ece: PairedDifference = NOT_COMPUTED
    ece_p: float = float("nan")

    def comparison(self, metric: str) -> tuple[PairedDifference, float]:
        """The difference in a metric of COMPARED_METRICS, and its adjusted p."""
        return {
            "auc": (self.auc, self.auc_p),
            "log_loss": (self.log_loss, self.log_loss_p),
            "ece": (self.ece, self.ece_p),
        }[metric]

    def outcome_in(self, metric: str) -> Outcome:
        """What the difference in one metric of COMPARED_METRICS supports about `a`."""
        difference, p = self.comparison(metric)
        return comparison_outcome(difference.delta, p, bool(METRICS[metric].higher_is_better))

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """What the differences support about `a`, by the name of the metric: AUC, log loss."""
        return {METRICS[metric].name: self.outcome_in(metric) for metric in JUDGED_METRICS}

    @property
    def outcome(self) -> str:
        """What both differences support about `a`: "better in AUC, worse in log loss"."""
        return combine_outcomes(self.outcomes)

    @property
    def outcome_with_rows(self) -> str:
        """The outcome with the number of rows, or with the reason why there is no interval."""
        if self.outcome.startswith(NOT_DISTINGUISHABLE):
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
    return adjusted_verdicts(pairs, compare_pairs(y_true, scores), int(np.sum(y_true)))


def adjusted_verdicts(
    pairs: Sequence[tuple[str, ArmScores, ArmScores]],
    comparisons: Sequence[Comparison],
    clicks: int,
) -> list[Verdict]:
    """Return a verdict for each comparison, the p-values of each metric adjusted together.

    The variance between seeds is pooled over the comparisons of each setting.

    Args:
        pairs: ``(setting, a, b)`` of each comparison.
        comparisons: a minus b.
        clicks: number of clicks among the test rows.
    """
    pooled: dict[str, list[PairedDifference]] = {
        metric: [getattr(one, metric) for one in comparisons] for metric in COMPARED_METRICS
    }
    for setting in dict.fromkeys(setting for setting, _, _ in pairs):
        indices = [place for place, pair in enumerate(pairs) if pair[0] == setting]
        n_arms = len({arm.title for place in indices for arm in pairs[place][1:]})
        for metric, differences in pooled.items():
            found = pool_over_comparisons(
                [differences[place] for place in indices], n_arms, of_rows=metric != "auc"
            )
            for place, difference in zip(indices, found, strict=True):
                differences[place] = difference
    adjusted = {
        metric: holm_adjust([one.p for one in differences])
        for metric, differences in pooled.items()
    }
    return [
        Verdict(
            setting=setting,
            a=a.title,
            b=b.title,
            auc=pooled["auc"][index],
            log_loss=pooled["log_loss"][index],
            auc_p=float(adjusted["auc"][index]),
            log_loss_p=float(adjusted["log_loss"][index]),
            clicks=clicks,
            ece=pooled["ece"][index],
            ece_p=float(adjusted["ece"][index]),
        )
        for index, (setting, a, b) in enumerate(pairs)
    ]


def compare_two(
    y_true: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    titles: tuple[str, str],
    keys: tuple[Hashable, Hashable] | None = None,
) -> Verdict:
    """Compare two scorings of the same rows alone, so that no p-value is adjusted.

    Args:
        y_true: labels 0 or 1, shape ``(n_rows,)``.
        a, b: click probabilities, shape ``(n_rows,)`` each.
        titles: of a and b in sentences.
        keys: of a and b, that no other scoring of any rows has; the comparison is cached with them.
    """
    first, second = (
        ArmScores(
            title,
            float("nan"),
            np.asarray(scores, np.float64)[None],
            (),
            (keys[side],) if keys else (),
        )
        for side, (title, scores) in enumerate(zip(titles, (a, b), strict=True))
    )
    labels = np.asarray(y_true, np.float64)
    pair = (
        SeedScores(first.scores, (0,), first.keys),
        SeedScores(second.scores, (0,), second.keys),
    )
    compared = compare_pairs(labels, [pair])
    return adjusted_verdicts([("", first, second)], compared, int(labels.sum()))[0]


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
