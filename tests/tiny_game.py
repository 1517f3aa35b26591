"""A game of three networks of one or two layers each, which compiles in a second; what it is played with."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sgdbd_jax.config import Config
from sgdbd_jax.fields import replace
from sgdbd_jax.models.layers import conv_block, leaky_relu
from sgdbd_jax.models.networks import Networks
from sgdbd_jax.presets import DEMO

SIZE = 16
CONFIG: Config = replace(
    DEMO,
    {
        "crop": SIZE,
        "photo_size": SIZE,
        "batch": 4,
        "classifier.norm": False,  # as the one below
        "eta": 0.5,
        "second_draw": False,
        "binarisation_weight": 0.0,
        # SGD: Adam's first step turns rounding into a full step.
        "generator_optimiser.name": "sgd",
        "generator_optimiser.learning_rate": 1.0,
        "disc_optimiser.name": "sgd",
        "disc_optimiser.learning_rate": 1.0,
    },
)


class TinyGenerator(nn.Module):
    """2 convolutions, the first with BatchNorm."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, photo: jax.Array, *, train: bool) -> jax.Array:
        x = conv_block(photo, 3, name="conv", train=train, axis_name=self.axis_name, norm=True)
        return nn.Conv(1, (3, 3), name="head")(x)


class TinyDiscriminator(nn.Module):
    """2 convolutions, the second with BatchNorm."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, photo: jax.Array, *, train: bool) -> jax.Array:
        def conv(x: jax.Array, name: str, norm: bool) -> jax.Array:
            axis = self.axis_name
            return conv_block(x, 4, name=name, train=train, axis_name=axis, stride=2, norm=norm, activation=leaky_relu)

        x = conv(conv(photo, "conv1", False), "conv2", True)
        return nn.Dense(1, name="logit")(x.mean(axis=(1, 2)))[:, 0]


class TinyClassifier(nn.Module):
    """1 convolution."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, photo: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        x = conv_block(photo, 4, name="conv", train=train, axis_name=self.axis_name, norm=False)
        features = x.mean(axis=(1, 2))
        return features, nn.Dense(3, name="logits")(features)


def networks(axis_name: str | None = None) -> Networks:
    parts: list[Any] = [TinyGenerator(axis_name), TinyDiscriminator(axis_name), TinyClassifier(axis_name)]
    return Networks(*parts)


def classifier_variables() -> dict[str, Any]:
    photo = jnp.zeros((1, SIZE, SIZE, 3), jnp.float32)
    return jax.jit(lambda key: networks().classifier.init(key, photo, train=False))(jax.random.key(9))


def make_batch(config: Config, *, seed: int = 0) -> dict[str, np.ndarray]:
    """A batch of the game: photos of coarse noise, each set of another brightness."""
    names = ["source", "clear", "blur"] + (["clear_real", "blur_real"] if config.game.second_draw else [])
    names += ["paste"] if config.game.paste_weight else []
    rng = np.random.default_rng(seed)
    side = config.crops.crop // 4
    batch = {}
    for place, name in enumerate(names):
        coarse = rng.integers(20 * place, 256, (config.game.batch, side, side, 3), np.uint8)
        batch[name] = coarse.repeat(4, axis=1).repeat(4, axis=2)
    if config.game.paste_weight:
        batch["paste_mask"] = (batch["paste"][..., :1] > 128) * np.uint8(255)
    return batch
