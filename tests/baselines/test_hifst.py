"""Sorted coefficients against a library's transforms, window by window."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
from formulas import domain_transform
from PIL import Image
from sharp_photos import left_blurred, sharp_photo

from sgdbd_jax.baselines import hifst

CUHK = Path(__file__).parents[3] / "shared" / "data" / "cuhk" / "image"
# Of the authors' published maps: the mean of each ninth of a photo, row by row.
PUBLISHED = {
    "0001": (0.051, 0.102, 0.090, 0.053, 0.341, 0.362, 0.051, 0.039, 0.315),
    "0007": (0.000, 0.112, 0.002, 0.002, 0.077, 0.006, 0.007, 0.006, 0.006),
    "0013": (0.030, 0.204, 0.102, 0.039, 0.344, 0.095, 0.071, 0.137, 0.150),
    "0019": (0.109, 0.099, 0.140, 0.254, 0.481, 0.195, 0.083, 0.341, 0.079),
    "0025": (0.220, 0.124, 0.086, 0.318, 0.439, 0.586, 0.012, 0.031, 0.057),
    "0034": (0.051, 0.009, 0.009, 0.080, 0.237, 0.023, 0.083, 0.154, 0.150),
}


def by_windows(gradient, row, column):
    """All high-frequency coefficients at a pixel, ascending."""
    padded = np.pad(gradient.astype(np.float64), 31)
    found = []
    for side in (7, 15, 31, 63):
        start = 31 - side // 2
        window = padded[row + start : row + start + side, column + start : column + start + side]
        found += [
            abs(value) for (u, v), value in np.ndenumerate(scipy.fft.dctn(window, norm="ortho")) if u + v >= side - 1
        ]
    return np.sort(found)


def test_a_little_more_than_half_of_the_coefficients_count_as_high():
    block = np.ones((hifst.BLOCK[0] + 62, hifst.BLOCK[1] + 62), np.float32)
    high = np.isfinite(hifst._coefficients(block, hifst._bases()))
    assert (high.sum(-1) == 28 + 120 + 496 + 2016).all()


def test_the_smallest_of_all_four_windows_are_kept_in_order():
    """At corners, across the borders of blocks, and within."""
    gradient = np.random.default_rng(0).uniform(0, 500, (11, 140)).astype(np.float32)
    gradient[:, 30:60] = 0
    layers = hifst.sorted_coefficients(gradient)
    assert layers.shape == (11, 140, 117)
    for row, column in ((0, 0), (5, 45), (7, 127), (8, 128), (10, 139)):
        expected = by_windows(gradient, row, column)
        assert len(expected) == 2660
        np.testing.assert_allclose(layers[row, column], expected[:117], atol=2e-3)


def test_the_gradient_of_a_ramp_is_eight_a_level():
    gradient = hifst.gradient_magnitude(np.add.outer(3 * np.arange(5), 4 * np.arange(6)).astype(np.float32))
    np.testing.assert_allclose(gradient[1:-1, 1:-1], 8 * 5)
    np.testing.assert_allclose(gradient[2, 0], np.hypot(8 * 3, 4 * 4))  # the border repeats itself


def test_a_map_is_what_the_paper_s_steps_make_of_a_photo():
    """Each step after the whole levels in NumPy and SciPy, pixel by pixel, none of them the detector's."""
    pytest.importorskip("skimage")
    photo = left_blurred(sharp_photo(side=48)[:30], sigma=2)
    smooth = cv2.GaussianBlur(photo, (3, 3), 0.5, borderType=cv2.BORDER_REPLICATE)
    level = cv2.cvtColor(smooth, cv2.COLOR_RGB2GRAY).astype(float)
    gradient = np.hypot(*(scipy.ndimage.sobel(level, axis=axis, mode="nearest") for axis in (0, 1)))
    layers = np.stack([by_windows(gradient, *place)[:117] for place in np.ndindex(level.shape)])
    spread = np.ptp(layers, axis=0)
    layers = (layers - layers.min(0)) / np.where(spread > 0, spread, 1)
    fused = layers.max(1).reshape(level.shape)
    fused = (fused - fused.min()) / np.ptp(fused)
    bins = np.pad(np.rint(255 * fused).astype(int), 3, mode="symmetric")
    detail = np.zeros(level.shape)
    for row, column in np.ndindex(level.shape):
        share = np.unique(bins[row : row + 7, column : column + 7], return_counts=True)[1] / 49
        detail[row, column] = -(share * np.log2(share)).sum() * fused[row, column]
    guide = cv2.GaussianBlur((level - level.min()) / np.ptp(level), (3, 3), 1, borderType=cv2.BORDER_CONSTANT)
    expected = domain_transform(detail, guide, 15, 0.25)
    expected = (expected - expected.min()) / np.ptp(expected)
    np.testing.assert_allclose(hifst.detect(photo), expected, atol=0.01)
    np.testing.assert_allclose(hifst.detect(photo).mean(), expected.mean(), atol=1e-3)


@pytest.mark.parametrize("photo", PUBLISHED)
@pytest.mark.skipif(not CUHK.is_dir(), reason="the photos of CUHK are not beside the project")
def test_maps_are_those_that_the_authors_published(photo):
    pytest.importorskip("skimage")
    (path,) = CUHK.glob(f"out_of_focus{photo}.*")
    found = hifst.detect(np.asarray(Image.open(path).convert("RGB")))
    rows, columns = (np.linspace(0, side, 4).astype(int) for side in found.shape)
    means = [found[a:b, c:d].mean() for a, b in zip(rows, rows[1:]) for c, d in zip(columns, columns[1:])]
    np.testing.assert_allclose(means, PUBLISHED[photo], atol=0.005)
