"""A file that somebody holds is not a leftover, whatever its name and age."""

import os
from pathlib import Path

from core.files.held_files import HeldFile, remove_unheld
from core.workspace import write_atomic


def test_a_held_file_stays_until_nobody_holds_it(tmp_path: Path) -> None:
    held: list[HeldFile] = []

    def write(part: Path) -> None:
        part.write_text("x")
        held.append(HeldFile(part))

    write_atomic(tmp_path / "upload-1", write)
    (tmp_path / "upload-2").write_text("y")
    os.utime(tmp_path / "upload-1", (0, 0))
    for _ in range(2):
        remove_unheld(tmp_path.glob("upload-*"))
        assert [path.name for path in tmp_path.iterdir()] == ["upload-1"]
    another = HeldFile(tmp_path / "upload-1")
    held.clear()
    remove_unheld(tmp_path.glob("upload-*"))
    assert (tmp_path / "upload-1").exists()
    del another
    remove_unheld(tmp_path.glob("upload-*"))
    assert not (tmp_path / "upload-1").exists()
