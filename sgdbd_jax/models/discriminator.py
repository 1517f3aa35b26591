"""The discriminators D_c and D_b: one architecture, separate weights."""

import functools

import flax.linen as nn
import jax

from sgdbd_jax.config import DiscriminatorConfig
from sgdbd_jax.models.layers import (
    NORM_EPSILON,
    conv_block,
    he_normal,
    in_blocks,
    leaky_relu,
    max_pool,
    normalise,
    scaled,
)


class Discriminator(nn.Module):
    """Convolutions, global average pool, two dense layers (paper, Sec. 3.1; or the release's, by its config)."""

    config: DiscriminatorConfig
    axis_name: str | None = None

    @nn.compact
    def __call__(self, photo: jax.Array, *, train: bool) -> jax.Array | tuple[jax.Array, ...]:
        """How real a photo looks.

        Args:
            photo: `[B, H, W, 3]` float32 RGB in [0, 1], any size; in blocks, an odd last row or column is not seen.
            train: whether BatchNorm uses, and updates from, this batch's statistics.

        Returns:
            `[B]` float32 logits, positive for real; with `config.patches`, a tuple of these and, for each of the
            convolutions that it names, in their order, `[B, H', W']` logits of the patches that its places see (as
            PatchGAN's, Isola et al. 2017), and of how strong the responses of the whole photo are with norm 'layer'.
        """
        config = self.config
        x = normalise(photo, config.input)
        x = in_blocks(x) if config.in_blocks else x
        patches = []
        for index, (channels, stride) in enumerate(zip(config.channels, config.strides, strict=True), start=1):
            x = conv_block(
                x,
                scaled(channels, config.width),
                name=f"conv{index}",
                train=train,
                axis_name=self.axis_name,
                stride=1 if config.pool else stride,
                norm=config.norm == "batch" and index > 1,
                activation=functools.partial(_layer_norm, index) if config.norm == "layer" else leaky_relu,
            )
            if config.pool and stride > 1:
                x = max_pool(x)
            if index in config.patches:
                patches.append(nn.Dense(1, name=f"patch{index}")(x)[..., 0])
        x = x.mean(axis=(1, 2))
        x = leaky_relu(nn.Dense(scaled(config.hidden, config.width), kernel_init=he_normal, name="hidden")(x))
        whole = nn.Dense(1, name="logit")(x)[:, 0]
        return (whole, *patches) if patches else whole


def _layer_norm(index: int, x: jax.Array) -> jax.Array:
    """LayerNorm of each photo's whole activation, then leaky ReLU.

    BatchNorm, on a batch that is all real or all fake, gives every response the strength it has in the other kind of
    batch. This keeps how strong the responses to fine detail are beside the others of the photo.
    """
    return leaky_relu(nn.GroupNorm(num_groups=1, epsilon=NORM_EPSILON, name=f"conv{index}_norm")(x))
