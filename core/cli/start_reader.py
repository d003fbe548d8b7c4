"""Start the file reader's process early: import this module before anything slow.

Files of strangers are read in a process of their own (`core.data.reading.reader_process`), which
needs half a second to import its libraries. A command that reads a file starts that process here,
so that it imports while this process imports pandas and the rest, instead of afterwards.
"""

import sys
from pathlib import Path

from core.data.reading.reader_process import warm_up

READING_COMMANDS = frozenset({"ingest", "score", "import-backbone"})
_PROGRAMS = ("thaw", "__main__.py", "-m")
"""Names under which the command line runs: the script, ``python -m core``, ``python -m thaw``."""

if Path(sys.argv[0]).name in _PROGRAMS and READING_COMMANDS & set(sys.argv[1:]):
    warm_up()
