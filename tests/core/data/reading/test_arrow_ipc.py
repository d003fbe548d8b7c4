"""Arrow IPC files and streams are read in bounded chunks; false claims and damage are refused with
a message."""

import io
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pytest

from core.data.archives.containers import detect_container
from core.data.reading import arrow_ipc
from core.data.reading.arrow_ipc import read_arrow, read_arrow_names
from core.errors import BadInput
from core.workspace import PROJECT
from tests.core.data.helpers import write
from tests.core.data.reading.arrow_files import CODECS, ROWS, WRITERS, example_table, ipc_bytes


def read(path: Path) -> pa.Table:
    """All chunks, with their dictionaries decoded."""
    found = pa.Table.from_batches(read_arrow(path))
    columns = [
        column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in found.columns
    ]
    return pa.table(columns, names=found.column_names)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kind", WRITERS)
def test_rows_come_back_whole_and_in_order(
    kind: str, codec: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow_ipc, "CHUNK_ROWS", 64)
    path = write(tmp_path, ipc_bytes(example_table(), kind, codec, 150))
    assert detect_container(path) == kind
    assert read_arrow_names(path) == ["label", "I1", "C1", "C2"]
    pieces = list(read_arrow(path))
    assert max(piece.num_rows for piece in pieces) == 64
    wanted = example_table()
    assert read(path).to_pydict() == wanted.to_pydict()
    assert pa.Table.from_batches(read_arrow(path, ["C1", "label"])).column_names == ["label", "C1"]


@pytest.mark.parametrize("codec", ["zstd", "lz4", "uncompressed"])
def test_feather(codec: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    pyarrow.feather.write_feather(example_table(), path, compression=codec)
    assert (
        detect_container(path) == "arrow" and read(path).to_pydict() == example_table().to_pydict()
    )


def test_views_come_as_plain_text(tmp_path: Path) -> None:
    """As Polars writes them, also within a dictionary."""
    words = example_table()["C1"].combine_chunks()
    views = words.cast(pa.string_view())
    coded = words.dictionary_encode()
    columns = {
        "a": views,
        "b": pa.DictionaryArray.from_arrays(coded.indices, coded.dictionary.cast(pa.string_view())),
        "c": words.cast(pa.binary()).cast(pa.binary_view()),
    }
    found = read(write(tmp_path, ipc_bytes(pa.table(columns), chunk=300)))
    assert found.schema.types == [pa.large_string(), pa.large_string(), pa.large_binary()]
    assert found["a"].to_pylist() == found["b"].to_pylist() == words.to_pylist()
    assert found["c"].to_pylist() == words.cast(pa.binary()).to_pylist()


def test_an_invalid_view_of_a_missing_value(tmp_path: Path) -> None:
    """Arrow does not validate the view of a missing value, but reads it in a cast, which
    crashes."""
    views = np.zeros((4, 16), dtype=np.uint8)
    views[0] = np.frombuffer(struct.pack("<i12s", 3, b"abc"), dtype=np.uint8)
    views[1:] = np.frombuffer(struct.pack("<i4sii", 2**30, b"none", 77, 2**30), dtype=np.uint8)
    valid = pa.array([True, False, False, False]).buffers()[1]
    column = pa.Array.from_buffers(pa.string_view(), 4, [valid, pa.py_buffer(views)])
    column.validate(full=True)
    path = write(tmp_path, ipc_bytes(pa.table({"a": column})))
    assert read(path)["a"].to_pylist() == ["abc", None, None, None]


def test_large_values_make_small_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_ipc, "CHUNK_BYTES", 10_000)
    words = pa.array(["a" * 4000, "b"]).take(pa.array([0, 0, 0, 0, 1, 0] * 3))
    for column in (words, words.dictionary_encode(), words.cast(pa.string_view())):
        path = write(tmp_path, ipc_bytes(pa.table({"a": column})))
        pieces = list(read_arrow(path))
        assert [piece.num_rows for piece in pieces] == [2, 3, 2, 2, 3, 2, 3, 1]
        assert read(path)["a"].to_pylist() == words.to_pylist()


def bomb(codec: str) -> pa.Table:
    return pa.table({"a": pa.array(["a" * 100_000_000, "b"])})


def dictionary_bomb(codec: str) -> pa.Table:
    """A long value that is once in the file and in a million rows."""
    places = pa.array(np.zeros(1_000_000, dtype=np.int8))
    return pa.table({"a": pa.DictionaryArray.from_arrays(places, pa.array(["a" * 4000]))})


def view_bomb(codec: str) -> pa.Table:
    """Views of the same long value."""
    views = np.frombuffer(struct.pack("<i4sii", 100_000, b"aaaa", 0, 0) * 50_000, dtype=np.uint8)
    buffers = [None, pa.py_buffer(views), pa.py_buffer(b"a" * 100_000)]
    return pa.table({"a": pa.Array.from_buffers(pa.string_view(), 50_000, buffers)})


def viewed_dictionary_bomb(codec: str) -> pa.Table:
    values = view_bomb(codec)["a"].chunk(0)
    return pa.table({"a": pa.DictionaryArray.from_arrays(pa.array([0, 1]), values)})


def null_bomb(codec: str) -> pa.Table:
    """Rows that take no space."""
    return pa.table({f"C{i}": pa.nulls(10_000_000) for i in range(40)})


@pytest.mark.parametrize(
    "make", [bomb, dictionary_bomb, view_bomb, viewed_dictionary_bomb, null_bomb]
)
@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("kind", WRITERS)
def test_bombs(kind: str, codec: str, make: Callable[[str], pa.Table], tmp_path: Path) -> None:
    path = write(tmp_path, ipc_bytes(make(codec), kind, codec))
    assert path.stat().st_size < 5_000_000
    with pytest.raises(BadInput, match="decompression bomb"):
        for _ in read_arrow(path):
            pass


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("claim", [2**27, 2**40, 2**62, -5])
def test_a_buffer_that_claims_more_than_it_holds_is_refused(
    codec: str, claim: int, tmp_path: Path
) -> None:
    """Arrow allocates what the first eight bytes of a compressed buffer claim."""
    data = bytearray(ipc_bytes(pa.table({"a": pa.array(np.arange(ROWS) / 7)}), codec=codec))
    place = data.index(struct.pack("<q", 8 * ROWS))
    data[place : place + 8] = struct.pack("<q", claim)
    with pytest.raises(
        BadInput, match="decompression bomb|has a batch of [0-9,]+ bytes|has a size below 0"
    ):
        list(read_arrow(write(tmp_path, bytes(data))))


def vectors(footer: bytes) -> list[int]:
    """Where a footer may hold a vector of one block: its offset, the length of its metadata and of
    its body."""
    found = []
    for at in range(0, len(footer) - 28, 4):
        count, offset, metadata, body = struct.unpack_from("<Iqi4xq", footer, at)
        if count == 1 and 8 <= offset < 2**20 and 8 <= metadata < 2**16 and 0 < body < 2**20:
            found.append(at)
    return found


def test_a_footer_that_names_a_batch_a_thousand_times(tmp_path: Path) -> None:
    data = ipc_bytes(example_table())
    reader = pa.ipc.open_file(io.BytesIO(data))
    assert reader.num_record_batches == 1
    (length,) = struct.unpack("<i", data[-10:-6])
    footer = data[-10 - length : -10]
    # Of the vectors of one block the batch's is the one that names the last place in the file. A
    # longer one is put behind all else, and the footer pointed to it.
    place = max(vectors(footer), key=lambda at: int.from_bytes(footer[at + 4 : at + 12], "little"))
    (pointer,) = (
        at for at in range(0, place, 4) if at + struct.unpack_from("<I", footer, at)[0] == place
    )
    many = bytearray(footer) + bytes(-len(footer) % 8 + 4)
    many[pointer : pointer + 4] = struct.pack("<I", len(many) - pointer)
    many += struct.pack("<I", 1000) + footer[place + 4 : place + 28] * 1000
    path = write(tmp_path, data[: -10 - length] + many + struct.pack("<i", len(many)) + data[-6:])
    assert pa.ipc.open_file(pa.memory_map(str(path))).num_record_batches == 1000
    with pytest.raises(BadInput, match="its footer names the same place twice"):
        list(read_arrow(path))


@pytest.mark.parametrize("kind", WRITERS)
def test_two_end_to_end_lose_no_rows_silently(kind: str, tmp_path: Path) -> None:
    """A reader would silently read only one of the two."""
    data = ipc_bytes(example_table(), kind, chunk=400)
    with pytest.raises(BadInput, match=r"(two streams|two files) end to end\?"):
        list(read_arrow(write(tmp_path, data + data)))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kind", WRITERS)
def test_cut_off_anywhere(kind: str, codec: str | None, tmp_path: Path) -> None:
    """A stream may end after a batch without an end mark. Messages are multiples of 8 bytes, these
    cuts are not."""
    data = ipc_bytes(example_table(40), kind, codec, 20)
    for size in range(9, len(data) - 8, 96):
        path = write(tmp_path, data[:size])
        with pytest.raises(BadInput, match="cannot be read"):
            detect_container(path)
            list(read_arrow(path))


FUZZ = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
import random
import pyarrow as pa
from core.data.reading.arrow_ipc import read_arrow
from core.data.archives.containers import detect_container
from core.errors import BadInput
from tests.core.data.reading.arrow_files import CODECS, WRITERS, example_table, ipc_bytes
import pyarrow.compute as pc
data = example_table(60)
views = data["C1"].combine_chunks().cast(pa.string_view())
data = data.append_column("V", views).append_column("N", pa.nulls(60))
files = [ipc_bytes(data, kind, codec, 25) for kind in WRITERS for codec in CODECS]
dice, path, read = random.Random(5), Path(sys.argv[1]), 0
for turn in range(300):
    file = bytearray(files[turn % len(files)])
    for _ in range(dice.choice((1, 1, 2, 5))):
        place = dice.randrange(len(file) - 8)
        size = dice.choice((1, 4, 8))
        low = place // size * size
        noise = dice.randbytes(size), b"\\xff" * size, b"\\x7f" * size, bytes(size)
        file[low : low + size] = dice.choice(noise)
    path.write_bytes(file)
    try:
        if not detect_container(path).startswith("arrow"):
            continue
        rows = 0
        for piece in read_arrow(path):
            rows += piece.num_rows
            for column in piece.columns:
                column.cast(pa.string())
        assert rows == 60, (turn, rows)
        read += 1
    except (BadInput, pa.ArrowException) as error:
        assert len(str(error)) < 700
print(read)
"""


def test_three_hundred_damaged_files(tmp_path: Path) -> None:
    """Each is read completely or refused, in a separate process, because a crash is not an
    exception."""
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, str(tmp_path / "file")],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert 0 < int(done.stdout) < 300
