"""URLs with any parameters: the page opens quickly and without an exception."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st

from core.workspace import PROJECT, Workspace
from tests.pages.page_states import Place, furnished_copy, places, serve

ODD = (
    "inf", "-inf", "nan", "1e999", "1e308", "9" * 400, "-1", "0", "", " ", "1.5", "٣", "²", "0x10",
    "1_000", "None", "true", "[1]", "{}", "1,2", ",,,", "a,b", "a" * 5000, "🙂", "\x00", "\n",
    "<b>", "../..", "%s", "'", "1;2", "d-",
)  # fmt: skip
"""Values that no form here writes."""


def names() -> list[str]:
    """Every parameter that a page reads: found in the pages' own code."""
    found: set[str] = set()
    for path in (PROJECT / "pages").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r'url_state\.\w+\(\s*"(\w+)"', text))
        for before in text.split("bind=url_state.BOUND")[:-1]:
            found |= set(re.findall(r'key="([\w-]+)"', before)[-1:])
        found |= set(re.findall(r'(?:choose_named|choose_text)\([^)]*"(\w+)"', text))
    return sorted(
        found
        | {"depth", "source", "target", "target_test", "sample", "dataset", "run", "runs", "cost"}
    )


@pytest.fixture(scope="module")
def furnished(
    tiny_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Workspace, dict[str, str]]:
    return furnished_copy(tiny_template, tmp_path_factory.mktemp("address") / "workspace")


@pytest.fixture
def every_place(
    furnished: tuple[Workspace, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[Place]]:
    serve(furnished[0], monkeypatch)
    yield places(furnished[1])
    st.cache_resource.clear()


def test_the_parameters_are_found() -> None:
    assert {
        "seeds",
        "rates",
        "training",
        "head",
        "arms",
        "strategy",
        "sizes",
        "sweep",
        "scored",
    } < set(names())


@pytest.mark.parametrize(
    "page", ["sweep", "finetune", "backbones", "compare", "run", "score", "data", "learn", "home"]
)
def test_odd_values_of_every_parameter_at_once(page: str, every_place: list[Place]) -> None:
    """Each parameter gets another of the values; over the rounds every parameter gets each of some
    of them."""
    asked = names()
    place = next(one for one in every_place if one.page == page)
    for start in range(0, len(ODD), 4):
        query = {name: ODD[(start + place_of) % len(ODD)] for place_of, name in enumerate(asked)}
        app = Place(page, query | place.query, place.view).open()
        assert not app.exception, (query, [one.value for one in app.exception])


@pytest.mark.parametrize(
    "value", ODD, ids=lambda value: value[:6].encode("unicode_escape").decode()
)
def test_odd_numbers_of_seeds(value: str, every_place: list[Place]) -> None:
    app = Place("sweep", {"seeds": value}).open()
    assert not app.exception, [one.value for one in app.exception]


@pytest.mark.parametrize(
    ("page", "name"),
    [("compare", "one-threshold"), ("finetune", "depth"), ("finetune", "ft_depth")],
)
def test_odd_places_of_sliders(page: str, name: str, every_place: list[Place]) -> None:
    place = next(one for one in every_place if one.page == page)
    for value in ODD:
        app = Place(page, {**place.query, name: value}).open()
        assert not app.exception, (value, [one.value for one in app.exception])
