"""The weight files that come with the package: where they are, and that they are whole."""

import functools
import hashlib
import json
import os
import sysconfig
from importlib import metadata
from pathlib import Path

from sgdbd_jax.errors import Unavailable, UserError

GENERATOR = "generator.safetensors"
SHIPPED = {
    "accurate": GENERATOR,
    "lite": "lite.safetensors",
    "game": "game.safetensors",
}  # by the names that commands know them by
DEFAULT = "lite"

_whole: set[Path] = set()  # files whose SHA-256 was found to be the manifest's


def weight_file(name: str | os.PathLike) -> Path:
    """The weight file that is meant: a shipped one, by its name in `SHIPPED`, or any other, by its path.

    Only a string is a name: a `Path`, such as this gives, is that file, whatever it is called.

    Raises:
        UserError: as `shipped`; or a word that is neither a name nor a file.
    """
    if not isinstance(name, str):
        return Path(name)
    if name in SHIPPED:
        return shipped(SHIPPED[name])
    if name.isidentifier() and not Path(name).exists():
        raise UserError(f"{name}: no such weight file, nor the name of shipped weights; these are {', '.join(SHIPPED)}")
    return Path(name)


@functools.cache
def shipped(name: str = GENERATOR) -> Path:
    """The path of a shipped weight file, whose SHA-256 is that of the manifest beside it.

    Raises:
        Unavailable: it is not there.
        UserError: it is not the file that was shipped.
    """
    folder = _folder()
    path = folder / name
    if not path.is_file():
        raise Unavailable(f"{path}: no such file, this installation has no weights; pass a weight file of your own")
    try:
        expected = str(json.loads((folder / "manifest.json").read_text())[name])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{folder / 'manifest.json'}: does not tell {name}'s SHA-256; install again") from error
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    if actual != expected:
        raise UserError(f"{path}: is not the file that was shipped (SHA-256 {actual[:12]}..., not {expected[:12]}...)")
    _whole.add(path)
    return path


def is_shipped(path: str | os.PathLike) -> bool:
    """Whether `shipped` has found this file to be the one that was shipped: what it holds is known, then."""
    return Path(path) in _whole


def _folder() -> Path:
    """Beside the package in a clone and an editable installation, else where an installation put data."""
    clone = Path(__file__).parents[2] / "weights"
    if (clone / "manifest.json").is_file():
        return clone
    place = "share/sgdbd_jax/weights"
    try:  # which knows installations for one user, too
        files = metadata.files("sgdbd_jax") or ()
    except metadata.PackageNotFoundError:
        files = ()
    for file in files:
        if file.as_posix().endswith(f"{place}/manifest.json"):
            return Path(str(file.locate())).resolve().parent
    return Path(sysconfig.get_path("data"), place)
