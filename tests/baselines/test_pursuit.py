"""Orthogonal matching pursuit against its definition, and what K-SVD learns."""

import numpy as np
import pytest

from sgdbd_jax.baselines.pursuit import learn_dictionary, pursue


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def unit_columns(matrix):
    return (matrix / np.linalg.norm(matrix, axis=0)).astype(np.float32)


def pursue_by_definition(signal, dictionary, tolerance, most):
    chosen, left = [], signal
    while np.linalg.norm(left) > tolerance and len(chosen) < most:
        chosen.append(int(np.abs(dictionary.T @ left).argmax()))
        taken = dictionary[:, chosen]
        left = signal - taken @ np.linalg.lstsq(taken, signal, rcond=None)[0]
    return chosen


def test_a_pursuit_takes_the_atoms_that_its_definition_takes(rng):
    """Signals of all strengths: some end at once, some after all twelve."""
    dictionary = unit_columns(rng.normal(size=(16, 24)))
    signals = (rng.normal(size=(40, 16)) * np.geomspace(0.01, 10, 40)[:, None]).astype(np.float32)
    found = pursue(signals, dictionary, tolerance=0.7, most=12)
    expected = [pursue_by_definition(signal, dictionary.astype(float), 0.7, 12) for signal in signals.astype(float)]
    assert [[atom for atom in row if atom >= 0] for row in found.tolist()] == expected
    counts = (found >= 0).sum(1)
    assert counts.min() == 0 and counts.max() == 12 and ((counts > 8) & (counts < 12)).any()


def test_a_pursuit_ends_where_no_atom_adds_anything(rng):
    """Of three atoms in a plane, two reach all of it; what is beyond the plane stays."""
    dictionary = np.array([[1, 0, 0.8], [0, 1, 0.6], [0, 0, 0]], np.float32)
    (found,) = pursue(np.array([[3, 2, 5]], np.float32), dictionary, tolerance=0.1, most=3)
    assert sorted(found[:2].tolist()) in ([0, 1], [0, 2], [1, 2]) and found[2] == -1


def test_k_svd_finds_the_atoms_that_signals_are_made_of():
    """Begun from sums of two of them; one or the other is never found, as is known of the method."""
    rng = np.random.default_rng(1)
    truth = unit_columns(rng.normal(size=(24, 24)))
    weights = np.zeros((24, 1000))
    for column in weights.T:
        column[rng.choice(24, 2, replace=False)] = rng.choice((-1, 1), 2) * rng.uniform(1, 3, 2)
    signals, means = (truth @ weights).T.astype(np.float32), []
    found = learn_dictionary(signals, atoms=24, tolerance=0.1, most=2, rounds=20, rng=rng, progress=means.append)
    assert (np.abs(truth.T @ found).max(1) > 0.98).sum() >= 21
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), 1, atol=1e-6)
    assert len(means) == 20 and means[-1] == pytest.approx(2, abs=0.01)


def test_an_atom_that_nothing_uses_gives_way_to_what_is_left():
    """Two directions; the first atoms are drawn from one of them, all but nearly alike."""
    signals = np.zeros((50, 4), np.float32)
    signals[:, 0] = np.linspace(1, 2, 50)
    signals[7] = [0, 0, 3, 0]

    class FromFirst:
        def choice(self, count, atoms, replace):
            return np.array([0, 1])

    found = learn_dictionary(signals, atoms=2, tolerance=0.1, most=1, rounds=2, rng=FromFirst())
    np.testing.assert_allclose(np.abs(found[[0, 2]]).max(1), 1, atol=1e-5)
