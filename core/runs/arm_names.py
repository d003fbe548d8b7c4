"""Arms in words that a sentence can use, with the stages of their backbone by name."""

import re
from collections.abc import Sequence

from core.freezing.strategies import describe_strategy
from core.jobs.run import Run
from core.runs.sweep import arm_title
from core.runs.sweep_result import ArmResult

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
FREEZES = ("depth", "linear-probe", "all-but-embeddings", "full")
"""Strategies whose frozen stages say it all."""
TRAINS_ONLY = ("surgical", "embeddings-only")
"""Strategies whose trained stages do."""
CONTROL_NAMES = {
    "zero-shot": "the backbone as it is",
    "logistic-regression": "a refitted logistic regression",
    "gradient-boosting": "a refitted LightGBM",
    "scratch": "the network trained from scratch",
    "retrain": "the network retrained on source and target rows",
}


def name_arm(result: ArmResult, setting: str = "") -> tuple[str, str]:
    """Return how a sentence about an arm begins, and the arm within a sentence.

    For example ``("Freeze embedding and two cross layers", "freezing embedding and …")``. What a
    title names besides the strategy, such as another learning rate, follows in brackets.

    Args:
        result: the arm.
        setting: what goes without saying, as all arms share it; left out of the brackets.
    """
    run = result.runs[0]
    imperative, activity = _name_run(run)
    rest = result.title.removeprefix(arm_title(run)).lstrip(", ")
    if rest == result.title:
        return _capitalise(rest), rest
    shown = [words for words in rest.split(", ") if words and words != setting]
    suffix = f" ({', '.join(shown)})" if shown else ""
    return _capitalise(imperative) + suffix, activity + suffix


def stages_in_words(titles: Sequence[str]) -> str:
    """Return stages as a list in words; numbered ones of a kind are counted.

    >>> stages_in_words(["Embedding", "Cross 1", "Cross 2", "Block 1"])
    'embedding, two cross layers and block 1'
    """
    groups: list[list[str]] = []
    for title in titles:
        kind = _kind(title)
        if groups and kind and kind == _kind(groups[-1][-1]):
            groups[-1].append(title)
        else:
            groups.append([title])
    words = [_group_words(group) for group in groups]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _group_words(titles: Sequence[str]) -> str:
    if len(titles) == 1:
        title = titles[0]
        return title if title[1:2].isupper() else title[:1].lower() + title[1:]
    number = NUMBERS[len(titles)] if len(titles) < len(NUMBERS) else str(len(titles))
    kind = _kind(titles[0]).lower()
    return f"{number} {kind}s" if kind in ("block", "layer") else f"{number} {kind} layers"


def _kind(title: str) -> str:
    """The word of a numbered title, such as "Cross" of "Cross 1"; "" for others."""
    found = re.fullmatch(r"(\w+) \d+", title)
    return found[1] if found else ""


def _name_run(run: Run) -> tuple[str, str]:
    """Imperative and activity of a run's arm."""
    if run.kind == "blend":
        title = f"the {arm_title(run)}"
        return title, title
    stages = run.result.stages[:-1] if run.result else ()
    if run.strategy in FREEZES and stages:
        return freezing_words([(one.title, one.frozen) for one in stages])
    if run.strategy in TRAINS_ONLY and stages:
        words = stages_in_words([one.title for one in stages if not one.frozen])
        return f"train {words} and the head alone", f"training {words} and the head alone"
    title = arm_title(run)
    if run.strategy in CONTROL_NAMES:
        rest = title.removeprefix(describe_strategy(run.strategy, 0, {})).lstrip(", ")
        if rest and run.strategy == "retrain":
            # Its name has the rows already.
            name = f"the network retrained on {rest}"
        else:
            name = CONTROL_NAMES[run.strategy] + (f" ({rest})" if rest else "")
        return name, name
    return f"fine-tune with {title}", f"fine-tuning with {title}"


def freezing_words(stages: Sequence[tuple[str, bool]]) -> tuple[str, str]:
    """Return imperative and activity of freezing stages, each given as (title, whether frozen).

    >>> freezing_words([("Embedding", True), ("Block 1", False)])
    ('freeze embedding', 'freezing embedding')
    """
    frozen = [title for title, is_frozen in stages if is_frozen]
    if not frozen:
        return "train everything", "training everything"
    if len(frozen) == len(stages):
        return "freeze every stage and train the head alone", "training the head alone"
    words = stages_in_words(frozen)
    return f"freeze {words}", f"freezing {words}"


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]
