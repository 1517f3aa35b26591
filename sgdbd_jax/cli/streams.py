"""Standard streams that no output can break: a command's work is worth more than what it has to say of it."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
from typing import Any


def protect() -> None:
    """Makes standard output and error, of this process, such that writing to them never raises an error.

    Characters that the encoding lacks are written as `\\x` or `\\u` escapes. Once a stream cannot be written to (its
    reader has gone, its disk is full), the rest is dropped, and `trouble` tells why. Streams that were closed when the
    process began lead nowhere; their descriptors would else be given to the next files, and get what libraries print.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            mode = "r" if name == "stdin" else "w"
            nowhere = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(nowhere, mode, encoding="utf-8", errors="surrogateescape"))
        elif name != "stdin" and stream is getattr(sys, f"__{name}__"):  # else another program's, such as a notebook's
            setattr(sys, name, _protected(stream))


def trouble() -> OSError | None:
    """Why standard output has lost something, except that its reader wanted no more."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # another program's streams; one that is closed
            stream.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    error = raw.error if isinstance(raw, _Raw) else None
    return None if error is None or error.errno == errno.EPIPE else error


def _protected(stream: Any) -> io.TextIOWrapper:
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Raw(getattr(stream.buffer, "raw", stream.buffer))),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering or stream.write_through,
    )


class _Raw(io.RawIOBase):
    """Writes to another as long as that can be written to."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                while (written := self._raw.write(data)) is None:  # who shares the terminal has it not wait
                    select.select([], [self._raw], [])
                return written
            except OSError as error:
                self.error = error
        return len(data)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw.isatty()
