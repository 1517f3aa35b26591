"""Telling masks that agree with their photos from inverted ones."""

import numpy as np
import pytest

from sgdbd_jax.data.polarity import focus_is_sharper, inversion_fault, is_brighter_in_focus, polarity_fault


def half_sharp(seed=0):
    """Left half noise, right half its average; the mask is white on the left."""
    photo = np.full((32, 32, 3), 128, np.uint8)
    photo[:, :16] = np.random.default_rng(seed).integers(0, 256, (32, 16, 3))
    mask = np.zeros((32, 32), np.uint8)
    mask[:, :16] = 255
    return photo, mask


def test_a_mask_agrees_with_its_photo_where_it_marks_the_sharper_part():
    photo, mask = half_sharp()
    assert focus_is_sharper(photo, mask) is True
    assert focus_is_sharper(photo, 255 - mask) is False


@pytest.mark.parametrize("level", [0, 255])
def test_a_constant_mask_abstains(level):
    assert focus_is_sharper(half_sharp()[0], np.full((32, 32), level, np.uint8)) is None


def test_a_photo_of_one_pixel_abstains():
    assert focus_is_sharper(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8)) is None


@pytest.mark.parametrize(
    ("right", "wrong", "fault"),
    [(10, 0, None), (2, 1, None), (6, 4, "do not fit the photos"), (1, 2, "inverted"), (0, 10, "only 0 of 10 photos")],
)
def test_two_photos_in_three_must_agree(right, wrong, fault):
    text = polarity_fault([True] * right + [False] * wrong + [None] * 5)
    assert text is None if fault is None else fault in text


def test_masks_that_say_nothing_are_at_fault():
    assert polarity_fault([None, None]) == "every mask is wholly white or wholly black"


TRUTH = np.repeat(np.array([0, 255], np.uint8), 8)[None]


@pytest.mark.parametrize(
    ("mask", "truth", "answer"),
    [
        (TRUTH, TRUTH, True),
        (255 - TRUTH, TRUTH, False),
        (100 + TRUTH // 255 * 26, TRUTH, True),
        (100 + TRUTH // 255 * 25, TRUTH, None),  # about as bright in both
        (TRUTH, 0 * TRUTH, None),
        (TRUTH, 0 * TRUTH + 255, None),
    ],
)
def test_a_mask_is_right_where_it_is_brighter_in_focus(mask, truth, answer):
    assert is_brighter_in_focus(mask, truth) is answer


@pytest.mark.parametrize(
    ("right", "wrong", "fault"), [(0, 3, "in 3 of 3"), (1, 2, "in 2 of 3"), (2, 3, None), (0, 0, None), (3, 0, None)]
)
def test_masks_are_inverted_if_at_most_a_third_is_right(right, wrong, fault):
    text = inversion_fault([True] * right + [False] * wrong + [None] * 4)
    assert text is None if fault is None else "the masks are inverted" in text and fault in text
