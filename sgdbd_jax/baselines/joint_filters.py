"""Filters of a map by a guide, another picture that gives the weights: bilateral mean, rolling guidance, median.

Petschnigg et al., "Digital Photography with Flash and No-Flash Image Pairs", 2004; Zhang, Shen, Xu, Jia, "Rolling
Guidance Filter", 2014; Zhang, Xu, Jia, "100+ Times Faster Weighted Median Filter", 2014. OpenCV has them among its
contributed modules alone, whose package takes the place of the one that everything else here stands on. All windows are
square, and cut at the photo's borders.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from sgdbd_jax.backend import start_jax
from sgdbd_jax.compiling import jit

BINS = 256  # levels of what a weighted median is taken of


def joint_bilateral(
    values: np.ndarray,
    guide: np.ndarray,
    *,
    radius: int,
    spatial: float,
    range_: float,
    trust: np.ndarray | None = None,
) -> np.ndarray:
    """The mean of `values` around each pixel, weighted by nearness, by likeness in the guide, and by trust.

    A neighbour at distance r whose guide differs by d has weight `exp(-r^2 / (2 spatial^2) - d^2 / (2 range_^2))` times
    its trust.

    Args:
        values: `[H, W]` float.
        guide: `[H, W]` or `[H, W, C]` float; d is a Euclidean distance.
        radius: the window has `2 radius + 1` pixels a side.
        spatial: in pixels.
        range_: in the guide's units.
        trust: `[H, W]` float, at least 0; 1 everywhere by default.

    Returns:
        `[H, W]` float32; 0 where no neighbour is trusted.
    """
    start_jax()
    trust = np.ones(values.shape) if trust is None else trust
    scales = np.array([spatial, range_], np.float32)
    return np.asarray(_joint_bilateral(radius, _planes(values)[0], _planes(guide), _planes(trust)[0], scales))


def rolling_guidance(photo: np.ndarray, *, spatial: float, range_: float, rounds: int) -> np.ndarray:
    """A photo without its small structures: the first round is a Gaussian, the next ones are guided by the one before.

    Args:
        photo: `[H, W, C]` float; each channel is filtered alone.
        spatial: in pixels; the window reaches to 3 of it.
        range_: in the photo's units.
        rounds: of the filter, the Gaussian among them.

    Returns:
        `[H, W, C]` float32.
    """
    start_jax()
    radius, scales = int(np.ceil(3 * spatial)), np.array([spatial, range_], np.float32)
    return np.stack([np.asarray(_rolling_guidance(radius, rounds, plane, scales)) for plane in _planes(photo)], -1)


def weighted_median(values: np.ndarray, guide: np.ndarray, *, radius: int, range_: float, rounds: int) -> np.ndarray:
    """The median of `values` around each pixel, weighted by likeness in the guide: `exp(-d^2 / (2 range_^2))`.

    Args:
        values: `[H, W]` float in [0, 1], of which 256 levels are told apart.
        guide: `[H, W]` or `[H, W, C]` float; d is a Euclidean distance.
        radius: the window has `2 radius + 1` pixels a side.
        range_: in the guide's units.
        rounds: of the filter, each on what the one before gave.

    Returns:
        `[H, W]` float32: the lowest level that with those below it has half of the window's weight.
    """
    start_jax()
    levels = np.rint(np.asarray(values) * (BINS - 1)).astype(np.float32)
    planes = _planes(guide)
    for _ in range(rounds):
        levels = _weighted_median(radius, levels, planes, np.float32(range_))
    return np.asarray(levels) / np.float32(BINS - 1)


def _planes(picture: np.ndarray) -> np.ndarray:
    """`[C, H, W]` float32 of `[H, W]` or `[H, W, C]`."""
    return np.ascontiguousarray(np.asarray(picture, np.float32).reshape(*picture.shape[:2], -1).transpose(2, 0, 1))


def _joint_bilateral_of(
    radius: int, values: jax.Array, guide: jax.Array, trust: jax.Array, scales: jax.Array
) -> jax.Array:
    spatial, range_ = scales
    neighbours = _Neighbours(radius, guide)
    trusted, weighted = neighbours.bordered(trust), neighbours.bordered(trust * values)

    def add(place: jax.Array, sums: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        weight = jnp.exp(-neighbours.distance(place) / (2 * spatial**2)) * neighbours.likeness(place, range_)
        return sums[0] + weight * neighbours.at(place, weighted), sums[1] + weight * neighbours.at(place, trusted)

    total, weights = lax.fori_loop(0, neighbours.count, add, (jnp.zeros_like(values), jnp.zeros_like(values)))
    return jnp.where(weights > 0, total / jnp.where(weights > 0, weights, 1), 0)


_joint_bilateral = functools.partial(jit, static_argnums=0)(_joint_bilateral_of)


@functools.partial(jit, static_argnums=(0, 1))
def _rolling_guidance(radius: int, rounds: int, plane: jax.Array, scales: jax.Array) -> jax.Array:
    guide, trust = jnp.zeros_like(plane), jnp.ones_like(plane)
    return lax.fori_loop(
        0, rounds, lambda _, guide: _joint_bilateral_of(radius, plane, guide[None], trust, scales), guide
    )


@functools.partial(jit, static_argnums=0)
def _weighted_median(radius: int, levels: jax.Array, guide: jax.Array, range_: jax.Array) -> jax.Array:
    """Bit by bit: a level's bit is set where the levels below it have less than half of the weight."""
    neighbours = _Neighbours(radius, guide)
    inside, padded = neighbours.bordered(jnp.ones_like(levels)), neighbours.bordered(levels)

    def halve(place: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        found, bit = state
        trial = found + bit

        def add(place: jax.Array, balance: jax.Array) -> jax.Array:
            weight = neighbours.likeness(place, range_) * neighbours.at(place, inside)
            return balance + jnp.where(neighbours.at(place, padded) < trial, weight, -weight)

        balance = lax.fori_loop(0, neighbours.count, add, jnp.zeros_like(levels))
        return jnp.where(balance < 0, trial, found), bit / 2

    start = (jnp.zeros_like(levels), jnp.float32(BINS // 2))
    return lax.fori_loop(0, (BINS - 1).bit_length(), halve, start)[0]


class _Neighbours:
    """What lies around every pixel of a guide, at one place of the window at a time."""

    def __init__(self, radius: int, guide: jax.Array):
        self.side = 2 * radius + 1
        self.count = self.side**2
        self._radius, self._guide = radius, guide
        self._padded = self.bordered(guide)

    def bordered(self, planes: jax.Array) -> jax.Array:
        """`[..., H, W]` with zeros around."""
        return jnp.pad(planes, [(0, 0)] * (planes.ndim - 2) + [(self._radius, self._radius)] * 2)

    def at(self, place: jax.Array, bordered: jax.Array) -> jax.Array:
        """`[..., H, W]`: each pixel's neighbour at a place of the window, counted row by row."""
        start = (0,) * (bordered.ndim - 2) + (place // self.side, place % self.side)
        return lax.dynamic_slice(bordered, start, (*bordered.shape[:-2], *self._guide.shape[-2:]))

    def distance(self, place: jax.Array) -> jax.Array:
        """The square of how far the neighbours at a place are, in pixels."""
        return (place // self.side - self._radius) ** 2 + (place % self.side - self._radius) ** 2

    def likeness(self, place: jax.Array, range_: jax.Array) -> jax.Array:
        """`[H, W]`: a Gaussian of how much the guide differs from itself at a place."""
        difference = self.at(place, self._padded) - self._guide
        return jnp.exp(-(difference**2).sum(0) / (2 * range_**2))
