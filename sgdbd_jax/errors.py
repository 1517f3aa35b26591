"""The one exception that a user can cause and mend."""


class UserError(Exception):
    """Bad input, told in one line: the thing, what was found, and the remedy.

    Commands print the message on standard error and exit with code 2; they print no traceback.
    """


def shown(name: object) -> str:
    """A file's name for a message, which is one line whatever the name holds."""
    return text if (text := str(name)).isprintable() else repr(text)
