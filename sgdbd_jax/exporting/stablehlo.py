"""A generator as a StableHLO program, by `jax.export`: any number of photos of any size, on any platform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from sgdbd_jax.config import GeneratorConfig
from sgdbd_jax.models import convolution
from sgdbd_jax.models.layers import to_unit
from sgdbd_jax.models.networks import make_generator

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def stablehlo_program(
    config: GeneratorConfig, variables: Mapping[str, Any], *, multiple: int, platforms: tuple[str, ...] = PLATFORMS
) -> export.Exported:
    """The program: `[N, H, W, 3]` uint8 RGB to `[N, H, W]` float32 in [0, 1], 1 = in focus.

    `serialize` makes the bytes of it that `jax.export.deserialize` reads, and needs flatbuffers for it.

    Args:
        config: the generator's.
        variables: its `params` and, where it has BatchNorm, `batch_stats`; the program makes float32 of what is not.
        multiple: photos are reflected at their ends, in the program, up to sides that are multiples of this, as
            `Detector` does it.
        platforms: what it may run on.
    """

    def masks(photos: jax.Array) -> jax.Array:
        _, height, width, _ = photos.shape
        padded = _reflected(_reflected(photos, 1, multiple), 2, multiple)
        full = jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, jnp.float32), dict(variables))
        logits = make_generator(config).apply(full, to_unit(padded), train=False)
        return jax.nn.sigmoid(jnp.asarray(logits)[:, :height, :width, 0])

    held = [f"{multiple}*floordiv({size}+{multiple - 1},{multiple}) >= {size}" for size in "HW"]  # which is not seen
    shape = export.symbolic_shape("N, H, W, 3", constraints=held)
    # The algorithms of other platforms are not this one's; and masks are the same on all, where some would round.
    with convolution.plain(), jax.default_matmul_precision("highest"):
        return export.export(jax.jit(masks), platforms=platforms)(jax.ShapeDtypeStruct(shape, jnp.uint8))


def _reflected(photos: jax.Array, axis: int, multiple: int) -> jax.Array:
    """The axis up to a multiple, as `np.pad` reflects: as often as it must."""
    size = photos.shape[axis]
    places = jnp.arange((size + multiple - 1) // multiple * multiple)
    last = jnp.asarray(size) - 1
    return jnp.take(photos, last - abs(last - places % jnp.maximum(2 * last, 1)), axis=axis)
