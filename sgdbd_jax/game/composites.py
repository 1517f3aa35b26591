"""Masks and photos to composites (Eq. 1 and 2)."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient

from sgdbd_jax.config import GameConfig


def paste(mask: jax.Array, inside: jax.Array, outside: jax.Array) -> jax.Array:
    """`mask * inside + (1 - mask) * outside`.

    Args:
        mask: `[B, H, W, 1]` float in [0, 1].
        inside, outside: `[B, H, W, 3]` float photos.

    Returns:
        `[B, H, W, 3]` float, in the range of the photos.
    """
    chex.assert_equal_shape([inside, outside])
    chex.assert_equal_shape_prefix([mask, inside], 3)
    chex.assert_axis_dimension(mask, -1, 1)
    return outside + mask * (inside - outside)


def composites(mask: jax.Array, source: jax.Array, clear: jax.Array, blur: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The two photos that the discriminators judge.

    Args:
        mask: M, `[B, H, W, 1]` float in [0, 1], 1 = in focus.
        source: T, `[B, H, W, 3]` partly blurred photos.
        clear: I_c, `[B, H, W, 3]` photos all in focus.
        blur: I_b, `[B, H, W, 3]` photos all out of focus.

    Returns:
        composite_clear, C_c = M T + (1 - M) I_c (Eq. 1), and composite_blur, C_b = (1 - M) T + M I_b (Eq. 2).
    """
    return paste(mask, source, clear), paste(mask, blur, source)


def composed(mask: jax.Array, game: GameConfig) -> jax.Array:
    """The mask that composites are of: M itself, smoothed and decided as the game asks.

    Args:
        mask: M, `[B, H, W, 1]` float in [0, 1].
        game: its switches.

    Returns:
        `[B, H, W, 1]` in [0, 1].
    """
    mask = smoothed(mask, game.smoothing) if game.smoothing else mask
    return decided(mask) if game.hard else mask


def decided(mask: jax.Array) -> jax.Array:
    """A mask's decisions, so that composites have no half-transparent pixels by which a discriminator knows them.

    Their gradient would be 0; it is taken as the mask's own (straight-through, Bengio et al. 2013, arXiv:1308.3432).

    Args:
        mask: float array in [0, 1], any shape.

    Returns:
        The same shape: 1 above a half, else 0; to be differentiated as if it were `mask`.
    """
    decisions = (mask > 0.5).astype(mask.dtype)
    return stop_gradient(decisions) + (mask - stop_gradient(mask))  # in this order exactly 0 or 1


def smoothed(mask: jax.Array, sigma: float) -> jax.Array:
    """A mask under a Gaussian, which can carry no pattern finer than that, by which a discriminator would be fooled.

    Args:
        mask: `[B, H, W, 1]` float in [0, 1].
        sigma: of the Gaussian, in pixels, above 0. It is cut at the photo's sides, and its weights sum to 1 there too.

    Returns:
        `[B, H, W, 1]` in [0, 1].
    """
    chex.assert_rank(mask, 4)
    down, across = (jnp.asarray(_gaussian(side, sigma), mask.dtype) for side in mask.shape[1:3])
    return jnp.einsum("ih,bhwc,jw->bijc", down, mask, across)


def _gaussian(side: int, sigma: float) -> np.ndarray:
    """`[side, side]`: row i has the weights of all places for place i, which sum to 1."""
    places = np.arange(side)
    weights = np.exp(-(((places[:, None] - places) / sigma) ** 2) / 2)
    return weights / weights.sum(axis=1, keepdims=True)
