"""Masks that change over time only as much as what they are masks of."""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 256  # pixels of the longer side at which frames are compared, on which noise is less
WINDOW = 9  # pixels of that copy: the square over which brightness is averaged, and contrast
BRIGHTNESS = 3.0, 12.0  # grey levels (of 255): up to the one nothing has changed, from the other on all has
CONTRAST = 0.12, 0.4  # logarithms of its ratio: likewise
FLAT = 2.0  # grey levels that are added to contrast, lest that of a clear sky doubles by its noise
SHARE = 0.1  # of a new mask that is taken where nothing has changed
SPREAD = 4.0  # a share of a frame that has changed counts so many times in the rest of it


class Smoothing:
    """Averages a clip's masks over time: over many frames where the clip stands still, over none where it changes.

    How much a frame has changed is measured against an average of those before, kept in the same way as that of the
    masks: so the noise of a sensor does not count, and a slow change does, once it adds up. It is the larger of two
    changes, of brightness and of contrast (the mean distance of a pixel from its surroundings), each averaged over a
    window; the second sees a focus that is pulled. Both are brought to t, from 0 for nothing to 1. What is in focus
    depends on the whole frame, so t is at least `SPREAD` times its mean. A mask then goes the share
    `SHARE + t * (1 - SHARE)` of the way to the new one: where another scene begins, all of it.

    Attributes:
        kept: `[H, W]` float32 in [0, 1], or 0: the share that the last mask has of those before.
    """

    def __init__(self) -> None:
        self._mask: np.ndarray | None = None
        self.kept: np.ndarray | float = 0.0
        self._seen = np.empty(0)  # [2, h, w] float32: averages of brightness and contrast

    def __call__(self, photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """The next mask.

        Args:
            photo: `[H, W, 3]` uint8 RGB, the next frame; all of one size.
            mask: `[H, W]` float32 in [0, 1], its mask by itself.

        Returns:
            `[H, W]` float32 in [0, 1]; not to be changed.
        """
        seen = _brightness_and_contrast(photo)
        if self._mask is None:
            self._mask, self._seen = mask, seen
            return mask
        bright, contrast = np.abs(seen - self._seen)[0], np.abs(np.log((seen + FLAT) / (self._seen + FLAT)))[1]
        change = np.maximum(_ramp(bright, BRIGHTNESS), _ramp(contrast, CONTRAST))
        change = np.maximum(change, min(1.0, SPREAD * float(change.mean())))
        share = (SHARE + change * (1 - SHARE)).astype(np.float32)
        self._seen = self._seen + share * (seen - self._seen)
        share = cv2.resize(share, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
        self.kept = 1 - share
        self._mask = self._mask + share * (mask - self._mask)
        return self._mask


def _ramp(change: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """From 0 at one end to 1 at the other."""
    return np.clip((change - ends[0]) / (ends[1] - ends[0]), 0, 1)


def _brightness_and_contrast(photo: np.ndarray) -> np.ndarray:
    """`[2, h, w]` float32, in grey levels, of a small copy."""
    scale = min(1.0, SIDE / max(photo.shape[:2]))
    size = tuple(max(1, round(scale * side)) for side in photo.shape[1::-1])
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    bright = cv2.blur(grey, (WINDOW, WINDOW), borderType=cv2.BORDER_REFLECT)
    contrast = cv2.blur(np.abs(grey - bright), (WINDOW, WINDOW), borderType=cv2.BORDER_REFLECT)
    return np.stack([bright, contrast])
