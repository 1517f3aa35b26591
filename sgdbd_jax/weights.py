"""Weight files: one safetensors file a network, which describes itself.

The tensors are the flattened variable tree (`params/conv1_1/kernel`, ...); the metadata says what network they belong
to (`kind`), its config, and whatever else the reader must know (for a VGG16, the input normalisation).
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from sgdbd_jax.errors import UserError
from sgdbd_jax.files import write_atomically

FORMAT = "sgdbd_jax/1"


def save_weights(path: str | os.PathLike, tree: Mapping[str, Any], metadata: Mapping[str, Any]) -> Path:
    """Writes a tree of arrays and its metadata, atomically: the file is whole or as it was.

    Args:
        path: the file to write, `.safetensors`; its folder is made.
        tree: nested dict of arrays, any dtype that safetensors knows.
        metadata: JSON-serialisable values, `kind` among them.

    Returns:
        The path written.

    Raises:
        UserError: the file cannot be written (full disk, no permission).
    """
    from safetensors.numpy import save

    path = Path(path)
    flat = {name: np.asarray(value, order="C") for name, value in traverse_util.flatten_dict(tree, sep="/").items()}
    header = {"format": FORMAT, **{key: json.dumps(value) for key, value in metadata.items()}}
    write_atomically(path, _in_order(save(flat, header)))
    return path


def halve(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A tree of float32 arrays as float16, which errs by a 2000th or, near 0, by 3e-8; arrays beyond its range stay."""
    largest = np.finfo(np.float16).max

    def convert(leaf: np.ndarray) -> np.ndarray:
        fits = leaf.dtype == np.float32 and np.abs(leaf).max(initial=0) <= largest
        return leaf.astype(np.float16) if fits else leaf

    return {name: halve(leaf) if isinstance(leaf, Mapping) else convert(leaf) for name, leaf in tree.items()}


def load_weights(path: str | os.PathLike, *, kind: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads a weight file.

    Args:
        path: a file written by `save_weights`.
        kind: what the file must hold (`"generator"`, `"vgg16"`, ...); `None` takes any.

    Returns:
        The nested dict of numpy arrays, and the metadata.

    Raises:
        UserError: no such file, not a safetensors file, truncated, or of another kind; names that make no tree.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: a folder; name the weight file in it")
    if not path.is_file():
        raise UserError(f"{path}: no such weight file")
    try:
        with safe_open(path, framework="numpy") as file:
            header = dict(file.metadata() or {})
            flat = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable safetensors file, perhaps truncated ({error})") from error
    except AttributeError as error:  # safetensors asks NumPy for a type that it has not
        raise UserError(f"{path}: holds numbers of a type that cannot be read ({error}); save it as float32") from error
    if header.pop("format", None) != FORMAT:
        raise UserError(
            f"{path}: a safetensors file of another program; port it with `python -m experiments.port_vgg16`"
            " or `python -m experiments.convert_release`"
        )
    try:
        metadata = {key: json.loads(value) for key, value in header.items()}
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: its metadata cannot be read ({error}); take or make another file") from error
    if kind is not None and metadata.get("kind") != kind:
        raise UserError(f"{path}: holds weights of kind {metadata.get('kind')!r}, {kind!r} was asked for")
    folders = {name[:at] for name in flat for at, letter in enumerate(name) if letter == "/"}
    if both := sorted(folders & flat.keys()):
        raise UserError(f"{path}: {both[0]} is both a tensor and what others lie in; take or make another file")
    return traverse_util.unflatten_dict(flat, sep="/"), metadata


@contextlib.contextmanager
def reading_metadata(path: str | os.PathLike) -> Iterator[None]:
    """Turns whatever goes wrong with the values of a file's metadata into one refusal.

    Raises:
        UserError: naming the file.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError, UserError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise UserError(f"{path}: its metadata cannot be used ({what}); was it made by another version?") from error


def merge(expected: Mapping[str, Any], loaded: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Takes `loaded` in the place of `expected`, if and only if every name and shape agrees.

    Args:
        expected: nested dict of arrays or shape structs: the network's own variables.
        loaded: nested dict of arrays of any float dtype.
        where: the file's name, for the message.

    Returns:
        The loaded values as float32, in the tree of `expected`.

    Raises:
        UserError: names missing, names too many, shapes that differ, or numbers that are no floats; all are listed.
    """
    want = traverse_util.flatten_dict(expected, sep="/")
    have = traverse_util.flatten_dict(loaded, sep="/")
    missing, extra = sorted(want.keys() - have.keys()), sorted(have.keys() - want.keys())
    shapes = [
        f"{name} {tuple(have[name].shape)} instead of {tuple(want[name].shape)}"
        for name in sorted(want.keys() & have.keys())
        if tuple(have[name].shape) != tuple(want[name].shape)
    ]
    types = [
        f"{name} {have[name].dtype}" for name in sorted(want.keys() & have.keys()) if have[name].dtype.kind in "biuc"
    ]
    problems = [
        f"{what}: {', '.join(names[:6])}{f' and {len(names) - 6} more' if len(names) > 6 else ''}"
        for what, names in (
            ("missing", missing),
            ("not expected", extra),
            ("of another shape", shapes),
            ("not of floats", types),
        )
        if names
    ]
    if problems:
        raise UserError(f"{where}: weights of another architecture ({'; '.join(problems)})")
    return traverse_util.unflatten_dict({k: np.asarray(have[k], np.float32) for k in want}, sep="/")


def check_finite(tree: Mapping[str, Any], *, where: str) -> None:
    """Refuses a network of which a value is not finite.

    Args:
        tree: nested dict of arrays of floats.
        where: the file's name, for the message.

    Raises:
        UserError: one is not.
    """
    if not all(np.isfinite(leaf).all() for leaf in traverse_util.flatten_dict(tree).values()):
        raise UserError(f"{where}: holds values that are not finite; its training diverged, take an earlier file")


def _in_order(data: bytes) -> bytes:
    """The same safetensors file with its header sorted: the library orders metadata anew in every process.

    Equal weights then make equal files, which can be compared and hashed.
    """
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:start]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the format wants tensors aligned
    return len(header).to_bytes(8, "little") + header + data[start:]
