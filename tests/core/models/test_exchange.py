"""Export and import: the same backbone on the other side, and every stranger's trick refused with a sentence."""

import dataclasses
import hashlib
import io
import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save, save_file

from core.__main__ import main
from core.data.datasets import Dataset
from core.data.preprocessing import load_preprocessing
from core.errors import BadInput, RunError
from core.models import exchange, importing
from core.models.backbone import build_network, describe_stages, load_backbone, save_backbone
from core.models.card import BackboneCard, HeadSettings
from core.models.exchange import MEMBERS, export_backbone
from core.models.importing import import_backbone
from core.models.library import find_backbone, list_backbones
from core.models.network import Network
from core.models.registry import ARCHITECTURES, complete_settings
from core.runs import command
from core.runs.command import import_in_subprocess
from core.training.export import export
from core.training.objectives import ORIGINS
from core.training.settings import FinetuneRequest
from core.workspace import Workspace, open_workspace, read_json
from tests.core.data.helpers import fingerprint
from tests.core.models.references import SMALL
from tests.core.training.helpers import QUICK, carry_out

CARD, STATISTICS, VOCABULARY, WEIGHTS = MEMBERS
Files = dict[str, bytes]


def stored_backbone(workspace: Workspace, dataset: Dataset, architecture: str = "dnn") -> BackboneCard:
    """A backbone of random weights on the vocabulary of `dataset`, with everything a pretrained one has."""
    folder = dataset.folder / "preprocessing"
    small = {name: value for name, value in SMALL.items() if name in ARCHITECTURES[architecture].defaults}
    torch.manual_seed(0)
    network = build_network(architecture, small, load_preprocessing(folder).field_sizes, HeadSettings((3,))).eval()
    card = BackboneCard(
        id="b-first",
        name="first",
        architecture=architecture,
        settings=complete_settings(architecture, small),
        stages=tuple(dataclasses.replace(stage, origin="random") for stage in describe_stages(network, 39)),
        representation=network.representation,
        members=network.members,
        head=HeadSettings((3,)),
        trained_on={
            "dataset": dataset.name,
            "content_hash": dataset.content_hash,
            "rows": 1539,
            "simulated": True,
            "domain": "source",
        },
        metrics={"auc": 0.7, "auc_low": 0.6, "auc_high": 0.8, "log_loss": 0.5, "rows": 300},
        preprocessing_hash=dataset.preprocessing_hash,
        weights_sha256="",
        licence="Apache-2.0 (simulated data)",
        created="2026-11-25T12:00:00+00:00",
    )
    return save_backbone(network, card, folder, workspace.backbones / card.id)


@pytest.fixture(scope="module")
def origin(tiny_template: Path, tmp_path_factory: pytest.TempPathFactory) -> BackboneCard:
    """A small DNN in a workspace of its own."""
    from core.data.datasets import find_dataset

    root = shutil.copytree(tiny_template, tmp_path_factory.mktemp("origin") / "workspace")
    workspace = open_workspace(root)
    return stored_backbone(workspace, find_dataset(workspace, "tiny"))


@pytest.fixture
def files(origin: BackboneCard) -> Files:
    """The exported members by name."""
    return {name: (origin.folder / name).read_bytes() for name in MEMBERS}


def packed(path: Path, files: Files, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def with_card(files: Files, **changes: Any) -> Files:
    card = json.loads(files[CARD])
    for name, value in changes.items():
        card[name] = value
        if value is ...:
            del card[name]
    return files | {CARD: json.dumps(card).encode()}


def with_weights(files: Files, data: bytes) -> Files:
    return with_card(files | {WEIGHTS: data}, weights_sha256=hashlib.sha256(data).hexdigest())


def tensors(files: Files, tmp_path: Path) -> dict[str, torch.Tensor]:
    (tmp_path / "weights").write_bytes(files[WEIGHTS])
    return load_file(tmp_path / "weights")


def refused(workspace: Workspace, path: Path, sentence: str, name: str = "") -> None:
    """The import raises the sentence and leaves every byte of the workspace as it was."""
    before = fingerprint(workspace)
    with pytest.raises(BadInput, match=sentence):
        import_backbone(workspace, path, name)
    assert fingerprint(workspace) == before


@pytest.mark.parametrize("architecture", ["dnn", "deepfm", "tabm", "resnet"])
def test_the_round_trip_gives_the_same_network_bit_for_bit(
    architecture: str, tiny: tuple[Workspace, Dataset], workspace: Workspace, tmp_path: Path
) -> None:
    first = stored_backbone(*tiny, architecture)
    export_backbone(first, tmp_path / "first.zip")
    second = import_backbone(workspace, tmp_path / "first.zip")
    assert find_backbone(workspace, "first") == second and second.folder.parent == workspace.backbones
    same = {"id": first.id, "folder": first.folder, "imported": False}
    assert dataclasses.replace(second, **same) == first  # type: ignore[arg-type]
    assert second.imported and not second.bundled and second.id != first.id
    ids = torch.randint(0, 3, (50, 39), generator=torch.Generator().manual_seed(1))
    numerics = torch.randn(50, 13, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.equal(load_backbone(first)((ids, numerics)), load_backbone(second)((ids, numerics)))
    assert [path.name for path in workspace.backbones.iterdir()] == [second.id]

    export_backbone(second, tmp_path / "second.zip")
    export_backbone(second, tmp_path / "again.zip")
    assert (tmp_path / "second.zip").read_bytes() == (tmp_path / "again.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "second.zip") as archive:
        assert archive.namelist() == [*MEMBERS] and archive.testzip() is None


def test_a_bundled_backbone_comes_back_as_an_imported_one(workspace: Workspace, tmp_path: Path) -> None:
    bundled = find_backbone(workspace, "simulated-dcnv2")
    export_backbone(bundled, tmp_path / "it.zip")
    refused(workspace, tmp_path / "it.zip", "already a backbone named 'Simulated DCNv2'")
    refused(workspace, tmp_path / "it.zip", "backbone name 'a/b' cannot be used", "a/b")
    card = import_backbone(workspace, tmp_path / "it.zip", " mine ")
    assert (card.name, card.imported, card.bundled) == ("mine", True, False)
    assert card.stages == bundled.stages and card.metrics == bundled.metrics
    assert find_backbone(workspace, "mine") == card


def test_a_fine_tuned_model_becomes_a_backbone(tiny: tuple[Workspace, Dataset], tmp_path: Path) -> None:
    workspace, dataset = tiny
    first = stored_backbone(workspace, dataset)
    head = HeadSettings((), "relu", "softmax")
    run = carry_out(workspace, FinetuneRequest(dataset.id, first.id, "depth", 2, head, QUICK))
    export(workspace, run, tmp_path / "out")
    card = import_backbone(workspace, tmp_path / "out", "tuned")
    assert run.result is not None
    assert [stage.origin for stage in card.stages] == ["random", "random", "supervised"]
    assert card.scores_clicks and card.head == head and card.imported
    assert card.trained_on == first.trained_on | {"domain": "target", "rows": run.result["train_rows"]}
    assert card.earlier == (first.trained_on,)
    assert card.metrics == {name: run.result["metrics"]["target_test"][name] for name in card.metrics}
    assert card.preprocessing_hash == first.preprocessing_hash
    again = carry_out(workspace, FinetuneRequest(dataset.id, card.id, "depth", 3, head, QUICK))
    assert again.result is not None
    assert again.result["before"]["target_test"]["auc"] == pytest.approx(card.metrics["auc"])
    scratch = carry_out(workspace, FinetuneRequest(dataset.id, first.id, "scratch", 0, head, QUICK))
    stored = read_json(workspace.runs / scratch.id / "model" / "card.json")
    assert stored["earlier"] == [] and {stage["origin"] for stage in stored["stages"]} == {"supervised"}


def test_stages_are_measured_not_believed(
    files: Files, origin: BackboneCard, workspace: Workspace, tmp_path: Path
) -> None:
    stages = [
        {"name": stage.name, "title": "Better", "parameters": 1, "flops": -5, "outputs": 0, "origin": "rfd"}
        for stage in origin.stages
    ]
    changed = with_card(files, stages=stages, id="../../x", bundled=True, imported=False, objective="rfd", metrics={})
    card = import_backbone(workspace, packed(tmp_path / "it.zip", changed))
    assert card.stages == tuple(dataclasses.replace(stage, origin="rfd") for stage in origin.stages)
    assert (card.bundled, card.imported, card.objective) == (False, True, "rfd")
    assert card.folder == workspace.backbones / card.id and len(card.id) == 10


def test_a_card_before_origins_claims_no_more_than_its_objective(
    files: Files, workspace: Workspace, tmp_path: Path
) -> None:
    named = [{"name": stage["name"]} for stage in json.loads(files[CARD])["stages"]]
    for objective, stated in (("none", "random"), ("mfp", "mfp")):
        path = packed(tmp_path / "it.zip", with_card(files, stages=named, objective=objective))
        card = import_backbone(workspace, path, objective)
        assert {stage.origin for stage in card.stages} == {stated}


def test_every_origin_can_be_imported() -> None:
    known = {name for about in ARCHITECTURES.values() for name in (*about.objectives, *about.starts)} - {"none"}
    assert known <= set(ORIGINS)


def archive_of(*members: tuple[str, bytes, int]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data, mode in members:
            member = zipfile.ZipInfo(name)
            member.create_system, member.external_attr = 3, mode << 16
            archive.writestr(member, data)
    return stream.getvalue()


def plain(files: Files) -> list[tuple[str, bytes, int]]:
    return [(name, data, 0o100644) for name, data in files.items()]


def encrypted(files: Files) -> bytes:
    data = bytearray(archive_of(*plain(files)))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


ARCHIVES: dict[str, tuple[Callable[[Files], bytes], str]] = {
    "zip slip": (lambda f: archive_of(*plain(f), ("../../evil", b"x", 0o100644)), "'../../evil', which points outside"),
    "absolute": (lambda f: archive_of(*plain(f), ("/etc/x", b"x", 0o100644)), "'/etc/x', which points outside"),
    "symlink": (
        lambda f: archive_of(*plain({**f, CARD: b""})[1:], (CARD, b"/etc/passwd", 0o120777)),
        "'card.json', which is a link",
    ),
    "extra": (lambda f: archive_of(*plain(f), ("notes.txt", b"x", 0o100644)), "holds 'notes.txt'; a backbone is card"),
    "pickle beside": (
        lambda f: archive_of(*plain(f), ("a/data.pkl", b"x", 0o100644)),
        "'a/data.pkl' is not read: Thaw",
    ),
    "missing": (lambda f: archive_of(*plain(f)[:-1]), "lacks model.safetensors"),
    "encrypted": (encrypted, "is encrypted"),
    "truncated": (lambda f: archive_of(*plain(f))[:-3000], "cannot be unpacked .* damaged or truncated"),
    "flipped": (lambda f: archive_of(*plain(f)).replace(f[WEIGHTS][-64:], bytes(64)), "is damaged after"),
    "safetensors": (lambda f: f[WEIGHTS], "holds weights alone; a backbone needs its card"),
    "pickle": (lambda f: pickle.dumps({"a": 1}), r"\(a pickle\) is not read: Thaw takes weights as safetensors alone"),
    "hdf5": (lambda f: b"\x89HDF\r\n\x1a\n" + bytes(100), r"\(HDF5\) is not read"),
    "junk": (lambda f: b"hello", "is no zip archive"),
    "empty": (lambda f: b"", "is no zip archive"),
}


@pytest.mark.parametrize("trick", ARCHIVES)
def test_archives_that_are_refused(trick: str, files: Files, workspace: Workspace, tmp_path: Path) -> None:
    make, sentence = ARCHIVES[trick]
    path = tmp_path / "given"
    path.write_bytes(make(files))
    refused(workspace, path, sentence)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["given", "workspace"]


def test_a_name_that_comes_twice_is_refused(files: Files, workspace: Workspace, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = archive_of(*plain(files), (CARD, b"{}", 0o100644))
    (tmp_path / "given").write_bytes(data)
    refused(workspace, tmp_path / "given", "holds 'card.json' twice")


@pytest.mark.parametrize("ending", ["pt", "bin", "h5", "pkl", "npz"])
def test_other_forms_of_weights_are_named_as_such(
    ending: str, files: Files, workspace: Workspace, tmp_path: Path
) -> None:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(1)}, buffer)
    (tmp_path / f"model.{ending}").write_bytes(buffer.getvalue())
    refused(workspace, tmp_path / f"model.{ending}", f"'model.{ending}' is not read: Thaw takes weights as safetensors")
    (tmp_path / "given").write_bytes(buffer.getvalue())
    refused(workspace, tmp_path / "given", "data.pkl' is not read")


def test_a_bomb_is_stopped_while_it_unpacks(
    files: Files, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = packed(tmp_path / "bomb.zip", files | {WEIGHTS: bytes(80 * 2**20)}, zipfile.ZIP_DEFLATED)
    refused(workspace, bomb, "looks like a decompression bomb")
    refused(
        workspace, packed(tmp_path / "big.zip", files | {CARD: bytes(2**20 + 1)}), "'card.json' in 'big.zip' is lon"
    )
    # An archive may lie about sizes; what comes out is counted too.
    lying = bytearray(archive_of(*plain(files)))
    place = lying.index(b"PK\x01\x02") + 24
    monkeypatch.setitem(exchange.MEMBERS, CARD, 100)
    lying[place : place + 4] = struct.pack("<I", 50)
    (tmp_path / "lying.zip").write_bytes(lying)
    refused(workspace, tmp_path / "lying.zip", "is damaged after")
    monkeypatch.setattr(exchange, "_members", lambda archive, source: {m.filename: m for m in archive.infolist()})
    refused(workspace, packed(tmp_path / "long.zip", files), "'card.json' in 'long.zip' is longer than the 100 bytes")


def test_folders(origin: BackboneCard, workspace: Workspace, tmp_path: Path) -> None:
    folder = shutil.copytree(origin.folder, tmp_path / "folder")
    (folder / "run.json").write_text("{}")
    (folder / "notes.txt").write_text("left alone")
    assert import_backbone(workspace, folder, "from a folder").stages == origin.stages
    (folder / CARD).rename(tmp_path / "card")
    refused(workspace, folder, "'folder' lacks card.json")
    (folder / CARD).symlink_to(tmp_path / "card")
    refused(workspace, folder, "'card.json' in 'folder' is a link")
    (folder / "pytorch_model.bin").write_bytes(b"x")
    refused(workspace, folder, "'pytorch_model.bin' is not read")
    refused(workspace, tmp_path / "nothing", "There is no file or folder")


LONG = "x" * 2000
CARDS: dict[str, tuple[dict[str, Any], str]] = {
    "lacks": ({"licence": ...}, "The card lacks licence"),
    "unknown": ({"run": "x"}, "a field 'run', which this version"),
    "architecture": ({"architecture": "vit"}, r"architecture is 'vit'; Thaw knows \['lr', 'fm', 'dnn'"),
    "architecture kind": ({"architecture": ["dnn"]}, r"architecture is \['dnn'\]; it must be plain text"),
    "html": ({"licence": "<b>mine</b>"}, "licence is '<b>mine</b>'; it must be plain text .* without < and >"),
    "lines": ({"licence": "a\nb"}, r"licence is 'a\\nb'; it must be plain text"),
    "backwards": ({"name": "a\u202eb"}, "name is .* it must be plain text"),
    "long": ({"licence": LONG}, "licence is 'xxxx"),
    "name": ({"name": "../../etc"}, "backbone name '../../etc' cannot be used"),
    "settings kind": ({"settings": []}, r"settings is \[\]; it must be an object"),
    "settings lack": ({"settings": {"widths": [8, 6]}}, "card's settings lacks batch_norm, dropout, embedding"),
    "hash": ({"weights_sha256": "xyz"}, "weights_sha256 is 'xyz'; it must be a SHA-256"),
    "other hash": ({"weights_sha256": "0" * 64}, "names weights of SHA-256 000000000000…, but those beside it have"),
    "vocabulary hash": ({"preprocessing_hash": "0" * 64}, "names the vocabulary 000000000000…, but the one beside"),
    "stages": ({"stages": []}, "stages is 'a list of 0'; it must be 1 to 64 entries long"),
    "stage names": (
        {"stages": [{"name": "embedding"}]},
        r"names the stages \['embedding'\], but a network 'dnn' .* has",
    ),
    "origin": ({"stages": [{"name": "embedding", "origin": "magic"}]}, "origin is 'magic'; it must be one of"),
    "representation": ({"representation": 7}, "representation is 7, but a network 'dnn' .* has 6"),
    "representation kind": ({"representation": "6"}, "representation is '6'; it must be a whole number"),
    "members": ({"members": 4}, "members is 4, but a network 'dnn' .* has 1"),
    "members kind": ({"members": True}, "members is True; it must be a whole number"),
    "head": ({"head": {"hidden": [3], "activation": "x", "output": "logit"}}, "Head activation 'x' is unknown"),
    "head kind": ({"head": {"hidden": 3, "activation": "relu", "output": "logit"}}, "head.hidden is 3; it must be a l"),
    "head size": ({"head": {"hidden": [9999], "activation": "relu", "output": "logit"}}, r"Head layers \[9999\]"),
    "metric": ({"metrics": {"auc": "0.9"}}, "metric 'auc' is '0.9'; it must be a finite number"),
    "metric alone": ({"metrics": {"auc": 0.9}}, "metric 'auc_low' is None; it must be a finite number"),
    "metric title": ({"metrics": {"<img>": 0.9}}, "metrics is '<img>'; it must be plain text"),
    "huge": ({"metrics": {"x": 10**400}}, "metric 'x' is 1000"),
    "trained on": ({"trained_on": {"dataset": "x"}}, "card's trained_on lacks content_hash, domain, rows, simulated"),
    "objective": ({"objective": "magic"}, r"objective is 'magic'; it must be one of \['supervised', 'rfd'"),
    "created": ({"created": "yesterday"}, "created is 'yesterday'; it must be an ISO time"),
    "year": ({"created": "0001-01-01"}, "created is '0001-01-01'; it must be an ISO time"),
    "earlier": ({"earlier": [{}] * 17}, "earlier is 'a list of 17'"),
}


@pytest.mark.parametrize("fault", CARDS)
def test_cards_that_are_refused(fault: str, files: Files, workspace: Workspace, tmp_path: Path) -> None:
    changes, sentence = CARDS[fault]
    refused(workspace, packed(tmp_path / "it.zip", with_card(files, **changes)), sentence)


SETTINGS: dict[str, tuple[Any, str]] = {
    "embedding": (257, "Embedding size is 257; it must be 1 to 256"),
    "dropout": (2, "Dropout is 2; it must be 0 to 0.95"),
    "widths": ([8, 10**9], r"Block widths \[8, 1000000000\] cannot be used"),
    "batch_norm": (1, "batch_norm is 1; it must be true or false"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_strangers_are_checked(name: str, files: Files, workspace: Workspace, tmp_path: Path) -> None:
    value, sentence = SETTINGS[name]
    settings = json.loads(files[CARD])["settings"]
    for given, said in ((value, sentence), ("4", f"{name} is '4'; it must be"), (None, f"{name} is None; it must be")):
        refused(workspace, packed(tmp_path / "it.zip", with_card(files, settings=settings | {name: given})), said)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"not json", "'card.json' is no JSON text"),
        (b"\xff\xfe", "'card.json' is no JSON text"),
        (b"[" * 100_000, "'card.json' is no JSON text"),
        (b"[]", r"The card is \[\]; it must be an object"),
        (b'{"name": NaN}', "it holds NaN"),
    ],
)
def test_what_is_no_card(text: bytes, sentence: str, files: Files, workspace: Workspace, tmp_path: Path) -> None:
    refused(workspace, packed(tmp_path / "it.zip", files | {CARD: text}), sentence)


def vocabulary(files: Files, **columns: Any) -> bytes:
    table = pq.read_table(io.BytesIO(files[VOCABULARY]))
    stream = io.BytesIO()
    pq.write_table(pa.table(columns) if columns else table.slice(1), stream)
    return stream.getvalue()


def test_preprocessing_that_is_refused(files: Files, workspace: Workspace, tmp_path: Path) -> None:
    statistics = json.loads(files[STATISTICS])

    def changed(**values: Any) -> Files:
        return files | {STATISTICS: json.dumps(statistics | values).encode()}

    def given(data: bytes) -> Files:
        return files | {VOCABULARY: data}

    for fault, sentence in (
        (changed(mean=[0.0]), "preprocessing's mean must be 13 numbers"),
        (changed(mean=["0"] * 13), r"preprocessing.mean is '0'; it must be a finite number"),
        (changed(std=[0.0] * 13), "std holds 0.0; deviations must be above 0"),
        (changed(mean=[1.0] * 13), "its content does not fit its hash"),
        (changed(min_count="x"), "preprocessing.min_count is 'x'"),
        (given(vocabulary(files)), "its content does not fit its hash"),
        (given(b"PAR1junk"), "'vocabulary.parquet' cannot be read"),
        (given(vocabulary(files, field=["C1"], value=[1])), "has the columns .* it must have field and value as text"),
        (given(vocabulary(files, field=["C1"], value=["x" * 20_000])), "a value of more than 4,096 letters"),
        (given(vocabulary(files, field=["Z1"], value=["x"])), "values of a column 'Z1', which is none"),
    ):
        refused(workspace, packed(tmp_path / "it.zip", fault), sentence)


def test_vocabularies_beyond_measure_are_refused_before_they_are_decoded(
    files: Files, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeated = vocabulary(files, field=["C1"] * 200_000, value=["x" * 100] * 200_000)
    assert len(repeated) < 100_000
    path = packed(tmp_path / "it.zip", files | {VOCABULARY: repeated})
    refused(workspace, path, "holds a value twice|does not fit its hash")
    monkeypatch.setattr(importing, "MAX_VALUES_BYTES", 10**7)
    refused(workspace, path, r"takes 20,400,000 bytes in memory; at most 10,000,000")
    monkeypatch.setattr(importing, "MAX_VALUES", 1000)
    refused(workspace, path, "has 200,000 values; at most 1,000")


def header(entries: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_weights_that_are_refused(files: Files, workspace: Workspace, tmp_path: Path) -> None:
    right = tensors(files, tmp_path)
    table = right["stages.0.table.weight"]
    ids = len(table)

    def changed(**values: torch.Tensor | None) -> bytes:
        named = right | {name.replace("__", "."): value for name, value in values.items()}
        return save({name: value for name, value in named.items() if value is not None})

    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    batches = "stages.1.layers.1.num_batches_tracked"
    for fault, sentence in (
        (changed(head__layers__0__weight=None), "lack the tensor 'head.layers.0.weight'"),
        (changed(extra=torch.zeros(1)), "hold a tensor 'extra', which a network 'dnn' has not"),
        (
            changed(stages__0__table__weight=table[1:].clone()),
            rf"table.weight' has the shape \[{ids - 1}, 4\], but .* needs \[{ids}, 4\]; the vocabulary has {ids:,} ids",
        ),
        (changed(stages__0__table__weight=table.T.contiguous()), rf"has the shape \[4, {ids}\]"),
        (changed(stages__0__table__weight=table.half()), "is stored as F16, but F32 is needed: convert it"),
        (changed(stages__0__table__weight=table.bfloat16()), "is stored as BF16, but F32"),
        (save(right | {batches: right[batches].float()}), f"'{batches}' is stored as F32, but I64 is needed"),
        (changed(stages__0__table__weight=table * torch.nan), "'stages.0.table.weight' hold NaN or infinite numbers"),
        (changed(stages__0__table__weight=table + torch.inf), "'stages.0.table.weight' hold NaN or infinite numbers"),
        (
            save({name: value * 3e38 if value.is_floating_point() else value for name, value in right.items()}),
            "NaN|no fi",
        ),
        (struct.pack("<Q", 2**62) + b"{", "is no whole safetensors file"),
        (struct.pack("<Q", 100) + b"{}", "is no whole safetensors file"),
        (header({"a": one, "b": one}, bytes(8)), "is no whole safetensors file"),
        (header({"a": one | {"data_offsets": [8, 16]}}, bytes(16)), "is no whole safetensors file"),
        (header({"a": one | {"shape": [2**40, 2**40]}}, bytes(8)), "is no whole safetensors file"),
        (header({"a": one | {"dtype": "PICKLE"}}, bytes(8)), "is no whole safetensors file"),
        (header({"a": one}, bytes(4)), "is no whole safetensors file"),
        (files[WEIGHTS][:-8], "is no whole safetensors file"),
        (b"", "is no whole safetensors file"),
    ):
        refused(workspace, packed(tmp_path / "it.zip", with_weights(files, fault)), sentence)


def test_a_negative_variance_gives_no_scores(files: Files, workspace: Workspace, tmp_path: Path) -> None:
    right = tensors(files, tmp_path)
    right["stages.1.layers.1.running_var"].fill_(-1.0)
    fault = with_weights(files, save(right))
    refused(workspace, packed(tmp_path / "it.zip", fault), "scores that are no finite numbers")


def test_a_huge_card_is_refused_without_the_memory_it_asks_for(
    files: Files, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = complete_settings("dcnv2", {"embedding": 256, "crosses": 8, "widths": [4096] * 8, "batch_norm": True})
    names = ["embedding", *(f"cross{i}" for i in range(1, 9)), *(f"block{i}" for i in range(1, 9))]
    asked = with_card(
        files,
        architecture="dcnv2",
        settings=settings,
        stages=[{"name": name} for name in names],
        representation=4096,
        head={"hidden": [4096] * 4, "activation": "relu", "output": "logit"},
    )
    # The network would have a thousand million floats; none is ever made.
    devices: list[str] = []

    def build(*of: Any) -> Network:
        network = build_network(*of)
        devices.extend(tensor.device.type for tensor in network.state_dict().values())
        return network

    monkeypatch.setattr(importing, "build_network", build)
    monkeypatch.setattr(importing, "load_backbone", None)
    refused(workspace, packed(tmp_path / "it.zip", asked), r"has the shape \[\d+, 4\], but .* needs \[\d+, 256\]")
    assert set(devices) == {"meta"}


def test_a_full_disk_is_a_sentence(
    files: Files, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(card: BackboneCard, folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(importing, "save_card", full)
    refused(workspace, packed(tmp_path / "it.zip", files), r"cannot be read or stored \(No space left on device\)")


def test_while_it_is_checked_no_list_shows_it(
    files: Files, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    real = importing.load_backbone

    def look(card: BackboneCard) -> Any:
        seen.append(sum(one.name == "first" for one in list_backbones(workspace)))
        return real(card)

    monkeypatch.setattr(importing, "load_backbone", look)
    import_backbone(workspace, packed(tmp_path / "it.zip", files))
    assert seen == [0]


def test_export_refuses_damage_and_places_it_cannot_write(
    origin: BackboneCard, tmp_path: Path, workspace: Workspace
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="cannot be written to"):
        export_backbone(origin, tmp_path / "file" / "it.zip")
    folder = shutil.copytree(origin.folder, tmp_path / "damaged")
    save_file({"a": torch.zeros(1)}, folder / WEIGHTS)
    with pytest.raises(BadInput, match="are not those its card names by SHA-256"):
        export_backbone(dataclasses.replace(origin, folder=folder), tmp_path / "it.zip")
    assert not (tmp_path / "it.zip").exists()


def test_the_command_line_exports_and_imports(
    files: Files, workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = packed(tmp_path / "it.zip", files)
    base = ["--workspace", str(workspace.root)]
    assert main([*base, "import-backbone", str(path), "--name", "mine", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["backbone"]
    assert (said["name"], said["imported"]) == ("mine", True)
    out = tmp_path / "out.zip"
    assert main([*base, "export-backbone", "--backbone", "mine", "--out", str(out)]) == 0
    assert "Wrote 'mine'" in capsys.readouterr().out
    with zipfile.ZipFile(out) as archive:
        assert archive.read(WEIGHTS) == files[WEIGHTS]
    assert main([*base, "import-backbone", str(out)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "thaw: There is already a backbone named 'mine'" in captured.err
    assert main([*base, "export-backbone", "--backbone", "none", "--out", str(out)]) == 2
    assert "no backbone 'none'" in capsys.readouterr().err


def test_a_process_of_its_own_imports_for_a_page(
    files: Files, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = import_in_subprocess(workspace, packed(tmp_path / "it.zip", files), "mine")
    assert card == find_backbone(workspace, "mine")
    before = fingerprint(workspace)
    with pytest.raises(BadInput, match=r"^'bad\.zip' lacks card\.json"):
        import_in_subprocess(workspace, packed(tmp_path / "bad.zip", {WEIGHTS: files[WEIGHTS]}))
    assert fingerprint(workspace) == before
    monkeypatch.setattr(command.sys, "executable", "/bin/false")
    with pytest.raises(RunError, match="'import-backbone' ended with status 1"):
        import_in_subprocess(workspace, tmp_path / "it.zip", "other")


def test_scores_of_the_imported_backbone_are_finite_on_any_id(
    files: Files, workspace: Workspace, tmp_path: Path
) -> None:
    card = import_backbone(workspace, packed(tmp_path / "it.zip", files))
    sizes = np.array(load_preprocessing(card.folder / "preprocessing").field_sizes)
    ids = torch.from_numpy(np.stack([sizes - 1, np.zeros_like(sizes)]))
    with torch.no_grad():
        assert torch.isfinite(load_backbone(card)((ids, torch.zeros(2, 13)))).all()
