"""Weight files of tiny generators, made without compiling anything; of some the masks are known."""

import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sgdbd_jax.config import GeneratorConfig
from sgdbd_jax.fields import to_dict
from sgdbd_jax.models.networks import make_generator
from sgdbd_jax.weights import save_weights

CONFIG = GeneratorConfig(width=0.02, trunk_norm=True, decoder_norm=True)


def shapes(config: GeneratorConfig = CONFIG) -> dict[str, Any]:
    network = make_generator(config)
    photo = jax.ShapeDtypeStruct((1, network.multiple, network.multiple, 3), np.float32)
    return jax.eval_shape(lambda photo: network.init(jax.random.key(0), photo, train=False), photo)


def random_variables(config: GeneratorConfig = CONFIG) -> dict[str, Any]:
    """Kernels at random, running statistics unlike those of any one photo."""
    rng = np.random.default_rng(0)

    def fill(shape: jax.ShapeDtypeStruct) -> np.ndarray:
        if len(shape.shape) == 4:  # a kernel: N(0, 2 / fan-in) keeps the activations' size
            return rng.normal(0, math.sqrt(2 / np.prod(shape.shape[:3])), shape.shape).astype(np.float32)
        return rng.uniform(0.5, 1.5, shape.shape).astype(np.float32)

    return jax.tree.map(fill, shapes(config))


def constant_variables(level: float) -> dict[str, Any]:
    """Variables under which every mask is `level` everywhere: all zero but the last bias."""
    variables = jax.tree.map(lambda shape: np.zeros(shape.shape, np.float32), shapes())
    variables["params"]["head"]["bias"] = np.full(1, math.log(level / (1 - level)), np.float32)
    return variables


def save_generator(path: Path, variables: dict[str, Any], config: GeneratorConfig = CONFIG) -> Path:
    return save_weights(path, variables, {"kind": "generator", "config": to_dict(config)})
