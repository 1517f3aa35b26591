"""Photos that do not lie on each other are told from those that do, whatever is sharp in them."""

import cv2
import numpy as np
import pytest

from sgdbd_jax.stacks.alignment import ALLOWED, displacement, for_alignment

BROAD = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, (260, 360)), (0, 0), 4)
SCENE = np.rint(255 * (BROAD - BROAD.min()) / np.ptp(BROAD)).astype(np.uint8)[..., None].repeat(3, axis=2)
HERE = np.s_[20:220, 30:330]


def apart(one, other):
    return displacement(for_alignment(one), for_alignment(other))


def half_blurred(photo, left):
    soft = cv2.GaussianBlur(photo, (0, 0), 3)
    half = photo.shape[1] // 2
    return np.hstack([soft[:, :half], photo[:, half:]] if left else [photo[:, :half], soft[:, half:]])


def test_aligned_photos_that_are_sharp_in_different_parts_are_let_be():
    assert apart(half_blurred(SCENE[HERE], left=True), half_blurred(SCENE[HERE], left=False)) < ALLOWED


@pytest.mark.parametrize("shift", [2, 6, 15])
def test_a_shift_is_measured(shift):
    moved = SCENE[20:220, 30 + shift : 330 + shift]
    assert apart(half_blurred(SCENE[HERE], True), half_blurred(moved, False)) == pytest.approx(shift / 300, abs=0.004)


def test_a_change_of_scale_is_measured_though_its_centre_stays():
    """By 2 percent: a corner of 200 x 300 moves by 1 percent of the diagonal."""
    enlarged = cv2.resize(SCENE[HERE], None, fx=1.02, fy=1.02)[2:202, 3:303]
    assert apart(SCENE[HERE], enlarged) == pytest.approx(0.01 * np.hypot(200, 300) / 300, abs=0.003)


def test_large_photos_are_measured_by_a_share_of_their_size():
    large = cv2.resize(SCENE, None, fx=4, fy=4)
    assert apart(large[80:880, 120:1320], large[80:880, 144:1344]) == pytest.approx(24 / 1200, abs=0.003)


def test_where_nothing_can_be_compared_there_is_no_number():
    plain = np.full((200, 300, 3), 128, np.uint8)
    assert apart(plain, plain) is None
    assert apart(plain[:1, :1], plain[:1, :1]) is None
