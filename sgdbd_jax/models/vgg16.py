"""The thirteen convolutions of VGG16 (Simonyan and Zisserman 2015), as trunk of the generator and the classifier."""

import flax.linen as nn
import jax

from sgdbd_jax.models.layers import conv_block, he_normal, max_pool, scaled

# Features and names by block; a 2x2 pool lies between two blocks.
BLOCKS: tuple[tuple[tuple[str, int], ...], ...] = (
    (("conv1_1", 64), ("conv1_2", 64)),
    (("conv2_1", 128), ("conv2_2", 128)),
    (("conv3_1", 256), ("conv3_2", 256), ("conv3_3", 256)),
    (("conv4_1", 512), ("conv4_2", 512), ("conv4_3", 512)),
    (("conv5_1", 512), ("conv5_2", 512), ("conv5_3", 512)),
)
LAYERS: tuple[str, ...] = tuple(name for block in BLOCKS for name, _ in block)


class VGG16(nn.Module):
    """Blocks 1 to 5, with or without BatchNorm after each convolution."""

    width: float = 1.0
    norm: bool = False
    axis_name: str | None = None
    kernel_init: nn.initializers.Initializer = he_normal

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Activations of every layer.

        Args:
            x: `[B, H, W, 3]` float, normalised as the weights ask.
            train: whether BatchNorm uses, and updates from, this batch's statistics.

        Returns:
            Layer name to its output after the ReLU, `[B, H / 2^(block - 1), W / 2^(block - 1), features]`.
        """
        outputs = {}
        for index, block in enumerate(BLOCKS):
            if index > 0:
                x = max_pool(x)
            for name, features in block:
                x = conv_block(
                    x,
                    scaled(features, self.width),
                    name=name,
                    train=train,
                    axis_name=self.axis_name,
                    norm=self.norm,
                    kernel_init=self.kernel_init,
                )
                outputs[name] = x
        return outputs
