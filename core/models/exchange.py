"""Backbones as files: exported as one zip archive, and archives and folders of others unpacked.

The export of a run may be imported too, as a folder or as an archive, which holds that folder.
"""

import shutil
import zipfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from core.data.archives.bounded_reader import BoundedReader, check_member
from core.data.paths import check_input
from core.errors import BadInput
from core.files.outputs import check_output, write_output
from core.models.card import BackboneCard
from core.workspace import hash_file

MEMBER_SIZE_LIMITS: dict[str, int] = {
    "card.json": 2**20,
    "preprocessing/preprocessing.json": 2**20,
    "preprocessing/vocabulary.parquet": 2**30,
    "model.safetensors": 8 * 2**30,
}
"""The files of every backbone, each with the most bytes it may have."""
OPTIONAL_SIZE_LIMITS: dict[str, int] = {"preprocessing/statistics.parquet": 4 * 2**30}
"""The files of a backbone whose preprocessing has target statistics, likewise."""
IGNORED_MEMBERS = frozenset({"run.json", "model.onnx", "score.py"})
"""Further files in the export of a run; they are ignored."""
UNSUPPORTED_WEIGHTS = frozenset(
    (
        ".bin",
        ".ckpt",
        ".h5",
        ".hdf5",
        ".joblib",
        ".keras",
        ".npy",
        ".npz",
        ".onnx",
        ".pickle",
        ".pkl",
        ".pt",
        ".pth",
    )
)
"""Suffixes of files with weights in other formats."""
_SIGNATURES = {b"\x80": "a pickle", b"\x89HDF": "HDF5"}
_BLOCK_BYTES = 2**20
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def export_backbone(card: BackboneCard, path: Path) -> None:
    """Write a backbone as a zip archive; the same backbone gives the same bytes.

    Raises:
        BadInput: a part of it is missing or damaged, or `path` cannot be written.
    """

    names = [*MEMBER_SIZE_LIMITS, *_optional_members(card.folder)]

    def write(part: Path) -> None:
        # Stored, not deflated: float weights hardly shrink, and zlib's versions differ in their
        # bytes.
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            for name in names:
                member = zipfile.ZipInfo(name, _ZIP_DATE)
                member.create_system, member.external_attr = 3, 0o100644 << 16
                member.file_size = (card.folder / name).stat().st_size
                with (card.folder / name).open("rb") as source, archive.open(member, "w") as target:
                    shutil.copyfileobj(source, target, _BLOCK_BYTES)

    check_output(path, [card.folder / name for name in names])
    try:
        if hash_file(card.folder / "model.safetensors") != card.weights_sha256:
            raise BadInput(
                f"The weights of the backbone {card.name!r} are not those its card names by"
                " SHA-256: the file is damaged; pretrain or import the backbone again."
            )
        write_output(path, write)
    except OSError as error:
        raise BadInput(
            f"The backbone {card.name!r} cannot be written to {str(path)!r} ({error.strerror})."
        ) from error


def unpack_backbone(path: Path, folder: Path) -> None:
    """Copy the files of a backbone from a zip archive or a folder, within their size limits.

    The contents of the files are not checked here.

    Args:
        path: the archive or folder.
        folder: where the files go.

    Raises:
        BadInput: a file is missing, not expected, too long, encrypted or a link, or the archive is
            damaged.
    """
    check_input(path, "backbone", or_folder=True)
    for name in MEMBER_SIZE_LIMITS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        _unpack_folder(path, folder)
    else:
        _unpack_archive(path, folder)


def _optional_members(folder: Path) -> list[str]:
    return [name for name in OPTIONAL_SIZE_LIMITS if (folder / name).is_file()]


def _unpack_folder(path: Path, folder: Path) -> None:
    optional = _optional_members(path)
    found = {name for name in MEMBER_SIZE_LIMITS if (path / name).is_file()} | {*optional}
    _check_names(
        found | {file.name for file in path.iterdir() if _is_other_weights(file.name)}, path.name
    )
    for name in (*MEMBER_SIZE_LIMITS, *optional):
        if (path / name).is_symlink() or (path / name).parent.is_symlink():
            raise BadInput(f"{name!r} in {path.name!r} is a link; put the file itself there.")
        with (path / name).open("rb") as stream:
            _copy(stream, folder / name, name, path.name)


def _unpack_archive(path: Path, folder: Path) -> None:
    _check_kind(path)
    try:
        with path.open("rb") as raw, zipfile.ZipFile(raw) as archive:
            members = _members(archive, path.name)
            for name in filter(members.__contains__, _size_limits()):
                with archive.open(members[name]) as stream:
                    _copy(
                        BoundedReader(stream, path.stat().st_size, path.name, raw),
                        folder / name,
                        name,
                        path.name,
                    )
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise BadInput(
            f"{path.name!r} cannot be unpacked ({error}); the archive is damaged or truncated."
        ) from error


def _check_kind(path: Path) -> None:
    """Raise BadInput, saying what it is instead, when the file is not a zip archive."""
    with path.open("rb") as stream:
        start = stream.read(9)
    kind = next((kind for first, kind in _SIGNATURES.items() if start.startswith(first)), "")
    if kind or _is_other_weights(path.name):
        raise BadInput(_only_safetensors(path.name, kind))
    if start[8:] == b"{":
        raise BadInput(
            f"{path.name!r} holds weights alone; a backbone needs its card, its preprocessing and"
            f" its vocabulary too: a zip archive of {', '.join(MEMBER_SIZE_LIMITS)}."
        )
    if not start.startswith(b"PK"):
        raise BadInput(
            f"{path.name!r} is not a zip archive; a backbone is one of "
            f"{', '.join(MEMBER_SIZE_LIMITS)}."
        )


def _members(archive: zipfile.ZipFile, source: str) -> dict[str, zipfile.ZipInfo]:
    """The archive's files by name, each checked."""
    found: dict[str, zipfile.ZipInfo] = {}
    top = _top_folder(archive.namelist())
    for member in archive.infolist():
        check_member(member.filename, (member.external_attr >> 28) in (0, 4, 8), source)
        if member.is_dir():
            continue
        if member.flag_bits & 1:
            raise BadInput(f"{source!r} is encrypted; unpack it with its password first.")
        name = member.filename.removeprefix(top)
        if name in found:
            raise BadInput(
                f"{source!r} holds {name[:80]!r} twice; one of them is not what it seems."
            )
        found[name] = member
    _check_names(found, source)
    for name, limit in _size_limits().items():
        if name in found and found[name].file_size > limit:
            raise BadInput(_too_long(name, source))
    return found


def _top_folder(names: Collection[str]) -> str:
    """Return the folder that all these members are in, as "name/"; "" where they are in none.

    >>> _top_folder(["out/card.json", "out/preprocessing/vocabulary.parquet"])
    'out/'
    >>> _top_folder(["preprocessing/vocabulary.parquet"])
    ''
    """
    folder = next(iter(names), "").partition("/")[0] + "/"
    inside = all(name.startswith(folder) for name in names)
    return folder if inside and f"{folder}card.json" in names else ""


def _check_names(names: Collection[str], source: str) -> None:
    """Raise BadInput unless the names are those of a backbone and ignored ones."""
    names = set(names) - IGNORED_MEMBERS
    if other := sorted(name for name in names if _is_other_weights(name)):
        raise BadInput(_only_safetensors(other[0]))
    if unknown := sorted(names - set(_size_limits())):
        raise BadInput(
            f"{source!r} holds {unknown[0][:80]!r}; a backbone is "
            f"{', '.join(MEMBER_SIZE_LIMITS)} and nothing else."
        )
    if missing := [name for name in MEMBER_SIZE_LIMITS if name not in names]:
        raise BadInput(
            f"{source!r} lacks {', '.join(missing)}; a backbone is {', '.join(MEMBER_SIZE_LIMITS)}."
        )


def _size_limits() -> dict[str, int]:
    return MEMBER_SIZE_LIMITS | OPTIONAL_SIZE_LIMITS


def _is_other_weights(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in UNSUPPORTED_WEIGHTS


def _only_safetensors(name: str, kind: str = "") -> str:
    what = f" ({kind})" if kind else ""
    return (
        f"{name[:80]!r}{what} is not read: Thaw takes weights as safetensors alone, since"
        " unpickling a file can run whatever code its maker put in, and other forms cannot be"
        " checked before they are loaded. Convert it first."
    )


def _copy(stream: BinaryIO | BoundedReader, target: Path, name: str, source: str) -> None:
    left = _size_limits()[name]
    with target.open("wb") as out:
        while block := stream.read(_BLOCK_BYTES):
            left -= len(block)
            if left < 0:
                raise BadInput(_too_long(name, source))
            out.write(block)


def _too_long(name: str, source: str) -> str:
    return (
        f"{name!r} in {source!r} is longer than the {_size_limits()[name]:,} bytes it may "
        "have; refused."
    )
