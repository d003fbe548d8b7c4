"""Small Criteo files in every container, segment columns, and a fingerprint of a workspace."""

import bz2
import dataclasses
import gzip
import hashlib
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import zstandard

from core.data.samples import Sample, read_dictionary_table, save_sample
from core.workspace import Workspace


def rows(count: int, seed: int = 0, labelled: bool = True) -> list[list[str]]:
    """Rows of strings in file order, with empty strings for missing values."""
    generator = np.random.default_rng(seed)
    made = []
    for number in range(count):
        numbers = [
            "" if generator.random() < 0.2 else str(generator.integers(-2, 500)) for _ in range(13)
        ]
        values = [
            "" if generator.random() < 0.2 else f"{generator.integers(0, 30):08x}"
            for _ in range(26)
        ]
        made.append([*([str(number % 3 // 2)] if labelled else []), *numbers, *values])
    return made


def text(lines: list[list[str]], end: str = "\n") -> bytes:
    """Rows as tab-separated bytes."""
    return "".join("\t".join(line) + end for line in lines).encode()


def packed_zip(data: bytes, name: str = "train.txt") -> bytes:
    """A zip archive with one member."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return stream.getvalue()


def packed_tar(*members: tuple[str, bytes | None], packing: str = "gz") -> bytes:
    """A tar archive, gzipped by default. A member without bytes is a symbolic link."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{packing}") as archive:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            if data is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(info)
            else:
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def packed_zstd(data: bytes) -> bytes:
    """A zstd frame."""
    return zstandard.ZstdCompressor().compress(data)


PACK: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "zip": packed_zip,
    "tar.gz": lambda data: packed_tar(("train.txt", data)),
    "zstd": packed_zstd,
    "bz2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=1),
    "tar": lambda data: packed_tar(("train.txt", data), packing=""),
    "tar.bz2": lambda data: packed_tar(("train.txt", data), packing="bz2"),
    "tar.xz": lambda data: packed_tar(("train.txt", data), packing="xz"),
    "tar.zst": lambda data: packed_zstd(packed_tar(("train.txt", data), packing="")),
}


def fingerprint(workspace: Workspace) -> str:
    """Hash of every path and every byte below the workspace."""
    digest = hashlib.sha256()
    for path in sorted(workspace.root.rglob("*")):
        digest.update(str(path.relative_to(workspace.root)).encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def with_segments(sample: Sample, name: str, values: list[str | None]) -> Sample:
    """The sample with an additional segment column whose values repeat in turn."""
    table = read_dictionary_table(sample)
    column = pa.array(
        [values[row % len(values)] for row in range(table.num_rows)]
    ).dictionary_encode("encode")
    column = pa.DictionaryArray.from_arrays(column.indices.cast(pa.int16()), column.dictionary)
    wider = table.append_column(name, column)
    path = sample.folder / "rows.part"
    with pa.OSFile(str(path), "wb") as stream, pa.ipc.new_stream(stream, wider.schema) as writer:
        writer.write_table(wider.unify_dictionaries() if table.num_rows < 2**15 else wider)
    path.replace(sample.rows_path)
    kept = dataclasses.replace(sample, kept=(*sample.kept, name))
    save_sample(kept)
    return kept


def write(folder: Path, data: bytes, name: str = "file") -> Path:
    """A file holding `data`."""
    path = folder / name
    path.write_bytes(data)
    return path


CSV_HEADER = (
    "label," + ",".join([f"I{i}" for i in range(1, 14)] + [f"C{i}" for i in range(1, 27)])
).encode()
