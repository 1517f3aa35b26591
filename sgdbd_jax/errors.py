"""The exceptions that a user can cause and mend, and what their messages are made of."""

from collections.abc import Sequence


class UserError(Exception):
    """Bad input, in one line: the thing, what was found, and the remedy.

    Commands print the message on standard error and exit with code 2; they print no traceback.
    """


class Unavailable(UserError):
    """What was asked for is not part of this installation: a package, a weight file, a detector."""


def abbreviate(names: Sequence[str], limit: int = 6) -> str:
    """The first few of a list of names, and how many more there are."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def shown(name: object) -> str:
    """A file's name for a message, which is one line whatever the name holds."""
    return text if (text := str(name)).isprintable() else repr(text)
