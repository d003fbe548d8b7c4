"""Which head a run has: what the user says, else a rule; a head that cannot be kept is refused."""

import dataclasses

import pytest

from core.errors import BadInput
from core.freezing.heads import choose_head, default_keep_head, keeps_head
from core.freezing.plan import make_plan
from core.freezing.strategies import STRATEGIES, is_control
from core.jobs.requests import FinetuneRequest
from core.models.card import HeadSettings
from tests.core.freezing.cards import CARD

UNTAUGHT = dataclasses.replace(CARD, objective="rfd")
OTHER = HeadSettings((3,))


def test_a_head_of_the_same_shape_is_kept_where_the_backbone_learnt_clicks() -> None:
    assert default_keep_head(CARD) and default_keep_head(CARD, CARD.head)
    assert not default_keep_head(CARD, OTHER)
    assert not default_keep_head(CARD, dataclasses.replace(CARD.head, activation="tanh"))
    assert not default_keep_head(UNTAUGHT)
    plain = dataclasses.replace(CARD, head=HeadSettings())
    assert default_keep_head(plain, HeadSettings(activation="tanh"))


def test_what_the_user_says_comes_before_the_presets_and_the_rule() -> None:
    assert choose_head(CARD, None, None, "auto") == (True, CARD.head)
    assert choose_head(CARD, None, None, "article") == (False, HeadSettings())
    assert choose_head(CARD, None, "keep", "article") == (True, CARD.head)
    assert choose_head(CARD, None, "new", "auto") == (False, HeadSettings())
    assert choose_head(CARD, OTHER, None, "auto") == (False, OTHER)
    assert choose_head(UNTAUGHT, None, None, "auto") == (False, HeadSettings())


def test_a_head_that_is_not_there_or_has_another_shape_is_refused() -> None:
    with pytest.raises(BadInput, match="no head trained on click labels, so there is none to"):
        choose_head(UNTAUGHT, None, "keep", "auto")
    with pytest.raises(BadInput, match=r"hidden layers \[2\] \(relu\) and one logit"):
        choose_head(CARD, OTHER, "keep", "auto")
    with pytest.raises(BadInput, match="it must be one of"):
        choose_head(CARD, None, "both", "auto")
    with pytest.raises(BadInput, match="was asked for; keep the head as it is"):
        make_plan(CARD, "full", 0, OTHER, keep_head=True)


@pytest.mark.parametrize("strategy", [*STRATEGIES])
def test_every_strategy_that_is_no_control_trains_the_kept_head(strategy: str) -> None:
    options = {"surgical": {"stages": ["s1"]}}.get(strategy)
    plan = make_plan(CARD, strategy, 3, CARD.head, options, keep_head=True)
    # Zero-shot trains nothing; the other controls keep nothing of the backbone.
    assert plan.new_head == (is_control(strategy) and strategy != "zero-shot")
    assert keeps_head(FinetuneRequest("d", "b", strategy, keep_head=True)) == (
        plan.trains and not plan.new_head
    )
    if not plan.new_head:
        head = plan.stages[-1]
        assert (head.title, head.origin) == ("Head (kept)", "supervised")
        assert head.frozen == (not plan.trains)
        assert head.parameters == CARD.head.parameters(4)
        assert head.trained_parameters == (0 if head.frozen else head.parameters)


def test_a_probe_of_the_kept_head_trains_nothing_else() -> None:
    plan = make_plan(CARD, "depth", 3, CARD.head, keep_head=True)
    assert plan.trained_parameters == plan.stages[-1].parameters and plan.frozen_depth == 3
