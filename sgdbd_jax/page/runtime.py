"""onnxruntime-web, by which the page's model runs in browsers: fetched once, checked, and copied beside the page."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sgdbd_jax.errors import Unavailable, UserError
from sgdbd_jax.files import write_atomically

NAME, VERSION = "onnxruntime-web", "1.30.0"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # of its archive
# On the processor alone; each less than the 25 MiB that some web hosts take.
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
REMEDY = f"get it elsewhere by `npm pack {NAME}@{VERSION}`, unpack it, and name its folder with --runtime"
SECONDS = 600.0  # for 33 MB


def archive(cache: Path) -> Path:
    """The package's archive, as npm packs it, whether it is there or not."""
    return cache / f"{NAME}-{VERSION}.tgz"


def fetched(cache: Path) -> Mapping[str, bytes]:
    """The run time's files, by their names; fetched by npm if the cache does not have them.

    Args:
        cache: a folder to keep the archive in; is made.

    Raises:
        Unavailable: there is no npm, or it gets no answer.
        UserError: what it got is not what was published, or cannot be kept.
    """
    path = archive(cache)
    if not path.is_file():
        write_atomically(path, _by_npm())
    try:
        data = path.read_bytes()
        if (found := _sha512(data)) != SHA512:
            raise UserError(f"{path}: its SHA-512 is {found[:12]}..., {SHA512[:12]}... was expected; delete it")
        with tarfile.open(path) as tar:
            return {name: tar.extractfile(f"package/dist/{name}").read() for name in FILES}  # type: ignore[union-attr]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def from_folder(folder: Path) -> Mapping[str, bytes]:
    """The run time's files, from a folder that holds the package, unpacked.

    Raises:
        UserError: it does not, or holds another version.
    """
    try:
        version = json.loads((folder / "package.json").read_text(encoding="utf-8"))["version"]
        if version != VERSION:
            raise UserError(f"{folder}: has {NAME} {version}, the page was made for {VERSION}")
        return {name: (folder / "dist" / name).read_bytes() for name in FILES}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{folder}: is no unpacked {NAME} ({error}); name the folder that holds its dist") from error


def _by_npm() -> bytes:
    """The archive, through the user's own npm, which knows its registry and proxies."""
    what = f"{NAME} {VERSION}, by which the model runs in browsers"
    if (npm := shutil.which("npm")) is None:  # on Windows npm.cmd
        raise Unavailable(f"{what}, is fetched by npm, which is not installed; install it, or {REMEDY}")
    with tempfile.TemporaryDirectory() as folder:
        command = [
            npm,
            "pack",
            f"{NAME}@{VERSION}",
            "--loglevel=error",
            "--ignore-scripts",
            "--pack-destination",
            folder,
        ]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, cwd=folder)
        except OSError as error:
            raise Unavailable(f"{what}, is fetched by npm, which does not start ({error}); {REMEDY}") from error
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"{what}, did not come within {SECONDS:.0f} s; {REMEDY}") from error
        packed = archive(Path(folder))
        if done.returncode or not packed.is_file():
            said = done.stderr.decode(errors="replace").split("\n")
            reason = next((line.strip() for line in said if line.strip()), f"npm ended with {done.returncode}")
            raise Unavailable(f"{what}, cannot be fetched ({reason}); {REMEDY}")
        data = packed.read_bytes()
    if (found := _sha512(data)) != SHA512:
        raise UserError(f"{what}, came with SHA-512 {found[:12]}..., {SHA512[:12]}... was expected; nothing was kept")
    return data


def _sha512(data: bytes) -> str:
    return base64.b64encode(hashlib.sha512(data).digest()).decode()
