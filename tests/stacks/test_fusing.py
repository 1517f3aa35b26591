"""Which photo of a stack is sharp where, and the picture made of them; by scenes of which it is known."""

import numpy as np
import pytest

from sgdbd_jax.stacks.fusing import Stack, colours, index_picture, shares

SCENE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
LEFT = np.s_[:, :45]


def blurred(photo, times=6):
    photo = photo.astype(float)
    for _ in range(times):
        photo = sum(np.roll(photo, shift, axis) for axis in (0, 1) for shift in (-1, 1)) / 4
    return np.rint(photo).astype(np.uint8)


def focused(part):
    """The scene, sharp in one part, and the mask of that."""
    photo, mask = blurred(SCENE), np.zeros(SCENE.shape[:2], np.float32)
    photo[part], mask[part] = SCENE[part], 1
    return photo, mask


def stacked(*photos, **options):
    stack = Stack(**options)
    for photo, mask in photos:
        stack.add(photo, mask)
    return stack


def test_each_pixel_is_given_to_the_photo_that_is_sharp_there_and_the_picture_is_sharp_all_over():
    stack = stacked(focused(LEFT), focused(np.s_[:, 45:]))
    index = stack.index
    assert index.dtype == np.uint16
    assert (index[:, :42] == 1).all() and (index[:, 48:] == 2).all()
    inner = np.s_[:, [*range(42), *range(48, 90)]]
    assert np.abs(stack.picture[inner].astype(int) - SCENE[inner]).mean() < 2
    for photo, _ in (focused(LEFT), focused(np.s_[:, 45:])):
        assert np.abs(photo[inner].astype(int) - SCENE[inner]).mean() > 20


def test_the_order_plays_no_part_but_in_the_numbers():
    photos = focused(np.s_[:20]), focused(np.s_[20:40]), focused(np.s_[40:])
    forward, backward = stacked(*photos), stacked(*photos[::-1])
    np.testing.assert_array_equal(forward.sharpest, 4 - backward.sharpest)
    np.testing.assert_allclose(forward.picture.astype(int), backward.picture, atol=1)


def test_without_texture_masks_decide_and_with_it_gradients_do():
    grey = np.full_like(SCENE, 128)
    mask = focused(LEFT)[1]
    index = stacked((grey, mask), (grey, 1 - mask)).sharpest
    assert (index[LEFT] == 1).all() and (index[:, 45:] == 2).all()
    sharp, soft = (SCENE, np.zeros_like(mask)), (blurred(SCENE), np.ones_like(mask))  # masks that are wrong
    assert (stacked(soft, sharp).sharpest == 2).all()
    assert (stacked(soft, sharp, mask_weight=1e6).sharpest == 1).all()
    assert (stacked((grey, mask), (grey, 1 - mask), mask_weight=0).sharpest == 1).all()


def test_where_no_mask_has_any_in_focus_the_index_is_0_and_the_picture_still_there():
    photo, mask = focused(np.s_[:, :30])
    other, second = focused(np.s_[:, 60:])
    stack = stacked((photo, 0.9 * mask), (other, 0.9 * second))
    assert (stack.index[:, 33:57] == 0).all() and (stack.index[:, :27] == 1).all()
    assert np.abs(stack.picture[:, 35:55].astype(int) - photo[:, 35:55]).mean() < 2


def test_extreme_photos_give_no_number_that_is_none():
    photos = [(np.full_like(SCENE, level), np.full(SCENE.shape[:2], level / 255, np.float32)) for level in (0, 255)]
    noise = np.where(SCENE > 127, 255, 0).astype(np.uint8)
    picture = stacked(*photos, (noise, np.ones(SCENE.shape[:2], np.float32)), photos[0], mask_weight=1e6).picture
    np.testing.assert_allclose(picture.astype(int), noise, atol=1)  # as white's mask is no higher, and has no gradients
    assert stacked((SCENE[:1, :1], np.ones((1, 1), np.float32))).picture.shape == (1, 1, 3)


def test_an_index_is_shown_by_a_colour_a_photo_and_black_for_none():
    index = np.array([[0, 1, 2, 2]], np.uint16)
    picture = index_picture(index, 2)
    np.testing.assert_array_equal(picture[0, 0], 0)
    assert len({tuple(colour) for colour in colours(5).tolist()}) == 6
    np.testing.assert_array_equal(picture[0, 1:], colours(2)[[1, 2, 2]])
    assert shares(index, 3) == pytest.approx([0.25, 0.25, 0.5, 0])
