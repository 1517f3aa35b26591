"""The networks of the authors' released PyTorch program as ours, in evaluation mode the same to rounding."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax import traverse_util

from sgdbd_jax.backend import start_jax
from sgdbd_jax.models.discriminator import Discriminator
from sgdbd_jax.models.generator import Generator
from sgdbd_jax.models.vgg16 import LAYERS
from sgdbd_jax.porting import formats
from sgdbd_jax.presets import RELEASE_DISCRIMINATOR, RELEASE_GENERATOR
from sgdbd_jax.weights import merge

# A torch layer's tensors -> where they live in Linen's variables, `{}` being the layer's name there.
_CONV = {"weight": "params/{}/kernel", "bias": "params/{}/bias"}
_NORM = {
    "weight": "params/{}/scale",
    "bias": "params/{}/bias",
    "running_mean": "batch_stats/{}/mean",
    "running_var": "batch_stats/{}/var",
}

# The release's convolution (each with its BatchNorm) -> ours.
_GENERATOR_BLOCKS = {
    **{f"base1.{layer}_2": f"trunk/{layer}" for layer in LAYERS},
    "base2.conv1_2": "block1_conv1",
    "base2.conv2_2": "block1_conv2",
    "base2.conv3_2": "block2_conv1",
    "base2.conv4_2": "block2_conv2",
    "base2.conv5_2": "block3_conv1",
    "base2.conv6_2": "block3_conv2",
    "base2.conv7_2": "block3_conv3",
    "base2.conv_out_base_1": "block4_conv1",
    "base2.conv_out_base_2": "block4_conv2",
}
_GENERATOR_NAMES = {
    f"resnet_DE.{theirs}.{part}.{tensor}": place.format(ours + suffix)
    for theirs, ours in _GENERATOR_BLOCKS.items()
    for part, suffix, places in (("conv", "", _CONV), ("bn", "_norm", _NORM))
    for tensor, place in places.items()
} | {f"resnet_DE.base2.conv_out_base_3.conv.{tensor}": place.format("head") for tensor, place in _CONV.items()}
_GENERATOR_DEAD = (  # layers that the release makes and never calls, and counters that evaluation does not read
    r"resnet_DE\.base2\.conv[345]_[123]_2\..*"
    r"|resnet_DE\.base2\.conv_fff_[1-4]_[1-6]\..*"
    r"|resnet_DE\.base2\.conv_out_base_3\.bn\..*"
    r"|.*\.bn\.num_batches_tracked"
)

# The indices of the release's nn.Sequential; between them are LeakyReLUs and, at 20, the pool.
_DISCRIMINATOR_CONVS = {0: "conv1", 2: "conv2", 5: "conv3", 8: "conv4", 11: "conv5", 14: "conv6", 17: "conv7"}
_DISCRIMINATOR_DENSE = {21: "hidden", 23: "logit"}  # 1x1 convolutions of the pooled pixel
_DISCRIMINATOR_NAMES = {
    f"net.{index}.{tensor}": place.format(ours)
    for layers, places in (
        (_DISCRIMINATOR_CONVS | _DISCRIMINATOR_DENSE, _CONV),
        ({index + 1: f"{name}_norm" for index, name in _DISCRIMINATOR_CONVS.items() if index > 0}, _NORM),
    )
    for index, ours in layers.items()
    for tensor, place in places.items()
}
_DISCRIMINATOR_DEAD = r"net\.\d+\.num_batches_tracked"


def convert_generator(state: Mapping[str, np.ndarray], *, where: str = "state dict") -> dict[str, Any]:
    """The release's generator as variables of `Generator(RELEASE_GENERATOR)`.

    Args:
        state: its state dict, torch names and shapes, as `formats.read_torch` gives it.
        where: the file's name, for messages.

    Returns:
        `{"params": ..., "batch_stats": ...}`, float32.

    Raises:
        UserError: a layer missing, one that the release does not have, or a shape that differs; all are listed.
    """
    return _convert(state, Generator(RELEASE_GENERATOR), _GENERATOR_NAMES, _GENERATOR_DEAD, where)


def convert_discriminator(state: Mapping[str, np.ndarray], *, where: str = "state dict") -> dict[str, Any]:
    """A discriminator of the release, D_c or D_b, as variables of `Discriminator(RELEASE_DISCRIMINATOR)`.

    Args, returns and errors are those of `convert_generator`.
    """
    return _convert(state, Discriminator(RELEASE_DISCRIMINATOR), _DISCRIMINATOR_NAMES, _DISCRIMINATOR_DEAD, where)


def _convert(
    state: Mapping[str, np.ndarray], network: nn.Module, names: Mapping[str, str], dead: str, where: str
) -> dict[str, Any]:
    start_jax()
    photo = jax.ShapeDtypeStruct((1, 16, 16, 3), np.float32)
    expected = jax.eval_shape(lambda key, x: network.init(key, x, train=False), jax.random.key(0), photo)
    ours = formats.rename(state, names, skipped=dead, where=where)
    wanted = traverse_util.flatten_dict(expected, sep="/")
    for name, value in ours.items():
        kernel = formats.hwio(value)
        dense = name in wanted and wanted[name].ndim == 2 and kernel.shape[:2] == (1, 1)
        ours[name] = kernel[0, 0] if dense else kernel
    return merge(expected, ours, where=where)
