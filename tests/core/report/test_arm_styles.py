"""An arm looks the same in every figure, and the arms of one figure differ."""

import colorsys

from core.freezing.strategies import control_titles
from core.report.arm_styles import DEPTH_COLORS, arm_colors, arm_styles

TITLES = ["freeze depth 0", "freeze depth 3", "LoRA, rank 8", "BitFit", "from scratch", "zero-shot"]


def test_a_colour_does_not_depend_on_the_other_arms() -> None:
    together = arm_styles(TITLES)
    alone = {title: arm_styles([title])[title] for title in TITLES}
    assert {title: style[0] for title, style in together.items()} == {
        title: one[0] for title, one in alone.items()
    }
    assert arm_colors(TITLES) == [together[title][0] for title in TITLES]
    assert (
        arm_styles(["freeze depth 3, 0.001"])["freeze depth 3, 0.001"][0]
        == together["freeze depth 3"][0]
    )


def test_no_two_arms_of_one_figure_look_the_same() -> None:
    many = [f"freeze depth 1, {rows:,} target rows" for rows in (1000, 5000, 20000)] + TITLES
    assert len(set(arm_styles(many).values())) == len(many)


def test_depth_colours_go_from_orange_to_blue() -> None:
    hues = [
        colorsys.rgb_to_hsv(*(int(one[at : at + 2], 16) for at in (1, 3, 5)))[0]
        for one in DEPTH_COLORS
    ]
    # Around the wheel from orange over red and violet to blue and the green of ice.
    turned = [(0.1 - hue) % 1 for hue in hues]
    assert turned == sorted(turned)


def test_the_line_of_every_control_differs_where_each_is_styled_alone() -> None:
    alone = [arm_styles([title])[title] for title in control_titles()]
    assert len(set(alone)) == len(control_titles())
