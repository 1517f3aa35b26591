"""The discriminators D_c and D_b: one architecture, separate weights."""

import flax.linen as nn
import jax

from sgdbd_jax.config import DiscriminatorConfig
from sgdbd_jax.models.layers import conv_block, he_normal, leaky_relu, normalise, scaled


class Discriminator(nn.Module):
    """Convolutions, global average pool, two dense layers (paper, Sec. 3.1; or the release's, by its config)."""

    config: DiscriminatorConfig
    axis_name: str | None = None

    @nn.compact
    def __call__(self, photo: jax.Array, *, train: bool) -> jax.Array:
        """How real a photo looks.

        Args:
            photo: `[B, H, W, 3]` float32 RGB in [0, 1], any size.
            train: whether BatchNorm uses, and updates from, this batch's statistics.

        Returns:
            `[B]` float32 logits, positive for real.
        """
        config = self.config
        x = normalise(photo, config.input)
        for index, (channels, stride) in enumerate(zip(config.channels, config.strides, strict=True), start=1):
            x = conv_block(
                x,
                scaled(channels, config.width),
                name=f"conv{index}",
                train=train,
                axis_name=self.axis_name,
                stride=stride,
                norm=config.norm and index > 1,
                activation=leaky_relu,
            )
        x = x.mean(axis=(1, 2))
        x = leaky_relu(nn.Dense(scaled(config.hidden, config.width), kernel_init=he_normal, name="hidden")(x))
        return nn.Dense(1, name="logit")(x)[:, 0]
