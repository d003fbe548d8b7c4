"""What the page Data shows of a file before it is read: members, columns, and what it cannot
read."""

from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.data.samples import Sample, list_samples
from core.data.schema import FIELDS, LABEL
from core.workspace import PROJECT, Workspace, open_workspace
from tests.core.data.helpers import packed_tar, rows, text

LINES = rows(60, seed=2)
HEADER = [[LABEL, *FIELDS]]


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("THAW_HOME", str(tmp_path / "space"))
    st.cache_resource.clear()
    st.cache_data.clear()
    return open_workspace(tmp_path / "space")


def page_of(path: Path | str) -> AppTest:
    """The Data page with this path typed in."""
    app = AppTest.from_file(str(PROJECT / "pages" / "router.py"), default_timeout=60)
    app.switch_page(str(PROJECT / "pages" / "data.py"))
    app.run()
    app.segmented_control(key="way").set_value("path").run()
    app.text_input(key="path").set_value(str(path)).run()
    assert not app.exception
    return app


def add(app: AppTest, space: Workspace) -> Sample:
    app.button(key="add_path").click().run()
    assert not app.exception and not app.error
    return list_samples(space)[0]


def shown(app: AppTest) -> str:
    kinds = (app.markdown, app.caption, app.info, app.warning, app.error)
    return " ".join(block.value for kind in kinds for block in kind).replace("\\", "")


def buttons(app: AppTest) -> set[str | None]:
    return {button.key for button in app.button}


def test_the_member_of_an_archive_is_chosen(space: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "dac.tar.gz"
    members = [
        ("readme.txt", b"About the data.\n"),
        ("train.txt", text(LINES)),
        ("test.txt", text(LINES[:20])),
    ]
    path.write_bytes(packed_tar(*members))
    app = page_of(path)
    box = next(box for box in app.selectbox if box.label == "File in the archive")
    assert box.value == "train.txt" and box.options == ["train.txt", "test.txt · 20 rows"]
    assert "train.txt is read" in shown(app)
    box.set_value("test.txt").run()
    assert "--member test.txt" in app.code[0].value
    sample = add(app, space)
    assert (sample.rows, sample.member, sample.name) == (20, "test.txt", "test")
    assert "test.txt is read" in shown(app)


def test_a_proposed_mapping_is_taken_with_one_press(space: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "last.tsv"
    path.write_bytes(text([[*line[1:], line[0]] for line in LINES]))
    app = page_of(path)
    assert "the label seems to be at the end" in app.warning[0].value.replace("\\", "")
    assert '"label": 40' in app.code[0].value
    sample = add(app, space)
    assert sample.labelled and dict(sample.columns)[LABEL] == "column 40"
    assert "label from column 40" in shown(app)


def test_a_label_that_is_asked_for(space: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(text([["bought", *FIELDS], *LINES]).replace(b"\t", b","))
    app = page_of(path)
    assert "'bought' holds only 0 and 1" in shown(app)
    sample = add(app, space)
    assert sample.labelled and dict(sample.columns) == {LABEL: "bought"}


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("rows.7z", b"7z\xbc\xaf\x27\x1c" + b"\0" * 40, "7z"),
        ("other.csv", b"f0,f1,treatment,conversion,visit\n1,2,0,0,0\n", "uplift"),
        ("page.html", b"<!DOCTYPE html><html><body>Sign in</body></html>\n", "HTML"),
    ],
)
def test_an_unreadable_file_is_reported_before_any_button_is_pressed(
    name: str, data: bytes, sentence: str, space: Workspace, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    app = page_of(tmp_path / name)
    assert sentence in shown(app) and name in shown(app) and "add_path" not in buttons(app)


@pytest.mark.parametrize("pasted", ['"{}"', "file://{}", " {} "])
def test_a_pasted_path(pasted: str, space: Workspace, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(text(LINES))
    assert add(page_of(pasted.format(tmp_path / "a.tsv")), space).rows == 60


def test_an_address_gets_advice(space: Workspace) -> None:
    app = page_of("https://example.org/train.txt.gz")
    assert "download the file first" in shown(app) and "add_path" not in buttons(app)


def test_what_was_met_is_in_the_report(space: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    lines = [
        [line[0], *(cell or "NaN" for cell in line[1:]), f"day {place % 2}"]
        for place, line in enumerate(LINES)
    ]
    path.write_bytes(text([[*HEADER[0], "day"], *lines]).replace(b"\t", b","))
    app = page_of(path)
    sample = add(app, space)
    assert sample.kept == ("day",)
    missing = sum(not cell for line in LINES for cell in line)
    assert f"“NaN” ({missing:,} cells)" in shown(
        app
    ) and "Kept for splits and slices: day" in shown(app)


def test_a_read_only_instance_accepts_no_upload(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THAW_READ_ONLY", "1")
    app = AppTest.from_file(str(PROJECT / "pages" / "router.py"), default_timeout=60)
    app.switch_page(str(PROJECT / "pages" / "data.py"))
    app.run()
    assert not app.exception and not app.file_uploader and "nothing can be changed" in shown(app)
