"""Files over which pyarrow aborts its process give a message, and the app continues."""

import ast
import io
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.torture_binaries import encrypted_parquet
from core.cli.parser import main
from core.data.datasets import Dataset
from core.data.reading.ingest import ingest
from core.data.reading.read_rows import detect_file_format
from core.data.schema import FIELDS, LABEL
from core.errors import BadInput, ReaderFailed
from core.inference.score_file import score_file
from core.jobs.requests import FinetuneRequest
from core.workspace import PROJECT, Workspace
from pages.components.shared import read_options_form
from tests.core.data.helpers import fingerprint, rows, text, write
from tests.core.training.helpers import QUICK, pretrained, run_request
from tests.faults.mutations import parquet_columns

SENTENCE = r"^'file' ended the process that read it \(signal 6, aborted\)"


@pytest.fixture
def aborting(tmp_path: Path) -> Path:
    """Some columns are encrypted, and the footer that speaks of them is not: pyarrow aborts on
    looking at them."""
    table = pa.table(parquet_columns(rows(60)))
    return write(tmp_path, encrypted_parquet(table, ["C1", "C2", "I1"], plain_footer=True))


def test_these_files_would_end_this_process(aborting: Path) -> None:
    """Or else the tests below show nothing."""
    look = (
        f"import pyarrow.parquet as pq; f = pq.ParquetFile({str(aborting)!r});"
        " f.metadata.row_group(0).column(1)"
    )
    assert (
        subprocess.run([sys.executable, "-c", look], capture_output=True, check=False).returncode
        == -6
    )


@pytest.mark.parametrize("on_bad_rows", ["reject", "skip"])
def test_ingest(aborting: Path, on_bad_rows: str, workspace: Workspace) -> None:
    before = fingerprint(workspace)
    with pytest.raises(ReaderFailed, match=SENTENCE):
        ingest(workspace, aborting, "x", on_bad_rows)
    assert fingerprint(workspace) == before
    assert ingest(workspace, write(aborting.parent, text(rows(60)), "good"), "good").rows == 60


def test_the_command(
    aborting: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--workspace", str(workspace.root), "ingest", str(aborting), "--name", "x"]) == 2
    assert "thaw: 'file' ended the process that read it" in capsys.readouterr().err


def test_the_page_reports_a_file_that_aborts_the_reader(aborting: Path) -> None:
    file = read_options_form.SourceFile(aborting, "mine.parquet", "key")
    found = read_options_form._inspect(file, read_options_form.ReadOptions(), need_label=True)
    assert found.error.startswith("'mine.parquet' ended the process that read it")


def test_no_page_reads_a_file_itself() -> None:
    """Of the modules that open files from others, pages import only types."""
    names = {
        "open_rows",
        "choose_member",
        "list_members",
        "detect_container",
        "open_batches",
        "read_first_rows",
        "detect_format",
    }
    ingest = PROJECT / "core" / "data" / "reading" / "ingest.py"
    for path in [*(PROJECT / "pages").rglob("*.py"), ingest]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {
            name.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("core.data")
            for name in node.names
        }
        assert not imported & names, path


def test_scoring(aborting: Path, tiny: tuple[Workspace, Dataset], tmp_path: Path) -> None:
    workspace, dataset = tiny
    request = FinetuneRequest(
        dataset.id, pretrained(workspace, "dnn").id, freeze_depth=1, train=QUICK
    )
    run = run_request(workspace, request)
    with pytest.raises(ReaderFailed, match=SENTENCE):
        score_file(workspace, run, aborting, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_a_footer_with_invalid_text_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    """Names of columns, and what the writer says of itself, are text only in a file that is
    whole."""
    data = bytearray(_plain_parquet())
    for word in (b"parquet-cpp", b"C13", b"pandas", b"label"):
        place = data.rfind(word)
        if place < 0:
            continue
        spoilt = bytearray(data)
        spoilt[place : place + 2] = b"\xff\xfe"
        path = write(tmp_path, bytes(spoilt))
        try:
            form = detect_file_format(path)
        except Exception as error:
            assert type(error).__name__ in ("BadInput", "ColumnsNeeded"), repr(error)
        else:
            assert json.dumps(form.column_names)


def _plain_parquet() -> bytes:
    stream = io.BytesIO()
    columns = parquet_columns(rows(60))
    pq.write_table(pa.table(columns).select([LABEL, *FIELDS]), stream)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["duration", "time32", "timestamp", "date32"])
@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("name", ["I3", "C3", "label"])
def test_times_are_not_numbers(
    kind: str, coded: bool, name: str, workspace: Workspace, tmp_path: Path
) -> None:
    """Also those in a dictionary, which Parquet files hold as whole numbers."""
    types = {
        "duration": pa.duration("s"),
        "time32": pa.time32("ms"),
        "timestamp": pa.timestamp("us"),
    }
    values = pa.array([place % 2 for place in range(60)], types.get(kind, pa.date32()))
    columns = parquet_columns(rows(60)) | {name: values.dictionary_encode() if coded else values}
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    with pytest.raises(BadInput, match=f"Column {name} of 'file' has the type {kind}"):
        ingest(workspace, write(tmp_path, stream.getvalue()), "x", "skip")
