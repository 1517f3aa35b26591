"""What is done to photos after their blur depends on the random generator alone."""

import numpy as np

from sgdbd_jax.data.degrade import degrade, without_colours


def photos():
    coarse = np.random.default_rng(0).integers(60, 200, (8, 8, 3), np.uint8)
    return coarse.repeat(8, 0).repeat(8, 1)


def test_a_photo_keeps_its_shape_its_kind_and_its_mean():
    for seed in range(20):
        out = degrade(photos(), np.random.default_rng(seed))
        assert out.shape == (64, 64, 3) and out.dtype == np.uint8
        assert abs(out.mean() - photos().mean()) < 1.5


def test_the_same_random_numbers_give_the_same_photo():
    first, again, other = (degrade(photos(), np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_some_photos_stay_as_they_are_and_some_get_grain():
    """0.7 x 0.5 x 0.3 stay: neither softened nor noisy nor compressed; of 300, 31 +- 5."""
    flat = np.full((32, 32, 3), 128, np.uint8)
    edges = photos()
    same = sum((degrade(edges, np.random.default_rng(seed)) == edges).all() for seed in range(300))
    assert 16 < same < 48
    grain = np.array([degrade(flat, np.random.default_rng(seed)).std() for seed in range(300)])
    assert 0.4 < (grain > 0.5).mean() < 0.6
    assert grain.max() < 8


def test_as_many_random_numbers_are_used_for_every_photo_that_is_not_noisy():
    """So that what an example draws later does not depend on the photo."""
    used = set()
    for photo in (photos(), photos()[:32]):
        rng = np.random.default_rng(5)  # which adds no grain
        degrade(photo, rng)
        used.add(rng.random())
    assert len(used) == 1


def test_the_noise_goes_up_to_the_deviation_asked_for():
    flat = np.full((32, 32, 3), 128, np.uint8)
    grain = np.array([degrade(flat, np.random.default_rng(seed), noise=25.0).std() for seed in range(100)])
    assert 20 < grain.max() < 31  # with half as much of each colour beside that of brightness
    usual = [degrade(flat, np.random.default_rng(seed)) for seed in range(20)]
    for seed, photo in enumerate(usual):
        np.testing.assert_array_equal(photo, degrade(flat, np.random.default_rng(seed), noise=6.0))


def test_a_photo_without_colours_has_its_luminance_in_each():
    colours = np.array([[(255, 0, 0), (0, 255, 0), (0, 0, 255), (90, 90, 90)]], np.uint8)
    assert without_colours(colours).tolist() == [[[76] * 3, [150] * 3, [29] * 3, [90] * 3]]  # 0.299, 0.587, 0.114
