"""Sorted coefficients against a library's transforms, window by window."""

import numpy as np
import scipy.fft

from sgdbd_jax.baselines import hifst


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
