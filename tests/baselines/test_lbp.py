"""Codes of pictures of a few pixels, counted by hand, and the way down to a quarter of the size and back."""

import numpy as np
import pytest

from sgdbd_jax.baselines import lbp


def code(*around, centre=100):
    """The code of a pixel with these neighbours, clockwise from the upper left."""
    level = np.zeros((3, 3), np.uint8)
    level[0], level[1, 2], level[2], level[1, 0] = around[:3], around[3], around[4:7][::-1], around[7]
    level[1, 1] = centre
    return lbp.codes(level)[1, 1]


def test_all_codes_of_a_constant_picture_are_0():
    np.testing.assert_array_equal(lbp.codes(np.full((5, 6), 200, np.uint8)), 0)


def test_a_code_is_how_many_neighbours_are_brighter_by_five():
    assert code(100, 106, 106, 106, 100, 100, 100, 100) == 3
    assert code(*[104] * 8) == 0
    assert code(*[255] * 8) == 8
    assert code(0, 255, 255, 255, 0, 0, 0, 0) == 3


def test_a_corner_lies_on_the_circle_between_four_pixels_and_is_rounded_down():
    """At half the square root of 2: of one bright corner, a half; of one 9 brighter, 4.5, which is 4; 10 make 5."""
    assert code(110, 100, 100, 100, 100, 100, 100, 100) == 1
    assert code(109, 100, 100, 100, 100, 100, 100, 100) == 0


def test_more_than_two_changes_make_the_code_nine():
    assert code(100, 110, 100, 100, 100, 110, 100, 100) == 9  # above and below


def test_sharpness_is_the_share_of_high_codes_in_the_window():
    codes = np.zeros((30, 40), int)
    codes[:, 20:] = 6
    codes[:, 30:] = 9
    sharp = lbp.sharpness(codes, 11)
    np.testing.assert_allclose(sharp[15, 12:28], np.clip((np.arange(12, 28) - 14) / 11, 0, 1), atol=1e-6)
    np.testing.assert_array_equal(lbp.sharpness(np.full((7, 9), 5), 11), 0)


def test_halved_and_doubled_a_ramp_is_itself():
    """But for the borders, which are dropped on the way down."""
    ramp = np.add.outer(np.arange(30.0), 2 * np.arange(41.0))[..., None]
    small = lbp.halved(ramp)
    assert small.shape == (13, 19, 1)
    np.testing.assert_allclose(small, ramp[2:-2:2, 2:-2:2])
    np.testing.assert_allclose(lbp.doubled(small, (30, 41))[2:27, 2:39], ramp[2:27, 2:39])


@pytest.mark.parametrize("size", ((40, 60), (61, 83)), ids=str)
def test_a_sharp_object_on_a_blurred_ground_is_found_to_its_border(size):
    """Matting carries seeds as far as the object's colour reaches."""
    rng = np.random.default_rng(0)
    photo = np.full((*size, 3), (40, 60, 90), np.uint8)
    inside = np.zeros(size, bool)
    inside[10:30, 20:40] = True
    photo[inside] = (200, 150, 90) + rng.integers(-40, 40, (400, 1))
    found = lbp.detect(photo)
    assert found[inside].mean() > 0.7 and found[~inside].mean() < 0.3
