"""The page Data in AppTest: add, look, split, prepare, delete; bad input gives a message."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.data.datasets import find_dataset, list_datasets
from core.data.paths import name_from_file
from core.data.reading.ingest import ingest
from core.data.samples import Sample, find_sample, list_samples, read_sample_rows
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.jobs.requests import FinetuneRequest
from core.jobs.store import RunStore
from core.workspace import PROJECT, Workspace, open_workspace
from pages.components.data.split_form import describe_split, ingest_command
from tests.core.data.helpers import with_segments


@pytest.fixture
def space(
    tiny_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workspace]:
    shutil.copytree(tiny_template, tmp_path / "space")
    monkeypatch.setenv("THAW_HOME", str(tmp_path / "space"))
    st.cache_resource.clear()
    st.cache_data.clear()
    yield open_workspace(tmp_path / "space")
    st.cache_resource.clear()


def data_page(**query: str) -> AppTest:
    app = AppTest.from_file(str(PROJECT / "pages" / "router.py"), default_timeout=30)
    for key, value in query.items():
        app.query_params[key] = value
    app.switch_page(str(PROJECT / "pages" / "data.py"))
    return checked(app.run())


def checked(app: AppTest) -> AppTest:
    assert not app.exception
    return app


def open_tab(app: AppTest, view: str) -> AppTest:
    app.session_state["view"] = view
    return checked(app.run())


def adding(way: str = "upload") -> AppTest:
    app = data_page()
    app.session_state["adding"] = True
    app.run()
    app.segmented_control(key="way").set_value(way).run()
    return checked(app)


def words(app: AppTest) -> str:
    return " ".join(
        block.value for kind in (app.markdown, app.caption, app.info, app.warning) for block in kind
    )


def test_a_sample_shows_its_report(space: Workspace) -> None:
    app = data_page()
    metrics = {metric.label: metric.value for metric in app.metric}
    assert metrics["Rows"] == "3,000"
    assert metrics["Bad rows skipped"] == "0"
    assert metrics["Container"] == "plain"
    assert "simulated" in words(app)
    assert app.query_params["sample"] == list_samples(space)[0].id


def test_a_category_and_a_numeric_column_are_shown(space: Workspace) -> None:
    app = data_page()
    for column in ("C1", "I2"):
        app.selectbox(key="look_at").set_value(column).run()
        checked(app)
        assert "distinct values" in words(app)


def test_an_unknown_sample_in_the_url_is_reported(space: Workspace) -> None:
    app = data_page(sample="s-nothing")
    assert "There is no sample" in words(app)
    assert {metric.label for metric in app.metric} >= {"Rows"}


def test_an_empty_workspace_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THAW_HOME", str(tmp_path))
    st.cache_resource.clear()
    app = data_page()
    assert "There is no sample yet" in words(app)
    assert "no sample to split" in words(open_tab(app, "Split"))
    assert "There is no dataset yet" in words(open_tab(app, "Datasets"))


def test_prepare_by_row_order_at_random_and_by_column(space: Workspace) -> None:
    app = open_tab(data_page(), "Split")
    sample = list_samples(space)[0]
    app.slider(key=f"source-{sample.id}").set_value(50).run()
    app.button(key="prepare").click().run()
    checked(app)
    assert app.query_params["dataset"] == find_dataset(space, "tiny, by row order").id
    assert "the first 50 % of the rows" in words(app)
    open_tab(app, "Split")
    app.segmented_control(key=f"method-{sample.id}").set_value("random").run()
    app.button(key="prepare").click().run()
    open_tab(app, "Split")
    app.segmented_control(key=f"method-{sample.id}").set_value("column").run()
    assert "Choose the values" in words(checked(app))
    app.selectbox(key=f"column-{sample.id}").set_value("C9").run()
    rows = read_sample_rows(sample, ["C9"]).to_pandas()
    app.multiselect(key=f"values-{sample.id}-C9").set_value([rows.C9.value_counts().index[1]]).run()
    app.button(key="prepare").click().run()
    checked(app)
    assert {found.name for found in list_datasets(space)} == {
        "tiny",
        "tiny, by row order",
        "tiny, at random, seed 0",
        "tiny, by C9",
    }


def test_a_split_that_leaves_no_clicks_gives_a_message(space: Workspace) -> None:
    app = open_tab(data_page(), "Split")
    sample = list_samples(space)[0]
    app.segmented_control(key=f"method-{sample.id}").set_value("column").run()
    app.selectbox(key=f"column-{sample.id}").set_value("C3").run()
    rare = read_sample_rows(sample, ["C3"]).to_pandas().C3.value_counts()
    app.multiselect(key=f"values-{sample.id}-C3").set_value([rare.index[-1]]).run()
    checked(app)
    assert (
        "The part" in app.error[0].value.replace("\\", "")
        or "This split leaves" in app.error[0].value
    )
    assert not [button for button in app.button if button.key == "prepare"]


def small(space: Workspace, tmp_path: Path, name: str, labels: list[int]) -> Sample:
    """A sample with these labels, in this order; its rows are the first of 400 that are always the
    same."""
    simulate(tmp_path / "rows.tsv", 400, "source", seed=9)
    lines = (tmp_path / "rows.tsv").read_text().splitlines()[: len(labels)]
    path = tmp_path / f"{name}.tsv"
    path.write_text(
        "".join(f"{label}{line[1:]}\n" for label, line in zip(labels, lines, strict=True))
    )
    return ingest(space, path, name)


def test_a_small_sample_is_prepared_and_the_widened_share_is_reported(
    space: Workspace, tmp_path: Path
) -> None:
    labels = [0, 0, 0, 1] * 50
    labels[144:164] = [0] * 20
    sample = small(space, tmp_path, "small", labels)
    app = open_tab(data_page(sample=sample.id), "Split")
    assert "target validation share was widened from 10 %" in words(app).replace("\\", "")
    assert app.number_input(key=f"min_count-{sample.id}-2").value == 2
    assert "--min-count" not in app.code[0].value
    app.button(key="prepare").click().run()
    dataset = find_dataset(space, "small, by row order")
    assert "target validation share was widened from 10 %" in words(checked(app)).replace("\\", "")
    assert dataset.min_count == 2 and "the default for" in words(app)


def test_a_sorted_file_gets_the_random_split_by_a_button(space: Workspace, tmp_path: Path) -> None:
    sample = small(space, tmp_path, "sorted", [0] * 200 + [1] * 200)
    app = open_tab(data_page(sample=sample.id), "Split")
    assert "sorted by label" in app.error[0].value and not [
        one for one in app.button if one.key == "prepare"
    ]
    app.button(key="remedy").click().run()
    assert (
        not checked(app).error
        and app.segmented_control(key=f"method-{sample.id}").value == "random"
    )
    app.button(key="prepare").click().run()
    assert find_dataset(space, "sorted, at random, seed 0").spec.method == "random"


def test_a_segment_column_is_offered_with_its_values(space: Workspace) -> None:
    sample = with_segments(list_samples(space)[0], "day", ["mon", "tue", None])
    app = open_tab(data_page(sample=sample.id), "Split")
    app.segmented_control(key=f"method-{sample.id}").set_value("column").run()
    assert checked(app).selectbox(key=f"column-{sample.id}").value == "day"
    values = app.multiselect(key=f"values-{sample.id}-day")
    assert sorted(values.options) == ["missing · 33.3%", "mon · 33.3%", "tue · 33.3%"]
    values.set_value(["tue"]).run()
    app.toggle(key=f"shuffle-{sample.id}").set_value(True).run()
    assert "--column day --target-values tue --shuffle" in checked(app).code[0].value
    app.button(key="prepare").click().run()
    assert "Target: rows whose day is “tue”" in words(checked(app))
    assert find_dataset(space, "tiny, by day").parts[5].rows == 500


def test_several_files_each_with_its_part(space: Workspace, tmp_path: Path) -> None:
    tiny = list_samples(space)[0]
    june = small(space, tmp_path, "June", [0, 1, 0] * 100)
    july = small(space, tmp_path, "July", [0, 1, 0] * 50)
    app = data_page(target=june.id, source=tiny.id)
    assert app.segmented_control(key="split_way").value == "several"
    app.selectbox(key="target_test").set_value(july.id).run()
    assert [*checked(app).dataframe[0].value["Rows"]] == [2565, 135, 300, 270, 30, 150]
    assert {key: app.query_params[key] for key in ("source", "target", "target_test")} == {
        "source": tiny.id, "target": june.id, "target_test": july.id,
    }  # fmt: skip
    assert "150 of the 150 rows of 'July' also occur in 'June'" in words(app).replace("\\", "")
    assert (
        app.code[0].value
        == "python -m core prepare --name 'tiny to June' --source tiny --target June --target-test"
        " July"
    )
    app.button(key="prepare").click().run()
    dataset = find_dataset(space, "tiny to June")
    assert dataset.simulated and [one.name for one in dataset.samples] == ["tiny", "June", "July"]
    said = words(checked(app)).replace("\\", "")
    assert "target test from 'July' (150 rows)" in said and "also occur in 'June'" in said
    assert "target" not in app.query_params and app.query_params["dataset"] == dataset.id


def test_files_are_chosen_and_taken_back_and_the_address_follows(
    space: Workspace, tmp_path: Path
) -> None:
    tiny, june = find_sample(space, "tiny"), small(space, tmp_path, "June", [0, 1, 0] * 100)
    july = small(space, tmp_path, "July", [0, 1, 0] * 50)
    app = data_page(target=june.id, target_test=july.id)
    app.selectbox(key="target").set_value(july.id).run()
    app.selectbox(key="target_test").set_value("none").run()
    app.selectbox(key="source").set_value("none").run()
    assert [*checked(app).dataframe[0].value["Part"]] == [
        "Target train",
        "Target validation",
        "Target test",
    ]
    assert dict(app.query_params) | {"source": "none", "target": july.id} == dict(app.query_params)
    assert "target_test" not in app.query_params and "--source" not in app.code[0].value
    app.segmented_control(key="split_way").set_value("one").run()
    assert not {"source", "target"} & {*checked(app).query_params}
    app = data_page(target="s-gone", source=tiny.id)
    assert "There is no sample 's-gone'" in words(app).replace("\\", "")


def test_one_file_cannot_have_two_parts(space: Workspace, tmp_path: Path) -> None:
    small(space, tmp_path, "June", [0, 1, 0] * 100)
    tiny = find_sample(space, "tiny")
    app = data_page(target=tiny.id, source=tiny.id)
    assert "is named as the source file and as the target file" in app.error[0].value


def test_a_taken_name_gives_a_message(space: Workspace) -> None:
    app = open_tab(data_page(), "Split")
    app.slider(key=f"source-{list_samples(space)[0].id}").set_value(50).run()
    app.text_input(key="dataset-name-tiny, by row order").set_value("tiny").run()
    app.button(key="prepare").click().run()
    assert "already a dataset named 'tiny'" in checked(app).error[0].value.replace("\\", "")


def test_the_name_that_is_proposed_can_be_had(space: Workspace) -> None:
    """Another split of the same sample is another dataset; the same split again is the same one."""
    key = f"source-{list_samples(space)[0].id}"
    for share, name in (
        (50, "tiny, by row order"),
        (40, "tiny, by row order 2"),
        (50, "tiny, by row order"),
    ):
        app = open_tab(data_page(), "Split")
        app.slider(key=key).set_value(share).run()
        assert app.text_input(key=f"dataset-name-{name}").value == name
        app.button(key="prepare").click().run()
        checked(app)
        assert not app.error and app.query_params["dataset"] == find_dataset(space, name).id
    assert len(list_datasets(space)) == 3


def test_a_file_on_this_machine_is_added(space: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "more rows.tsv.gz"
    simulate(path, 1000, "source", seed=9)
    app = adding("path")
    app.text_input(key="path").set_value(str(path)).run()
    app.button(key="add_path").click().run()
    checked(app)
    sample = find_sample(space, "more rows")
    assert (sample.name, sample.source, sample.rows) == ("more rows", "more rows.tsv.gz", 1000)
    assert app.query_params["sample"] == sample.id
    assert path.exists()


def test_a_bad_row_gives_a_message_and_can_be_skipped(space: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "bad.tsv"
    simulate(path, 200, "source", seed=9)
    with path.open("a") as stream:
        stream.write("2" + path.read_text().splitlines()[0][1:] + "\n")
    app = adding("path")
    app.text_input(key="path").set_value(str(path)).run()
    app.button(key="add_path").click().run()
    assert "201" in checked(app).error[0].value.replace("\\", "")
    assert len(list_samples(space)) == 1
    app.button(key="skip_bad").click().run()
    checked(app)
    sample = find_sample(space, "bad")
    assert (sample.rows, sample.bad_rows) == (200, 1)
    assert not app.session_state["adding"]
    assert not app.error


def test_an_upload_is_added_and_its_copy_deleted(space: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "up.tsv"
    simulate(path, 500, "target", seed=4)
    app = adding()
    app.file_uploader(key="sample_upload_0").upload("up.tsv", path.read_bytes(), "text/plain").run()
    app.button(key="add_upload").click().run()
    checked(app)
    assert find_sample(space, "up").source == "up.tsv"
    assert not any(space.uploads.glob("upload-*"))


def test_an_upload_is_known_by_its_own_name(space: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "bad.tsv"
    simulate(path, 200, "source", seed=9)
    rows = path.read_bytes() + b"2" + path.read_bytes().splitlines()[0][1:] + b"\n"
    app = adding()
    app.file_uploader(key="sample_upload_0").upload("my rows.tsv", rows, "text/plain").run()
    app.button(key="add_upload").click().run()
    assert "'my rows.tsv'" in checked(app).error[0].value.replace("\\", "")
    app.button(key="skip_bad").click().run()
    assert "'my rows.tsv'" in find_sample(space, "my rows").bad_examples[0]
    assert not any(space.uploads.glob("upload-*"))


def test_a_refused_upload_goes_when_dismissed(space: Workspace) -> None:
    app = adding()
    app.file_uploader(key="sample_upload_0").upload(
        "junk.bin", b"\x00\x01\x02" * 100, "text/plain"
    ).run()
    assert "'junk.bin'" in checked(app).error[0].value.replace("\\", "")
    assert not [button for button in app.button if button.key == "add_upload"]
    assert len(list(space.uploads.glob("upload-*"))) == 1
    app.button(key="sample_upload_drop").click().run()
    assert not checked(app).error
    assert not any(space.uploads.glob("upload-*"))


def test_an_upload_with_a_bad_row_goes_when_its_refusal_is_dismissed(space: Workspace) -> None:
    path = space.root / "rows.tsv"
    simulate(path, 300, "both", seed=3)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[6] = b"7" + lines[6][1:]
    app = adding()
    app.file_uploader(key="sample_upload_0").upload("up.tsv", b"".join(lines), "text/plain").run()
    app.button(key="add_upload").click().run()
    assert checked(app).error and len(list(space.uploads.glob("upload-*"))) == 1
    app.button(key="dismiss").click().run()
    assert not checked(app).error
    assert not any(space.uploads.glob("upload-*"))


def test_rows_are_simulated(space: Workspace) -> None:
    app = adding("simulate")
    app.number_input(key="simulated_rows").set_value(2000).run()
    app.button(key="simulate").click().run()
    checked(app)
    sample = find_sample(space, "Simulated both, 2,000 rows, ordinary, seed 1")
    assert (sample.simulated, sample.rows) == (True, 2000)
    assert not [path for path in space.uploads.iterdir() if path.is_dir()]


def test_rows_without_labels_become_source_rows(space: Workspace, tmp_path: Path) -> None:
    path, labelled = tmp_path / "test.txt", tmp_path / "labelled.tsv"
    simulate(labelled, 300, "target", seed=5)
    path.write_text(
        "".join(line.split("\t", 1)[1] for line in labelled.read_text().splitlines(keepends=True))
    )
    app = adding("path")
    app.text_input(key="path").set_value(str(path)).run()
    app.button(key="add_path").click().run()
    assert "can score them" in words(checked(app))
    app.button(key="go_split").click().run()
    sample = find_sample(space, "test")
    assert "all rows become source rows" in words(checked(app))
    assert f"method-{sample.id}" not in [one.key for one in app.segmented_control]
    assert [*app.dataframe[0].value.columns] == ["Part", "Rows", "Share"]
    app.slider(key=f"unlabelled-{sample.id}").set_value(10).run()
    assert "--source-validation-share 0.1" in app.code[0].value
    app.button(key="prepare").click().run()
    dataset = find_dataset(space, "test, no labels")
    assert [part.rows for part in dataset.parts] == [270, 30, 0, 0, 0, 0]
    assert app.query_params["dataset"] == dataset.id
    assert "for pretraining by RFD or MFP" in words(checked(app))
    assert not app.error and "Source and target" not in [header.value for header in app.subheader]


def test_a_dataset_and_a_sample_are_deleted(space: Workspace) -> None:
    app = data_page(dataset=list_datasets(space)[0].id)
    assert "between the source and the target" in words(app)
    app.button(key="delete_dataset_really").click().run()
    checked(app)
    assert list_datasets(space) == []
    open_tab(app, "Sample")
    app.button(key="delete_sample_really").click().run()
    assert "There is no sample yet" in words(checked(app))


def test_nothing_is_deleted_under_a_run_that_needs_it(space: Workspace) -> None:
    dataset = list_datasets(space)[0]
    run = RunStore(space).submit(FinetuneRequest(dataset.id, "simulated-dnn"), "waits", "cpu")
    app = data_page(dataset=dataset.id)
    assert f"python -m core delete --dataset {dataset.id}" in [one.value for one in app.code]
    app.button(key="delete_dataset_really").click().run()
    assert "has still to end" in checked(app).error[0].value and run.id in app.error[0].value
    open_tab(app, "Sample")
    app.button(key="delete_sample_really").click().run()
    assert "has still to end" in checked(app).error[0].value
    assert len(list_datasets(space)) == 1 and find_sample(space, dataset.sample_id)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("train.txt.gz", "train"),
        ("day_0.tar.gz", "day_0"),
        ("../../x|y.csv", "x y"),
        ("..", "Sample"),
        ("É.tsv", "É"),
    ],
)
def test_sample_names_come_from_file_names(file: str, name: str) -> None:
    assert name_from_file(file) == name


def test_the_command_names_what_differs_from_the_defaults(space: Workspace) -> None:
    sample = list_samples(space)[0]
    spec = SplitSpec(method="column", column="C9", target_values=("ab", "cd"))
    assert (
        ingest_command(sample, spec, "by C9", None)
        == "python -m core ingest tiny.tsv --name 'by C9' --simulated --split column --column C9"
        " --target-values ab,cd"
    )
    assert "Target: rows whose C9 is “ab”, “cd”" in describe_split(spec)
    assert describe_split(SplitSpec(source_share=0)).startswith("All rows are target rows")
