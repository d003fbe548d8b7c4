"""Runs written for other tools, read back by protobuf and YAML: the curves and results of the
store."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from core.cli.parser import main
from core.data.datasets import Dataset
from core.errors import BadInput
from core.evaluation.metrics import Metrics
from core.jobs.requests import FinetuneRequest, TrainSettings
from core.jobs.run_result import RunResult
from core.jobs.store import Run, RunStore
from core.tracking.mlflow_files import write_mlflow
from core.tracking.tensorboard_files import crc32c, write_tensorboard
from core.tracking.tracked import export_tracking
from core.workspace import Workspace

RESULT = RunResult(
    metrics={"target_test": Metrics.from_stored({"auc": 0.75, "rows": 600, "auc_low": None})},
    seconds={"total": 2.5},
)


@pytest.fixture
def run(tiny: tuple[Workspace, Dataset]) -> Run:
    """A finished run with two curves, and seconds."""
    workspace, dataset = tiny
    store = RunStore(workspace)
    request = FinetuneRequest(
        dataset.id, "simulated-dnn", "depth", 2, train=TrainSettings(batch_size=77)
    )
    run = store.submit(request, "half · frozen", "cpu")
    store.claim_run(run.id, 1)
    store.add_points(
        run.id,
        [(0, "validation_loss", 0.7), (10, "validation_loss", 0.5), (10, "gradient/head", 0.25)],
    )
    store.add_points(run.id, [(0, "seconds", 0.0), (20, "seconds", 4.0)])
    store.finish(run.id, "done", result=RESULT)
    store.annotate(run.id, "half · frozen", ["baseline"], "a | note")
    return store.get(run.id)


def test_mlflow_files(tiny: tuple[Workspace, Dataset], run: Run, tmp_path: Path) -> None:
    export_tracking(tiny[0], [run], "the sweep", tmp_path / "out", write_mlflow)
    metas = [
        yaml.safe_load(path.read_text()) for path in sorted((tmp_path / "out").glob("*/meta.yaml"))
    ]
    assert {meta["name"] for meta in metas} == {"Default", "the sweep"}
    experiment = next(meta["experiment_id"] for meta in metas if meta["name"] == "the sweep")
    (folder,) = (path for path in (tmp_path / "out" / experiment).iterdir() if path.is_dir())
    meta = yaml.safe_load((folder / "meta.yaml").read_text())
    assert (meta["run_id"], meta["status"], meta["run_name"]) == (folder.name, 3, "half · frozen")
    assert meta["experiment_id"] == experiment and meta["start_time"] <= meta["end_time"]
    assert (folder / "params" / "train.batch_size").read_text() == "77"
    assert (folder / "params" / "freeze_depth").read_text() == "2"
    assert (folder / "tags" / "thaw.note").read_text() == "a | note"
    lines = [
        line.split() for line in (folder / "metrics" / "validation_loss").read_text().splitlines()
    ]
    start = meta["start_time"]
    # Step 10 lies halfway between the two times that are known.
    assert [(int(a) - start, float(b), int(c)) for a, b, c in lines] == [
        (0, 0.7, 0),
        (2000, 0.5, 10),
    ]
    assert (folder / "metrics" / "gradient" / "head").exists()
    assert (folder / "metrics" / "target_test" / "auc").read_text().split()[1:] == ["0.75", "10"]
    assert not (folder / "metrics" / "target_test" / "auc_low").exists()


def test_tensorboard_files(tiny: tuple[Workspace, Dataset], run: Run, tmp_path: Path) -> None:
    export_tracking(tiny[0], [run], "the sweep", tmp_path / "out", write_tensorboard)
    (path,) = (tmp_path / "out").glob("*/events.out.tfevents.*")
    assert path.parent.name == run.id
    events = [_event()(data) for data in records(path.read_bytes())]
    assert events[0].file_version == "brain.Event:2"
    scalars: dict[str, list[tuple[int, float]]] = {}
    for event in events[1:]:
        for value in event.summary.value:
            if value.HasField("simple_value"):
                scalars.setdefault(value.tag, []).append((event.step, value.simple_value))
    assert scalars["validation_loss"] == [(0, np.float32(0.7)), (10, 0.5)]
    assert scalars["gradient/head"] == [(10, 0.25)] and scalars["target_test/auc"] == [(10, 0.75)]
    text = events[1].summary.value[0]
    assert (
        text.metadata.plugin_data.plugin_name == "text"
        and "| train.batch_size | 77 |" in text.tensor.string_val[0]
    )
    times = [
        event.wall_time
        for event in events
        if event.step == 10 and event.summary.value[0].tag == "gradient/head"
    ]
    assert times[0] - events[0].wall_time == pytest.approx(2.0)


def test_the_checksum_is_castagnolis() -> None:
    # The check value and a vector of RFC 3720, appendix B.4.
    assert crc32c(b"123456789") == 0xE3069283 and crc32c(bytes(32)) == 0x8A9136AA


def test_nothing_is_overwritten_and_nothing_is_made_up(
    tiny: tuple[Workspace, Dataset], run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--workspace",
        str(tiny[0].root),
        "export-tracking",
        "--run",
        run.id,
        "--format",
        "tensorboard",
        "--out",
    ]
    assert main([*words, str(tmp_path / "out")]) == 0
    assert f"tensorboard --logdir {tmp_path / 'out'}" in capsys.readouterr().out
    assert main([*words, str(tmp_path / "out")]) == 2
    assert "is not empty; name a new or an empty one" in capsys.readouterr().err
    waits = RunStore(tiny[0]).submit(FinetuneRequest(tiny[1].id, "simulated-dnn"), "waits", "cpu")
    with pytest.raises(BadInput, match="nothing to export yet"):
        export_tracking(tiny[0], [waits], "Thaw", tmp_path / "none", write_mlflow)
    assert not (tmp_path / "none").exists()


def records(data: bytes) -> list[bytes]:
    """The records of a TFRecord file, by its definition."""
    found, place = [], 0
    while place < len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        found.append(data[place + 12 : place + 12 + length])
        place += 16 + length
    assert place == len(data)
    return found


def _event() -> Any:
    """Reads an Event, from the fields of event.proto and summary.proto that are used."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="test", syntax="proto2")
    fields: dict[str, list[tuple[str, int, int, str, bool]]] = {
        "PluginData": [("plugin_name", 1, kinds.TYPE_STRING, "", False)],
        "Metadata": [("plugin_data", 1, kinds.TYPE_MESSAGE, "PluginData", False)],
        "Tensor": [
            ("dtype", 1, kinds.TYPE_INT32, "", False),
            ("string_val", 8, kinds.TYPE_STRING, "", True),
        ],
        "Value": [
            ("tag", 1, kinds.TYPE_STRING, "", False),
            ("simple_value", 2, kinds.TYPE_FLOAT, "", False),
            ("tensor", 8, kinds.TYPE_MESSAGE, "Tensor", False),
            ("metadata", 9, kinds.TYPE_MESSAGE, "Metadata", False),
        ],
        "Summary": [("value", 1, kinds.TYPE_MESSAGE, "Value", True)],
        "Event": [
            ("wall_time", 1, kinds.TYPE_DOUBLE, "", False),
            ("step", 2, kinds.TYPE_INT64, "", False),
            ("file_version", 3, kinds.TYPE_STRING, "", False),
            ("summary", 5, kinds.TYPE_MESSAGE, "Summary", False),
        ],
    }
    for name, own in fields.items():
        message = file.message_type.add(name=name)
        for field, number, kind, other, repeated in own:
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            message.field.add(
                name=field,
                number=number,
                type=kind,
                label=label,
                type_name=f".test.{other}" if other else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("test.Event")).FromString
