"""RF, the recursive filter in a transformed domain: smooths a map along the edges of another picture, not across them.

Gastal and Oliveira, "Domain Transform for Edge-Aware Image and Video Processing", SIGGRAPH 2011, Section 5. OpenCV has
it among its contributed modules alone, whose package takes the place of the one that everything else here stands on.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from sgdbd_jax.backend import start_jax
from sgdbd_jax.compiling import jit


def filter(x: np.ndarray, guide: np.ndarray, spatial: float, range_: float, rounds: int = 3) -> np.ndarray:
    """Smooths a map by a guide.

    Args:
        x: `[H, W]` float map, any range.
        guide: `[H, W]` or `[H, W, C]` float in [0, 1].
        spatial: standard deviation in pixels where the guide is flat.
        range_: standard deviation across the guide's values: the smaller, the more an edge stops.
        rounds: how often rows, then columns, are filtered, each round by less.

    Returns:
        `[H, W]` float32, within the range of `x`.
    """
    start_jax()
    guide = np.asarray(guide, np.float32)
    guide = guide.reshape(*guide.shape[:2], -1)
    return np.asarray(_filter(spatial, range_, rounds, np.asarray(x, np.float32), guide))


@functools.partial(jit, static_argnums=(0, 1, 2))
def _filter(spatial: float, range_: float, rounds: int, x: jax.Array, guide: jax.Array) -> jax.Array:
    across = _distances(guide.swapaxes(0, 1), spatial / range_)  # from column to column: [W, H]
    down = _distances(guide, spatial / range_)
    for i in range(rounds):
        deviation = spatial * math.sqrt(3) * 2.0 ** (rounds - i - 1) / math.sqrt(4.0**rounds - 1)
        rate = -math.sqrt(2) / deviation
        x = _both_ways(x.T, jnp.exp(rate * across)).T
        x = _both_ways(x, jnp.exp(rate * down))
    return x


def _distances(guide: jax.Array, slope: float) -> jax.Array:
    """How far each is in the transformed domain from the one before it along the first axis; the first, from itself."""
    steps = jnp.abs(jnp.diff(guide, axis=0)).sum(-1)
    return 1 + slope * jnp.pad(steps, ((1, 0), (0, 0)))


def _both_ways(x: jax.Array, weights: jax.Array) -> jax.Array:
    """Along the first axis, to the end and back; `weights[j]` is what `j` takes over from `j - 1`, and back."""

    def step(before: jax.Array, here: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        value, weight = here
        mixed = value + weight * (before - value)
        return mixed, mixed

    x = jax.lax.scan(step, x[0], (x, weights))[1]
    return jax.lax.scan(step, x[-1], (x, jnp.roll(weights, -1, axis=0)), reverse=True)[1]
