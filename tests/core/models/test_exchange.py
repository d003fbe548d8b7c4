"""Export and import give the same backbone, and every trick with an archive is refused."""

import dataclasses
import io
import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.cli.parser import main
from core.data.datasets import Dataset
from core.errors import BadInput, RunError
from core.inference.export import export_model
from core.jobs.requests import FinetuneRequest
from core.models import exchange
from core.models.backbone import load_backbone
from core.models.backbone_import import import_backbone
from core.models.backbone_store import find_backbone
from core.models.card import BackboneCard, HeadSettings
from core.models.exchange import MEMBER_SIZE_LIMITS, export_backbone
from core.runs import subprocess_commands
from core.runs.subprocess_commands import import_in_subprocess
from core.workspace import Workspace, read_json
from tests.core.data.helpers import fingerprint
from tests.core.models.exchange_files import (
    CARD,
    WEIGHTS,
    Files,
    packed,
    refused,
    stored_backbone,
)
from tests.core.training.helpers import QUICK, run_request


@pytest.mark.parametrize("architecture", ["dnn", "deepfm", "tabm", "resnet"])
def test_the_round_trip_gives_the_same_network_bit_for_bit(
    architecture: str, tiny: tuple[Workspace, Dataset], workspace: Workspace, tmp_path: Path
) -> None:
    first = stored_backbone(*tiny, architecture)
    export_backbone(first, tmp_path / "first.zip")
    second = import_backbone(workspace, tmp_path / "first.zip")
    assert (
        find_backbone(workspace, "first") == second and second.folder.parent == workspace.backbones
    )
    same = {"id": first.id, "folder": first.folder, "imported": False}
    assert dataclasses.replace(second, **same) == first  # type: ignore[arg-type]
    assert second.imported and not second.bundled and second.id != first.id
    ids = torch.randint(0, 3, (50, 39), generator=torch.Generator().manual_seed(1))
    numerics = torch.randn(50, 13, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.equal(
            load_backbone(first)((ids, numerics)), load_backbone(second)((ids, numerics))
        )
    assert [path.name for path in workspace.backbones.iterdir()] == [second.id]

    export_backbone(second, tmp_path / "second.zip")
    export_backbone(second, tmp_path / "again.zip")
    assert (tmp_path / "second.zip").read_bytes() == (tmp_path / "again.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "second.zip") as archive:
        assert archive.namelist() == [*MEMBER_SIZE_LIMITS] and archive.testzip() is None


def test_a_bundled_backbone_comes_back_as_an_imported_one(
    workspace: Workspace, tmp_path: Path
) -> None:
    bundled = find_backbone(workspace, "simulated-dcnv2")
    export_backbone(bundled, tmp_path / "it.zip")
    refused(workspace, tmp_path / "it.zip", "already a backbone named 'Simulated DCNv2'")
    refused(workspace, tmp_path / "it.zip", "backbone name 'a/b' cannot be used", "a/b")
    card = import_backbone(workspace, tmp_path / "it.zip", " mine ")
    assert (card.name, card.imported, card.bundled) == ("mine", True, False)
    assert card.stages == bundled.stages and card.metrics == bundled.metrics
    assert find_backbone(workspace, "mine") == card


def test_a_fine_tuned_model_becomes_a_backbone(
    tiny: tuple[Workspace, Dataset], tmp_path: Path
) -> None:
    workspace, dataset = tiny
    first = stored_backbone(workspace, dataset)
    head = HeadSettings((), "relu", "softmax")
    run = run_request(workspace, FinetuneRequest(dataset.id, first.id, "depth", 2, head, QUICK))
    export_model(workspace, run, tmp_path / "out")
    card = import_backbone(workspace, tmp_path / "out", "tuned")
    assert run.result is not None
    assert [stage.origin for stage in card.stages] == ["random", "random", "supervised"]
    assert card.scores_clicks and card.head == head and card.imported
    assert card.trained_on == first.trained_on | {
        "domain": "target",
        "rows": run.result.train_rows,
        "head": "new",
    }
    assert card.earlier == (first.trained_on,)
    assert card.metrics == {name: run.result.metrics["target_test"][name] for name in card.metrics}
    assert card.preprocessing_hash == first.preprocessing_hash
    again = run_request(workspace, FinetuneRequest(dataset.id, card.id, "depth", 3, head, QUICK))
    assert again.result is not None and again.result.before is not None
    assert again.result.before["target_test"]["auc"] == pytest.approx(card.metrics["auc"])
    scratch = run_request(
        workspace, FinetuneRequest(dataset.id, first.id, "scratch", 0, head, QUICK)
    )
    stored = read_json(workspace.runs / scratch.id / "model" / "card.json")
    assert stored["earlier"] == [] and {stage["origin"] for stage in stored["stages"]} == {
        "supervised"
    }


@pytest.mark.parametrize(("strategy", "inputs"), [("retrain", "kept"), ("full", "refitted")])
def test_models_that_fitted_inputs_of_their_own_are_imported_from_folder_and_archive(
    strategy: str, inputs: str, tiny: tuple[Workspace, Dataset], tmp_path: Path
) -> None:
    workspace, dataset = tiny
    first = stored_backbone(workspace, dataset)
    request = FinetuneRequest(dataset.id, first.id, strategy, train=QUICK, inputs=inputs)
    run = run_request(workspace, request)
    for name in ("out", "out.zip"):
        export_model(workspace, run, tmp_path / name)
        card = import_backbone(workspace, tmp_path / name, name)
        stored = read_json(workspace.runs / run.id / "model" / "card.json")
        assert card.trained_on == stored["trained_on"] and card.test_domain == "target"
    zero = run_request(workspace, FinetuneRequest(dataset.id, card.id, "zero-shot", train=QUICK))
    assert zero.result is not None and run.result is not None
    assert zero.result.metrics["target_test"]["auc"] == run.result.metrics["target_test"]["auc"]


def test_boosted_trees_are_no_backbone(tiny: tuple[Workspace, Dataset], tmp_path: Path) -> None:
    workspace, dataset = tiny
    first = stored_backbone(workspace, dataset)
    run = run_request(
        workspace, FinetuneRequest(dataset.id, first.id, "gradient-boosting", train=QUICK)
    )
    export_model(workspace, run, tmp_path / "out")
    with pytest.raises(BadInput, match="boosted trees, which have no weights to fine-tune"):
        import_backbone(workspace, tmp_path / "out")


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
    "zip slip": (
        lambda f: archive_of(*plain(f), ("../../evil", b"x", 0o100644)),
        "'../../evil', which points outside",
    ),
    "absolute": (
        lambda f: archive_of(*plain(f), ("/etc/x", b"x", 0o100644)),
        "'/etc/x', which points outside",
    ),
    "symlink": (
        lambda f: archive_of(*plain({**f, CARD: b""})[1:], (CARD, b"/etc/passwd", 0o120777)),
        "'card.json', which is a link",
    ),
    "extra": (
        lambda f: archive_of(*plain(f), ("notes.txt", b"x", 0o100644)),
        "holds 'notes.txt'; a backbone is card",
    ),
    "pickle beside": (
        lambda f: archive_of(*plain(f), ("a/data.pkl", b"x", 0o100644)),
        "'a/data.pkl' is not read: Thaw",
    ),
    "missing": (lambda f: archive_of(*plain(f)[:-1]), "lacks model.safetensors"),
    "encrypted": (encrypted, "is encrypted"),
    "truncated": (
        lambda f: archive_of(*plain(f))[:-3000],
        "cannot be unpacked .* damaged or truncated",
    ),
    "flipped": (
        lambda f: archive_of(*plain(f)).replace(f[WEIGHTS][-64:], bytes(64)),
        "is damaged after",
    ),
    "safetensors": (lambda f: f[WEIGHTS], "holds weights alone; a backbone needs its card"),
    "pickle": (
        lambda f: pickle.dumps({"a": 1}),
        r"\(a pickle\) is not read: Thaw takes weights as safetensors alone",
    ),
    "hdf5": (lambda f: b"\x89HDF\r\n\x1a\n" + bytes(100), r"\(HDF5\) is not read"),
    "junk": (lambda f: b"hello", "is not a zip archive"),
    "empty": (lambda f: b"", "is not a zip archive"),
}


@pytest.mark.parametrize("trick", ARCHIVES)
def test_archives_that_are_refused(
    trick: str, files: Files, workspace: Workspace, tmp_path: Path
) -> None:
    make, sentence = ARCHIVES[trick]
    path = tmp_path / "given"
    path.write_bytes(make(files))
    refused(workspace, path, sentence)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["given", "workspace"]


def test_a_name_that_comes_twice_is_refused(
    files: Files, workspace: Workspace, tmp_path: Path
) -> None:
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
    refused(
        workspace,
        tmp_path / f"model.{ending}",
        f"'model.{ending}' is not read: Thaw takes weights as safetensors",
    )
    (tmp_path / "given").write_bytes(buffer.getvalue())
    refused(workspace, tmp_path / "given", "data.pkl' is not read")


@pytest.mark.usefixtures("read_in_process")
def test_a_bomb_is_stopped_while_it_unpacks(
    files: Files, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = packed(tmp_path / "bomb.zip", files | {WEIGHTS: bytes(80 * 2**20)}, zipfile.ZIP_DEFLATED)
    refused(workspace, bomb, "looks like a decompression bomb")
    refused(
        workspace,
        packed(tmp_path / "big.zip", files | {CARD: bytes(2**20 + 1)}),
        "'card.json' in 'big.zip' is lon",
    )
    # An archive may lie about sizes; what comes out is counted too.
    lying = bytearray(archive_of(*plain(files)))
    place = lying.index(b"PK\x01\x02") + 24
    monkeypatch.setitem(exchange.MEMBER_SIZE_LIMITS, CARD, 100)
    lying[place : place + 4] = struct.pack("<I", 50)
    (tmp_path / "lying.zip").write_bytes(lying)
    refused(workspace, tmp_path / "lying.zip", "is damaged after")
    monkeypatch.setattr(
        exchange, "_members", lambda archive, source: {m.filename: m for m in archive.infolist()}
    )
    refused(
        workspace,
        packed(tmp_path / "long.zip", files),
        "'card.json' in 'long.zip' is longer than the 100 bytes",
    )


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


def test_export_refuses_damage_and_places_it_cannot_write(
    origin: BackboneCard, tmp_path: Path, workspace: Workspace
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="Not a directory"):
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


def test_a_separate_process_imports_for_a_page(
    files: Files, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = import_in_subprocess(workspace, packed(tmp_path / "it.zip", files), "mine")
    assert card == find_backbone(workspace, "mine")
    before = fingerprint(workspace)
    with pytest.raises(BadInput, match=r"^'bad\.zip' lacks card\.json"):
        import_in_subprocess(workspace, packed(tmp_path / "bad.zip", {WEIGHTS: files[WEIGHTS]}))
    assert fingerprint(workspace) == before
    monkeypatch.setattr(subprocess_commands.sys, "executable", "/bin/false")
    with pytest.raises(RunError, match="'import-backbone' ended with status 1"):
        import_in_subprocess(workspace, tmp_path / "it.zip", "other")
