"""Imported first by `python -m core`: a command that reads a file has the reader's process import
its libraries while this one imports its own, half a second that would follow one another else."""

import sys

from core.data.reading.reader_process import warm_up

READING_COMMANDS = frozenset({"ingest", "score", "import-backbone"})

if READING_COMMANDS & set(sys.argv[1:]):
    warm_up()
