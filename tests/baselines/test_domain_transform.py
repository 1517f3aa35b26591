"""The recursive filter against its formula, pixel by pixel."""

import numpy as np
import pytest
from formulas import domain_transform as by_loops

from sgdbd_jax.baselines import domain_transform


@pytest.mark.parametrize("size", ((9, 14), (1, 6), (5, 1), (1, 1)), ids=str)
def test_it_is_its_formula_on_a_step_edge(size):
    rng = np.random.default_rng(0)
    guide = (np.arange(size[1]) >= size[1] // 2) * 0.8 + 0.05 * rng.random(size)
    x = rng.random(size)
    filtered = domain_transform.filter(x, guide, 15, 0.25)
    assert filtered.dtype == np.float32
    np.testing.assert_allclose(filtered, by_loops(x, guide, 15, 0.25), atol=1e-5)


def test_the_channels_of_a_guide_add_up():
    rng = np.random.default_rng(1)
    x, guide = rng.random((7, 8)), rng.random((7, 8, 3))
    filtered = domain_transform.filter(x, guide, 4, 0.5, rounds=2)
    np.testing.assert_allclose(filtered, by_loops(x, guide, 4, 0.5, rounds=2), atol=1e-5)


def test_an_edge_of_the_guide_keeps_two_sides_apart():
    guide = np.zeros((20, 40))
    guide[:, 20:] = 1
    flat = domain_transform.filter(guide, np.zeros_like(guide), 15, 0.15)
    kept = domain_transform.filter(guide, guide, 15, 0.15)
    np.testing.assert_allclose(kept, guide, atol=1e-3)
    assert flat[:, 20:].mean() - flat[:, :20].mean() < 0.7


def test_a_constant_stays():
    rng = np.random.default_rng(2)
    filtered = domain_transform.filter(np.full((9, 9), 0.7), rng.random((9, 9)), 10, 0.2)
    np.testing.assert_allclose(filtered, 0.7, rtol=1e-6)
