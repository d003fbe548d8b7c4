"""A card whose counts are easy to add up."""

from core.models.card import BackboneCard, HeadSettings, StageCard

STAGES = tuple(
    StageCard(name, name.title(), 10 * (i + 1), 2 * i, 4, biases_norms=3 * i, linear_widths=7 * i)
    for i, name in enumerate(("embedding", "s1", "s2"))
)
ABOUT = {"dataset": "rows", "content_hash": "", "rows": 9, "simulated": False, "domain": "source"}
CARD = BackboneCard(
    "b",
    "card",
    "dnn",
    {},
    STAGES,
    4,
    HeadSettings((2,)),
    ABOUT,
    {},
    "",
    "",
    "",
    "2026-11-27T10:00:00+00:00",
)
