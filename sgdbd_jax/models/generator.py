"""The generator G: a VGG16 trunk and a decoder with skips, photo to in-focus mask."""

import functools
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from sgdbd_jax.config import MULTIPLES, GeneratorConfig
from sgdbd_jax.models.layers import Conv, batch_norm, conv_block, he_normal, normalise, scaled, upsample
from sgdbd_jax.models.vgg16 import VGG16


class Generator(nn.Module):
    """G of the paper (Sec. 3.1) or of the release, by its config."""

    multiple: ClassVar[int] = MULTIPLES["vgg16"]

    config: GeneratorConfig
    axis_name: str | None = None

    @nn.compact
    def __call__(self, photo: jax.Array, *, train: bool) -> jax.Array:
        """Logits of the mask; their sigmoid is M.

        Args:
            photo: `[B, H, W, 3]` float32 RGB in [0, 1], H and W multiples of 16.
            train: whether BatchNorm uses, and updates from, this batch's statistics.

        Returns:
            `[B, H, W, 1]` float32 logits, positive where in focus.
        """
        config = self.config
        kernel_init = nn.initializers.normal(config.init_std) if config.init_std else he_normal
        conv = functools.partial(
            conv_block, train=train, axis_name=self.axis_name, norm=config.decoder_norm, kernel_init=kernel_init
        )
        trunk = VGG16(config.width, config.trunk_norm, self.axis_name, kernel_init, name="trunk")
        features = trunk(normalise(photo, config.input), train=train)

        x = features["conv5_3"]
        for index, (block, skip) in enumerate(zip(config.blocks, config.skips, strict=True), start=1):
            x = upsample(x, align_corners=config.align_corners)
            side = features[skip] if skip else None
            if side is not None and config.skip_norm:
                side = batch_norm(side, name=f"skip{index}_norm", train=train, axis_name=self.axis_name)
            if side is not None and config.merge == "concat":
                x = jnp.concatenate([x, side], axis=-1)
            for number, (channels, kernel_size) in enumerate(block, start=1):
                x = conv(x, scaled(channels, config.width), kernel_size, name=f"block{index}_conv{number}")
            if side is not None and config.merge == "add":
                x = x + side
        return Conv(1, 1, kernel_init=kernel_init, name="head")(x)
