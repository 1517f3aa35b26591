"""A generator's masks of photos whose true masks are known, scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from sgdbd_jax.data.resizing import resize_photo
from sgdbd_jax.data.sources import PhotoSet
from sgdbd_jax.evaluation.protocols import PAPER, Protocol, SetScores, score

Detect = Callable[..., np.ndarray]


def stored(mask: np.ndarray) -> np.ndarray:
    """A mask as its 8-bit file says it, which is what the published tables were scored on.

    It matters: where a mask covers two thirds of a photo, protocol `paper` counts only pixels at exactly 1.

    Args:
        mask: `[H, W]` float in [0, 1].

    Returns:
        `[H, W]` float32, the nearest of 0/255 to 255/255.
    """
    return (np.rint(255 * mask) / 255).astype(np.float32)


def score_detector(detect: Detect, photos: PhotoSet, protocol: Protocol = PAPER) -> SetScores:
    """Scores a detector on photos with masks.

    Args:
        detect: `Detector`, or any function of a photo `[H, W, 3]` uint8 and `size=(height, width)` that gives its mask,
            `[height, width]` float in [0, 1].
        photos: with masks, any sizes.
        protocol: `PAPER` or `SOD`; masks and ground truths are resized bilinearly to its size.

    Returns:
        What `protocols.score` returns.

    Raises:
        ValueError: the photos have no masks.
    """
    truths = photos.masks
    if truths is None:
        raise ValueError("photos without masks cannot be scored")

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for image, truth in zip(photos.images, truths, strict=True):
            size = (protocol.size, protocol.size) if protocol.size else truth.shape
            yield stored(detect(image, size=size)), resize_photo(truth, size).astype(np.float32) / 255

    return score(pairs(), protocol)
