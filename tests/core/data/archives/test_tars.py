"""Tar archives of every format are read to their end, and no member is lost silently."""

import gzip
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from core.data.archives.containers import choose_member, detect_container, list_members, open_rows
from core.errors import BadInput
from tests.core.data.archives.archive_files import README, TEST, TRAIN, raw_tar, tar_header, tar_of
from tests.core.data.helpers import write

LONG = "a-folder-of-a-long-name/" * 12 + "train.txt"


def read(path: Path, member: str) -> bytes:
    with open_rows(path, member) as stream:
        return stream.read()


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["train.txt", LONG, "naïve/☃.txt", "./train.txt"])
def test_names_of_every_make(name: str, form: int, tmp_path: Path) -> None:
    for packing in ("", "gz"):
        path = write(tmp_path, tar_of({"readme.txt": README, name: TRAIN}, packing, form))
        member = choose_member(path, "").member
        assert member == name.removeprefix("./") and read(path, member) == TRAIN


def test_before_there_was_a_standard(tmp_path: Path) -> None:
    """A header of Unix V7 has no magic number."""
    header = bytearray(tar_header("train.txt", len(TRAIN)).tobuf(tarfile.USTAR_FORMAT))
    header[156] = 0
    header[257:] = bytes(255)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = write(tmp_path, bytes(header) + TRAIN + bytes(-len(TRAIN) % 512 + 1024))
    assert detect_container(path) == "tar" and read(path, choose_member(path, "").member) == TRAIN


def test_what_the_tar_command_writes(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.txt").write_bytes(TRAIN)
    (folder / "readme.txt").write_bytes(README)
    for form in ("gnu", "pax", "ustar", "v7", "oldgnu"):
        path = tmp_path / "file"
        subprocess.run(
            ["tar", f"--format={form}", "-czf", path, "-C", tmp_path, "data"], check=True
        )
        assert read(path, choose_member(path, "").member) == TRAIN


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_two_archives_end_to_end(pack: type, tmp_path: Path) -> None:
    """The tar command stops at the end of the first and silently loses the members of the
    second."""
    data = pack(tar_of({"a": TEST})) + pack(tar_of({"a": TRAIN, "b": TRAIN}))
    path = write(tmp_path, data)
    assert [(one.name, one.rows) for one in list_members(path)] == [
        ("a", 20),
        ("a (2)", 60),
        ("b", 60),
    ]
    assert read(path, "a (2)") == TRAIN


@pytest.mark.parametrize("packing", ["", "gz"])
def test_a_damaged_header_is_not_the_end(packing: str, tmp_path: Path) -> None:
    """tarfile stops there silently."""
    data = bytearray(tar_of({"a": TEST, "b": TRAIN}))
    data[data.index(b"b" + bytes(99))] = ord("c")
    path = write(tmp_path, gzip.compress(bytes(data)) if packing else bytes(data))
    with pytest.raises(
        BadInput, match="cannot be unpacked .the header of a member of its tar archive is damaged"
    ):
        choose_member(path, "")


def test_an_archive_that_was_never_closed(tmp_path: Path) -> None:
    """Without the zero blocks at its end, an archive is complete if it is compressed and its
    compression is complete. Otherwise it may be truncated there."""
    data = raw_tar((tar_header("train.txt", len(TRAIN)), TRAIN))[:-1024]
    assert (
        choose_member(write(tmp_path, gzip.compress(data)), "").reason
        == "The archive holds train.txt alone."
    )
    path = write(tmp_path, data)
    with pytest.raises(BadInput, match="ends in or after its member 'train.txt'"):
        choose_member(path, "")
    assert choose_member(path, "", keep_truncated=True).truncated
    assert read(path, "train.txt") == TRAIN


@pytest.mark.parametrize("packing", ["", "gz", "xz"])
def test_cut_off_in_a_member(packing: str, tmp_path: Path) -> None:
    data = tar_of({"readme": README, "train.txt": TRAIN}, packing)
    path = write(tmp_path, data[: len(data) // 2] if packing else data[:6000])
    with pytest.raises(BadInput, match="ends in or after its member 'train.txt'"):
        choose_member(path, "")
    with pytest.raises(BadInput, match=r"ends after [\d,]+ unpacked bytes"):
        read(path, "train.txt")
    with open_rows(path, "train.txt", keep_truncated=True) as stream:
        found = stream.read()
        assert stream.truncated and TRAIN.startswith(found) and len(found) > 500


def sparse_of_old() -> bytes:
    """GNU's old header: a member of 512 bytes that claims to unpack to a terabyte, with a second
    block."""
    header = bytearray(
        tar_header("train.txt", 512, tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT)
    )
    header[386:410] = b"00000000000\x0000000001000\x00"
    header[482] = 1
    header[483:495] = b"\x80" + (2**40).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(512) + TRAIN[:512]


def sparse_of_pax() -> bytes:
    """As tar writes it today: attributes, a map, and the data."""
    records = b""
    attributes = {"major": "1", "minor": "0", "name": "train.txt", "realsize": str(2**40)}
    for key, value in attributes.items():
        body = f" GNU.sparse.{key}={value}\n".encode()
        length = len(body) + len(str(len(body) + 2))
        records += str(length).encode() + body
    first = tar_header("PaxHeaders/train.txt", len(records), tarfile.XHDTYPE)
    second = tar_header("GNUSparseFile.0/train.txt", 1024)
    return raw_tar((first, records), (second, b"1\n0\n512\n".ljust(512, b"\0") + TRAIN[:512]))[
        :-1024
    ]


@pytest.mark.parametrize("make", [sparse_of_old, sparse_of_pax])
def test_members_with_holes_are_named_and_passed_over(make: type, tmp_path: Path) -> None:
    """The size they claim to expand to is never allocated."""
    other = raw_tar((tar_header("rows.txt", len(TEST)), TEST))
    path = write(tmp_path, gzip.compress(make() + other))
    assert choose_member(path, "rows.txt").member == "rows.txt" and read(path, "rows.txt") == TEST
    for member in ("", "train.txt"):
        with pytest.raises(
            BadInput,
            match="'train.txt' in 'file' is stored with holes .tar --sparse.; pack it without",
        ):
            choose_member(path, member)
    with pytest.raises(BadInput, match="stored with holes"):
        read(path, "train.txt")


def test_what_tarfile_takes_for_sparse(tmp_path: Path) -> None:
    """Python's tarfile agrees about the archives above."""
    for make in (sparse_of_old, sparse_of_pax):
        with tarfile.open(fileobj=io.BytesIO(make() + bytes(1024))) as archive:
            (member,) = archive.getmembers()
            assert member.issparse() and member.size == 2**40 and member.name == "train.txt"


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        (tar_header("x", 2**40), "ends in or after|ends before"),
        (tar_header("x", 2**70), "has the size 1180591620717411303424"),
        (tar_header("x", 2**30, tarfile.GNUTYPE_LONGNAME), "has a header of 1,073,741,824 bytes"),
        (tar_header("x", 2**30, tarfile.XHDTYPE), "has a header of 1,073,741,824 bytes"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_false_sizes_are_refused(
    header: tarfile.TarInfo, sentence: str, pack: type, tmp_path: Path
) -> None:
    path = write(tmp_path, pack(raw_tar((header, b"abc"))))
    with pytest.raises(BadInput, match=sentence):
        choose_member(path, "")


@pytest.mark.parametrize(
    "records",
    [b"5 a=\n", b"999 path=x\n", b"x path=y\n", b"12 size=-5\n", b"30 size=99999999999999999999\n"],
)
def test_attributes_that_are_damaged(records: bytes, tmp_path: Path) -> None:
    header = tar_header("x", len(records), tarfile.XHDTYPE)
    path = write(tmp_path, raw_tar((header, records), (tar_header("train.txt", len(TRAIN)), TRAIN)))
    if records == b"5 a=\n":
        assert read(path, "train.txt") == TRAIN
        return
    with pytest.raises(BadInput, match="is damaged|has the size"):
        choose_member(path, "")


def test_a_part_of_an_archive_over_several_volumes(tmp_path: Path) -> None:
    path = write(tmp_path, raw_tar((tar_header("train.txt", len(TRAIN), b"M"), TRAIN)))
    with pytest.raises(
        BadInput, match="'train.txt' in 'file' goes on in another volume of the archive; join"
    ):
        choose_member(path, "")
