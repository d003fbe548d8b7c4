"""A recommendation in words: one sentence to repeat, and what has to be known beside it."""

import math
from collections.abc import Sequence

from core.evaluation.format_metrics import format_metric, is_missing
from core.evaluation.non_inferiority import MetricLoss, NonInferiority
from core.evaluation.power import MAX_SEEDS, POWER, Power, rounded_up
from core.evaluation.recommendation import Candidate, Contrast, JudgedArm, Recommendation

MAX_NAMED = 3
"""Arms that a sentence names one by one."""


def headline(found: Recommendation) -> str:
    """What to do, what that costs, and what is better still, in a sentence or two."""
    return " ".join(filter(None, (_advice(found), _better_still(found))))


def notes(found: Recommendation) -> list[str]:
    """What has to be known beside the headline, each in a sentence."""
    if found.decision == "impossible":
        return []
    gain = _gain(found)
    words = (
        "" if gain and gain in headline(found) else gain,
        _controls_note(found),
        _power_note(found),
        _scope(found),
        _set_aside(found),
    )
    return [*filter(None, words)]


def recommendation_text(found: Sequence[Recommendation]) -> str:
    """Recommendations as text, a line for each part, with the setting where there are several."""
    lines = []
    for one in found:
        setting = f"{one.setting}: " if len(found) > 1 else ""
        lines += [setting + headline(one), *notes(one)]
    return "\n".join(lines)


def power_sentence(power: Power) -> str:
    """How many more test rows or seeds would settle it.

    >>> power = Power("a", "b", 20_000, 3, 0.4, 30_412, 6, (), ())
    >>> power_sentence(power)
    'About 31,000 more test rows or 6 more seeds would settle it.'
    """
    ways = []
    if power.more_rows is not None:
        ways.append(f"{_about(power.more_rows)} more test row{'s' * (power.more_rows != 1)}")
    if power.more_seeds is not None:
        ways.append(f"{_about(power.more_seeds)} more seed{'s' * (power.more_seeds != 1)}")
    if power.both:
        rows, seeds = (_about(number) for number in power.both)
        more = "s" * (power.both[1] != 1)
        return f"About {rows} more test rows and {seeds} more seed{more} together would settle it."
    if not ways:
        few = "" if power.seeds > 1 else " A second seed would tell how much seeds matter."
        return (
            f"Neither more test rows nor {MAX_SEEDS} more seeds alone would settle it: the estimate"
            f" is too close to the margin.{few}"
        )
    text = f"About {' or '.join(ways)} would settle it."
    if power.seeds == 1:
        return f"{text} A second seed would tell how much seeds matter."
    if power.more_rows is None:
        return f"{text} Test rows alone would not."
    return f"{text} Seeds alone would not." if power.more_seeds is None else text


def _about(number: int) -> str:
    return f"{rounded_up(number):,}"


def _advice(found: Recommendation) -> str:
    arm, standard = found.arm, found.standard
    if found.decision == "impossible" or arm is None or standard is None:
        return f"Nothing can be recommended: {found.reason}."
    claim = _claim(found, standard)
    if found.decision == "do not fine-tune" and claim:
        return (
            f"Do not fine-tune: the backbone as it is {_loss_words(claim)} against"
            f" {standard.activity}, and nothing has to be trained."
        )
    if found.decision in ("cheaper", "better") and claim:
        return (
            f"{arm.name}: {_loss_words(claim)} against {standard.activity}"
            f"{_saving_words(arm, standard, found.decision == 'better')}."
        )
    if found.decision == "open":
        return _open_words(found)
    return _settled_words(found, arm)


def _claim(found: Recommendation, against: JudgedArm) -> NonInferiority | None:
    """The recommended arm's claim against an arm."""
    claims = found.chosen.claims if found.chosen else ()
    return next((one for one in claims if one.reference == against.title), None)


def _loss_words(claim: NonInferiority) -> str:
    """What an arm costs or gains at least, in both metrics."""
    digits = max(_digits(one) for one in claim.metrics)
    auc, nats = _bound(claim.auc, digits), _bound(claim.log_loss, digits)
    # What rounds to 0 is no gain.
    gains = [_rounded_up(one.at_most, digits) < 0 for one in claim.metrics]
    if all(one.at_most == 0 for one in claim.metrics):
        return "costs nothing"
    if all(gains):
        return f"gains at least {auc} AUC and {nats} nats of log loss"
    if gains[0]:
        return f"gains at least {auc} AUC and costs at most {nats} nats of log loss"
    if gains[1]:
        return f"costs at most {auc} AUC and gains at least {nats} nats of log loss"
    return f"costs at most {auc} AUC and {nats} nats"


def _bound(loss: MetricLoss, digits: int) -> str:
    """A bound, rounded so that the claim stays true: costs up, gains down."""
    return f"{abs(_rounded_up(loss.at_most, digits)):.{digits}f}"


def _digits(loss: MetricLoss) -> int:
    """Four, or more where four would show a bound below the margin as one above it."""
    for digits in range(4, 8):
        if not loss.at_most < loss.margin < _rounded_up(loss.at_most, digits):
            return digits
    return 8


def _rounded_up(value: float, digits: int) -> float:
    unit = 10.0**digits
    return math.ceil(value * unit - 1e-9) / unit


def _saving_words(arm: JudgedArm, standard: JudgedArm, costs_more: bool) -> str:
    """How many fewer parameters it trains, and in which share of the time."""
    words = []
    own, other = arm.cost, standard.cost
    if other.trained_parameters and own.trained_parameters < other.trained_parameters:
        fewer = 100 * (1 - own.trained_parameters / other.trained_parameters)
        words.append(f"trains {_percent(fewer)} % fewer parameters")
    if own.seconds > 0 and other.seconds > 0:
        share = f"{_percent(100 * own.seconds / other.seconds)} % of the time"
        epochs = f" ({own.epochs:.3g} epochs against {other.epochs:.3g})"
        more = epochs if own.epochs > other.epochs else ""
        words.append(f"in {share}{more}" if words else f"trains in {share}{more}")
    return f", and {' '.join(words)}" if words else ""


def _percent(value: float) -> str:
    """A share in percent that is never rounded to all or nothing."""
    return f"{value:.0f}" if 1 <= value <= 99 or value > 100 else f"{value:.1f}"


def _open_words(found: Recommendation) -> str:
    assert found.arm is not None
    power = found.power
    if power is None:
        return f"Nothing can be recommended yet instead of {found.arm.activity}."
    arm, against = _by_title(found, power.arm), _by_title(found, power.reference)
    seeds = f"{power.seeds} seed{'s' * (power.seeds != 1)}"
    return (
        "Nothing cheaper can be recommended yet: whether"
        f" {arm.activity if arm else power.arm} loses less than {found.margins.words} against"
        f" {against.activity if against else power.reference} is open at {power.rows:,} test rows"
        f" and {seeds}. {power_sentence(power)}"
    )


def _settled_words(found: Recommendation, arm: JudgedArm) -> str:
    lost = [one for one in found.candidates if one.outcome == "inferior"]
    if lost:
        named = _named([one.arm.title for one in lost])
        verb = "are" if len(lost) > 1 else "is"
        return (
            f"{arm.name}: what is cheaper, {named}, {verb} shown to lose more than"
            f" {found.margins.alternative_words}."
        )
    if len([one for one in found.candidates if one.arm.kind == "fine-tuning"]) > 1:
        return f"{arm.name}: it leads on validation rows, and no cheaper arm comes near it there."
    # A single way of fine-tuning: what there is to say is whether it was worth it.
    return _gain(found) or f"{arm.name}: there is nothing cheaper here to compare it with."


def _by_title(found: Recommendation, title: str) -> JudgedArm | None:
    return next((one.arm for one in found.candidates if one.arm.title == title), None)


def _better_still(found: Recommendation) -> str:
    """The controls and blends that are better, the best one named with its gain."""
    better = [one for one in found.controls if one.is_better]
    if not better:
        return ""
    best = max(better, key=lambda one: (one.auc == "better", one.comparison[0].delta))
    more = f" {len(better) - 1} more control{'s' * (len(better) > 2)}" if len(better) > 1 else ""
    others = f", and so {'are' if len(better) > 2 else 'is'}{more}" if more else ""
    recommended = found.decision in ("cheaper", "better", "do not fine-tune")
    than = "still" if recommended or found.arm is None else f"than {found.arm.activity}"
    return f"{best.arm.name} is better {than} ({_gain_words(best)}){others}."


def _controls_note(found: Recommendation) -> str:
    """That no control is better, where there are controls."""
    if not found.controls or any(one.is_better for one in found.controls) or found.arm is None:
        return ""
    titles = _named([one.arm.title for one in found.controls])
    return f"No control is shown to be better than {found.arm.activity}: {titles}."


def _gain_words(contrast: Contrast) -> str:
    """The differences that are supported, of AUC and of log loss."""
    auc, log_loss = contrast.comparison[:2]
    words = []
    if contrast.auc in ("better", "worse"):
        words.append(f"{format_metric(auc.delta, signed=True)} AUC")
    if contrast.log_loss in ("better", "worse") and (
        contrast.auc != "better" or contrast.log_loss == "worse"
    ):
        words.append(f"{format_metric(log_loss.delta, signed=True)} nats of log loss")
    return ", but ".join(words) if contrast.auc != contrast.log_loss else ", ".join(words)


def _gain(found: Recommendation) -> str:
    """Whether fine-tuning helps at all, compared with the backbone as it is."""
    contrast, arm = found.zero_shot, found.arm
    if contrast is None or arm is None:
        return ""
    auc, log_loss = contrast.comparison[:2]
    if is_missing(auc.delta):
        return ""
    differences = (
        f"{format_metric(-auc.delta, signed=True)} AUC,"
        f" {format_metric(-log_loss.delta, signed=True)} nats of log loss"
    )
    pair = {contrast.auc, contrast.log_loss}
    name = arm.activity[:1].upper() + arm.activity[1:]
    if "better" in pair and "worse" in pair:
        text = f"Against the backbone as it is, {arm.activity} wins one metric and loses the other"
    elif "worse" in pair:
        text = f"{name} is better than the backbone as it is"
    elif "better" in pair:
        text = f"Fine-tuning does not help: {arm.activity} is worse than the backbone as it is"
    else:
        text = (
            f"Fine-tuning is not shown to help: {arm.activity} is not distinguishable from the"
            " backbone as it is"
        )
    return f"{text} ({differences})."


def _power_note(found: Recommendation) -> str:
    """What is still open where something is recommended already."""
    power = found.power
    if power is None or found.decision == "open":
        return ""
    arm = _by_title(found, power.arm)
    what = "not fine-tuning at all" if arm and arm.kind == "zero-shot" else power.arm
    return f"Whether {what}, which is cheaper still, would do is open. {power_sentence(power)}"


def _scope(found: Recommendation) -> str:
    """How far what is said holds."""
    if found.seeds == 1:
        return "With one seed this holds for these test rows only: another seed may reverse it."
    return ""


def _set_aside(found: Recommendation) -> str:
    """The arms that successive halving ended."""
    halted = [one.arm.title for one in found.candidates if one.arm.halted]
    if not halted:
        return ""
    return f"Not considered, since successive halving ended them: {_named(halted)}."


def _named(titles: Sequence[str]) -> str:
    """Titles as a list in words; of many only the first."""
    shown = [*titles[:MAX_NAMED]]
    if len(titles) > MAX_NAMED:
        shown = [*shown[: MAX_NAMED - 1], f"{len(titles) - MAX_NAMED + 1} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def outcome_words(candidate: Candidate) -> str:
    """What a table says of a candidate."""
    return {
        "no candidate": candidate.screened,
        "standard": "compared with",
        "non-inferior": "loses less than the margin",
        "inferior": "loses more than the margin",
        "open": "open",
        "undefined": "not comparable",
    }[candidate.outcome]


def method_sentence(found: Recommendation) -> str:
    """By which rules it was found."""
    k = round(0.05 / found.level)
    adjusted = f", adjusted for {k} candidates (Bonferroni)" if k > 1 else ""
    return (
        "Validation rows chose the leading arm and the candidates, test rows make the claims:"
        f" one-sided 95 % bounds over test rows{' and seeds' if found.seeds != 1 else ''}"
        f"{adjusted}, in AUC and in log loss. Of the arms that lose less than the margin in both,"
        " the cheapest by time is recommended, then by parameters and epochs. What settles a"
        f" question has a power of {100 * POWER:.0f} %."
    )
