"""Aligned photos of one scene, focused at different depths -> which is sharp where, and a photo sharp all over."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

WINDOW = 0.008  # of the longer side: the Gaussian's sigma over which gradients are averaged
FLAT = 2.0  # grey levels (of 255) a pixel: gradients of noise, beside which none tells anything
MASK = 1.0  # what the detector's mask counts beside the logarithm of the gradients' energy
SEAM = 4.0  # photos of which one is better by 1 are mixed as 1 : exp(4)


class Stack:
    """What is known of a scene from the photos so far; each is held only while it is added.

    Which photo is sharpest at a pixel is told by `log(E + FLAT^2) + MASK * mask`, where E is the squared gradient of
    its grey values, averaged around the pixel, and `mask` the detector's: where there is texture its gradients decide
    (they fall by a multiple where it is blurred), and where there is none the mask. The picture is a mean of the
    photos, in which each weighs `exp(SEAM * that)`.

    Args:
        mask_weight: in place of `MASK`; 0: gradients alone decide.
    """

    def __init__(self, *, mask_weight: float = MASK) -> None:
        self._mask_weight = mask_weight
        self.count = 0  # photos
        self._best = self._most = self._index = self._weight = np.empty(0)
        self._picture = np.empty(0)

    def add(self, photo: np.ndarray, mask: np.ndarray) -> None:
        """Adds a photo.

        Args:
            photo: `[H, W, 3]` uint8 RGB, all of one size.
            mask: `[H, W]` float32 in [0, 1], 1 = in focus.
        """
        level = sharpness(photo) + self._mask_weight * mask
        self.count += 1
        if self.count == 1:
            self._best, self._most = level, mask
            self._index = np.ones(mask.shape, np.uint16)
            self._weight, self._picture = np.ones_like(level), photo.astype(np.float32)
            return
        better = level > self._best
        self._index[better] = self.count
        self._most = np.maximum(self._most, mask)
        best = np.maximum(self._best, level)
        before, now = np.exp(SEAM * (self._best - best)), np.exp(SEAM * (level - best))  # 1 at the most
        self._picture *= before[..., None]
        self._picture += now[..., None] * photo
        self._weight = self._weight * before + now
        self._best = best

    @property
    def index(self) -> np.ndarray:
        """`[H, W]` uint16: the number of the photo that is sharpest, from 1; 0 where no mask has any in focus."""
        return np.where(self._most >= 0.5, self._index, 0).astype(np.uint16)

    @property
    def sharpest(self) -> np.ndarray:
        """`[H, W]` uint16: the same, also where none is in focus."""
        return self._index

    @property
    def picture(self) -> np.ndarray:
        """`[H, W, 3]` uint8 RGB, sharp wherever a photo is; elsewhere as its sharpest photo, or their mean."""
        return np.rint(self._picture / self._weight[..., None]).astype(np.uint8)


def sharpness(photo: np.ndarray) -> np.ndarray:
    """`[H, W]` float32: the logarithm of the local energy of the gradients of a photo, `[H, W, 3]` uint8 RGB."""
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32)
    border = cv2.BORDER_REFLECT
    across, down = (cv2.Sobel(grey, cv2.CV_32F, *d, ksize=1, scale=0.5, borderType=border) for d in ((1, 0), (0, 1)))
    sigma = max(1.0, WINDOW * max(grey.shape))
    return np.log(cv2.GaussianBlur(across**2 + down**2, (0, 0), sigma, borderType=border) + FLAT**2)


def colours(count: int) -> np.ndarray:
    """`[count + 1, 3]` uint8 RGB: black for none, and a colour a photo, from violet by green to yellow."""
    levels = np.rint(np.linspace(0, 255, count)).astype(np.uint8)
    shades = cv2.applyColorMap(levels[:, None], cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]
    return np.concatenate([np.zeros((1, 3), np.uint8), shades])


def index_picture(index: np.ndarray, count: int) -> np.ndarray:
    """`[H, W, 3]` uint8 RGB of an index map, in the `colours` of that many photos."""
    return colours(count)[index]


def shares(index: np.ndarray, count: int) -> Sequence[float]:
    """The share of the pixels that is none's, and each photo's."""
    return (np.bincount(index.ravel(), minlength=count + 1) / index.size).tolist()
