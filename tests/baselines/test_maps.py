"""Grey, the stretch to [0, 1], and what is no photo; a package that is missing."""

import sys

import numpy as np
import pytest

from sgdbd_jax.baselines.maps import checked, grey, minmax
from sgdbd_jax.errors import UserError
from sgdbd_jax.extra import needed


def test_grey_weighs_the_colours_and_keeps_grey():
    photo = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    np.testing.assert_allclose(grey(photo), [[76.245, 149.685, 29.07]], rtol=1e-6)
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    found = grey(np.dstack([levels] * 3))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, levels)


def test_a_map_is_stretched_and_a_constant_one_is_zeros():
    np.testing.assert_allclose(minmax(np.array([[-3.0, 1], [0, 5]])), [[0, 0.5], [0.375, 1]])
    for value in (0.0, 0.7, -2.5):
        stretched = minmax(np.full((2, 3), value))
        assert stretched.dtype == np.float32
        np.testing.assert_array_equal(stretched, 0)


@pytest.mark.parametrize("value", (np.nan, np.inf, -np.inf))
def test_a_map_that_went_wrong_is_no_dark_map(value):
    with pytest.raises(ArithmeticError, match="not finite"):
        minmax(np.array([0, value, 1]))


def test_what_differs_beyond_the_digits_of_float32_is_stretched_too():
    np.testing.assert_array_equal(minmax(np.array([1.0, 1 + 1e-12])), [0, 1])


def test_a_photo_is_taken_as_it_is_and_nothing_else_is():
    photo = np.zeros((2, 3, 3), np.uint8)
    assert checked(photo) is photo
    with pytest.raises(ValueError, match=r"a photo must be uint8 \[H, W, 3\], here float64 \(2, 3, 3\)"):
        checked(photo / 255)
    with pytest.raises(TypeError, match="a photo is a path"):
        checked(None)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(UserError, match=r"SS: needs scikit-image; pip install 'sgdbd_jax\[baselines\]'"):
        needed("skimage.segmentation", "SS")
