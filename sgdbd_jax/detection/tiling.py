"""Masks of photos of any size, in memory that does not grow with them but for the photo and its mask.

A network works by overlapping tiles, and a mask made of a smaller photo gets the size, and the edges, of the whole.
"""

from collections.abc import Callable, Iterator

import numpy as np

from sgdbd_jax.detection.refine import linear_fit

# Pixels a side, at most, by network: the paper's takes 0.6 GB for one; what the light one sees of a tile's surroundings
# has no limit, so that it gets larger ones.
TILE = {"vgg16": 640, "lite": 1536}
MARGIN = 96  # pixels at a tile's inner borders that are left to its neighbour: they miss what lies beyond the border
RAMP = 64  # pixels over which, after the margin, a tile fades into its neighbour
OVERLAP = RAMP + 2 * MARGIN
STRIPE = 2**21  # pixels of a photo that are worked on at a time, 30 bytes each

RADIUS = 2  # of the windows in which a small mask is fitted to its photo; wider ones follow edges less
EPSILON = 1e-4  # colour variance, of colours in [0, 1], below which a window counts as flat


def by_tiles(detect: Callable[[np.ndarray], np.ndarray], photo: np.ndarray, tile: int) -> np.ndarray:
    """What `detect` makes of a whole photo, from what it makes of overlapping tiles, each faded into the next.

    Args:
        detect: from `[h, w, 3]` uint8 to `[h, w]` float32 in [0, 1], h and w at most `tile`; the same wherever a tile
            lies, but for what is near its border. Tiles begin at multiples of 128 pixels.
        photo: `[H, W, 3]` uint8.
        tile: pixels a side, at most; a multiple of 128 above 256.

    Returns:
        `[H, W]` float32 in [0, 1]; `detect(photo)` of a photo that is no larger than a tile.
    """
    mask = np.zeros(photo.shape[:2], np.float32)
    for rows, down in _tiles(len(photo), tile):
        for columns, across in _tiles(photo.shape[1], tile):
            mask[rows, columns] += down[:, None] * across * detect(photo[rows, columns])
    return np.clip(mask, 0, 1, out=mask)  # weights sum to 1 only up to rounding


def carry(mask: np.ndarray, shown: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """Gives a small photo's mask the size of the photo it was made from, and lets it follow that photo's edges.

    In small windows the mask is fitted as a linear function of the small photo's colours; the large photo's colours
    then go through the same functions, interpolated. He and Sun, "Fast Guided Filter", 2015 (arXiv:1505.00996).

    Args:
        mask: `[h, w]` float in [0, 1].
        shown: `[h, w, 3]` uint8, the photo it is of.
        photo: `[H, W, 3]` uint8, the same photo at its own size.

    Returns:
        `[H, W]` float32 in [0, 1].
    """
    import cv2

    height, width = photo.shape[:2]
    carried = np.empty((height, width), np.float32)
    reach = 2 * RADIUS  # what lies farther has no part in a fit
    for top in range(0, height, step := max(1, STRIPE // width)):
        stripe = photo[top : top + step]
        at = (np.arange(top, top + len(stripe)) + 0.5) * len(mask) / height - 0.5  # rows in the small photo
        at = np.clip(at, 0, len(mask) - 1)
        first = max(0, int(at[0]) - reach)
        near = slice(first, int(at[-1]) + 2 + reach)
        fit = linear_fit(mask[near], shown[near], radius=RADIUS, epsilon=EPSILON).astype(np.float32)
        above = at.astype(int) - first
        below = np.minimum(above + 1, len(fit) - 1)
        fit = fit[above] + (at % 1).astype(np.float32)[:, None, None] * (fit[below] - fit[above])
        fit = cv2.resize(fit, (width, len(stripe)), interpolation=cv2.INTER_LINEAR)
        level = np.einsum("hwc,hwc->hw", fit[..., :3], stripe, dtype=np.float32) / 255 + fit[..., 3]
        np.clip(level, 0, 1, out=carried[top : top + step])
    return carried


def _tiles(length: int, tile: int) -> Iterator[tuple[slice, np.ndarray]]:
    """The tiles along a side, and the weight of each of their pixels; a pixel's weights in all tiles sum to 1."""
    for start in range(0, max(1, length - OVERLAP), tile - OVERLAP):
        stop = min(start + tile, length)
        at = np.arange(start, stop, dtype=np.float32) + 0.5
        weight = np.ones(stop - start, np.float32)
        if start:
            weight *= np.clip((at - start - MARGIN) / RAMP, 0, 1)
        if stop < length:
            weight *= np.clip((stop - MARGIN - at) / RAMP, 0, 1)
        yield slice(start, stop), weight
