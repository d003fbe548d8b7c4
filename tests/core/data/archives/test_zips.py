"""Zip archives are compared with what they state about themselves; one without its directory gives
what it has."""

import io
import zipfile
from pathlib import Path

import pytest

from core.data.archives import zips
from core.data.archives.containers import choose_member, list_members, open_rows
from core.errors import BadInput
from tests.core.data.archives.archive_files import README, TEST, TRAIN, dac, zip_of
from tests.core.data.helpers import packed_zstd, write

METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


def read(path: Path, keep_truncated: bool = False) -> tuple[bytes, bool]:
    member = choose_member(path, "", keep_truncated=keep_truncated).member
    with open_rows(path, member, keep_truncated) as stream:
        return stream.read(), stream.truncated


class Pipe(io.RawIOBase):
    """A stream to write to that cannot seek."""

    def __init__(self) -> None:
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.data += bytes(data)  # type: ignore[call-overload]
        return len(bytes(data))  # type: ignore[call-overload]


def streamed(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive whose headers do not give the members' sizes; these follow the data."""
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", method) as archive:
        for name, data in members.items():
            with archive.open(name, "w") as member:
                member.write(data)
    return pipe.data


@pytest.mark.parametrize("method", METHODS)
def test_an_archive_written_as_a_stream(method: int, tmp_path: Path) -> None:
    assert read(write(tmp_path, streamed({"readme": README, "train.txt": TRAIN}, method))) == (
        TRAIN,
        False,
    )


def test_a_member_that_came_through_a_pipe(tmp_path: Path) -> None:
    """`cat train.txt | zip rows.zip -` makes a member named - that is marked as a pipe."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        info = zipfile.ZipInfo("-")
        info.create_system, info.external_attr = 3, 0o010600 << 16
        archive.writestr(info, TRAIN)
    assert read(write(tmp_path, stream.getvalue())) == (TRAIN, False)


def test_a_member_packed_by_zstd(tmp_path: Path) -> None:
    """As 7-Zip and WinZip write it. Python's zipfile does not support it."""
    packed = packed_zstd(TRAIN)
    data = bytearray(zip_of({"train.txt": packed}, zipfile.ZIP_STORED))
    entry = data.index(b"PK\x01\x02")
    data[8] = data[entry + 10] = 93
    fields = zipfile.crc32(TRAIN).to_bytes(4, "little")  # type: ignore[attr-defined]
    size = len(TRAIN).to_bytes(4, "little")
    data[14:18] = data[entry + 16 : entry + 20] = fields
    data[22:26] = data[entry + 24 : entry + 28] = size
    assert read(write(tmp_path, bytes(data))) == (TRAIN, False)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("share", [0.5, 2])
def test_false_sizes_are_refused(share: float, method: int, tmp_path: Path) -> None:
    """zipfile reads as many bytes as the directory says, and accepts a checksum of these."""
    data = bytearray(zip_of({"train.txt": TRAIN}, method))
    entry, claim = data.index(b"PK\x01\x02"), int(len(TRAIN) * share)
    crc = zipfile.crc32(TRAIN[:claim]).to_bytes(4, "little")  # type: ignore[attr-defined]
    for place in (14, entry + 16):
        data[place : place + 4] = crc
    for place in (22, entry + 24):
        data[place : place + 4] = claim.to_bytes(4, "little")
    path = write(tmp_path, bytes(data))
    if share < 1 and method:
        with zipfile.ZipFile(path) as archive:
            assert archive.read("train.txt") == TRAIN[:claim]
    with pytest.raises(
        BadInput, match=rf"the archive says that 'train.txt' has {claim:,} bytes, but it has"
    ):
        read(path)


def test_false_packed_sizes_are_refused(tmp_path: Path) -> None:
    data = bytearray(zip_of({"train.txt": TRAIN}))
    entry = data.index(b"PK\x01\x02")
    packed = int.from_bytes(data[18:22], "little")
    for claim, sentence in (
        (packed // 2, "is longer than the archive says"),
        (10**9, "would end after the archive"),
    ):
        data[entry + 20 : entry + 24] = claim.to_bytes(4, "little")
        with pytest.raises(
            BadInput, match=f"{sentence}|holds data that its directory does not name"
        ):
            read(write(tmp_path, bytes(data)))


def test_a_wrong_checksum(tmp_path: Path) -> None:
    data = bytearray(zip_of({"train.txt": TRAIN}, zipfile.ZIP_STORED))
    data[data.index(TRAIN[:40]) + 20] ^= 1
    with pytest.raises(BadInput, match="the checksum of 'train.txt' is wrong"):
        read(write(tmp_path, bytes(data)))


def test_a_dictionary_that_takes_more_memory_than_it_may(tmp_path: Path) -> None:
    """The LZMA header gives the size of the dictionary, and 4 GB would be allocated at once."""
    data = bytearray(zip_of({"train.txt": TRAIN}, zipfile.ZIP_LZMA))
    place = 30 + len("train.txt")
    assert data[place + 2 : place + 4] == b"\x05\x00"
    data[place + 5 : place + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(BadInput, match="takes more than 256 MB of memory to unpack"):
        read(write(tmp_path, bytes(data)))


def test_two_archives_end_to_end(tmp_path: Path) -> None:
    """The last directory does not list the members of the first archive."""
    data = zip_of({"train.txt": TRAIN}) + zip_of({"test.txt": TEST})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["test.txt"]
    with pytest.raises(
        BadInput, match="holds data that its directory does not name: two archives end to end"
    ):
        choose_member(write(tmp_path, data), "")


def test_a_member_that_the_directory_does_not_name(tmp_path: Path) -> None:
    data = bytearray(zip_of({"a": TEST, "b": TRAIN}))
    first, second = data.index(b"PK\x01\x02"), data.rindex(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    for place, change in ((8, -1), (10, -1), (12, first - second)):
        width = 4 if place == 12 else 2
        at = slice(end + place, end + place + width)
        data[at] = (int.from_bytes(data[at], "little") + change).to_bytes(width, "little")
    # What goes from the directory is left as a comment, so that all places stay right.
    for gone, kept in (
        (slice(second, end), slice(first, second)),
        (slice(first, second), slice(second, end)),
    ):
        tail = bytearray(data[end:])
        tail[20:22] = (gone.stop - gone.start).to_bytes(2, "little")
        path = write(tmp_path, bytes(data[:first] + data[kept] + tail + data[gone]))
        with zipfile.ZipFile(path) as archive:
            assert len(archive.namelist()) == 1
        with pytest.raises(BadInput, match="holds data that its directory does not name"):
            choose_member(path, "")


def test_a_huge_zip_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole directory would be read into memory."""
    monkeypatch.setattr(zips, "MAX_DIRECTORY_BYTES", 2000)
    with pytest.raises(BadInput, match=r"cannot be unpacked \(its directory has [\d,]+ bytes"):
        choose_member(write(tmp_path, zip_of({f"{number}.txt": b"" for number in range(200)})), "")


def test_a_directory_that_is_damaged(tmp_path: Path) -> None:
    whole = dac("zip")
    entry, end = whole.index(b"PK\x01\x02"), whole.index(b"PK\x05\x06")
    for place in (entry, entry + 42, entry + 43, end + 12, end + 16, end + 17):
        for value in (0, 0x7F, 0xFF):
            data = bytearray(whole)
            data[place] = value
            path = write(tmp_path, bytes(data))
            try:
                assert read(path) == (TRAIN, False)
            except BadInput as error:
                assert (
                    "cannot be unpacked" in str(error)
                    or "truncated" in str(error)
                    or "damaged" in str(error)
                )


@pytest.mark.parametrize("method", METHODS)
def test_without_its_directory(method: int, tmp_path: Path) -> None:
    """As an interrupted download leaves it: refused, or read by the local headers."""
    data = zip_of({"readme.txt": README, "test.txt": TEST, "train.txt": TRAIN}, method)
    start = data.index(b"train.txt") + len("train.txt")
    end = data.index(b"PK\x01\x02")
    for size in (end, (start + end) // 2):
        path = write(tmp_path, data[:size])
        with pytest.raises(
            BadInput,
            match="ends before its directory, which a zip archive has at its end: the",
        ):
            choose_member(path, "")
        choice = choose_member(path, "", keep_truncated=True)
        assert (
            choice.member == "train.txt"
            and choice.truncated
            and [one.name for one in choice.other_members] == ["test.txt"]
        )
        found, truncated = read(path, keep_truncated=True)
        assert TRAIN.startswith(found) and (found == TRAIN) == (not truncated)
        assert len(found) > 1000 or method == zipfile.ZIP_BZIP2
        assert [one.name for one in list_members(path)] == ["readme.txt", "test.txt", "train.txt"]


def test_a_stream_without_its_directory(tmp_path: Path) -> None:
    """The first member ends where its compression does; nothing tells where the next one starts."""
    data = streamed({"train.txt": TRAIN, "test.txt": TEST})
    path = write(tmp_path, data[: data.index(b"PK\x01\x02")])
    assert read(path, keep_truncated=True) == (TRAIN, False)
    path = write(tmp_path, data[:3000])
    found, truncated = read(path, keep_truncated=True)
    assert truncated and TRAIN.startswith(found) and len(found) > 1000


def test_a_member_of_4_gb_says_so_elsewhere() -> None:
    extra = (
        b"\x99\x99\x02\x00xx"
        + b"\x01\x00\x10\x00"
        + (5 * 2**30).to_bytes(8, "little")
        + (2**31).to_bytes(8, "little")
    )
    assert zips._zip64_sizes(extra) == (5 * 2**30, 2**31)
    assert zips._zip64_sizes(b"\x01\x00\x08\x00" + bytes(8)) == (None, None)
