"""Files written whole or not at all, and what tells one from another."""

import hashlib
import os
import tempfile
from pathlib import Path

from sgdbd_jax.errors import UserError


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
