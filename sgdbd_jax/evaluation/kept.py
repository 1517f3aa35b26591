"""What a weight file scores on photos whose masks are known: seen at two sizes, with and without refinement.

It takes minutes a file. So scores are kept, and serve again as long as nothing that may decide them has changed: the
weights, the photos and masks, any line of the package, the libraries, the machine.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgdbd_jax.cli import compiled
from sgdbd_jax.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from sgdbd_jax.data.sources import PhotoSet

SIZES: dict[str, int | str] = {"own": "max:1024", "320": 320}  # at which the network sees photos
REFINEMENTS = ("none", "edges", "cut")  # nothing; the guided filter, cut at its middle; then the segmentation
MEASURES = {"f_measure", "mae", "correlation", "seconds"}

# By size and refinement, each of `MEASURES`: F and MAE by protocol `paper`; the correlation of predicted and true
# in-focus share over the photos, `None` where one of them does not vary; the median seconds a photo, of the network or
# of a refinement.
Scored = dict[tuple[str, str], dict[str, float | None]]


class Scoring:
    """Scores weight files, each once.

    Args:
        photos: with masks.
        folder: where scores are kept, a file each; made.

    Raises:
        UserError: the folder cannot be made.
    """

    def __init__(self, photos: PhotoSet, folder: Path):
        self.photos, self.folder = photos, folder
        # Now, before hours of training: what is imported, and so scores, is what is hashed.
        self.conditions = conditions(photos)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be made ({error.strerror})") from error

    def of(self, weights: Path, *, label: str) -> Scored:
        """The scores of a generator's file: those kept of equal weights under equal conditions, else measured.

        Args:
            weights: the file.
            label: for the progress bar, and for whoever looks into the folder.

        Raises:
            UserError: the file cannot be used.
        """
        from sgdbd_jax.files import write_atomically

        key = self._key(weights)
        path = self.folder / f"{key[:16]}.json"
        try:
            kept = json.loads(path.read_text())
            scored = {(size, how): kept["scores"][size][how] for size in SIZES for how in REFINEMENTS}
            if kept["key"] == key and all(values.keys() == MEASURES for values in scored.values()):
                return scored
            raise ValueError
        except FileNotFoundError:
            pass
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            print(f"{path}: cannot be used; {label} is scored again", file=sys.stderr)
        scored = measure(weights, self.photos, label=label)
        nested = {size: {how: scored[size, how] for how in REFINEMENTS} for size in SIZES}
        text = json.dumps({"of": label, "key": key, "scores": nested}, indent=1) + "\n"
        try:
            if self._key(weights) == key:  # else a training has just replaced it
                write_atomically(path, text.encode())
        except UserError as error:
            print(f"{error}; {label} will be scored anew next time", file=sys.stderr)
        return scored

    def _key(self, weights: Path) -> str:
        from sgdbd_jax.files import file_sha256

        try:
            return hashlib.sha256(f"{self.conditions} {file_sha256(weights)}".encode()).hexdigest()
        except OSError as error:
            raise UserError(f"{weights}: cannot be read ({error.strerror})") from error


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

    versions = [module.__version__ for module in (cv2, flax, jax, jaxlib, np, PIL, scipy)]
    machine = [compiled.machine(), *sorted(device.device_kind for device in jax.devices())]
    settings = [os.environ.get(name) for name in ("XLA_FLAGS", "JAX_DEFAULT_MATMUL_PRECISION")]
    digest = hashlib.sha256(repr((versions, machine, settings)).encode())
    for file in (Path(__file__), *sorted(Path(sgdbd_jax.__file__).parent.rglob("*.py"))):
        code = file.read_bytes()
        digest.update(f"{file.name} {len(code)} ".encode() + code)
    for pixels in itertools.chain(photos.images, photos.masks or ()):
        digest.update(repr(pixels.shape).encode() + pixels.tobytes())
    return digest.hexdigest()


def measure(weights: Path, photos: PhotoSet, *, label: str) -> Scored:
    """Scores a generator's file on photos with masks.

    Raises:
        UserError: the file cannot be used.
    """
    import numpy as np
    from tqdm import tqdm

    from sgdbd_jax.data.resizing import resize_mask, resize_photo
    from sgdbd_jax.detection.detector import Detector
    from sgdbd_jax.detection.refine import Refinement
    from sgdbd_jax.evaluation.protocols import PAPER, score
    from sgdbd_jax.evaluation.scoring import stored

    refinement, square = Refinement(), (PAPER.size or 0, PAPER.size or 0)
    refine = {"edges": replace(refinement, iterations=0), "cut": refinement}
    detect = {size: Detector.load(weights, work_size=side, refine=False) for size, side in SIZES.items()}
    pairs: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {}
    seconds: dict[tuple[str, str], list[float]] = {}
    truths = photos.masks or ()
    for photo, truth in tqdm(zip(photos.images, truths), label, len(truths), unit="photo", delay=1, leave=False):
        known = resize_photo(truth, square).astype(np.float32) / 255
        for size, side in SIZES.items():
            shown = photo if isinstance(side, str) else resize_photo(photo, (side, side))
            start = time.perf_counter()
            mask = refined = detect[size](shown)
            for how in REFINEMENTS:
                if how in refine:
                    start = time.perf_counter()
                    refined = refine[how](mask, shown)
                seconds.setdefault((size, how), []).append(time.perf_counter() - start)
                pairs.setdefault((size, how), []).append((stored(resize_mask(refined, square)), known))
    # The median: a first photo of its size also waits for a program.
    return {
        key: _measures(score(found).result, found) | {"seconds": float(np.median(seconds[key]))}
        for key, found in pairs.items()
    }


def _measures(result: Mapping[str, Any], pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, float | None]:
    import numpy as np

    shares = np.array([(mask.mean(), truth.mean()) for mask, truth in pairs]).T
    varies = len(pairs) > 1 and shares.std(axis=1).min() > 0
    correlation = float(np.corrcoef(shares)[0, 1]) if varies else None
    return {"f_measure": result["f_measure"], "mae": result["mae"], "correlation": correlation}
