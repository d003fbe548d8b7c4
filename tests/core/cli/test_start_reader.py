"""A command that reads a file starts the reader before its slow imports, however it is called."""

import subprocess
import sys

import pytest

from core.program import PROJECT

PROGRAM = """
import sys
sys.argv = {arguments}
from core.data.reading import reader_process
loaded = []
reader_process.warm_up = lambda: loaded.append("pyarrow" in sys.modules)
import {module}
print(loaded)
"""


@pytest.mark.parametrize("module", ["core.__main__", "thaw.__main__"])
@pytest.mark.parametrize(
    ("command", "expected"),
    [("ingest", "[False]"), ("score", "[False]"), ("import-backbone", "[False]"), ("runs", "[]")],
)
def test_the_reader_starts_first_where_a_file_is_read(
    module: str, command: str, expected: str
) -> None:
    assert loaded(module, "thaw", command) == expected


def test_a_script_that_imports_thaw_starts_no_reader() -> None:
    assert loaded("thaw", "mine.py", "score") == "[]"


def loaded(module: str, program_name: str, command: str) -> str:
    """Whether pyarrow was loaded before, for every start of the reader on importing `module`."""
    program = PROGRAM.format(arguments=[program_name, command, "file"], module=module)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
