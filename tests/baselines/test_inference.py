"""Belief propagation against enumeration, and what it makes of speckles."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from sgdbd_jax.baselines import inference


def by_enumeration(unary, known=None):
    """Probabilities from all states of all pixels of a few: 4096 of 3 x 2 x 2."""
    places = np.argwhere(np.ones(unary.shape, bool) if known is None else known)
    states = np.array(list(itertools.product((0, 1), repeat=len(places))))
    near = [
        (a, b) for a, b in itertools.combinations(range(len(places)), 2) if np.abs(places[a] - places[b]).sum() == 1
    ]
    differ = sum(np.abs(states[:, a] - states[:, b]) for a, b in near)
    weight = np.exp(states @ unary[tuple(places.T)] - inference.ALPHA * differ)
    probability = np.zeros(unary.shape)
    probability[tuple(places.T)] = weight @ states / weight.sum()
    return probability


def everywhere(unary):
    return np.asarray(inference.beliefs(jnp.asarray(unary), jnp.ones(unary.shape, bool)))


@pytest.mark.parametrize("seed", range(5))
def test_beliefs_are_those_of_enumeration(seed):
    unary = np.random.default_rng(seed).uniform(-1, 1, (3, 2, 2)).astype(np.float32)
    np.testing.assert_allclose(everywhere(unary), by_enumeration(unary), atol=0.02)


def test_on_a_line_of_layers_they_are_exact():
    """A graph without loops: a pixel in three maps."""
    unary = np.array([0.9, -0.3, -1], np.float32).reshape(3, 1, 1)
    np.testing.assert_allclose(everywhere(unary), by_enumeration(unary), atol=1e-5)


def test_maps_of_different_sizes_have_the_same_middle():
    """One pixel, a row of three, and three rows of three around them: nothing else is in the graph."""
    rng = np.random.default_rng(0)
    scores = [rng.random(size) for size in ((1, 1), (1, 3), (3, 3))]
    values = np.concatenate([each.ravel() for each in scores])
    standard, known = np.zeros((3, 3, 3)), np.zeros((3, 3, 3), bool)
    for layer, each in enumerate(scores):
        top, left = (3 - each.shape[0]) // 2, (3 - each.shape[1]) // 2
        inside = layer, slice(top, top + each.shape[0]), slice(left, left + each.shape[1])
        standard[inside], known[inside] = (each - values.mean()) / values.std(ddof=1), True
    unary = np.where(known, np.abs(standard) - np.abs(1 - standard), 0)
    found = inference.join(scores)
    assert found.shape == (1, 1)
    np.testing.assert_allclose(found[0, 0], by_enumeration(unary, known)[0, 1, 1], atol=0.02)


def test_pixels_that_the_graph_lacks_tell_nothing():
    """A line of three of which the end is cut off: what it would have said makes no difference."""
    unary = np.array([0.9, -0.3, 5], np.float32).reshape(3, 1, 1)
    known = np.array([True, True, False]).reshape(3, 1, 1)
    found = inference.beliefs(jnp.asarray(unary), jnp.asarray(known))
    np.testing.assert_allclose(found[:2], by_enumeration(unary[:2]), atol=1e-5)


def test_the_answer_is_that_of_standardised_scores_in_the_coarsest_map():
    scores = np.random.default_rng(0).random((3, 2, 2))
    standard = (scores - scores.mean()) / scores.std(ddof=1)
    probability = by_enumeration(np.abs(standard) - np.abs(1 - standard))[0]
    found = inference.join(7 * scores - 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, probability, atol=0.02)


def test_high_scores_are_high_and_speckles_are_outvoted():
    scores = np.zeros((3, 20, 20))
    scores[:, :, 10:] = 1
    scores[0, 10, 5] = 1
    found = inference.join(scores)
    assert found[:, 12:].min() > 0.8 > 0.5 > found[10, 5] > found[2, 5]


@pytest.mark.parametrize("size", ((1, 1), (1, 5), (4, 3)), ids=str)
def test_equal_scores_say_nothing(size):
    np.testing.assert_array_equal(inference.join(np.full((3, *size), 0.3)), np.zeros(size))
