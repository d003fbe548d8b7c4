"""Reads files of Criteo rows: from bytes of an unknown format to a sample."""
