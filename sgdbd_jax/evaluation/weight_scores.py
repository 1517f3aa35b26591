"""What a weight file scores on photos whose masks are known: seen at two sizes, with and without refinement."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from sgdbd_jax.data.sources import PhotoSet
    from sgdbd_jax.data.threads import Progress

SIZES: dict[str, int | str] = {"own": "max:1024", "320": 320}  # at which the network sees photos
# Nothing; the guided filter, cut at its middle; then the segmentation; by the values that the weights ask for, if any.
REFINEMENTS = ("none", "edges", "cut")
MEASURES = {"f_measure", "mae", "correlation", "seconds"}

# By size and refinement, each of `MEASURES`: F and MAE by protocol `paper`; the correlation of predicted and true
# in-focus share over the photos, `None` where one of them does not vary; the median seconds a photo, of the network or
# of a refinement.
WeightScores = dict[tuple[str, str], dict[str, float | None]]


def score_weights(weights: Path, photos: PhotoSet, *, progress: Progress | None = None) -> WeightScores:
    """Scores a generator's file; takes minutes, as each photo is detected at each of `SIZES` and refined each time.

    Args:
        weights: the file.
        photos: with masks.
        progress: called after each photo.

    Raises:
        UserError: the file cannot be used.
        ValueError: the photos have no masks, or the set is empty.
    """
    import numpy as np

    from sgdbd_jax.data.resizing import resize_photo
    from sgdbd_jax.detection.detector import Detector
    from sgdbd_jax.detection.refine import chosen
    from sgdbd_jax.evaluation.protocols import PAPER
    from sgdbd_jax.evaluation.scoring import Tally

    if photos.masks is None:
        raise ValueError("photos without masks cannot be scored")
    asked = Detector.load(weights).refinement
    refine = {"edges": chosen(asked, "edges"), "cut": chosen(asked, "colours")}
    detect = {size: Detector.load(weights, work_size=side, refine=False) for size, side in SIZES.items()}
    keys = list(itertools.product(SIZES, REFINEMENTS))
    tallies = {key: Tally(PAPER) for key in keys}
    shares: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in keys}  # in focus: predicted, true
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in keys}
    for done, (photo, truth) in enumerate(zip(photos.images, photos.masks, strict=True), start=1):
        for size, side in SIZES.items():
            network_photo = photo if isinstance(side, str) else resize_photo(photo, (side, side))
            start = time.perf_counter()
            network_mask = mask = detect[size](network_photo)
            for how in REFINEMENTS:
                if how in refine:
                    start = time.perf_counter()
                    mask = refine[how](network_mask, network_photo)
                seconds[size, how].append(time.perf_counter() - start)
                scored_mask, scored_truth = PAPER.prepare(mask, truth)
                tallies[size, how].add(scored_mask, scored_truth)
                shares[size, how].append((scored_mask.mean(), scored_truth.mean()))
        if progress is not None:
            progress(done, len(photos.names))
    scores: WeightScores = {}
    for key in keys:
        result = tallies[key].scores().result
        scores[key] = {
            "f_measure": result["f_measure"],
            "mae": result["mae"],
            "correlation": _correlation(np.array(shares[key])),
            "seconds": float(np.median(seconds[key])),  # the median: a first photo of its size also waits for a program
        }
    return scores


def _correlation(shares: np.ndarray) -> float | None:
    """Pearson's correlation of the two columns of `[N, 2]`; `None` where one of them does not vary."""
    import numpy as np

    if len(shares) < 2 or shares.std(axis=0).min() == 0:
        return None
    return float(np.corrcoef(shares.T)[0, 1])
