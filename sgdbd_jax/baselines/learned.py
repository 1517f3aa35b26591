"""What detectors learned, as it is shipped or as a training wrote it."""

import os
from collections.abc import Mapping
from typing import Any

from sgdbd_jax.detection.shipped import shipped
from sgdbd_jax.weights import check_finite, load_weights, merge


def read_learned(path: str | os.PathLike | None, kind: str, like: Mapping[str, Any]) -> dict[str, Any]:
    """Reads a detector's weight file.

    Args:
        path: the file; `None` for the one that is shipped.
        kind: the detector's name: what the file must hold, and what the shipped one is called.
        like: nested dict of arrays or shape structs, as the detector wants them.

    Returns:
        The arrays, float32, in that tree.

    Raises:
        UserError: nothing is shipped; or the file is not there, not whole, another detector's or of other shapes, or
            holds numbers that are not finite.
    """
    path = shipped(f"baselines/{kind}.safetensors") if path is None else path
    tree = merge(like, load_weights(path, kind=kind)[0], where=str(path))
    check_finite(tree, where=str(path))
    return tree
