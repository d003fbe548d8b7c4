"""Arms (a strategy with its options) as short texts for the URL.

For example, "2" is a freeze depth and "lora:rank=8" a strategy.
"""

from core.errors import BadInput
from core.freezing.plan import make_plan
from core.freezing.strategies import STRATEGIES
from core.models.card import BackboneCard, HeadSettings
from core.runs.sweep import Arm


def format_arm(arm: Arm) -> str:
    """Format an arm for the URL. Options that are not given stay out of the text.

    See Also:
        parse_arm: the inverse.
    """
    if arm.strategy == "depth":
        return str(arm.freeze_depth)
    options = [
        f"{name}={'+'.join(value) if isinstance(value, tuple | list) else value}"
        for name, value in arm.options.items()
    ]
    return ":".join([arm.strategy, *options])


def parse_arm(text: str, card: BackboneCard) -> Arm:
    """Parse the text of an arm.

    Raises:
        BadInput: the text is no arm, or one that is not possible with this backbone.
    """
    name, *pairs = text.split(":")
    try:
        if name not in STRATEGIES:
            arm = Arm("depth", int(name))
        else:
            arm = Arm(name, 0, dict(_option(name, pair) for pair in pairs))
    except ValueError:
        raise BadInput("It is neither a freeze depth nor a strategy with its options.") from None
    make_plan(card, arm.strategy, arm.freeze_depth, HeadSettings(), arm.options)
    return arm


def _option(strategy: str, pair: str) -> tuple[str, object]:
    name, _, value = pair.partition("=")
    option = STRATEGIES[strategy].options.get(name)
    if option is None or name == "stages":
        return name, tuple(value.split("+"))
    if option.choices:
        return name, value
    return name, int(value) if isinstance(option.default, int) else float(value)
