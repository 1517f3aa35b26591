"""Scores of weight files, kept on disk: a file is scored once.

Kept scores serve again as long as nothing that may decide them has changed: the weights, the photos and masks, any line
of the package, the libraries, the machine.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from sgdbd_jax.backend import start_jax
from sgdbd_jax.errors import UserError
from sgdbd_jax.evaluation.weight_scores import MEASURES, REFINEMENTS, SIZES, WeightScores, score_weights
from sgdbd_jax.files import file_sha256, write_atomically
from sgdbd_jax.machine import machine

if TYPE_CHECKING:
    from sgdbd_jax.data.sources import PhotoSet
    from sgdbd_jax.data.threads import Progress


class ScoreCache:
    """The scores of weight files on one set of photos.

    Args:
        photos: with masks.
        folder: where scores are kept, a file each; made.
        score: what measures; `weight_scores.score_weights`, if not another.
        sizes, measures: what it gives, at each of `REFINEMENTS`.

    Raises:
        UserError: the folder cannot be made.
    """

    def __init__(
        self,
        photos: PhotoSet,
        folder: Path,
        *,
        score: Callable[..., WeightScores] | None = None,
        sizes: Collection[str] = tuple(SIZES),
        measures: Collection[str] = frozenset(MEASURES),
    ):
        self.photos, self.folder = photos, folder
        self._score, self._sizes, self._measures = score, sizes, measures
        # Hashed now, not after hours of training: the code that is imported now is the code that will score.
        self.conditions = conditions(photos)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be made ({error.strerror})") from error

    def of(self, weights: Path, *, label: str, progress: Progress | None = None) -> WeightScores:
        """The scores of a generator's file: those kept of equal weights under equal conditions, else measured.

        Kept scores that cannot be read, and new ones that cannot be written, cost a warning and another measurement.

        Args:
            weights: the file.
            label: for whoever looks into the folder.
            progress: called after each photo that is scored.

        Raises:
            UserError: the file cannot be used.
        """
        key = self._key(weights)
        path = self.folder / f"{key[:16]}.json"
        try:
            return self._load(path, key)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            warnings.warn(f"{path}: cannot be used; {label} is scored again", stacklevel=2)
        scores = (self._score or score_weights)(weights, self.photos, progress=progress)
        nested = {size: {how: scores[size, how] for how in REFINEMENTS} for size in self._sizes}
        text = json.dumps({"of": label, "key": key, "scores": nested}, indent=1) + "\n"
        try:
            if self._key(weights) == key:  # else a training has just replaced it
                write_atomically(path, text.encode())
        except UserError as error:
            warnings.warn(f"{error}; {label} will be scored anew next time", stacklevel=2)
        return scores

    def _key(self, weights: Path) -> str:
        try:
            return hashlib.sha256(f"{self.conditions} {file_sha256(weights)}".encode()).hexdigest()
        except OSError as error:
            raise UserError(f"{weights}: cannot be read ({error.strerror})") from error

    def _load(self, path: Path, key: str) -> WeightScores:
        """Reads a file of kept scores.

        Raises:
            FileNotFoundError: there is none.
            OSError, ValueError, LookupError, TypeError, AttributeError: it is damaged, or not that of `key`.
        """
        content = json.loads(path.read_text())
        scores = {(size, how): content["scores"][size][how] for size in self._sizes for how in REFINEMENTS}
        if content["key"] != key or any(values.keys() != {*self._measures} for values in scores.values()):
            raise ValueError(f"{path}: not the scores looked for")
        return scores


def conditions(photos: PhotoSet) -> str:
    """A digest of all that decides scores besides the weights: photos and masks, code, libraries, machine."""
    import cv2
    import flax
    import jax
    import jaxlib
    import numpy as np
    import PIL
    import scipy

    import sgdbd_jax.detection.detector
    import sgdbd_jax.detection.refine
    import sgdbd_jax.evaluation.protocols
    import sgdbd_jax.evaluation.scoring

    start_jax()
    versions = [module.__version__ for module in (cv2, flax, jax, jaxlib, np, PIL, scipy)]
    hardware = [machine(), *sorted(device.device_kind for device in jax.devices())]
    settings = [os.environ.get(name) for name in ("XLA_FLAGS", "JAX_DEFAULT_MATMUL_PRECISION")]
    digest = hashlib.sha256(repr((versions, hardware, settings)).encode())
    for file in sorted(Path(sgdbd_jax.__file__).parent.rglob("*.py")):
        code = file.read_bytes()
        digest.update(f"{file.name} {len(code)} ".encode() + code)
    for pixels in itertools.chain(photos.images, photos.masks or ()):
        digest.update(repr(pixels.shape).encode() + pixels.tobytes())
    return digest.hexdigest()
