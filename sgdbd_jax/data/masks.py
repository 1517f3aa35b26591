"""Random regions and masks, for pasting one photo on another and for laying out scenes.

Every shape (half plane, disk, polygon, blobs, cloud) is a height at each pixel. The mask is where the height exceeds a
level, which sets the share of the image that it covers; the height's slope sets how wide a feathered edge is.
"""

from collections.abc import Callable

import numpy as np


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], *, cycles: float = 2.0) -> np.ndarray:
    """A random low-frequency field: eight plane waves of random direction, length and phase.

    Args:
        rng: source of all randomness.
        shape: (height, width) in pixels.
        cycles: highest frequency along each axis, in periods an image.

    Returns:
        `[H, W]` float32, its lowest value 0 and its highest 1.
    """
    height, width = shape
    waves = 2 * np.pi * rng.uniform(-cycles, cycles, (2, 8))
    factors = rng.normal(size=8) * np.exp(2j * np.pi * rng.random(8))
    down = np.exp(1j * np.outer(np.arange(height) / height, waves[0])) * factors
    across = np.exp(1j * np.outer(np.arange(width) / width, waves[1]))
    field = np.einsum("hk,wk->hw", down, across).real
    field -= field.min()
    return (field / max(field.max(), np.finfo(np.float64).tiny)).astype(np.float32)


def random_region(rng: np.random.Generator, shape: tuple[int, int], coverage: float) -> np.ndarray:
    """A random region of a stated area: half plane, disk, polygon, blobs or cloud, or what such a shape leaves out.

    Args:
        rng: source of all randomness.
        shape: (height, width) in pixels.
        coverage: the region's share of the pixels, in [0, 1].

    Returns:
        `[H, W]` bool.
    """
    height = _random_height(rng, shape)
    return height > np.quantile(height, 1 - coverage)


def random_mask(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """A random mask, hard or feathered, of 10% to 90% coverage.

    Args:
        rng: source of all randomness.
        shape: (height, width) in pixels.

    Returns:
        `[H, W]` float32 in [0, 1]; half of the masks hold nothing but 0 and 1, the others have an edge from one pixel
        to a quarter of the shorter side wide.
    """
    height = _random_height(rng, shape)
    above = height - np.quantile(height, 1 - rng.uniform(0.1, 0.9))
    if rng.random() < 0.5:
        return (above > 0).astype(np.float32)
    slope = np.mean(np.hypot(*np.gradient(height)))  # height a pixel: turns the feather's width into height
    feather = np.exp(rng.uniform(0, np.log(max(min(shape) / 4, 1))))
    return np.clip(0.5 + above / (feather * slope), 0, 1).astype(np.float32)


def _random_height(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """One of the shapes below, upright or inverted, as a `[H, W]` height that falls away from it."""
    shapes: tuple[Callable[..., np.ndarray], ...] = (_half_plane, _disk, _polygon, _blobs, _cloud)
    y, x = np.mgrid[: shape[0], : shape[1]] / max(shape)
    height = shapes[rng.integers(len(shapes))](rng, y, x)
    return height if rng.random() < 0.5 else -height


def _half_plane(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return np.sin(angle) * y + np.cos(angle) * x


def _disk(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return -np.hypot(y - rng.uniform(0.1, 0.9), x - rng.uniform(0.1, 0.9))


def _polygon(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A convex polygon around a random point: how far a pixel lies behind its nearest side."""
    sides = rng.integers(3, 8)
    angles = 2 * np.pi * (np.arange(sides) + rng.uniform(0, 0.8, sides)) / sides
    y, x = y - rng.uniform(0.2, 0.8), x - rng.uniform(0.2, 0.8)
    outward = np.sin(angles)[:, None, None] * y + np.cos(angles)[:, None, None] * x
    return -np.max(outward - rng.uniform(0, 0.3, sides)[:, None, None], axis=0)


def _blobs(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Several disks, which grow together as the level falls."""
    centre_y, centre_x, radius = rng.random((3, rng.integers(2, 7), 1, 1))
    return np.max(0.3 * radius - np.hypot(y - centre_y, x - centre_x), axis=0)


def _cloud(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return smooth_field(rng, (y.shape[0], y.shape[1]), cycles=rng.uniform(1, 4)).astype(np.float64)
