"""The guided filter on masks whose filtered form is known, and the curve that decides."""

import numpy as np
import pytest

from sgdbd_jax.refine import Refinement, guided_filter

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (40, 50, 3), np.uint8)


def test_a_constant_mask_stays():
    mask = np.full((40, 50), 0.3, np.float32)
    filtered = guided_filter(mask, PHOTO, radius=4, epsilon=1e-4)
    assert filtered.dtype == np.float32
    np.testing.assert_allclose(filtered, mask, atol=1e-6)


def test_a_mask_that_is_linear_in_the_colours_stays():
    """Which is what the filter fits in every window."""
    mask = (PHOTO / 255) @ np.array([0.5, 0.2, -0.3]) + 0.3
    np.testing.assert_allclose(guided_filter(mask, PHOTO, radius=4, epsilon=1e-9), mask, atol=1e-4)


def test_a_blurred_mask_becomes_as_sharp_as_the_photo_s_edge():
    photo = np.zeros((40, 40, 3), np.uint8)
    photo[:, 20:] = (200, 120, 40)
    soft = np.broadcast_to(np.clip((np.arange(40) - 10) / 20, 0, 1), (40, 40))
    filtered = guided_filter(soft, photo, radius=16, epsilon=1e-4)[20]
    assert filtered[20] - filtered[19] > 0.4  # from one pixel to the next; before, a twentieth


def test_in_a_flat_photo_it_is_two_means():
    mask = np.zeros((41, 41))
    mask[20, 20] = 1
    filtered = guided_filter(mask, np.full((41, 41, 3), 90, np.uint8), radius=1, epsilon=1e-4)
    hat = np.array([1, 2, 3, 2, 1]) / 9
    np.testing.assert_allclose(filtered[18:23, 18:23], np.outer(hat, hat), atol=1e-6)
    assert filtered.sum() == pytest.approx(1)


def test_a_refinement_puts_its_threshold_in_the_middle():
    """1 / (1 + exp(-4)) a tenth above it, with a gain of 40."""
    refine = Refinement(threshold=0.6, gain=40.0)
    levels = [float(refine(np.full((20, 30), level), PHOTO[:20, :30])[0, 0]) for level in (0.6, 0.7, 0.5)]
    assert levels == pytest.approx([0.5, 1 / (1 + np.exp(-4)), 1 / (1 + np.exp(4))], rel=1e-3)
