"""Settings that are recommended by the number of rows: what they build, and who prevails."""

import pytest

from core.models.card import HeadSettings
from core.models.measure_stats import measure_stats
from core.models.recommended_settings import (
    SETTINGS_BELOW,
    choose_settings,
    recommended_settings,
)
from core.models.registry import ARCHITECTURES, complete_settings
from tests.core.models.references import CLICK_MODELS


@pytest.mark.parametrize("architecture", CLICK_MODELS)
def test_every_recommendation_builds_a_network_no_larger_than_the_defaults(
    architecture: str,
) -> None:
    usual = measure_stats(architecture, {}, [50] * 39)
    for limit, _ in SETTINGS_BELOW:
        recommended = recommended_settings(architecture, limit - 1)
        assert complete_settings(architecture, recommended) == recommended
        small = measure_stats(architecture, recommended, [50] * 39)
        assert HeadSettings().parameters(small.representation) > 1
        assert small.parameters <= usual.parameters


def test_the_recipe_is_recommended_where_it_was_measured() -> None:
    for rows in (54_000, 75_000):
        assert recommended_settings("dcnv2", rows) == {
            "embedding": 8,
            "widths": [128, 128],
            "dropout": 0.0,
            "batch_norm": False,
            "crosses": 2,
            "rank": 32,
        }
    assert recommended_settings("dcnv2", 10_000_000) == ARCHITECTURES["dcnv2"].defaults


def test_what_the_user_names_prevails_even_if_it_is_the_registrys_default() -> None:
    chosen = choose_settings("dcnv2", {"rank": 0, "embedding": 16, "dropout": 0.1}, 54_000)
    assert chosen == {"widths": [128, 128], "dropout": 0.1}, "only what differs is stored"
    assert complete_settings("dcnv2", chosen)["rank"] == 0
    assert choose_settings("dcnv2", {"members": 4}, 54_000)["members"] == 4, (
        "refused later, by name"
    )
    assert choose_settings("vgg19", {}, 54_000) == {}
