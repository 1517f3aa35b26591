"""Files written whole or not at all, and what tells one from another."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sgdbd_jax.errors import UserError


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
        with tempfile.TemporaryFile(dir=existing, prefix=".writing-"):
            pass
        taken = [folder / name for name in names if (folder / name).is_dir()]
    except OSError as error:
        raise UserError(f"{first}: cannot be written ({error.strerror or error})") from error
    if taken:
        raise UserError(f"{taken[0]}: cannot be written (it is a folder); move it away, or name another folder")


def write_atomically(path: str | os.PathLike, data: bytes) -> None:
    """Writes `data` beside `path` and renames it into place, so that no reader ever sees half a file.

    Raises:
        UserError: the operating system refuses (full disk, no permission); an earlier file stays as it was.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".writing-", delete=False) as file:
            temporary = file.name
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error


def file_sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
