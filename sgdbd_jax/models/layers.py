"""The layers that all networks share: convolution with norm and activation, doubling, pooling, input normalisation.

The functions make Linen submodules of whichever network calls them inside its compact `__call__`.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import ScopeParamShapeError

from sgdbd_jax.config import InputNorm
from sgdbd_jax.models.convolution import convolve, interleave, winograd

NORM_EPSILON = 1e-5  # of BatchNorm, torch's default
HIGH_PASS = 4.0  # what a photo's high-pass is multiplied by, so that it is about as large as the photo
he_normal = nn.initializers.he_normal()  # N(0, 2 / fan-in)


def leaky_relu(x: jax.Array) -> jax.Array:
    """Leaky ReLU with slope 0.2, the discriminators'."""
    return nn.leaky_relu(x, 0.2)


def to_unit(photo: jax.Array) -> jax.Array:
    """uint8 photos or masks to float32 in [0, 1]: the one place where batches are converted."""
    return photo.astype(jnp.float32) / 255


def normalise(photo: jax.Array, norm: InputNorm) -> jax.Array:
    """RGB in [0, 1] to what the network was made for: `(x - mean) / std`, `[B, H, W, 3]`."""
    return (photo - jnp.asarray(norm.mean)) / jnp.asarray(norm.std)


def batch_norm(x: jax.Array, *, name: str, train: bool, axis_name: str | None) -> jax.Array:
    """BatchNorm with torch's defaults (its momentum 0.1 is Flax's 0.9); statistics cross devices."""
    axis_name = axis_name if train else None
    return nn.BatchNorm(not train, momentum=0.9, epsilon=NORM_EPSILON, axis_name=axis_name, name=name)(x)


class Conv(nn.Module):
    """`convolve` with its kernel and bias; padding is that of torch: half the kernel on each side."""

    features: int
    kernel_size: int = 3
    stride: int = 1
    kernel_init: nn.initializers.Initializer = he_normal

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B, H, W, C]` to `[B, H / stride, W / stride, features]`; by `taps` where `with_taps` has made some."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self._param("kernel", self.kernel_init, shape)
        bias = self._param("bias", nn.initializers.zeros_init(), (self.features,))
        x = x.astype(kernel.dtype)  # which is float32, whatever `jax_enable_x64` made of the photo
        if self.stride == 1 and self.has_variable("taps", "taps"):
            return winograd(x, self.get_variable("taps", "taps")) + bias
        return convolve(x, kernel, self.stride) + bias

    def _param(self, name: str, init: nn.initializers.Initializer, shape: tuple[int, ...]) -> jax.Array:
        """As Flax's `param`, which traces how a parameter began even where it is given: half of a network's tracing."""
        if not self.has_variable("params", name):
            return self.param(name, init, shape, jnp.float32)
        given: jax.Array = self.get_variable("params", name)
        if given.shape != shape:
            raise ScopeParamShapeError(name, self.path, given.shape, shape)
        return given


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

    The submodules are called `name` and `name` + "_norm".
    """
    x = Conv(features, kernel_size, stride, kernel_init, name=name)(x)
    if norm:
        x = batch_norm(x, name=f"{name}_norm", train=train, axis_name=axis_name)
    return activation(x)


@jax.custom_vjp
def max_pool(x: jax.Array) -> jax.Array:
    """2x2 maximum; an odd last row or column is left out, as in torch.

    Its derivative goes to the first of equal pixels, as torch's and XLA's own, which keeps four indices a pixel.
    """
    return functools.reduce(jnp.maximum, _quarters(x))


def _quarters(x: jax.Array) -> list[jax.Array]:
    """The four pixels of every 2x2 square, in reading order: `[B, H, W, C]` to four `[B, H // 2, W // 2, C]`."""
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    return [x[:, i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]


def _pool_forward(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    pooled = max_pool(x)
    return pooled, (x, pooled)


def _pool_backward(saved: tuple[jax.Array, jax.Array], grad: jax.Array) -> tuple[jax.Array]:
    x, pooled = saved
    free, parts = jnp.ones(pooled.shape, bool), []
    for quarter in _quarters(x):
        first = free & (quarter == pooled)
        parts.append(jnp.where(first, grad, 0))
        free = free & ~first
    return (jnp.pad(interleave(parts), ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0))),)


max_pool.defvjp(_pool_forward, _pool_backward)


def to_blocks(x: jax.Array) -> jax.Array:
    """The four pixels of every 2x2 square as channels of one: `[B, 2H, 2W, C]` to `[B, H, W, 4C]`."""
    return jnp.concatenate(_quarters(x), axis=-1)


def in_blocks(photo: jax.Array) -> jax.Array:
    """A photo and its high-pass, which is what blur takes away, in 2x2 blocks: `[B, 2H, 2W, 3]` to `[B, H, W, 24]`."""
    return to_blocks(jnp.concatenate([photo, HIGH_PASS * (photo - mean_of_nine(photo))], axis=-1))


def mean_of_nine(x: jax.Array) -> jax.Array:
    """The mean of each pixel and its eight neighbours, the border repeated: `[B, H, W, C]` to the same."""
    for axis in (1, 2):
        size = x.shape[axis]
        padded = jnp.pad(x, [(1, 1) if at == axis else (0, 0) for at in range(4)], mode="edge")
        parts = [jax.lax.slice_in_dim(padded, start, start + size, axis=axis) for start in range(3)]
        x = (parts[0] + parts[1] + parts[2]) / 3
    return x


def upsample(x: jax.Array, *, align_corners: bool) -> jax.Array:
    """Bilinear doubling, `[B, H, W, C]` to `[B, 2H, 2W, C]`.

    With `align_corners` the corner pixels' centres stay where they are (torch's `align_corners=True`, the release's);
    without, pixels are areas (torch's and `jax.image.resize`'s default).
    """
    return _double(_double(x, 1, align_corners), 2, align_corners)


def _double(x: jax.Array, axis: int, align_corners: bool) -> jax.Array:
    """Outputs lie between two neighbours along the axis: even ones `to_last` of the way back, odd ones forward."""
    size = x.shape[axis]
    # Aligned, output i lies at i (n - 1) / (2n - 1); else a quarter of a pixel beside its input, the border repeated.
    to_last: Any = np.float32(0.25)
    to_next = to_last
    if align_corners:
        last = jnp.arange(size, dtype=np.float32) / (2 * size - 1)  # JAX's, for sizes that are not known yet
        shape = [size if number == axis else 1 for number in range(x.ndim)]
        to_last, to_next = last.reshape(shape), last[::-1].reshape(shape)
    before = jnp.concatenate([_take(x, axis, 0, 1), _take(x, axis, 0, size - 1)], axis)
    after = jnp.concatenate([_take(x, axis, 1, size), _take(x, axis, size - 1, size)], axis)
    both = jnp.stack([x + to_last * (before - x), x + to_next * (after - x)], axis + 1)
    return both.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])


def _take(x: jax.Array, axis: int, start: int, stop: int) -> jax.Array:
    return jax.lax.slice_in_dim(x, start, stop, axis=axis)


def scaled(features: int, width: float) -> int:
    """A channel count under a width factor, at least 1."""
    return max(1, round(features * width))
