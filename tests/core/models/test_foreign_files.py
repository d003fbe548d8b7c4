"""Files of backbones from others are read in a separate process."""

from pathlib import Path

import pytest

from core.data.reading import reader_process
from core.errors import BadInput, ReaderFailed
from core.models.foreign_files import (
    probe_hdf5,
    probe_weights,
    rewrite_vocabulary,
    unpack_in_subprocess,
)
from tests.core.data.helpers import write


def test_weights_that_claim_more_than_memory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of some kilobytes, whose one dataset would be terabytes of zeros."""
    h5py = pytest.importorskip("h5py")
    monkeypatch.setattr(reader_process, "memory_limit", lambda: 3 * 2**30)
    path = tmp_path / "bomb.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/dense/vars/0", shape=(2**40,), chunks=(2**20,), dtype="float32")
    assert path.stat().st_size < 2**20
    with pytest.raises(ReaderFailed, match="needs more than 3.0 GB of memory"):
        probe_hdf5(path)


def test_what_is_wrong_with_weights_is_for_the_caller_to_say(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    good = tmp_path / "good.h5"
    with h5py.File(good, "w") as file:
        file["a/b"] = [1.0, 2.0]
    data = good.read_bytes()
    for damaged in (data, b"", b"junk", data[:700], data.replace(b"TREE", b"TR\xff\xff")):
        probe_hdf5(write(tmp_path, damaged, "it.h5"))
        probe_weights(write(tmp_path, damaged, "it.safetensors"))


def test_missing_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="There is no file or folder"):
        unpack_in_subprocess(tmp_path / "none.zip", tmp_path / "out")
    for damaged in (b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1"):
        with pytest.raises(BadInput, match=r"'vocabulary\.parquet' cannot be read"):
            rewrite_vocabulary(write(tmp_path, damaged, "vocabulary.parquet"))
