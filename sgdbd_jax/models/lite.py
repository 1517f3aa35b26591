"""The light generator: a twelfth of the multiplications of the paper's, for photos in 2x2 blocks of pixels.

Blur is what fine detail lacks, so the photo's high-pass is an input of its own; smooth insides of sharp things are told
by what lies around them, so the trunk goes down to 1/32 and to the mean of that.
"""

import functools
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from sgdbd_jax.config import MULTIPLES, GeneratorConfig
from sgdbd_jax.models.layers import Conv, conv_block, in_blocks, normalise, scaled, upsample

STEM = 32  # features at 1/2
STAGES = ((64, 1), (128, 2), (192, 3), (160, 2))  # features and residual blocks at 1/4, 1/8, 1/16 and 1/32
LATERALS = (64, 96, 96, 96)  # features of the decoder at the same
FINEST = 24  # and at 1/2


class LiteGenerator(nn.Module):
    """G with a twelfth of the multiplications; BatchNorm as its config says, of the rest `width` and `input`."""

    multiple: ClassVar[int] = MULTIPLES["lite"]

    config: GeneratorConfig
    axis_name: str | None = None

    @nn.compact
    def __call__(self, photo: jax.Array, *, train: bool) -> jax.Array:
        """Logits of the mask; their sigmoid is M.

        Args:
            photo: `[B, H, W, 3]` float32 RGB in [0, 1], H and W multiples of 32.
            train: whether BatchNorm uses, and updates from, this batch's statistics.

        Returns:
            `[B, H, W, 1]` float32 logits, positive where in focus.
        """
        config = self.config
        wide = functools.partial(scaled, width=config.width)
        block = functools.partial(conv_block, train=train, axis_name=self.axis_name)
        down = functools.partial(block, norm=config.trunk_norm)
        up = functools.partial(block, norm=config.decoder_norm)

        stem = x = down(in_blocks(normalise(photo, config.input)), wide(STEM), name="stem")
        features = []
        for number, (count, residuals) in enumerate(STAGES, start=1):
            x = down(x, wide(count), stride=2, name=f"stage{number}_down")
            for at in range(1, residuals + 1):
                inner = down(x, wide(count), name=f"stage{number}_{at}a")
                x = nn.relu(x + down(inner, wide(count), name=f"stage{number}_{at}b", activation=_same))
            features.append(x)
        features[-1] = x + nn.Dense(x.shape[-1], name="whole")(x.mean(axis=(1, 2), keepdims=True))

        x = up(features.pop(), wide(LATERALS[-1]), 1, name="side4")
        for number in (3, 2, 1):
            side = up(features.pop(), wide(LATERALS[number - 1]), 1, name=f"side{number}", activation=_same)
            if x.shape[-1] != side.shape[-1]:
                x = up(x, side.shape[-1], 1, name=f"narrow{number}")
            x = nn.relu(upsample(x, align_corners=False) + side)
            x = up(x, x.shape[-1], name=f"join{number}")
        x = up(x, wide(STEM), 1, name="narrow0")
        x = jnp.concatenate([upsample(x, align_corners=False), stem], axis=-1)
        x = up(x, wide(FINEST), name="join0")
        return upsample(Conv(1, 1, name="head")(x), align_corners=False)


def _same(x: jax.Array) -> jax.Array:
    return x
