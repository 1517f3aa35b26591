"""A generator as a folder of the files that hubs of models know: its weights, and what they say of themselves."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sgdbd_jax.errors import UserError
from sgdbd_jax.files import write_atomically
from sgdbd_jax.weights import load_weights, save_weights

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def write(folder: str | os.PathLike, variables: Mapping[str, Any], metadata: Mapping[str, Any]) -> Path:
    """Writes `model.safetensors`, a weight file like any other, and `config.json`, the same metadata to be read.

    Args:
        folder: is made; other files in it stay.
        variables: nested dict of arrays.
        metadata: JSON-serialisable values, `kind` among them.

    Returns:
        The folder.

    Raises:
        UserError: a file cannot be written.
    """
    save_weights(Path(folder, WEIGHTS), variables, metadata)
    text = json.dumps(metadata, indent=2, sort_keys=True)
    write_atomically(Path(folder, CONFIG), f"{text}\n".encode())
    return Path(folder)


def read(folder: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inverse of `write`: the variables, and the metadata, of which `config.json` counts.

    Raises:
        UserError: as `load_weights`; `config.json` is missing, holds no JSON object, or is not a generator's.
    """
    path = Path(folder, CONFIG)
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a folder that save_pretrained wrote, or load a weight file")
    variables, _ = load_weights(Path(folder, WEIGHTS), kind="generator")
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(metadata, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error}); take or make another") from error
    if metadata.get("kind") != "generator":
        raise UserError(f"{path}: is of kind {metadata.get('kind')!r}, 'generator' was asked for")
    return variables, metadata
