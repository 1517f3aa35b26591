"""Outlines of things: where a photo's own colours change, and nowhere else."""

import numpy as np
import pytest
from scipy import ndimage

from sgdbd_jax.data.things import COVERAGE, neighbours, random_thing, regions

SIDE = 160
Y, X = np.mgrid[:SIDE, :SIDE]
BALL = np.hypot(Y - 70, X - 90) < 45


def photo_of(inside, size=SIDE):
    """A red thing on a green ground, both with texture."""
    texture = np.random.default_rng(0).integers(-4, 5, (*inside.shape, 1))
    colours = np.where(inside[..., None], (190, 60, 50), (50, 140, 60))
    return np.clip(colours + texture, 0, 255).astype(np.uint8)


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


def test_regions_are_what_is_of_one_colour():
    labels = regions(photo_of(BALL), contrast=5000.0)
    assert labels.min() == 0 and len(np.unique(labels)) == labels.max() + 1 == 2
    inside = labels == labels[70, 90]
    assert overlap(inside, BALL) > 0.97


def test_less_contrast_makes_more_regions():
    shades = np.repeat(np.repeat(np.arange(4)[:, None] * 40 + np.arange(4) * 20, 40, axis=0), 40, axis=1)
    photo = np.repeat(shades[..., None], 3, axis=-1).astype(np.uint8)
    counts = [regions(photo, contrast=contrast).max() + 1 for contrast in (500.0, 30000.0, 1e6)]
    assert counts[0] >= 16 > counts[1] > counts[2] == 1


def test_which_regions_touch():
    one, other = neighbours(np.array([[0, 0, 2], [1, 1, 2], [1, 1, 3]]))
    assert list(zip(one, other)) == [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]  # 0 and 3 only near each other


@pytest.mark.parametrize("scale", [1, 2])
def test_a_thing_has_the_outline_of_what_is_in_the_photo(scale):
    """Of a photo of one thing there are two unions: the thing, or the ground around it."""
    ball = BALL.repeat(scale, 0).repeat(scale, 1)
    photo = photo_of(ball)
    things = [random_thing(np.random.default_rng(seed), photo) for seed in range(8)]
    for thing in things:
        assert thing.shape == ball.shape and thing.dtype == bool
        assert max(overlap(thing, ball), overlap(thing, ~ball)) > 0.95
    assert {bool(thing[70 * scale, 90 * scale]) for thing in things} == {True, False}


def patchwork(seed=0, side=SIDE):
    """A photo of 64 squares, each of its own colour."""
    colours = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return colours.repeat(side // 8, 0).repeat(side // 8, 1)


def test_things_hang_together_and_cover_a_part_of_the_photo():
    shares = []
    for seed in range(30):
        thing = random_thing(np.random.default_rng(seed), patchwork(seed))
        shares.append(thing.mean())
        parts = ndimage.label(thing, np.ones((3, 3)))[0]
        assert np.bincount(parts.ravel())[1:].max() > 0.97 * thing.sum()  # a neck may be lost where it is rounded
    assert min(shares) >= COVERAGE[0] and max(shares) <= COVERAGE[1]
    assert min(shares) < 0.35 and max(shares) > 0.65


def test_a_flat_photo_has_no_thing():
    assert random_thing(np.random.default_rng(0), np.full((64, 48, 3), 77, np.uint8)) is None


def test_things_repeat_with_their_seed_and_change_with_it():
    first, again, other = (random_thing(np.random.default_rng(seed), patchwork()) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("shape", [(16, 16), (16, 640), (33, 17), (8, 9)])
def test_photos_of_any_size_can_be_cut(shape):
    photo = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    thing = random_thing(np.random.default_rng(0), photo)
    assert thing is None or thing.shape == shape
