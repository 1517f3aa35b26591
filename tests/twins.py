"""What PyTorch twins and ours are both given, to be compared: small configs, random variables, exact photos."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from sgdbd_jax.config import Config, OptimiserConfig
from sgdbd_jax.fields import replace
from sgdbd_jax.presets import PRESETS

SIZE, BATCH = 32, 2
CHANGES = {  # so that every term is at work
    "release": {"coverage_minimum": 0.6},
    "self_trained": {
        "disc_weight": 0.1,  # so that one step of SGD does not throw its logits about
        "bilateral_weight": 0.3,
    },
    "paper": {"disc_weight": 0.7},
}


def small(preset: str, size: int = SIZE) -> Config:
    """A preset with an eighth of its channels, and SGD: Adam's first step turns rounding into a full step."""
    changes = {"crop": size, "photo_size": size, "classifier.input_size": size, "batch": BATCH}
    for name in ("generator", "discriminator", "classifier"):
        changes[f"{name}.width"] = 0.125
    for name in ("generator_optimiser", "disc_optimiser"):
        changes[name] = OptimiserConfig("sgd", 0.1, 0.5)
    return replace(PRESETS[preset], changes | CHANGES.get(preset, {}))


def random_variables(network, size, rng, dtype=np.float32):
    """He's kernels; statistics, scales and biases unlike each other and unlike those of any batch."""
    photo = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    shapes = jax.eval_shape(lambda photo: network.init(jax.random.key(0), photo, train=False), photo)

    def draw(path, leaf):
        if leaf.ndim > 1:
            values = rng.normal(0, math.sqrt(2 / math.prod(leaf.shape[:-1])), leaf.shape)
        elif path[-1].key in ("scale", "var"):
            values = rng.uniform(0.5, 1.5, leaf.shape)
        else:
            values = rng.normal(0, 0.3, leaf.shape)
        return values.astype(np.float32).astype(dtype)  # PyTorch is given them in single precision

    return jax.tree_util.tree_map_with_path(draw, shapes)


def black_and_white(config, rng):
    return rng.choice(np.array([0, 255], np.uint8), (BATCH, config.crops.crop, config.crops.crop, 3))


def compiled(function, *arguments):
    """The program, compiled for these arguments."""
    return jax.jit(function).lower(*arguments).compile()


def cancelled(batch_stats, path) -> bool:
    """Whether this is the bias of a layer that BatchNorm follows, which takes it away again."""
    *folders, layer, leaf = (key.key for key in path)
    return leaf == "bias" and f"{layer}_norm" in functools.reduce(
        lambda tree, at: tree.get(at, {}), folders, batch_stats
    )
