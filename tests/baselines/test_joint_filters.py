"""The filters against their formulas, pixel by pixel."""

import numpy as np
import pytest

from sgdbd_jax.baselines.joint_filters import joint_bilateral, rolling_guidance, weighted_median


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def windows(shape, radius):
    """Every pixel of a picture, and those around it, itself among them."""
    for i, j in np.ndindex(*shape):
        rows = range(max(i - radius, 0), min(i + radius + 1, shape[0]))
        columns = range(max(j - radius, 0), min(j + radius + 1, shape[1]))
        yield (i, j), [(k, m) for k in rows for m in columns]


def bilateral_by_hand(values, guide, radius, spatial, range_, trust):
    result = np.zeros(values.shape)
    for here, around in windows(values.shape, radius):
        weights = [
            trust[there]
            * np.exp(-((there[0] - here[0]) ** 2 + (there[1] - here[1]) ** 2) / (2 * spatial**2))
            * np.exp(-np.sum((guide[there] - guide[here]) ** 2) / (2 * range_**2))
            for there in around
        ]
        if sum(weights) > 0:
            result[here] = np.dot(weights, [values[there] for there in around]) / sum(weights)
    return result


@pytest.mark.parametrize("channels", ((), (3,)))
def test_joint_bilateral_is_its_formula(rng, channels):
    values, guide = rng.random((6, 9)), rng.random((6, 9, *channels))
    trust = rng.random((6, 9)) * (rng.random((6, 9)) > 0.5)
    found = joint_bilateral(values, guide, radius=2, spatial=1.5, range_=0.4, trust=trust)
    np.testing.assert_allclose(found, bilateral_by_hand(values, guide, 2, 1.5, 0.4, trust), atol=1e-5)
    assert found.dtype == np.float32


def test_where_nothing_is_trusted_the_mean_is_zero():
    trust = np.zeros((5, 9))
    trust[:, 0] = 1
    found = joint_bilateral(np.ones((5, 9)), np.zeros((5, 9)), radius=2, spatial=1, range_=1, trust=trust)
    np.testing.assert_array_equal(found, np.tile(np.arange(9) <= 2, (5, 1)))


def test_rolling_guidance_is_a_gaussian_and_then_guided_by_itself(rng):
    photo = rng.random((6, 7, 2))
    for channel in (0, 1):
        plane, guide = photo[..., channel], np.zeros((6, 7))
        for _ in range(3):
            guide = bilateral_by_hand(plane, guide, 2, 0.6, 0.2, np.ones((6, 7)))
        found = rolling_guidance(photo, spatial=0.6, range_=0.2, rounds=3)
        np.testing.assert_allclose(found[..., channel], guide, atol=1e-5)


def test_weighted_median_is_the_lowest_level_with_half_of_the_weight(rng):
    values, guide = rng.integers(0, 256, (7, 5)) / 255, rng.random((7, 5, 3))
    expected = np.zeros((7, 5))
    for here, around in windows((7, 5), 2):
        weights = [np.exp(-np.sum((guide[there] - guide[here]) ** 2) / (2 * 0.25**2)) for there in around]
        ordered = sorted(zip([values[there] for there in around], weights))
        reached = np.cumsum([weight for _, weight in ordered])
        expected[here] = ordered[np.argmax(reached >= reached[-1] / 2)][0]
    np.testing.assert_allclose(weighted_median(values, guide, radius=2, range_=0.25, rounds=1), expected, atol=1e-6)


def test_the_rounds_of_a_weighted_median_follow_each_other(rng):
    values, guide = rng.random((7, 5)), rng.random((7, 5))
    once = weighted_median(values, guide, radius=1, range_=0.25, rounds=1)
    twice = weighted_median(once, guide, radius=1, range_=0.25, rounds=1)
    assert (once != twice).any()
    np.testing.assert_array_equal(weighted_median(values, guide, radius=1, range_=0.25, rounds=2), twice)


def test_a_weighted_median_keeps_the_edge_that_its_guide_has():
    guide = np.tile(np.arange(12) >= 6, (8, 1)).astype(float)
    values = guide.copy()
    values[3, 2] = 1  # noise
    np.testing.assert_array_equal(weighted_median(values, guide, radius=2, range_=0.25, rounds=1), guide)


def test_a_window_may_be_larger_than_the_picture():
    one = np.full((1, 1), 1.0)
    assert joint_bilateral(one, one, radius=4, spatial=1, range_=1) == 1
    assert weighted_median(one, one, radius=4, range_=1, rounds=1) == 1
    assert rolling_guidance(one[..., None], spatial=1.5, range_=1, rounds=2) == pytest.approx(1)
