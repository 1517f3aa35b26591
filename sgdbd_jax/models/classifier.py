"""The classifier whose features V keep the game in balance: blurred, mixed or clear."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from sgdbd_jax.config import ClassifierConfig
from sgdbd_jax.models.layers import batch_norm, he_normal, max_pool, normalise, scaled
from sgdbd_jax.models.vgg16 import VGG16


class Classifier(nn.Module):
    """VGG16 blocks 1 to 5, features V, a hidden layer and three logits."""

    config: ClassifierConfig
    axis_name: str | None = None

    @nn.compact
    def __call__(self, photo: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Features and class logits.

        Args:
            photo: `[B, H, W, 3]` float32 RGB in [0, 1]; with head "flatten", `config.input_size` a side.
            train: whether BatchNorm uses, and updates from, this batch's statistics.

        Returns:
            V, `[B, F]` float32, and the logits `[B, 3]` of blurred, mixed, clear. F is 512 at width 1; of several
            `config.layers` it is the sum of their features, and the part of each layer has length 1, so that none
            outweighs the others in a cosine.
        """
        config = self.config
        trunk = VGG16(config.width, config.norm, self.axis_name, name="trunk")
        outputs = trunk(normalise(photo, config.input), train=train)
        if config.head == "pool":
            parts = [outputs[layer].mean(axis=(1, 2)) for layer in config.layers]
            features = jnp.concatenate([_unit(part) for part in parts], axis=-1) if len(parts) > 1 else parts[0]
        else:
            x = max_pool(outputs["conv5_3"])
            features = self._dense(x.reshape(x.shape[0], -1), config.features, "features", train)
        hidden = self._dense(features, config.hidden, "hidden", train)
        return features, nn.Dense(3, name="logits")(hidden)

    def _dense(self, x: jax.Array, features: int, name: str, train: bool) -> jax.Array:
        x = nn.Dense(scaled(features, self.config.width), kernel_init=he_normal, name=name)(x)
        if self.config.norm:
            x = batch_norm(x, name=f"{name}_norm", train=train, axis_name=self.axis_name)
        return nn.relu(x)


def _unit(x: jax.Array) -> jax.Array:
    """Rows at length 1, `[B, F]`; a row of zeros stays, and its gradient is finite."""
    return x / jnp.sqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-12)
