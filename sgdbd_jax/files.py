"""Files written whole or not at all, and what tells one from another."""

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sgdbd_jax.errors import UserError

TEMPORARY = ".writing-"  # begins the names of files that are not whole yet


def check_folder(folder: str | os.PathLike, names: Sequence[str] = ()) -> None:
    """Refuses a folder that results cannot be written to, before the work for them is done; leaves nothing behind.

    Args:
        folder: made when results are written, if it is not there.
        names: of the files that will be written.

    Raises:
        UserError: a file bears its name or that of a folder above it, it may not be written, or one of `names` is a
            folder in it.
    """
    folder = Path(folder)
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    first = folder / names[0] if names else folder
    try:
        if not existing.is_dir():
            raise UserError(f"{first}: cannot be written ({existing} is no folder); name another")
        with tempfile.TemporaryFile(dir=existing, prefix=TEMPORARY):
            pass
        taken = [folder / name for name in names if (folder / name).is_dir()]
    except OSError as error:
        raise UserError(f"{first}: cannot be written ({error.strerror or error})") from error
    if taken:
        raise UserError(f"{taken[0]}: cannot be written (it is a folder); move it away, or name another folder")


def write_atomically(path: str | os.PathLike, data: bytes, *, durable: bool = True, mode: int = 0o644) -> None:
    """Writes `data` beside `path` and renames it into place, so that no reader ever sees half a file.

    Args:
        path: the file; its folder is made.
        data: all that it shall hold.
        durable: whether it is on the disk before the function returns; else a power failure may empty it.
        mode: who may read and write it.

    Raises:
        UserError: the operating system refuses (full disk, no permission); an earlier file stays as it was.
    """
    with atomic_file(path, durable=durable, mode=mode) as file:
        file.write(data)


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike, *, durable: bool = True, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """A file to write bit by bit, which takes the place of `path` at the end. See `write_atomically`."""
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=TEMPORARY, delete=False) as file:
            temporary = file.name
            yield file.file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def remove_unfinished(folder: Path) -> None:
    """Removes what `atomic_file` left in a folder when its process was killed, if that is more than a minute ago."""
    with contextlib.suppress(OSError):  # nothing depends on it
        for path in folder.glob(f"{TEMPORARY}{'[a-z0-9_]' * 8}"):  # as `tempfile` names them: other files may be beside
            if time.time() - path.stat().st_mtime > 60 and not path.is_dir():
                path.unlink()


def file_sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Identity:
    """What tells a file from another that takes its place, be it of the same size and, by `cp -p`, the same time.

    Attributes:
        bytes: its size.
        modified: when its content was last changed, in nanoseconds, or when a copying tool says so.
        changed: when it was last changed in any way; no tool can set that.
        sha256: the first 16 hexadecimal digits.
    """

    bytes: int
    modified: int
    changed: int
    sha256: str

    @classmethod
    def of(cls, path: str | os.PathLike) -> "Identity":
        """That of a file, which is read for it."""
        digest = file_sha256(path)[:16]
        return cls(*times(path), digest)

    def is_still(self, path: str | os.PathLike) -> bool:
        """Whether the file there is that one; it is read only where its place in the file system was touched since."""
        try:
            *same, changed = times(path)
            if same != [self.bytes, self.modified]:
                return False
            return changed == self.changed or file_sha256(path)[:16] == self.sha256
        except OSError:
            return False


NO_FILE = Identity(-1, 0, 0, "")  # what no file is


def times(path: str | os.PathLike) -> tuple[int, int, int]:
    """The first three values of a file's `Identity`, which are known without reading it."""
    stat = os.stat(path)
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
