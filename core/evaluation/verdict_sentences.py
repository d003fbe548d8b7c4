"""Verdicts in sentences: both metrics named, noise neither ranked nor called equality."""

from collections.abc import Mapping, Sequence

from core.evaluation.format_metrics import format_bounds, format_metric, format_p, is_missing
from core.evaluation.metric_registry import METRICS
from core.evaluation.paired_comparison import PairedDifference
from core.evaluation.significance import NOT_COMPARABLE, NOT_DISTINGUISHABLE, is_significant
from core.evaluation.verdicts import JUDGED_METRICS, ArmScores, Verdict, leading_arms


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
    sentences = []
    if all(verdict.outcome_in("auc") == NOT_COMPARABLE for verdict in verdicts):
        reason = f"{verdicts[0].reason}, so there is no interval and nothing is ranked by it"
        sentences.append(f"The arms are not comparable by AUC on these test rows: {reason}.")
    if all(verdict.outcome == NOT_COMPARABLE for verdict in verdicts):
        return [*sentences, _lead_sentence(leads)] if leads else sentences
    lead = reference if reference in leads else next(iter(leads), None)
    if len(leads) > 1 or (lead == reference and leads):
        sentences.append(_lead_sentence(leads))
    with_reference = {verdict.a: verdict for verdict in verdicts if verdict.b == reference}
    if lead in with_reference:
        verdict = with_reference.pop(lead)
        sentences.append(_comparison_sentence(verdict, ", chosen on validation rows,"))
    sentences += outcome_sentences([*with_reference.values()], reference)
    if lead and lead != reference:
        tied = [
            verdict
            for verdict in verdicts
            if verdict.b == lead and verdict.outcome.startswith(NOT_DISTINGUISHABLE)
        ]
        sentences += outcome_sentences(tied, lead)
    sentences += calibration_sentences([one for one in verdicts if one.b == reference])
    if max(verdict.auc.seeds for verdict in verdicts) == 1:
        sentences.append(
            "With one seed this holds only for these test rows: another seed may reverse it."
        )
    return sentences


def _lead_sentence(leads: Sequence[str]) -> str:
    """Which arms lead on validation rows. leads: titles of at least one."""
    if len(leads) == 1:
        return f"{_capitalise(leads[0])} leads on validation rows."
    named = f"{', '.join(leads[:-1])} and {leads[-1]}"
    return f"{_capitalise(named)} share the lead on validation rows: their log losses are equal."


def outcome_sentences(verdicts: Sequence[Verdict], title: str) -> list[str]:
    """One sentence for each outcome of comparisons with the same arm; differences come first.

    Args:
        verdicts: comparisons with one arm, of one setting.
        title: of that arm.
    """
    groups: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault(verdict.outcome, []).append(verdict)
    order = {"better": 0, "worse": 1, NOT_DISTINGUISHABLE: 2}
    rank = {
        phrase: next((place for start, place in order.items() if phrase.startswith(start)), 3)
        for phrase in groups
    }
    sentences = []
    for phrase in sorted(groups, key=rank.__getitem__):
        group = groups[phrase]
        if phrase.startswith(NOT_DISTINGUISHABLE):
            named = "; ".join(verdict.a for verdict in group)
            sentences.append(
                f"{_capitalise(outcome_phrase(group[0], title))} at n = {group[0].auc.rows:,}:"
                f" {named}. {room_sentence(group)}"
            )
        else:
            named = "; ".join(f"{one.a} ({format_difference(one)})" for one in group)
            sentences.append(f"{_capitalise(outcome_phrase(group[0], title))}: {named}.")
    return sentences


def outcome_phrase(verdict: Verdict, title: str) -> str:
    """The outcome compared with `title`, both metrics named.

    For example "worse than full in log loss, not distinguishable from it in AUC".
    """
    by_outcome: dict[str, list[str]] = {}
    for name, outcome in verdict.outcomes.items():
        by_outcome.setdefault(outcome, []).append(name)
    parts: list[str] = []
    for outcome in ("better", "worse", NOT_DISTINGUISHABLE, NOT_COMPARABLE):
        if outcome in by_outcome:
            other = "it" if parts else title
            preposition = {NOT_COMPARABLE: "with", NOT_DISTINGUISHABLE: "from"}.get(outcome, "than")
            joined = (" or " if outcome == NOT_DISTINGUISHABLE else " and ").join(
                by_outcome[outcome]
            )
            parts.append(f"{outcome} {preposition} {other} in {joined}")
    return ", ".join(parts)


def room_sentence(verdicts: Sequence[Verdict]) -> str:
    """How large a difference remains possible where none was found, so that none reads "equal"."""
    room = []
    same = True
    for metric in JUDGED_METRICS:
        ends = [
            abs(end)
            for verdict in verdicts
            for end in (getattr(verdict, metric).low, getattr(verdict, metric).high)
            if verdict.outcome_in(metric) == NOT_DISTINGUISHABLE and not is_missing(end)
        ]
        if ends:
            unit = METRICS[metric].unit or METRICS[metric].name
            room.append(f"{format_metric(max(ends))} {unit}")
            same = same and max(ends) == 0
    if not room:
        return ""
    if same:
        return "On these rows their losses are the same."
    return (
        f"That does not mean equal: the 95 % intervals reach differences of {' and '.join(room)}."
    )


def calibration_sentences(verdicts: Sequence[Verdict]) -> list[str]:
    """Whose probabilities suffered, or improved, while the ranking did not.

    Only where log loss differs in a direction that AUC does not, and the calibration error differs
    in the same one.
    """
    sentences = []
    for direction, words in (("worse", "suffered"), ("better", "improved")):
        named = [
            f"{one.a} ({_format_delta(METRICS['ece'].delta_name, one.ece, one.ece_p)})"
            for one in verdicts
            if one.outcome_in("log_loss") == direction
            and one.outcome_in("auc") != direction
            and one.outcome_in("ece") == direction
        ]
        if named:
            sentences.append(
                f"Compared with {verdicts[0].b}, the probabilities {words} rather than the"
                f" ranking, as calibration shows: {'; '.join(named)}."
            )
    return sentences


def describe_comparison(verdict: Verdict) -> str:
    """A comparison of two runs in a few sentences, without the name of the first.

    For example "is better than the backbone in AUC and log loss (ΔAUC …; n = 600).".
    """
    sentences = [
        f"is {outcome_phrase(verdict, verdict.b)}"
        f" ({format_difference(verdict, 'p')}; n = {verdict.auc.rows:,}).",
        room_sentence([verdict]) if verdict.outcome.startswith(NOT_DISTINGUISHABLE) else "",
        *calibration_sentences([verdict]),
    ]
    return " ".join(filter(None, sentences))


def format_difference(verdict: Verdict, p_name: str = "adjusted p") -> str:
    """The differences in AUC and log loss, each with its interval and p."""
    parts = []
    for metric in JUDGED_METRICS:
        difference, p = verdict.comparison(metric)
        name = METRICS[metric].delta_name
        if metric == "auc" and is_missing(verdict.auc.delta):
            parts.append(f"no AUC: {verdict.reason}")
        elif metric == "auc" and verdict.outcome_in(metric) == NOT_COMPARABLE:
            delta = f"{name} {format_metric(verdict.auc.delta, signed=True)}"
            parts.append(f"{delta}, no interval: {verdict.reason}")
        else:
            parts.append(_format_delta(name, difference, p, p_name))
    return "; ".join(parts)


def _format_delta(
    name: str, difference: PairedDifference, p: float, p_name: str = "adjusted p"
) -> str:
    text = f"{name} {format_metric(difference.delta, signed=True)}"
    if is_missing(p):
        return text
    bounds = format_bounds(difference.low, difference.high, signed=True)
    return f"{text}, 95 % {bounds}, {p_name} {format_p(p)}"


def _comparison_sentence(verdict: Verdict, note: str) -> str:
    """The verdict as a sentence. note: put behind the title of `a`."""
    seeds = f"{verdict.auc.seeds} seed{'s' if verdict.auc.seeds > 1 else ''}"
    sentence = (
        f"{_capitalise(verdict.a)}{note} is {outcome_phrase(verdict, verdict.b)}"
        f" ({format_difference(verdict)}; n = {verdict.auc.rows:,}, {seeds})."
    )
    tied = not any(is_significant(verdict.comparison(metric)[1]) for metric in JUDGED_METRICS)
    return f"{sentence} {room_sentence([verdict])}".rstrip() if tied else sentence


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]
