"""The matting Laplacian against its formula, and what its solutions do at the edges of colours."""

import numpy as np
import pytest

from sgdbd_jax.baselines import matting


def by_loops(image, epsilon):
    """Eq. 12, entry by entry."""
    height, width, _ = image.shape
    matrix = np.zeros((height * width,) * 2)
    for row in range(height - 2):
        for column in range(width - 2):
            window = [(row + i) * width + column + j for i in range(3) for j in range(3)]
            colours = image.reshape(-1, 3)[window]
            spread = np.linalg.inv(np.cov(colours.T, bias=True) + epsilon / 9 * np.eye(3))
            centred = colours - colours.mean(0)
            matrix[np.ix_(window, window)] += np.eye(9) - (1 + centred @ spread @ centred.T) / 9
    return matrix


@pytest.mark.parametrize("size", ((5, 7), (3, 3), (6, 3), (2, 5)), ids=str)
def test_the_laplacian_is_its_formula(size):
    image = np.random.default_rng(0).random((*size, 3))
    matrix = matting.laplacian(image, 1e-3)
    np.testing.assert_allclose(matrix.toarray(), by_loops(image, 1e-3), atol=1e-9)


def test_a_solution_solves_its_system():
    """On grids that are halved twice, of odd sides."""
    rng = np.random.default_rng(1)
    image, values = rng.random((135, 141, 3)), rng.random((135, 141))
    known = rng.random(values.shape) < 0.05
    laplacian = matting.laplacian(image, 1e-5)
    x = matting.solve(laplacian, known, values, 0.5).astype(np.float64).ravel()
    right = 0.5 * (known * values).ravel()
    residual = laplacian @ x + 0.5 * known.ravel() * x - right
    assert np.linalg.norm(residual) < 1e-4 * np.linalg.norm(right)


def test_a_seed_fills_its_colour_and_no_other():
    photo = np.zeros((90, 120, 3))
    photo[:, 60:] = (0.9, 0.5, 0.1)
    known, values = np.zeros((90, 120), bool), np.zeros((90, 120))
    known[40:44, [5, 110]] = True
    values[40:44, 110] = 1
    filled = matting.solve(matting.laplacian(photo, 1e-7), known, values, 100)
    np.testing.assert_allclose(filled, photo[..., 0] / 0.9, atol=0.02)


@pytest.mark.parametrize("size", ((1, 1), (2, 9), (4, 5)), ids=str)
def test_where_nothing_is_known_nothing_is_made_up(size):
    laplacian = matting.laplacian(np.ones((*size, 3)), 1e-7)
    nothing = matting.solve(laplacian, np.zeros(size, bool), np.full(size, np.nan), 1)
    np.testing.assert_array_equal(nothing, np.zeros(size))
    one = np.zeros(size, bool)
    one[0, 0] = True
    assert matting.solve(laplacian, one, np.full(size, 0.5), 1)[0, 0] == pytest.approx(0.5)
