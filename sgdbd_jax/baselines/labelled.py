"""Where photos with masks can be learned from: windows that are wholly in focus, and as many wholly out of it."""

from collections.abc import Sequence

import cv2
import numpy as np

from sgdbd_jax.errors import UserError


def draw_centres(
    mask: np.ndarray, side: int, most: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws windows on both sides of a mask.

    Args:
        mask: `[H, W]` uint8, 255 = in focus, 0 = out of it; what lies between is neither.
        side: odd number of pixels; all of a window are on one side, and in the photo.
        most: windows on each side; fewer if either side has no more.
        rng: source of all randomness.

    Returns:
        Rows and columns of the windows' middles, `[N]` int, and whether they are in focus, `[N]` bool; half of them.
    """
    window = np.ones((side, side), np.uint8)
    sides = []
    for level in (0, 255):
        only = cv2.erode((mask == level).astype(np.uint8), window, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        sides.append(np.argwhere(only))
    count = min(most, *map(len, sides))
    rows, columns = np.concatenate([rng.permutation(each)[:count] for each in sides]).T
    return rows, columns, np.repeat([False, True], count)


def check_labels(labels: Sequence[bool] | np.ndarray, photos: int, *, detector: str, least: int) -> None:
    """Refuses to learn from next to nothing.

    Raises:
        UserError: of windows in focus, or out of it, there are fewer than `least`.
    """
    if len(labels) < 2 * least:
        raise UserError(
            f"{detector} learns from {least} windows in focus at the least, and as many out of it; the masks of these"
            f" {photos} photos have {len(labels) // 2} of both; give it more photos, or masks that are right"
        )
