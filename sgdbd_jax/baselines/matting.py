"""The matting Laplacian, by which what is known at some pixels spreads to those of like colours around them.

Levin, Lischinski and Weiss, "A Closed-Form Solution to Natural Image Matting", PAMI 2008. As pymatting's `cf_laplacian`
to 1e-9; its package is not used because it compiles for minutes when first imported, and because its incomplete
factors alone take more than 2 GB for a photo of 1024 pixels.
"""

from collections.abc import Callable

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

FEW = 6000  # unknowns that are solved for directly
PLACES = [(row, column) for row in range(3) for column in range(3)]  # of a window
TINY = 1e-10  # holds pixels of which nothing is known at 0


def laplacian(image: np.ndarray, epsilon: float) -> scipy.sparse.csr_matrix:
    """The matting Laplacian of all 3x3 windows (Eq. 12).

    Args:
        image: `[H, W, 3]` float, colours in [0, 1].
        epsilon: a ninth of it is added to the windows' variances of colour; what a window cannot explain costs the
            less, the larger it is.

    Returns:
        `[H W, H W]` float64, symmetric, no eigenvalue below 0, rows that sum to 0; all zeros if no window fits.
    """
    height, width = image.shape[:2]
    if min(height, width) < 3:
        return scipy.sparse.csr_matrix((height * width,) * 2)
    colours, _, inverse = _windows(image, epsilon)
    bands: dict[int, np.ndarray] = {}  # how far on a pixel's partner is -> the pair's entry
    for i, first in enumerate(PLACES):
        projected = np.einsum("hwij,hwj->hwi", inverse, colours[i])
        for j, second in enumerate(PLACES[i:], i):
            offset = (second[0] - first[0]) * width + second[1] - first[1]
            band = bands.setdefault(offset, np.zeros((height, width)))
            _at(band, first)[:] += (i == j) - (1 + (projected * colours[j]).sum(-1)) / 9
    return _symmetric({offset: band.ravel() for offset, band in bands.items()})


def solve(laplacian: scipy.sparse.csr_matrix, known: np.ndarray, values: np.ndarray, lam: float) -> np.ndarray:
    """The map that agrees with what is known, and else is as smooth as the Laplacian wants (Eq. 14, soft constraints).

    Solves `(L + lam diag(known)) x = lam known values` by conjugate gradients, preconditioned by a cycle over coarser
    and coarser grids.

    Args:
        laplacian: of `laplacian`, for an image of the map's size.
        known: `[H, W]` bool.
        values: `[H, W]` float; of no account where unknown.
        lam: how much a known value weighs.

    Returns:
        `[H, W]` float32, perhaps a little beyond the known values. Zeros where nothing is known.

    Raises:
        ArithmeticError: the gradients did not settle in 1000 rounds.
    """
    weights = lam * np.asarray(known, np.float64).ravel()
    right = weights * np.where(known, values, 0).ravel()
    if not right.any():
        return np.zeros(known.shape, np.float32)
    matrix = (laplacian + scipy.sparse.diags(weights + TINY)).tocsr()
    cycle = scipy.sparse.linalg.LinearOperator(matrix.shape, _multigrid(matrix, known.shape), dtype=np.float64)
    solution, unsettled = scipy.sparse.linalg.cg(matrix, right, rtol=1e-7, maxiter=1000, M=cycle)
    if unsettled:
        raise ArithmeticError("matting: conjugate gradients did not settle")
    return solution.reshape(known.shape).astype(np.float32)


def linear_fit(alpha: np.ndarray, image: np.ndarray, epsilon: float) -> np.ndarray:
    """A map as a linear function of the colours in the 3x3 window around each pixel.

    Args:
        alpha: `[H, W]` float, H and W at least 3.
        image: `[H, W, 3]` float, colours in [0, 1].
        epsilon: of the squares of the slopes, in the sum of squares that is made least.

    Returns:
        `[H, W, 4]` float64: what the three colours are multiplied by, and what is added. At the border, as next to it.
    """
    colours, mean, inverse = _windows(image, epsilon)
    middle = sum(_at(alpha, place) for place in PLACES) / 9
    covariance = sum(each * (_at(alpha, place) - middle)[..., None] for each, place in zip(colours, PLACES)) / 9
    slopes = np.einsum("hwij,hwj->hwi", inverse, covariance)
    fit = np.dstack([slopes, middle - (slopes * mean).sum(-1)])
    return np.pad(fit, ((1, 1), (1, 1), (0, 0)), mode="edge")


def _windows(image: np.ndarray, epsilon: float) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Of every 3x3 window: its nine colours without their mean, the mean, and the inverse of their covariance."""
    image = np.asarray(image, np.float64)
    mean = np.add.reduce([_at(image, place) for place in PLACES]) / 9
    colours = [_at(image, place) - mean for place in PLACES]
    covariance = sum(each[..., :, None] * each[..., None, :] for each in colours) / 9
    return colours, mean, np.linalg.inv(covariance + epsilon / 9 * np.eye(3))


def _at(array: np.ndarray, place: tuple[int, int]) -> np.ndarray:
    """What lies at this place of each window."""
    row, column = place
    return array[row : array.shape[0] - 2 + row, column : array.shape[1] - 2 + column]


def _symmetric(bands: dict[int, np.ndarray]) -> scipy.sparse.csr_matrix:
    """A matrix from its diagonals at and above the main one: `bands[k][i]` is the entry `(i, i + k)`."""
    size = bands[0].size
    upper = [(offset, band[: size - offset]) for offset, band in bands.items()]
    both = dict(upper) | {-offset: band for offset, band in upper}
    return scipy.sparse.diags(list(both.values()), list(both), (size, size)).tocsr()


def _multigrid(matrix: scipy.sparse.csr_matrix, shape: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
    """One V-cycle: smooths by Jacobi's steps, solves for the rest on a grid of half the size, and smooths again."""
    if matrix.shape[0] <= FEW:
        return scipy.sparse.linalg.splu(matrix.tocsc()).solve
    enlarge = scipy.sparse.kron(_enlarging(shape[0]), _enlarging(shape[1])).tocsr()
    reduce = enlarge.T.tocsr()
    coarse = _multigrid((reduce @ matrix @ enlarge).tocsr(), tuple((side + 1) // 2 for side in shape))
    step = 0.7 / matrix.diagonal()

    def cycle(right: np.ndarray) -> np.ndarray:
        x = step * right
        x += step * (right - matrix @ x)
        x += enlarge @ coarse(reduce @ (right - matrix @ x))
        x += step * (right - matrix @ x)
        return x + step * (right - matrix @ x)

    return cycle


def _enlarging(side: int) -> scipy.sparse.csr_matrix:
    """Doubles a line linearly: `[side, (side + 1) // 2]`; a pixel is a quarter of the way to its second parent."""
    pixels = np.arange(side)
    parents, half = pixels // 2, (side + 1) // 2
    second = np.clip(parents + np.where(pixels % 2, 1, -1), 0, half - 1)
    weights = np.repeat((0.75, 0.25), side)
    return scipy.sparse.csr_matrix((weights, (np.tile(pixels, 2), np.r_[parents, second])), (side, half))
