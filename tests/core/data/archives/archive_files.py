"""Zip and tar archives for tests: intact, damaged and hostile."""

import io
import tarfile
import zipfile
from collections.abc import Mapping

from tests.core.data.helpers import rows, text

TRAIN = text(rows(60))
TEST = text(rows(20, seed=1, labelled=False))
README = b"Rows of Criteo's challenge.\nOne line each.\n"


def zip_of(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive of these members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def tar_of(
    members: Mapping[str, bytes], packing: str = "", form: int = tarfile.GNU_FORMAT
) -> bytes:
    """A tar archive of these members, compressed with gz, bz2 or xz, or not at all."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{packing}", format=form) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            archive.addfile(tar_header(name, len(data)), io.BytesIO(data))
    return stream.getvalue()


def tar_header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    """The header of a member."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info


def raw_tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A tar archive of headers and data that may contradict each other."""
    pieces = []
    for info, data in members:
        pieces += [info.tobuf(tarfile.GNU_FORMAT), data, bytes(-len(data) % 512)]
    return b"".join([*pieces, bytes(1024)])


def dac(packing: str = "gz") -> bytes:
    """What Kaggle's archive holds."""
    members = {
        "license.txt": b"Free.\n",
        "readme.txt": README,
        "test.txt": TEST,
        "train.txt": TRAIN,
    }
    return zip_of(members) if packing == "zip" else tar_of(members, packing)
