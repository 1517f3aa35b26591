"""Files from the web: resumed where a connection broke, and given their name only once the checksum agrees."""

import http
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from sgdbd_jax.errors import UserError
from sgdbd_jax.files import file_sha256

ATTEMPTS = 3  # connections for one download: a cut one is resumed at once
TIMEOUT = 30.0  # seconds without an answer, or without a byte
CHUNK = 1 << 20  # bytes


class _Broken(Exception):
    """The connection ended before the file did; what arrived is kept."""


def download(
    url: str, path: str | os.PathLike, *, sha256: str, progress: Callable[[int, int | None], None] | None = None
) -> Path:
    """Fetches a file once; a later call finds it, verifies it and asks the network for nothing.

    What has arrived is kept in `path.part`, which the next attempt, in this call or another, continues.

    Args:
        url: where the file is.
        path: the name that it gets; its folder is made.
        sha256: its expected digest, 64 hexadecimal digits.
        progress: called with the bytes held so far and the whole size, `None` if the server does not tell it.

    Returns:
        The path of the verified file.

    Raises:
        UserError: no connection, refused by the server, cut too often, another digest, or a disk that cannot take it.
            The message says where to put the file by hand.
    """
    path = Path(path)
    if path.is_file():
        found = file_sha256(path)
        if found != sha256:
            raise UserError(f"{path}: its SHA-256 is {found}, {sha256} was expected; delete it and run again")
        return path

    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _fetch(url, part, progress)
                break
            except _Broken as error:
                if attempt == ATTEMPTS:
                    raise _failure(url, path, f"the connection broke {ATTEMPTS} times: {error}") from error
        found = file_sha256(part)
        if found != sha256:
            part.unlink()
            raise _failure(url, path, f"what arrived has SHA-256 {found}, {sha256} was expected; it was removed")
        os.replace(part, path)
    except urllib.error.HTTPError as error:
        raise _failure(url, path, f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _failure(url, path, str(error.reason)) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
    return path


def _fetch(url: str, part: Path, progress: Callable[[int, int | None], None] | None) -> None:
    """Brings `part` from what it holds to the whole file, over one connection, or raises `_Broken`."""
    held = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={held}-"} if held else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if held and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing lies beyond what is held: the checksum tells whether that is the file
        raise
    except urllib.error.URLError:
        raise
    except (http.client.HTTPException, OSError) as error:
        raise _Broken(error) from error

    with response:
        resumes = response.headers.get("Content-Range", "").startswith(f"bytes {held}-")
        if not resumes:  # a server that ignores ranges sends it all again
            held = 0
        length = response.headers.get("Content-Length")
        total = held + int(length) if length else None
        with open(part, "ab" if resumes else "wb") as file:
            while chunk := _read(response):
                file.write(chunk)
                held += len(chunk)
                if progress is not None:
                    progress(held, total)
    if total is not None and held < total:
        raise _Broken(f"{held} of {total} bytes arrived")


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(CHUNK)
    except (http.client.HTTPException, OSError) as error:  # apart from the disk's errors, which no retry mends
        raise _Broken(error) from error


def _failure(url: str, path: Path, reason: str) -> UserError:
    return UserError(f"cannot download {url} ({reason}); get the file by other means and put it at {path}")
