"""The layers that all networks share: convolution with norm and activation, doubling, pooling, input normalisation.

The functions make Linen submodules of whichever network calls them inside its compact `__call__`.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sgdbd_jax.config import InputNorm

he_normal = nn.initializers.he_normal()  # N(0, 2 / fan-in)


def leaky_relu(x: jax.Array) -> jax.Array:
    """Leaky ReLU with slope 0.2, the discriminators'."""
    return nn.leaky_relu(x, 0.2)


def normalise(photo: jax.Array, norm: InputNorm) -> jax.Array:
    """RGB in [0, 1] to what the network was made for: `(x - mean) / std`, `[B, H, W, 3]`."""
    return (photo - jnp.asarray(norm.mean)) / jnp.asarray(norm.std)


def batch_norm(x: jax.Array, *, name: str, train: bool, axis_name: str | None) -> jax.Array:
    """BatchNorm with torch's defaults (its momentum 0.1 is Flax's 0.9); statistics cross devices."""
    return nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, axis_name=axis_name if train else None, name=name)(x)


def conv_block(
    x: jax.Array,
    features: int,
    kernel_size: int = 3,
    *,
    name: str,
    train: bool,
    axis_name: str | None,
    stride: int = 1,
    norm: bool,
    activation: Callable[[jax.Array], jax.Array] = nn.relu,
    kernel_init: nn.initializers.Initializer = he_normal,
) -> jax.Array:
    """Convolution, BatchNorm if `norm`, activation: `[B, H, W, C]` to `[B, H / stride, W / stride, features]`.

    The submodules are called `name` and `name` + "_norm". Padding is that of torch: half the kernel on each side.
    """
    pad = kernel_size // 2
    x = nn.Conv(
        features,
        (kernel_size, kernel_size),
        strides=stride,
        padding=((pad, pad), (pad, pad)),
        kernel_init=kernel_init,
        name=name,
    )(x)
    if norm:
        x = batch_norm(x, name=f"{name}_norm", train=train, axis_name=axis_name)
    return activation(x)


def max_pool(x: jax.Array) -> jax.Array:
    """2x2 maximum; an odd last row or column is left out, as in torch."""
    return nn.max_pool(x, (2, 2), strides=(2, 2))


def upsample(x: jax.Array, *, align_corners: bool) -> jax.Array:
    """Bilinear doubling, `[B, H, W, C]` to `[B, 2H, 2W, C]`.

    With `align_corners` the corner pixels' centres stay where they are (torch's `align_corners=True`, the release's);
    without, pixels are areas (torch's and `jax.image.resize`'s default).
    """
    batch, height, width, channels = x.shape
    shape = (batch, 2 * height, 2 * width, channels)
    if not align_corners:
        return jax.image.resize(x, shape, "bilinear")
    # Output pixel i samples input i (n - 1) / (2n - 1); the translation undoes the function's half-pixel centres.
    # A single row or column has nothing to interpolate with: a scale of 2 repeats it.
    scale = np.array([(2 * n - 1) / (n - 1) if n > 1 else 2.0 for n in (height, width)], np.float32)
    translation = np.where(np.array([height, width]) > 1, 0.5 - 0.5 * scale, 0.0).astype(np.float32)
    return jax.image.scale_and_translate(
        x, shape, (1, 2), jnp.asarray(scale), jnp.asarray(translation), "linear", antialias=False
    )


def scaled(features: int, width: float) -> int:
    """A channel count under a width factor, at least 1."""
    return max(1, round(features * width))
