"""Singular values of windows against those of a library, and what a constant window has."""

import numpy as np

from sgdbd_jax.baselines import svd


def test_the_share_is_that_of_the_singular_values_of_the_window_around_the_pixel():
    """Rows and columns from 10 before to 9 after, reflected at the borders."""
    level = np.random.default_rng(0).uniform(0, 255, (26, 31)).astype(np.float32)
    degree = svd.blur_degree(level)
    assert degree.shape == level.shape
    for row, column in ((12, 15), (0, 0), (25, 30), (3, 29)):
        padded = np.pad(level.astype(np.float64), 10, mode="reflect")
        values = np.linalg.svd(padded[row : row + 20, column : column + 20], compute_uv=False)
        np.testing.assert_allclose(degree[row, column], values[:3].sum() / values.sum(), rtol=1e-9)


def test_a_constant_window_and_a_black_one_are_all_blurred():
    np.testing.assert_array_equal(svd.blur_degree(np.full((5, 7), 130, np.float32)), 1)
    np.testing.assert_array_equal(svd.blur_degree(np.zeros((5, 7), np.float32)), 1)
