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
    image = np.asarray(image, np.float64)
    places = [(row, column) for row in range(3) for column in range(3)]

    def at(array: np.ndarray, place: tuple[int, int]) -> np.ndarray:
        """What lies at this place of each window."""
        return array[place[0] : place[0] + height - 2, place[1] : place[1] + width - 2]

    mean = sum(at(image, place) for place in places) / 9
    colours = [at(image, place) - mean for place in places]
    covariance = sum(each[..., :, None] * each[..., None, :] for each in colours) / 9 + epsilon / 9 * np.eye(3)
    inverse = np.linalg.inv(covariance)
    bands: dict[int, np.ndarray] = {}  # how far on a pixel's partner is -> the pair's entry
    for i, first in enumerate(places):
        projected = np.einsum("hwij,hwj->hwi", inverse, colours[i])
        for j, second in enumerate(places[i:], i):
            offset = (second[0] - first[0]) * width + second[1] - first[1]
            band = bands.setdefault(offset, np.zeros((height, width)))
            at(band, first)[:] += (i == j) - (1 + (projected * colours[j]).sum(-1)) / 9
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
    """
    weights = lam * np.asarray(known, np.float64).ravel()
    right = weights * np.where(known, values, 0).ravel()
    if not right.any():
        return np.zeros(known.shape, np.float32)
    matrix = (laplacian + scipy.sparse.diags(weights + TINY)).tocsr()
    cycle = scipy.sparse.linalg.LinearOperator(matrix.shape, _multigrid(matrix, known.shape), dtype=np.float64)
    solution, _ = scipy.sparse.linalg.cg(matrix, right, rtol=1e-7, maxiter=1000, M=cycle)
    return solution.reshape(known.shape).astype(np.float32)


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
