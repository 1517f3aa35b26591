"""One run at a time in a folder of results: of two, each would undo what the other reports."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from sgdbd_jax.errors import UserError, shown

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK = ".sgdbd.lock"


@contextlib.contextmanager
def alone(folder: Path, *, say: Callable[[str], None]) -> Iterator[None]:
    """Keeps other runs out of a folder, which is made, as long as this one is in it.

    The lock is the system's and held by an open file: it ends with the process, however that ends, and a file that is
    left over locks nothing. Where the file system has no locks, runs are not kept apart.

    Args:
        folder: of the results.
        say: takes a line for the user, where there are no locks.

    Raises:
        UserError: another run is in the folder, or the folder cannot be written.
    """
    lock = _locked(folder, say)
    try:
        yield
    finally:
        if lock is not None:
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(lock), os.stat(folder / LOCK)):  # the folder may be another by now
                    os.unlink(folder / LOCK)  # before it is unlocked, or it might be another's
            os.close(lock)


def _locked(folder: Path, say: Callable[[str], None]) -> int | None:
    """An open file that is locked, if there are locks."""
    path = folder / LOCK
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = _opened(path)
        except OSError as error:
            raise UserError(f"{shown(folder)}: cannot be written ({error.strerror or error})") from error
        try:
            _lock(lock)
            if os.path.samestat(os.fstat(lock), os.stat(path)):
                return lock
        except (BlockingIOError, PermissionError) as error:
            os.close(lock)
            message = "another run is writing into this folder; wait for its end, or choose another folder"
            raise UserError(f"{shown(folder)}: {message}") from error
        except FileNotFoundError:
            pass  # whoever had it has removed it since
        except OSError as error:
            say(f"warning: {shown(folder)}: cannot be locked ({error.strerror}); start no other run into it meanwhile")
            os.close(lock)
            return None
        os.close(lock)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        if not path.exists():
            raise
        return os.open(path, os.O_RDONLY)  # another user's run was killed


def _lock(file: int) -> None:
    if sys.platform == "win32":
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
