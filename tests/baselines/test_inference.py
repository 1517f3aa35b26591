"""Belief propagation against enumeration, and what it makes of speckles."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from sgdbd_jax.baselines import inference


def by_enumeration(unary):
    """Probabilities from all states of all pixels of a few: 4096 of 3 x 2 x 2."""
    states = np.array(list(itertools.product((0, 1), repeat=unary.size))).reshape(-1, *unary.shape)
    differ = sum(np.abs(np.diff(states, axis=axis)).reshape(len(states), -1).sum(1) for axis in (1, 2, 3))
    weight = np.exp((states * unary).reshape(len(states), -1).sum(1) - inference.ALPHA * differ)
    return np.einsum("n,nlij->lij", weight, states) / weight.sum()


@pytest.mark.parametrize("seed", range(5))
def test_beliefs_are_those_of_enumeration(seed):
    unary = np.random.default_rng(seed).uniform(-1, 1, (3, 2, 2)).astype(np.float32)
    found = np.asarray(inference.beliefs(jnp.asarray(unary)))
    np.testing.assert_allclose(found, by_enumeration(unary), atol=0.02)


def test_on_a_line_of_layers_they_are_exact():
    """A graph without loops: a pixel in three maps."""
    unary = np.array([0.9, -0.3, -1], np.float32).reshape(3, 1, 1)
    np.testing.assert_allclose(inference.beliefs(jnp.asarray(unary)), by_enumeration(unary), atol=1e-5)


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
