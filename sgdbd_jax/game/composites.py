"""Masks and photos to composites (Eq. 1 and 2)."""

import chex
import jax


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
