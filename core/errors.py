"""Errors a user can act on. The message is a whole sentence: what was wrong, the value received, what to do."""


class ThawError(Exception):
    """A failure explained to the user; pages and the command line show its message as it is."""


class BadInput(ThawError):
    """A file, name or setting that cannot be used (command line: exit status 2)."""


class RunError(ThawError):
    """A run that could not be carried through, such as a loss that became NaN (command line: exit status 1)."""
