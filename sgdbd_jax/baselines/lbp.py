"""LBP: how many pixels of a window stand out from most of their neighbours; in a blurred window few do.

Yi and Eramian, "LBP-Based Segmentation of Defocus Blur", IEEE Transactions on Image Processing 2016. Grade A: read from
the authors' program. Learned from nothing: its three thresholds are constants. Two things differ: small maps are
brought back to full size by the exact places of their pixels (grade B), and seeds are not corrected on the way, which
nothing uses there.
"""

import numpy as np
import scipy.ndimage

from sgdbd_jax.baselines import inference, matting
from sgdbd_jax.baselines.maps import checked, levels, minmax

SCALES = (21, 15, 11)  # pixels of a window, coarse to fine
RISE = 4.08  # grey levels, of 255, by which a neighbour stands out
ODD = 9  # code of a pixel around which bright and dark change more than twice
SHARP, BLURRED = 0.3, 0.01  # seeds: above, and below
EPSILON, LAMBDA = 1e-7, 100.0  # of the matting
HALVINGS = 2  # of the size at which it is solved
LEAST = 3  # pixels a side: a window of the matting


def detect(photo: np.ndarray) -> np.ndarray:
    """Where a photo is in focus.

    Args:
        photo: `[H, W, 3]` uint8.

    Returns:
        `[H, W]` float32 probability of focus; zeros for a photo of one colour.

    Raises:
        ValueError, TypeError, UserError: what `Detector` refuses.
    """
    photo = checked(photo)
    height, width = photo.shape[:2]
    photo = np.pad(photo, ((0, max(0, LEAST - height)), (0, max(0, LEAST - width)), (0, 0)), mode="edge")
    found = codes(levels(photo))
    joined = inference.join(np.stack([_spread(sharpness(found, side), photo / 255) for side in SCALES]))
    return joined[:height, :width]


def codes(level: np.ndarray) -> np.ndarray:
    """Rotation-invariant uniform local binary patterns of 8 neighbours at radius 1, with a threshold.

    Args:
        level: `[H, W]` uint8.

    Returns:
        `[H, W]` int: how many neighbours are brighter than the pixel by more than 4.08; 9 where, going around, it
        changes more than twice whether they are.
    """
    height, width = level.shape
    padded = np.pad(level.astype(np.float64), 1, mode="edge")

    def moved(row: int, column: int) -> np.ndarray:
        return padded[1 + row : 1 + row + height, 1 + column : 1 + column + width]

    near, far = 1 - np.sqrt(0.5), np.sqrt(0.5)  # a diagonal neighbour lies on the circle, between four pixels
    around = []
    for row, column in ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)):
        neighbour = moved(row, column)
        if row and column:
            sides = moved(row, 0) + moved(0, column)
            neighbour = near * near * moved(0, 0) + near * far * sides + far * far * neighbour
        around.append(np.floor(neighbour + 1e-9) - moved(0, 0) > RISE)
    brighter = np.stack(around)
    changes = (brighter != np.roll(brighter, 1, axis=0)).sum(0)
    return np.where(changes <= 2, brighter.sum(0), ODD)


def sharpness(codes: np.ndarray, side: int) -> np.ndarray:
    """The share of codes 6 to 9 in the window around each pixel, stretched to [0, 1]: `[H, W]` to float32 `[H, W]`."""
    share = scipy.ndimage.uniform_filter((codes >= 6).astype(np.float64), side, mode="nearest")
    return minmax(np.rint(share * side**2))  # counted in whole numbers, so that equal ones stay equal


def _spread(sharp: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """A map that is sure of some pixels, spread by matting; itself, if it is sure of one side or none.

    Args:
        sharp: `[H, W]` float32 in [0, 1].
        photo: `[H, W, 3]` float64 in [0, 1].

    Returns:
        `[H, W]` float in [0, 1].
    """
    seeds = sharp > SHARP
    known = seeds | (sharp < BLURRED)
    if not seeds.any() or (known == seeds).all():
        return sharp
    photos, known, seeds = [photo], known.astype(np.float64), seeds.astype(np.float64)
    while len(photos) <= HALVINGS and min(photos[-1].shape[:2]) >= 2 * LEAST + 3:
        photos.append(halved(photos[-1]))
        known, seeds = np.floor(halved(known) + 0.5), np.floor(halved(seeds) + 0.5)
    small = photos.pop()
    alpha = np.clip(matting.solve(matting.laplacian(small, EPSILON), known > 0, seeds, LAMBDA), 0, 1)
    while photos:
        fit = doubled(matting.linear_fit(alpha, small, EPSILON), photos[-1].shape[:2])
        small = photos.pop()
        alpha = (fit[..., :3] * small).sum(-1) + fit[..., 3]
    return np.clip(alpha, 0, 1)


def halved(values: np.ndarray) -> np.ndarray:
    """Smoothed by a binomial filter, without two pixels at each border, every second pixel: `[H, W, ...]` floats."""
    for axis in (0, 1):
        values = scipy.ndimage.convolve1d(values, np.array([1, 4, 6, 4, 1]) / 16, axis=axis, mode="constant")
    return values[2:-2:2, 2:-2:2]


def doubled(values: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Back to the size before `halved`, bilinearly; beyond the outermost pixels, as they are: `[H, W, C]` floats."""
    for axis in (0, 1):
        place = np.clip((np.arange(size[axis]) - 2) / 2, 0, values.shape[axis] - 1)
        before, after = np.floor(place).astype(int), np.ceil(place).astype(int)
        values = (np.take(values, before, axis) + np.take(values, after, axis)) / 2  # halfway, or the same pixel twice
    return values
