"""Start the file reader's process early: import this module before anything slow.

Files of strangers are read in a process of their own (`core.data.reading.reader_process`), which
needs half a second to import its libraries. A command that reads a file starts that process here,
so that it imports while this process imports pandas and the rest, instead of afterwards."""

import sys

from core.data.reading.reader_process import warm_up

READING_COMMANDS = frozenset({"ingest", "score", "import-backbone"})

if READING_COMMANDS & set(sys.argv[1:]):
    warm_up()
