"""Frozen blue and the other colours are defined once, and are readable on light and dark pages."""

import re
import tomllib
from typing import Any

import pytest

from core.program import PROJECT
from core.report.palette import (
    BLOCKS,
    FROZEN_WORD,
    NEUTRAL,
    SERIES,
    TRAINED_WORD,
    block_css,
    with_alpha,
)

THEMES = ("light", "dark")
HEX = re.compile(r"#[0-9a-f]{6}\b")


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return tomllib.loads((PROJECT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))


def luminance(color: str) -> float:
    """Relative luminance as WCAG 2 defines it, 0 to 1."""
    shares = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_wcags() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)
    assert contrast("#3b7fd4", "#3b7fd4") == 1


@pytest.mark.parametrize("place", [0, 1])
def test_streamlits_theme_has_the_palettes_colours(config: dict[str, Any], place: int) -> None:
    theme = config["theme"][THEMES[place]]
    assert theme["blueColor"] == FROZEN_WORD[place]
    assert theme["orangeColor"] == TRAINED_WORD[place]
    assert tuple(theme["chartCategoricalColors"]) == SERIES


@pytest.mark.parametrize("theme", THEMES)
def test_figures_stand_out_from_the_page(config: dict[str, Any], theme: str) -> None:
    background = config["theme"][theme]["backgroundColor"]
    faint = {color for color in SERIES if contrast(color, background) < 3}
    assert NEUTRAL in SERIES and not faint


@pytest.mark.parametrize("place", [0, 1])
def test_text_on_a_block_can_be_read(place: int) -> None:
    for block in BLOCKS.values():
        assert contrast(block.text[place], block.background[place]) >= 4.5


def test_style_sheets_and_scripts_name_no_colour_of_a_block() -> None:
    shades = {shade for block in BLOCKS.values() for pair in vars(block).values() for shade in pair}
    assets = [*(PROJECT / "assets").rglob("*.css"), *(PROJECT / "assets").rglob("*.js")]
    texts = {path.name: path.read_text(encoding="utf-8") for path in assets}
    assert any(HEX.search(text) for text in texts.values())
    assert not {
        name: found for name, text in texts.items() if (found := shades & {*HEX.findall(text)})
    }


def test_every_variable_of_a_block_is_defined_and_used() -> None:
    (path,) = (PROJECT / "assets").rglob("stack.css")
    style = path.read_text(encoding="utf-8")
    used = set(re.findall(r"var\((--thaw-[a-z-]+)\)", style))
    defined = set(
        re.findall(r"(--thaw-[a-z-]+): light-dark\(#[0-9a-f]{6}, #[0-9a-f]{6}\);", block_css())
    )
    assert used == defined and len(used) == 6


def test_no_python_module_but_the_palette_names_a_colour_of_frozen_or_trained() -> None:
    ours = {*SERIES, *FROZEN_WORD, *TRAINED_WORD}
    found = {}
    for folder in ("core", "pages"):
        for path in (PROJECT / folder).rglob("*.py"):
            colors = ours & {*HEX.findall(path.read_text(encoding="utf-8"))}
            if colors and path.name != "palette.py":
                found[str(path.relative_to(PROJECT))] = colors
    assert not found, found


def test_with_alpha_is_plotlys_form() -> None:
    assert with_alpha("#ff8000", 0.25) == "rgba(255,128,0,0.25)"


@pytest.mark.parametrize("place", [0, 1])
def test_the_report_has_the_apps_greys(config: dict[str, Any], place: int) -> None:
    style = (PROJECT / "assets" / "report.css").read_text(encoding="utf-8")
    # The first block of variables is for light pages, the second one for dark ones.
    variables = re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", style.split(":root {")[1 + place])
    report = dict(reversed(variables))
    theme = config["theme"][THEMES[place]]
    for name, of_theme in (
        ("ground", "backgroundColor"),
        ("panel", "secondaryBackgroundColor"),
        ("line", "borderColor"),
        ("muted", "grayColor"),
        ("accent", "linkColor"),
    ):
        assert report[name] == theme[of_theme], name
