"""The drawing of the stack, and short texts."""

import re

import pytest

from core.evaluation.format_metrics import format_with_bounds
from core.freezing.plan import make_plan
from core.models.card import BackboneCard, HeadSettings, StageCard
from core.workspace import PROJECT
from pages.components.shared import formatting, stack

CARD = BackboneCard(
    id="b",
    name="b",
    architecture="dnn",
    settings={},
    stages=(
        StageCard("embedding", "Embedding <b>&", 1_000_000, 1, 1),
        StageCard("block1", "Block 1", 999, 1, 1),
    ),
    representation=8,
    head=HeadSettings(),
    trained_on={},
    metrics={},
    preprocessing_hash="",
    weights_sha256="",
    licence="",
    created="",
)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    pieces: list[str] = []
    monkeypatch.setattr("streamlit.html", pieces.append)
    return pieces


def test_a_plan_is_drawn_from_the_head_down_with_the_line_at_its_depth(drawn: list[str]) -> None:
    stack.draw_plan(make_plan(CARD, "depth", 1, HeadSettings()))
    classes = re.findall(r'class="(thaw-block thaw-\w+|thaw-line)"', drawn[0])
    assert classes == [
        "thaw-block thaw-trained",
        "thaw-block thaw-trained",
        "thaw-line",
        "thaw-block thaw-frozen",
    ]
    assert "Embedding &lt;b&gt;&amp;" in drawn[0] and "<b>" not in drawn[0]
    assert 'aria-label="1 of 3 stages frozen. From the input up: Embedding' in drawn[0]
    assert "under\N{NO-BREAK SPACE}0.1\N{NO-BREAK SPACE}%" in drawn[0]


@pytest.mark.parametrize(
    ("strategy", "lines"), [("full", 0), ("zero-shot", 0), ("linear-probe", 1)]
)
def test_there_is_a_line_only_between_frozen_and_trained(
    drawn: list[str], strategy: str, lines: int
) -> None:
    stack.draw_plan(make_plan(CARD, strategy, 0, HeadSettings()))
    assert drawn[0].count('class="thaw-line"') == lines


def test_a_line_to_be_moved_is_there_with_nothing_frozen(drawn: list[str]) -> None:
    stack.draw_plan(make_plan(CARD, "depth", 0, HeadSettings()), draggable=True)
    classes = re.findall(r'class="(thaw-block|thaw-line|thaw-input)', drawn[0])
    assert classes == ["thaw-block", "thaw-block", "thaw-block", "thaw-line", "thaw-input"]


def test_a_card_is_drawn_without_saying_what_trains(drawn: list[str]) -> None:
    stack.draw_stages(CARD.stages)
    body = drawn[0].partition("</style>")[2]
    assert body.count("thaw-plain") == 2
    assert "thaw-frozen" not in body and "thaw-trained" not in body
    assert ">frozen<" not in body and ">trained<" not in body


def test_width_grows_with_the_share_and_stays_readable() -> None:
    widths = [stack.block_width(share) for share in (0.0, 1e-6, 0.001, 0.01, 0.1, 1.0)]
    assert widths == sorted(widths)
    assert widths[0] == pytest.approx(34) and widths[-1] == pytest.approx(100)


def test_numbers_as_text() -> None:
    numbers = (0, 257, 999, 1000, 65_000, 999_600, 1_234_567, 2e9)
    assert [formatting.format_compact(n) for n in numbers] == [
        "0", "257", "999", "1.00 k", "65.0 k", "1.00 M", "1.23 M", "2.00 G",
    ]  # fmt: skip
    assert formatting.format_percent(0.2562) == "25.6 %" and formatting.format_percent(
        float("nan")
    ) == "–" == formatting.format_percent(None)
    assert format_with_bounds(0.76512, 0.7583, 0.7719, 3) == "0.765 (0.758 to 0.772)"
    assert format_with_bounds(0.76512, float("nan"), float("nan")) == "0.7651"
    assert [formatting.format_duration(s) for s in (0.44, 12, 59.7, 185, 7800, None)] == [
        "0.4 s", "12 s", "1 min 00 s", "3 min 05 s", "2 h 10 min", "–",
    ]  # fmt: skip
    assert [formatting.format_bytes(n) for n in (0, 900, 1200, 12_000, 3_400_000)] == [
        "0 B", "900 B", "1.2 kB", "12 kB", "3.4 MB",
    ]  # fmt: skip
    assert formatting.format_datetime(None) == "–"
    assert re.fullmatch(
        r"0[23] Feb 2001 \d\d:\d\d", formatting.format_datetime("2001-02-03T04:05:06+00:00")
    )


def test_what_a_message_counts_up_with_numbers_becomes_a_list() -> None:
    numbers = "(ΔAUC -0.01, 95 % -0.02 to -0.001, adjusted p 0.01)"
    one = f"Worse than x: a {numbers}."
    assert formatting.bullet_list(
        ["a; b.", one, f"5 rows: Worse than x: a_b {numbers}; c, d {numbers}."]
    ).splitlines() == [
        f"- {formatting.escape_markdown('a; b.')}",
        f"- {formatting.escape_markdown(one)}",
        f"- {formatting.escape_markdown('5 rows: Worse than x:')}",
        *(f"    - {formatting.escape_markdown(f'{arm} {numbers}')}" for arm in ("a_b", "c, d")),
    ]


def test_names_are_shown_letter_by_letter() -> None:
    assert (
        formatting.escape_markdown("a_b *c* [d](e) :red[f]") == r"a\_b \*c\* \[d\]\(e\) \:red\[f\]"
    )


def test_components_of_a_page_use_their_own_and_the_shared_ones_only() -> None:
    """What two pages need lies in shared/, which depends on no page."""
    components = PROJECT / "pages" / "components"
    checked = 0
    for path in components.rglob("*.py"):
        folder = path.relative_to(components).parts[0]
        imported = re.findall(r"^from pages\.components\.(\w+)", path.read_text("utf-8"), re.M)
        assert set(imported) <= {folder, "shared"}, path
        checked += len(imported)
    assert checked > 100
