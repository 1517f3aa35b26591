"""Photos and masks at another size: averaged where they shrink, masks of floats without rounding."""

import numpy as np

from sgdbd_jax.data.resizing import resize_mask, resize_photo


def test_shrinking_averages_over_all_source_pixels():
    stripes = np.tile(np.array([0, 200], np.uint8), (8, 32))  # [8, 64]; a sample in four would see but one colour
    small = resize_photo(np.stack([stripes] * 3, axis=-1), (2, 8))
    assert small.shape == (2, 8, 3) and small.dtype == np.uint8
    np.testing.assert_allclose(small[:, 1:-1], 100, atol=5)


def test_resizing_takes_height_first_and_either_rank():
    assert resize_photo(np.zeros((4, 6), np.uint8), (3, 5)).shape == (3, 5)
    photo = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    np.testing.assert_array_equal(resize_photo(photo, (4, 6)), photo)
    np.testing.assert_array_equal(resize_photo(np.array([[0, 100]], np.uint8), (1, 4)), [[0, 25, 75, 100]])


def test_a_float_mask_is_resized_without_rounding():
    mask = resize_mask(np.array([[0.0, 0.001]], np.float32), (1, 4))
    assert mask.dtype == np.float32
    np.testing.assert_allclose(mask, [[0, 0.00025, 0.00075, 0.001]], atol=1e-8)
    ones = resize_mask(np.ones((17, 31), np.float32), (64, 5))
    assert ones.min() > 1 - 1e-6 and ones.max() <= 1
