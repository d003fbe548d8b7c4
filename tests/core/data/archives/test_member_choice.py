"""Which member of an archive is read, and what is reported about the others."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.data.archives.containers import choose_member, list_members, open_rows
from core.data.archives.member_choice import MemberNeeded
from core.errors import BadInput
from tests.core.data.archives.archive_files import (
    README,
    TEST,
    TRAIN,
    dac,
    raw_tar,
    tar_header,
    tar_of,
    zip_of,
)
from tests.core.data.helpers import packed_zstd, write

PARQUET = io.BytesIO()
pq.write_table(pa.table({"a": [1]}), PARQUET)


def read(path: Path, member: str = "", keep_truncated: bool = False) -> bytes:
    """All bytes of the chosen member."""
    choice = choose_member(path, member, keep_truncated=keep_truncated)
    with open_rows(path, choice.member, keep_truncated) as stream:
        assert stream.member == choice.member
        return stream.read()


@pytest.mark.parametrize("packing", ["zip", "", "gz", "bz2", "xz"])
def test_the_train_file_is_taken_and_the_others_are_named(packing: str, tmp_path: Path) -> None:
    path = write(tmp_path, dac(packing))
    choice = choose_member(path, "")
    assert choice.member == "train.txt" and not choice.truncated
    assert [(one.name, one.rows) for one in choice.other_members] == [("test.txt", 20)]
    assert (
        choice.reason
        == "The archive holds 2 files of rows; train.txt is read, not test.txt (20 rows). Choose"
        " another with --member NAME."
    )
    assert read(path) == TRAIN and read(path, "test.txt") == TEST
    rows = {
        one.name: (one.rows, one.may_hold_rows, one.unpacked_bytes) for one in list_members(path)
    }
    assert rows["train.txt"] == (60, True, len(TRAIN)) and rows["readme.txt"] == (
        None,
        False,
        len(README),
    )


def test_one_file_of_rows_among_documents(tmp_path: Path) -> None:
    """Documents are recognised by their content, not by their names."""
    path = write(
        tmp_path,
        tar_of({"rows": TRAIN, "train.txt": README, "paper": b"%PDF-1.7\n", "empty": b""}, "gz"),
    )
    choice = choose_member(path, "")
    assert choice.member == "rows" and choice.other_members == ()
    assert (
        choice.reason == "The archive holds rows beside train.txt, paper and empty; rows is read."
    )
    assert read(path) == TRAIN


def test_files_of_the_operating_system_are_not_members(tmp_path: Path) -> None:
    junk = {
        "__MACOSX/._train.txt": b"\x00\x05\x16\x07" + b"\x00" * 200,
        "._train.txt": TRAIN,
        ".DS_Store": b"\x00\x00\x00\x01Bud1",
        "data/Thumbs.db": b"\xd0\xcf\x11\xe0",
        "desktop.ini": b"[.ShellClassInfo]\n",
        ".hidden/train.txt": TRAIN,
        "data/": b"",
    }
    for data in (
        zip_of({**junk, "data/train.txt": TRAIN}),
        tar_of({**junk, "./data/train.txt": TRAIN}, "gz"),
    ):
        path = write(tmp_path, data)
        assert [one.name for one in list_members(path)] == ["data/train.txt"]
        assert choose_member(path, "").reason == "The archive holds data/train.txt alone."
        assert read(path, "train.txt") == TRAIN
    with pytest.raises(
        BadInput,
        match="holds no file of rows: only folders, or files added by the operating system",
    ):
        choose_member(write(tmp_path, zip_of(junk)), "")


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["valid.csv", "data/Train.csv", "test.csv"], "data/Train.csv"),
        (["train.txt", "train_small.txt"], "train.txt"),
        (["criteo.train.tsv", "criteo.test.tsv"], "criteo.train.tsv"),
        (["day_10", "day_2", "day_3"], "day_2"),
        (["day_1.gz", "day_0.gz"], "day_0.gz"),
    ],
)
def test_which_of_several_is_proposed(names: list[str], taken: str, tmp_path: Path) -> None:
    data = {name: gzip.compress(TRAIN) if name.endswith(".gz") else TRAIN for name in names}
    assert choose_member(write(tmp_path, zip_of(data)), "").member == taken


@pytest.mark.parametrize(
    "names", [["a.txt", "b.txt"], ["a/train.txt", "b/train.txt"], ["day_0", "other"]]
)
@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_several_of_which_none_is_proposed(names: list[str], pack: type, tmp_path: Path) -> None:
    path = write(tmp_path, pack(dict.fromkeys(names, TRAIN) | {"readme.txt": README}))
    sentence = (
        rf"'file' holds 2 files of rows: {names[0]} \(60 rows\) and {names[1]} \(60 rows\);"
        r" .*--member NAME"
    )
    with pytest.raises(MemberNeeded, match=sentence) as error:
        choose_member(path, "")
    assert [(one.name, one.rows) for one in error.value.members] == [(name, 60) for name in names]
    assert read(path, names[1]) == TRAIN


def test_a_member_by_its_name(tmp_path: Path) -> None:
    path = write(tmp_path, zip_of({"a/rows.txt": TRAIN, "b/rows.txt": TEST, "a/other.txt": TEST}))
    assert read(path, "b/rows.txt") == TEST and read(path, "other.txt") == TEST
    with pytest.raises(
        BadInput, match=r"holds 'rows.txt' in a/rows.txt and b/rows.txt; name one of them with"
    ):
        choose_member(path, "rows.txt")
    with pytest.raises(
        BadInput,
        match=r"'file' has no member 'absent'; it holds a/rows.txt, .*b/rows.txt and a/other",
    ):
        choose_member(path, "absent")
    with pytest.raises(
        BadInput, match=r"'file' is not an archive \(it is plain\); leave out the member 'a'"
    ):
        choose_member(write(tmp_path, TRAIN), "a")
    with (
        pytest.raises(BadInput, match=r"is not an archive \(it is gzip\)"),
        open_rows(write(tmp_path, gzip.compress(TRAIN)), "a"),
    ):
        pass


def test_no_archive_has_no_members(tmp_path: Path) -> None:
    path = write(tmp_path, gzip.compress(TRAIN))
    assert list_members(path) == []
    choice = choose_member(path, "")
    assert (choice.member, choice.other_members, choice.reason) == ("", (), "")


def test_two_members_of_the_same_name(tmp_path: Path) -> None:
    """As in a tar archive that was appended to; the second is another file."""
    first, second = (tar_header("train.txt", len(data)) for data in (TRAIN, TEST))
    path = write(tmp_path, gzip.compress(raw_tar((first, TRAIN), (second, TEST))))
    assert [one.name for one in list_members(path)] == ["train.txt", "train.txt (2)"]
    assert read(path, "train.txt") == TRAIN and read(path, "train.txt (2)") == TEST


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            zip_of({"a.md": README, "b.md": b"# B\n"}),
            "holds no file of Criteo rows: a.md does not look like .*; b.md",
        ),
        (
            zip_of({"rows.parquet": PARQUET.getvalue()}),
            "'rows.parquet' in 'file' is a Parquet file within another",
        ),
        (
            zip_of({"a.zip": zip_of({"train.txt": TRAIN})}),
            "'a.zip' in 'file' is compressed twice, inside as a zip",
        ),
        (
            tar_of({"a.tar": tar_of({"train.txt": TRAIN})}, "gz"),
            "compressed twice, inside as a tar archive",
        ),
        (
            zip_of({"a.gz": gzip.compress(gzip.compress(TRAIN))}),
            "'a.gz' in 'file' is compressed twice, the inner time with gz",
        ),
        (
            zip_of({"rows.txt": TRAIN.decode().encode("utf-16")}),
            "'rows.txt' in 'file' is in UTF-16; save it as UTF-8",
        ),
        (
            zip_of({"x.html": b"<!DOCTYPE html><title>Sign in</title>"}),
            r"is an HTML page \('Sign in'\)",
        ),
        (zip_of({}), "holds no file of rows"),
    ],
)
def test_archives_without_rows(data: bytes, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=sentence):
        choose_member(write(tmp_path, data), "")


@pytest.mark.parametrize("pack", [gzip.compress, packed_zstd])
@pytest.mark.parametrize("outer", [zip_of, tar_of, lambda members: tar_of(members, "gz")])
def test_a_member_that_is_packed_itself_is_read(outer: type, pack: type, tmp_path: Path) -> None:
    path = write(tmp_path, outer({"train.txt.gz": pack(TRAIN), "readme.txt": README}))
    assert read(path) == TRAIN
    assert [one.rows for one in list_members(path)] == [60, None]


def links(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tar_header(name, 0, kind)
    info.linkname = "/etc/passwd"
    return info


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_devices_are_passed_over_and_never_read(kind: bytes, tmp_path: Path) -> None:
    """Links do no harm, since nothing is extracted. A name that points outside the archive is a
    sign of an attack, so the whole archive is refused."""
    what = "link" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else "device"
    header = tar_header("train.txt", len(TRAIN))
    path = write(tmp_path, raw_tar((links("latest", kind), b""), (header, TRAIN)))
    assert read(path) == TRAIN
    with pytest.raises(BadInput, match=f"'latest' in 'file' is a {what}, not a file"):
        choose_member(path, "latest")
    with pytest.raises(BadInput, match="link or a device"), open_rows(path, "latest"):
        pass
    for name in ("../latest", "/etc/latest", "a/../../latest", "C:\\latest"):
        path = write(tmp_path, raw_tar((tar_header(name, 3), b"abc"), (header, TRAIN)))
        with pytest.raises(BadInput, match="points outside the archive"):
            choose_member(path, "")


def encrypted(members: dict[str, bytes]) -> bytes:
    """An archive whose first member is marked as encrypted."""
    data = bytearray(zip_of(members))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def test_what_cannot_be_read_but_may_be_the_rows_is_not_replaced_by_another(tmp_path: Path) -> None:
    """Windows compresses files of 2 GB and more with Deflate64, so test.txt would be read instead
    of train.txt."""
    path = write(tmp_path, encrypted({"readme.txt": README, "rows.txt": TEST}))
    assert read(path) == TEST
    path = write(tmp_path, encrypted({"secret.txt": TRAIN, "rows.txt": TEST}))
    with pytest.raises(
        MemberNeeded, match=r"secret.txt \(is encrypted; .*\) and rows.txt \(20 rows\)"
    ):
        choose_member(path, "")
    assert read(path, "rows.txt") == TEST
    with pytest.raises(
        BadInput, match="'secret.txt' in 'file' is encrypted; unpack the archive with its password"
    ):
        choose_member(path, "secret.txt")
    data = bytearray(zip_of({"train.txt": TRAIN, "test.txt": TEST}))
    data[8] = data[data.index(b"PK\x01\x02") + 10] = 9
    with pytest.raises(BadInput, match="'train.txt' in 'file' is compressed with Deflate64"):
        choose_member(write(tmp_path, bytes(data)), "")
    with pytest.raises(
        BadInput,
        match="'train.parquet' in 'file' is a Parquet file within another compression; unpack",
    ):
        choose_member(
            write(tmp_path, zip_of({"train.parquet": PARQUET.getvalue(), "test.txt": TEST})), ""
        )


def test_a_damaged_member_is_not_replaced_by_another(tmp_path: Path) -> None:
    """Both may hold the rows. Damage to one does not make the other a better guess."""
    data = bytearray(zip_of({"train.txt": TRAIN, "test.txt": TEST}))
    data[100:140] = b"\xaa" * 40
    path = write(tmp_path, bytes(data))
    with pytest.raises(BadInput, match=r"'file' is damaged after [\d,]+ unpacked bytes"):
        read(path)
    data = bytearray(zip_of({"a.txt": TRAIN, "b.txt": TEST, "readme.txt": README}))
    data[100:140] = b"\xaa" * 40
    with pytest.raises(
        MemberNeeded, match=r"a.txt \(cannot be unpacked: .*\) and b.txt \(20 rows\)"
    ):
        choose_member(write(tmp_path, bytes(data)), "")


def test_a_caller_says_what_looks_like_rows_and_where_they_begin(tmp_path: Path) -> None:
    path = write(tmp_path, zip_of({"a": b"1;2\n3;4\n", "b": TRAIN}))
    seen: list[bytes] = []

    def looks(head: bytes) -> int | None:
        seen.append(head)
        return 0 if b";" in head else None

    assert choose_member(path, "", looks).member == "a"
    assert seen == [b"1;2\n3;4\n", TRAIN]
    with pytest.raises(MemberNeeded) as error:
        choose_member(write(tmp_path, zip_of({"a": TRAIN, "b": TRAIN}), "two"), "", lambda head: 3)
    lines = TRAIN.count(b"\n")
    assert [one.rows for one in error.value.members] == [lines - 3] * 2


def test_names_with_control_characters_do_not_break_messages(tmp_path: Path) -> None:
    path = write(tmp_path, zip_of({"a\n\x1b[31m": TRAIN, "b" * 500: TRAIN}))
    with pytest.raises(MemberNeeded) as error:
        choose_member(path, "")
    assert str(error.value).isprintable() and len(str(error.value)) < 400


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.data.archives.members.MAX_MEMBERS", 5)
    for data in (
        zip_of({str(i): b"x" for i in range(6)}),
        tar_of({str(i): b"x" for i in range(6)}, "gz"),
    ):
        with pytest.raises(
            BadInput, match="holds more than 5 members; give the file of rows alone"
        ):
            choose_member(write(tmp_path, data), "")


def test_a_truncated_archive_keeps_the_members_before_the_break(tmp_path: Path) -> None:
    """Truncated within the last member: refused, or read up to there with a note."""
    whole = tar_of({"readme.txt": README, "test.txt": TEST, "train.txt": TRAIN}, "gz")
    path = write(tmp_path, whole[:-900])
    with pytest.raises(
        BadInput, match="ends in or after its member 'train.txt': the file is truncated"
    ):
        choose_member(path, "")
    choice = choose_member(path, "", keep_truncated=True)
    assert choice.member == "train.txt" and choice.truncated and "is truncated" in choice.reason
    with open_rows(path, choice.member, keep_truncated=True) as stream:
        kept = stream.read()
        assert stream.truncated and 0 < len(kept) < len(TRAIN) and TRAIN.startswith(kept)
    with open_rows(path, "test.txt", keep_truncated=True) as stream:
        assert stream.read() == TEST and not stream.truncated
    with pytest.raises(BadInput, match="truncated"), open_rows(path, "test.txt") as stream:
        stream.read()
    early = write(tmp_path, whole[: len(whole) // 4])
    with (
        pytest.raises(BadInput, match="ends before its member 'train.txt'"),
        open_rows(early, "train.txt", True),
    ):
        pass


def test_without_a_row_check_documents_are_recognised_by_name(tmp_path: Path) -> None:
    """Word vectors are read like this; their text may look like anything."""
    path = write(
        tmp_path, zip_of({"glove.txt": b"the 1 2\n", "README.md": README, "LICENSE": README})
    )
    with open_rows(path) as stream:
        assert stream.read() == b"the 1 2\n"
    path = write(tmp_path, zip_of({"a.txt": b"the 1 2\n", "b.txt": b"the 1 2\n"}))
    with pytest.raises(MemberNeeded, match="name the one to read"), open_rows(path):
        pass


def test_zip_methods(tmp_path: Path) -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert (
            read(write(tmp_path, zip_of({"readme": README, "train.txt": TRAIN}, method))) == TRAIN
        )
    for method, name in ((9, "Deflate64"), (97, "a method that is not read")):
        data = bytearray(zip_of({"train.txt": TRAIN}))
        data[8] = data[data.index(b"PK\x01\x02") + 10] = method
        with pytest.raises(BadInput, match=f"'train.txt' in 'file' is compressed with {name}"):
            choose_member(write(tmp_path, bytes(data)), "")
