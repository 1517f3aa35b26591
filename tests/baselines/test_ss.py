"""The spectral residual on what it is known for, and how superpixels agree."""

import numpy as np
import pytest

from sgdbd_jax.baselines import ss

STRIPES = np.repeat(np.arange(4), 6)[None].repeat(10, axis=0)  # four regions side by side: [10, 24]


def test_what_is_unlike_the_rest_is_least_blurred():
    """A regular texture is a peak in the spectrum, and is taken out; what breaks it stays."""
    rows, columns = np.mgrid[:64, :64]
    level = 100 + 50 * np.sin(2 * np.pi * columns / 8)
    level[40:44, 20:24] = 255
    row, column = np.unravel_index(ss.coarse_blur(level).argmin(), level.shape)
    assert abs(row - 41.5) <= 3 and abs(column - 21.5) <= 3


def test_likeness_is_symmetric_and_only_of_neighbours():
    pytest.importorskip("skimage")
    photo = np.random.default_rng(0).integers(0, 256, (10, 24, 3), np.uint8)
    alike = ss.similarities(photo, photo.mean(-1), STRIPES)
    np.testing.assert_array_equal(alike, alike.T)
    neighbours = np.abs(np.subtract.outer(np.arange(4), np.arange(4))) == 1
    assert (alike[neighbours] > 0).all() and (alike[~neighbours] == 0).all()


def test_likeness_is_by_colour_and_by_gradients():
    """Flat regions have the same gradients; 0.4 of the likeness is the colours', distances in Lab."""
    pytest.importorskip("skimage")
    photo = np.full((10, 24, 3), 120, np.uint8)
    photo[STRIPES >= 2] = 121  # hardly another colour; the step's gradients are in the regions at either side of it
    alike = ss.similarities(photo, np.full((10, 24), 7.0), STRIPES)
    assert alike[0, 1] == pytest.approx(1)
    assert alike[1, 2] == pytest.approx(0.6 + 0.4 * np.exp(-0.004 / 0.1), abs=0.01)
    edges = np.where(STRIPES == 0, np.arange(24) % 2 * 9.0, 7)
    assert ss.similarities(photo, edges, STRIPES)[0, 1] == pytest.approx(0.4, abs=1e-6)


def test_equal_values_stay_equal():
    alike = np.random.default_rng(0).random((6, 6))
    alike = (alike + alike.T) * (1 - np.eye(6))
    np.testing.assert_allclose(ss.agree(np.full(6, 0.3), alike, rounds=50), 0.3, rtol=1e-12)


def test_a_round_is_its_formula():
    """Region 0 has two neighbours, and 3 none."""
    alike = np.zeros((4, 4))
    alike[0, 1] = alike[1, 0] = 0.5
    alike[0, 2] = alike[2, 0] = 0.25
    own = 1 / (1 + 0.5)
    after = ss.agree(np.array([0.0, 0.6, 0.9, 0.4]), alike, rounds=1)
    expected = [(1 - own) * (0.5 * 0.6 + 0.25 * 0.9) / 0.75, own * 0.6, 0.9 / 1.25, 0.4]
    np.testing.assert_allclose(after, expected)
