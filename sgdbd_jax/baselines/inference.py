"""Joins three maps of sharpness, of windows of three sizes, in one graph: neighbours and sizes tend to agree.

Shi, Xu and Jia, "Discriminative Blur Detection Features", CVPR 2014, Section 5. Grade A: the graph, its potentials and
the way of its solution are the authors' programs'. There, messages are sent one after another until all together change
by less than 1e-4; here all at once, in float32, until none changes any more. Both end at the same probabilities.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from sgdbd_jax.backend import start_jax
from sgdbd_jax.compiling import jit

ALPHA = 0.5  # what it costs two neighbours to differ: the logarithm
SWEEPS = 100  # at most
SETTLED = 1e-6  # change below which a message has settled: what float32 resolves


def join(scores: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """How probably each pixel of the coarsest map is of the state that high scores speak for.

    Sum-product belief propagation on a graph of all pixels of three maps, each tied to its four neighbours in its own
    map and to the same pixel of the next map, if that reaches so far.

    Args:
        scores: three `[h, w]` float maps, any range: coarse, middle, fine. They are standardised together. Where their
            sizes differ, by even numbers, they have the same middle.

    Returns:
        `[h, w]` float32 in [0, 1], of the coarsest map. Zeros if all scores are the same.
    """
    start_jax()
    maps = [np.asarray(each, np.float64) for each in scores]
    values = np.concatenate([each.ravel() for each in maps])
    deviation = values.std(ddof=1)
    if not deviation > 1e-12 * np.abs(values).max():
        return np.zeros(maps[0].shape, np.float32)
    height, width = (max(sizes) for sizes in zip(*(each.shape for each in maps)))
    unary, known = np.zeros((len(maps), height, width), np.float32), np.zeros((len(maps), height, width), bool)
    inside = []
    for layer, each in enumerate(maps):
        top, left = (height - each.shape[0]) // 2, (width - each.shape[1]) // 2
        inside.append((layer, slice(top, top + each.shape[0]), slice(left, left + each.shape[1])))
        standard = (each - values.mean()) / deviation
        unary[inside[-1]] = np.abs(standard) - np.abs(1 - standard)  # of exp(-|X|) and exp(-|1 - X|), as log-odds
        known[inside[-1]] = True
    return np.asarray(_coarsest(unary, known))[inside[0][1:]]


def beliefs(unary: jax.Array, known: jax.Array) -> jax.Array:
    """Belief propagation to where it settles.

    Args:
        unary: `[3, H, W]` float32 log-odds of the states, by each pixel's own score.
        known: `[3, H, W]` bool, whether the graph has this pixel; if not, it tells nobody anything.

    Returns:
        `[3, H, W]` float32 probability of the state that positive log-odds speak for.
    """
    directions = [(axis, step) for axis in range(3) for step in (1, -1)]

    def total(incoming: jax.Array) -> jax.Array:
        return unary + incoming.sum(0)

    def sweep(incoming: jax.Array) -> jax.Array:
        """All messages anew; `incoming[d]` is what each pixel hears from its neighbour against direction d."""
        now = total(incoming)
        heard = []
        for i, (axis, step) in enumerate(directions):
            cavity = now - incoming[i ^ 1]  # without what came from the one that is told
            message = 2 * jnp.arctanh(math.tanh(ALPHA / 2) * jnp.tanh(cavity / 2))
            heard.append(_shifted(jnp.where(known, message, 0), axis, step))
        return jnp.stack(heard)

    def going(state: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        sweeps, _, change = state
        return (sweeps < SWEEPS) & (change > SETTLED)

    def go_on(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        sweeps, before, _ = state
        after = sweep(before)
        return sweeps + 1, after, jnp.abs(after - before).max()

    silence = jnp.zeros((len(directions), *unary.shape), unary.dtype)
    start = jnp.int32(0), silence, jnp.asarray(jnp.inf, unary.dtype)
    return jax.nn.sigmoid(total(jax.lax.while_loop(going, go_on, start)[1]))


@jit
def _coarsest(unary: jax.Array, known: jax.Array) -> jax.Array:
    return beliefs(unary, known)[0]


def _shifted(values: jax.Array, axis: int, step: int) -> jax.Array:
    """Values moved one on along an axis, or one back; zeros come in."""
    pad = [(0, 0, 0)] * values.ndim
    pad[axis] = (step, -step, 0)
    return jax.lax.pad(values, jnp.zeros((), values.dtype), pad)
