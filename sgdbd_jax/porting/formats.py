"""Weight files of other programs, each read into a flat dict of arrays under the names that the file gives them."""

import importlib
import os
import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np

from sgdbd_jax.errors import UserError

Arrays = dict[str, np.ndarray]


def require(library: str, purpose: str) -> ModuleType:
    """Imports a library that only some sources need.

    Raises:
        UserError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise UserError(f"{purpose} needs {library}, which is not installed: pip install {library}") from error


def read_torch(path: str | os.PathLike) -> Arrays:
    """Reads a PyTorch state dict, `.pth`: tensors only, so that no code in the file can run.

    Returns:
        Every tensor under its own name; float16 and float32 as they are, other types as float32.

    Raises:
        UserError: no such file, damaged, objects besides tensors, not a state dict, or PyTorch is not installed.
    """
    torch = require("torch", f"reading {path}")
    with _reading(path, "PyTorch file"):
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise UserError(
                f"{path}: refused, nothing of it was run: not a PyTorch file, or one that holds more than tensors;"
                " save only the network's state_dict()"
            ) from error
        if not isinstance(state, dict) or not all(
            isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
        ):
            raise UserError(f"{path}: holds no state dict (names and tensors); save only the network's state_dict()")
        kept = (torch.float16, torch.float32)
        return {name: (v if v.dtype in kept else v.float()).detach().numpy() for name, v in state.items()}


def read_keras(path: str | os.PathLike) -> Arrays:
    """Reads every dataset of a Keras weight file, `.h5`, under its path in the file.

    Raises:
        UserError: no such file, damaged, or h5py is not installed.
    """
    h5py = require("h5py", f"reading {path}")
    arrays: Arrays = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    with _reading(path, "HDF5 file"), h5py.File(path, "r") as file:
        file.visititems(keep)
    return arrays


def read_npz(path: str | os.PathLike) -> Arrays:
    """Reads a NumPy archive, `.npz`, without its pickles.

    Raises:
        UserError: no such file, damaged, or with Python objects in it.
    """
    what = "NumPy archive without Python objects"
    # Opened here, for NumPy leaves its own handle open when the archive is damaged.
    with _reading(path, what), open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        return dict(archive.items())


def read_safetensors(path: str | os.PathLike) -> tuple[Arrays, dict[str, str]]:
    """Reads a `.safetensors` file of any program: the tensors, and its metadata as it stands.

    Raises:
        UserError: no such file, or damaged.
    """
    from safetensors import safe_open

    with _reading(path, "safetensors file"), safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in sorted(file.keys())}, dict(file.metadata() or {})


def rename(arrays: Mapping[str, np.ndarray], table: Mapping[str, str], *, skipped: str, where: str) -> Arrays:
    """Gives arrays our names; the first half of a strict port, whose second half is `weights.merge`.

    Args:
        arrays: by the source's names.
        table: the source's name -> ours.
        skipped: pattern of whole names that the source has and we have no use for.
        where: the file's name, for the message.

    Returns:
        The arrays by our names. A name neither in the table nor skipped stays, for the merge to refuse.

    Raises:
        UserError: two arrays claim one name of ours.
    """
    renamed: Arrays = {}
    for name, value in arrays.items():
        if name not in table and re.fullmatch(skipped, name):
            continue
        if table.get(name, name) in renamed:
            raise UserError(f"{where}: {table.get(name, name)} is there twice, the second time as {name}")
        renamed[table.get(name, name)] = value
    return renamed


def hwio(array: np.ndarray) -> np.ndarray:
    """A PyTorch kernel `[out, in, H, W]` as ours `[H, W, in, out]`; other arrays as they are."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


@contextmanager
def _reading(path: str | os.PathLike, what: str) -> Iterator[None]:
    """Turns whatever a foreign parser makes of a damaged file into one line that names the file."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such weight file")
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the parsers' own errors are of every kind, KeyError and struct.error among them
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise UserError(f"{path}: not a readable {what}, perhaps truncated ({reason})") from error
