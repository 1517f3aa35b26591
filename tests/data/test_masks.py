"""Masks for pasting: small and large, with hard and soft edges, and smooth fields to lay them out."""

import numpy as np
import pytest

from sgdbd_jax.data.masks import random_mask, random_region, smooth_field


def test_smooth_fields_fill_their_range_smoothly():
    for seed in range(10):
        field = smooth_field(np.random.default_rng(seed), (48, 64), cycles=2.0)
        assert field.shape == (48, 64)
        assert field.dtype == np.float32
        assert field.min() == 0
        assert field.max() == 1
        # A wave of 2 periods and amplitude 1/2 climbs pi * 2 / 48 a pixel; waves that cancel elsewhere climb faster.
        assert np.abs(np.diff(field, axis=0)).max() < 2 * np.pi * 2 / 48


@pytest.mark.parametrize("coverage", [0.1, 0.37, 0.9])
def test_regions_have_the_area_asked_for(coverage):
    for seed in range(20):
        region = random_region(np.random.default_rng(seed), (50, 70), coverage)
        assert region.dtype == bool
        assert region.mean() == pytest.approx(coverage, abs=0.01)  # pixels of equal height fall together


def test_masks_spread_between_a_tenth_and_nine_tenths():
    rng = np.random.default_rng(0)
    coverage = np.array([random_mask(rng, (64, 64)).mean() for _ in range(200)])
    assert 0.05 < coverage.min() < 0.2
    assert 0.8 < coverage.max() < 0.95
    # Even over the range: each quarter of it holds about a quarter of the masks.
    quarters, _ = np.histogram(coverage, bins=[0, 0.3, 0.5, 0.7, 1])
    assert quarters.min() > 25


def test_half_of_the_masks_are_hard_and_half_are_feathered():
    rng = np.random.default_rng(1)
    masks = [random_mask(rng, (64, 48)) for _ in range(100)]
    for mask in masks:
        assert mask.shape == (64, 48)
        assert mask.dtype == np.float32
        assert mask.min() == 0
        assert mask.max() == 1
    between = np.array([np.mean((mask > 0) & (mask < 1)) for mask in masks])
    assert 30 < np.sum(between == 0) < 70
    # Feathers are wide and narrow.
    assert np.sum((between > 0) & (between < 0.1)) > 5
    assert np.sum(between > 0.2) > 5


def test_masks_have_large_parts_not_speckles():
    """Few of the neighbouring pixels differ: an edge of some image widths, not noise."""
    rng = np.random.default_rng(2)
    for _ in range(50):
        hard = random_mask(rng, (64, 64)) > 0.5
        assert np.mean(hard[:, 1:] != hard[:, :-1]) < 0.2


def test_masks_repeat_with_their_seed_and_change_with_it():
    first, again, other = (random_mask(np.random.default_rng(seed), (32, 32)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
