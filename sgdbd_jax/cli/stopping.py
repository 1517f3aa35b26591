"""Ctrl-C and SIGTERM, for commands that have something to save first."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def stopping(message: str = "", *, at_once: bool = False) -> Iterator[list[int]]:
    """Puts the first SIGTERM or Ctrl-C into a list, for the work to look at and end.

    Afterwards signals do what they did before, since the process may go on, as a notebook's does.

    Args:
        message: a line for standard error at the first signal.
        at_once: whether a second signal ends the process, whatever threads are at work, rather than do what it did
            before.

    Yields:
        The signals received, none yet.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL if at_once else before[each])
        if message:
            with contextlib.suppress(OSError):  # nobody may be reading
                os.write(2, f"\n{message}\n".encode())  # print may be what the signal interrupts, and must not nest

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
