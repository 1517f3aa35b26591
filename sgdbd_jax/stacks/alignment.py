"""Whether photos of a stack lie on each other."""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 512  # pixels of the longer side at which photos are compared
BLUR = 3.0  # pixels of that copy: the Gaussian's sigma, beside which what is out of focus looks like what is not
STEPS, PRECISION = 60, 1e-4  # of the search
PLAIN = 0.004  # standard deviation of grey in [0, 1], a level of 255, below which there is nothing to compare
ALIKE = 0.8  # correlation of two photos that show one scene; of pairs that lie on each other the least was 0.97
ALLOWED = 0.006  # of the longer side: three pixels of the copy; shifts of two were seen where only focus differed


def for_alignment(photo: np.ndarray) -> np.ndarray:
    """What is compared of a photo, `[H, W, 3]` uint8 RGB: `[h, w]` float32 in [0, 1], small, grey and blurred."""
    scale = min(1.0, SIDE / max(photo.shape[:2]))
    size = tuple(max(1, round(scale * side)) for side in photo.shape[1::-1])
    grey = cv2.resize(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    grey = cv2.GaussianBlur(grey.astype(np.float32) / 255, (0, 0), BLUR, borderType=cv2.BORDER_REFLECT)
    edge = round(3 * BLUR) if min(grey.shape) > 12 * BLUR else 0  # which shows its own reflection, and would not move
    return np.ascontiguousarray(grey[edge : grey.shape[0] - edge, edge : grey.shape[1] - edge])


def displacement(one: np.ndarray, other: np.ndarray) -> float | None:
    """How far the corners of two photos lie apart when their scenes are brought together.

    Phase correlation finds the shift from which the search begins that finds the affine map of the largest correlation:
    Evangelidis and Psarakis, "Parametric Image Alignment Using Enhanced Correlation Coefficient Maximization", PAMI
    2008. So a change of scale is seen, too, as lenses have it when their focus is moved.

    Args:
        one, other: as `for_alignment` gives them, of one size.

    Returns:
        The largest of the four distances, as a share of the longer side; `None`: no map was found, or by it they are
        still unlike.
    """
    if min(one.std(), other.std()) < PLAIN:
        return None
    height, width = one.shape
    window = cv2.createHanningWindow((width, height), cv2.CV_32F) if min(height, width) > 1 else None
    warp = np.eye(2, 3, dtype=np.float32)
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, STEPS, PRECISION)
    try:
        warp[:, 2] = cv2.phaseCorrelate(one, other, window)[0]
        alike, found = cv2.findTransformECC(one, other, warp, cv2.MOTION_AFFINE, stop)
    except cv2.error:  # nothing in common, or nothing to see
        return None
    if alike < ALIKE:
        return None
    corners = np.array([(0, 0, 1), (width, 0, 1), (0, height, 1), (width, height, 1)], float)
    apart = np.linalg.norm(corners @ np.asarray(found).T - corners[:, :2], axis=1)
    return float(apart.max()) / max(height, width)
