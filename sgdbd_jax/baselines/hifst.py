"""HiFST: of the finest details of the gradient in four windows, sorted together, how large the smallest still are.

Golestaneh and Karam, "Spatially-Varying Blur Detection Based on Multiscale Fused and Sorted Transform Coefficients of
Gradient Magnitudes", CVPR 2017. Grade A: read from the authors' program, and the same as the maps that they published,
but for rounding. Learned from nothing. Where a photo is sharp, even the smallest of the coefficients are large.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft

from sgdbd_jax.backend import start_jax
from sgdbd_jax.baselines import domain_transform
from sgdbd_jax.baselines.maps import checked, minmax
from sgdbd_jax.compiling import jit
from sgdbd_jax.data.threads import work_ahead
from sgdbd_jax.extra import needed

WINDOWS = (7, 15, 31, 63)  # pixels a side, all around the same pixel
LAYERS = sum(WINDOWS) + 1  # how many of the smallest coefficients are kept
REACH = max(WINDOWS) // 2
BLOCK = (8, 128)  # pixels at a time: all coefficients of a photo would take gigabytes
RUN = 16  # of them along a row, at least the rows of a block, and
GROUP = 8  # rows of a transform, to a matrix product
WORKERS = 4  # NumPy sorts on one core; each has some 30 MB


def detect(photo: np.ndarray) -> np.ndarray:
    """Where a photo is in focus.

    Args:
        photo: `[H, W, 3]` uint8.

    Returns:
        `[H, W]` float32 in [0, 1], 1 = in focus; zeros for a photo of one colour.

    Raises:
        ValueError, TypeError, UserError: what `Detector` refuses; scikit-image is missing.
    """
    import cv2

    photo = checked(photo)
    entropy = needed("skimage.filters.rank", "HiFST").entropy
    start_jax()
    # Whole levels, as OpenCV rounds them: so maps are the published ones to 0.005; halves always up, they are not.
    smooth = cv2.GaussianBlur(photo, (3, 3), 0.5, borderType=cv2.BORDER_REPLICATE)
    level = cv2.cvtColor(smooth, cv2.COLOR_RGB2GRAY).astype(np.float32)
    layers = sorted_coefficients(gradient_magnitude(level))
    low, high = layers.min((0, 1)), layers.max((0, 1))
    layers -= low
    layers /= np.where(high > low, high - low, 1)
    fused = minmax(layers.max(-1))
    del layers
    bins = np.pad(np.rint(255 * fused).astype(np.uint8), 3, mode="symmetric")
    detail = fused * entropy(bins, np.ones((7, 7), np.uint8))[3:-3, 3:-3]
    guide = cv2.GaussianBlur(minmax(level), (3, 3), 1, borderType=cv2.BORDER_CONSTANT)
    return minmax(domain_transform.filter(detail, guide, spatial=15, range_=0.25))


def gradient_magnitude(level: np.ndarray) -> np.ndarray:
    """By Sobel's filters, not normalised: `[H, W]` float32 to the same."""
    import cv2

    across, down = (
        cv2.Sobel(level, cv2.CV_32F, *order, ksize=3, borderType=cv2.BORDER_REPLICATE) for order in ((1, 0), (0, 1))
    )
    return np.hypot(across, down)


def sorted_coefficients(gradient: np.ndarray) -> np.ndarray:
    """The smallest high-frequency coefficients around each pixel.

    Args:
        gradient: `[H, W]` float32; beyond it are zeros.

    Returns:
        `[H, W, 117]` float32, ascending.
    """
    height, width = gradient.shape
    rows, columns = BLOCK
    padded = np.pad(gradient, ((REACH, REACH + -height % rows), (REACH, REACH + -width % columns)))
    smallest = np.empty((height, width, LAYERS), np.float32)

    def work(corner: tuple[int, int]) -> np.ndarray:
        row, column = corner
        block = padded[row : row + rows + 2 * REACH, column : column + columns + 2 * REACH]
        found = np.asarray(_coefficients(block, _bases()))
        return np.sort(np.partition(found, LAYERS - 1, axis=-1)[..., :LAYERS], axis=-1)

    corners = [(row, column) for row in range(0, height, rows) for column in range(0, width, columns)]
    work(corners[0])  # compiled now, not by every thread
    for (row, column), found in zip(corners, work_ahead(work, corners, workers=WORKERS)):
        here = smallest[row : row + rows, column : column + columns]
        here[:] = found[: here.shape[0], : here.shape[1]]
    return smallest


@jit
def _coefficients(block: jax.Array, bases: Mapping[int, jax.Array]) -> jax.Array:
    """Absolute high-frequency coefficients of all windows around the pixels of a block.

    Args:
        block: `[8 + 62, 128 + 62]` float32.
        bases: of `_bases`.

    Returns:
        `[8, 128, more than 2660]` float32, in no order; infinity where a coefficient is not of the high ones.
    """
    found = [each for side in WINDOWS for each in _high_frequencies(block, side, bases[side])]
    return jnp.concatenate(found, axis=-1).reshape(*BLOCK, -1)


def _high_frequencies(block: jax.Array, side: int, basis: jax.Array) -> list[jax.Array]:
    """The transforms of windows of one size, at and below the diagonal: row + column >= side - 1.

    Down and across, the windows of a run of pixels are transformed by one product with a matrix that has the basis once
    for every pixel, further and further on: more work on paper, but no window is ever copied out.

    Returns:
        For a few of the transform's rows after the other, `[8, 8, 16, those rows and the columns that any needs]`: the
        block's rows, its runs, and their pixels.
    """
    rows, columns = BLOCK
    start = REACH - side // 2
    down = basis[:, :rows, : rows + side - 1].reshape(side * rows, -1)
    lines = jnp.matmul(down, block[start : start + rows + side - 1], precision="highest").reshape(side, rows, -1)
    firsts = range(start, start + columns, RUN)
    runs = jnp.stack([lines[..., first : first + RUN + side - 1] for first in firsts], axis=2)
    found = []
    for first in range(0, side, GROUP):
        group = np.arange(first, min(first + GROUP, side))
        needed = np.arange(side - 1 - group[-1], side)
        across = basis[needed[0] :].reshape(-1, RUN + side - 1)
        product = jnp.matmul(runs[first : first + GROUP].reshape(-1, RUN + side - 1), across.T, precision="highest")
        transformed = product.reshape(len(group), rows, len(firsts), len(needed), RUN).transpose(1, 2, 4, 0, 3)
        high = np.add.outer(group, needed) >= side - 1
        found.append(jnp.where(high, jnp.abs(transformed), jnp.inf).reshape(*transformed.shape[:3], -1))
    return found


@functools.cache
def _bases() -> dict[int, np.ndarray]:
    """Of each size of window `[side, 16, 16 + side - 1]`: the transform's basis, moved on by each pixel of a run."""
    bases = {side: np.zeros((side, RUN, RUN + side - 1), np.float32) for side in WINDOWS}
    for side, moved in bases.items():
        for x in range(RUN):
            moved[:, x, x : x + side] = scipy.fft.dct(np.eye(side), axis=0, norm="ortho")
    return bases
