"""The page of a report: text of users stays text, scripts are allowed by hash only, figures can be
read back."""

import base64
import hashlib
import json
import re

import numpy as np
import plotly.graph_objects as go

from core.report.html_page import (
    Section,
    bullet_list,
    code_block,
    definition_list,
    heading,
    page,
    paragraph,
    plot,
    table,
)
from tests.core.report.html_reader import HtmlReader

EVIL = '</script><script>alert(1)</script><img src=x onerror="alert(2)">\u2028&amp;'


def evil_page() -> str:
    figure = go.Figure(go.Scatter(x=np.array([1.0, 2.0]), y=np.array([3.0, 4.0]), name=EVIL))
    parts = [
        paragraph(EVIL), heading(EVIL), bullet_list([EVIL]), definition_list({EVIL: EVIL}),
        table([EVIL], [[EVIL]]), code_block([EVIL]), plot(figure, EVIL),
    ]  # fmt: skip
    return page(EVIL, {EVIL: EVIL}, EVIL, [Section(EVIL, "one", parts)])


def test_what_users_wrote_stays_text() -> None:
    reader = HtmlReader(evil_page())
    names = [name for name, _ in reader.elements]
    assert names.count("script") == 3 and "img" not in names
    assert not any(name.startswith("on") for _, values in reader.elements for name in values)
    assert reader.words.count('<img src=x onerror="alert(2)">') == 16


def test_a_figure_reads_back_from_its_script() -> None:
    reader = HtmlReader(evil_page())
    data = reader.scripts[0]
    assert "<" not in data and "\u2028" not in data
    figure = json.loads(data)
    assert figure["data"][0]["name"] == EVIL
    packed = figure["data"][0]["y"]
    assert np.frombuffer(base64.b64decode(packed["bdata"]), packed["dtype"]).tolist() == [3.0, 4.0]


def test_the_policy_names_the_hash_of_every_script_and_no_address() -> None:
    text = evil_page()
    reader = HtmlReader(text)
    policy = next(values["content"] for _, values in reader.elements if "http-equiv" in values)
    assert policy is not None and policy.startswith("default-src 'none'; ")
    assert not re.search(r"https?:|unsafe-eval|\*", policy)
    assert "'unsafe-inline'" not in policy.split("style-src")[0]
    for script in reader.scripts[1:]:
        assert (
            f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
            in policy
        )
    assert len(reader.scripts[1]) > 1_000_000
    loads = [
        values.get(name)
        for _, values in reader.elements
        for name in ("src", "href")
        if values.get(name)
    ]
    assert loads == ["#one"]


def test_numbers_are_grouped_and_what_is_not_known_is_a_dash() -> None:
    words = HtmlReader(table(["a", "b", "c", "d"], [[12345, 0.25, None, float("nan")]])).words
    assert words == "abcd12,3450.2500––"
