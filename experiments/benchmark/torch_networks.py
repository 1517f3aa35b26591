"""The networks in PyTorch, and the way of weights there and back.

Layers go by our names: our `trunk/conv1_1` and `trunk/conv1_1_norm` are `layer` and `norm` of `trunk.conv1_1`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from flax import traverse_util
from torch import Tensor, nn

from sgdbd_jax.config import ClassifierConfig, DiscriminatorConfig, GeneratorConfig, InputNorm
from sgdbd_jax.models.layers import HIGH_PASS, scaled
from sgdbd_jax.models.lite import FINEST, LATERALS, STAGES, STEM
from sgdbd_jax.models.vgg16 import BLOCKS

Tree = Any

# Networks -------------------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """A layer, a norm, an activation; either of the last two may be missing."""

    def __init__(self, layer: nn.Module, norm: nn.Module | None = None, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.layer, self.norm, self.activation = layer, norm or nn.Identity(), activation or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.layer(x)))


def conv_block(
    inputs: int, outputs: int, size: int = 3, stride: int = 1, *, norm: bool | str, slope: float = 0.0
) -> Block:
    """Convolution padded by half its kernel, `norm` ("layer", else BatchNorm) if any, and what `slope` says.

    Below 0 values are multiplied by that: 0 is ReLU, 1 no activation, and what lies between leaky ReLU.
    """
    conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2)
    activations: dict[float, nn.Module | None] = {0: nn.ReLU(inplace=True), 1: None}
    activation = activations.get(slope, nn.LeakyReLU(slope, inplace=True))
    norms = nn.GroupNorm(1, outputs) if norm == "layer" else nn.BatchNorm2d(outputs)
    return Block(conv, norms if norm else None, activation)


class Normalise(nn.Module):
    """RGB in [0, 1] to what a network was made for, `[B, 3, H, W]`."""

    mean: Tensor
    std: Tensor

    def __init__(self, norm: InputNorm) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(norm.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(norm.std)[:, None, None], persistent=False)

    def forward(self, photo: Tensor) -> Tensor:
        return (photo - self.mean) / self.std


class VGG16(nn.Module):
    """Blocks 1 to 5."""

    def __init__(self, width: float, norm: bool) -> None:
        super().__init__()
        channels = 3
        for name, features in (layer for block in BLOCKS for layer in block):
            self.add_module(name, conv_block(channels, scaled(features, width), norm=norm))
            channels = scaled(features, width)

    def forward(self, x: Tensor, kept: Iterable[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """The last layer's output, and those of the layers whose names are given."""
        outputs = {}
        for name, layer in self.named_children():
            if name.endswith("_1") and name != "conv1_1":
                x = F.max_pool2d(x, 2)
            x = layer(x)
            if name in kept:
                outputs[name] = x
        return x, outputs


class Generator(nn.Module):
    """G: `[B, 3, H, W]` RGB in [0, 1] to the logits of its mask, `[B, 1, H, W]`."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.normalise = Normalise(config.input)
        self.trunk = VGG16(config.width, config.trunk_norm)
        features = {name: scaled(count, config.width) for block in BLOCKS for name, count in block}
        channels = features["conv5_3"]
        for index, (block, skip) in enumerate(zip(config.blocks, config.skips, strict=True), start=1):
            if skip and config.skip_norm:
                self.add_module(f"skip{index}", Block(nn.Identity(), nn.BatchNorm2d(features[skip])))
            if skip and config.merge == "concat":
                channels += features[skip]
            for number, (count, size) in enumerate(block, start=1):
                conv = conv_block(channels, scaled(count, config.width), size, norm=config.decoder_norm)
                self.add_module(f"block{index}_conv{number}", conv)
                channels = scaled(count, config.width)
        self.head = Block(nn.Conv2d(channels, 1, 1))

    def forward(self, photo: Tensor) -> Tensor:
        config = self.config
        x, outputs = self.trunk(self.normalise(photo), config.skips)
        for index, (block, skip) in enumerate(zip(config.blocks, config.skips, strict=True), start=1):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=config.align_corners)
            side = outputs.get(skip)
            if side is not None and config.skip_norm:
                side = getattr(self, f"skip{index}")(side)
            if side is not None and config.merge == "concat":
                x = torch.cat([x, side], 1)
            for number in range(1, len(block) + 1):
                x = getattr(self, f"block{index}_conv{number}")(x)
            if side is not None and config.merge == "add":
                x = x + side
        return self.head(x)


class HighPassBlocks(nn.Module):
    """The normalised photo and its high-pass in 2x2 blocks, `[B, 3, H, W]` to `[B, 24, H / 2, W / 2]`.

    All that is linear, and so one convolution with a fixed kernel, which is faster than one step after another.
    """

    kernel: Tensor
    bias: Tensor

    def __init__(self, norm: InputNorm) -> None:
        super().__init__()
        kernel = torch.zeros(2, 2, 2, 3, 3, 4, 4)  # pixel's row and column, photo or high-pass, RGB; RGB, what is seen
        bias = torch.zeros(2, 2, 2, 3)
        for i, j, c in itertools.product(range(2), range(2), range(3)):
            kernel[i, j, 0, c, c, i + 1, j + 1] = 1 / norm.std[c]
            bias[i, j, 0, c] = -norm.mean[c] / norm.std[c]
            kernel[i, j, 1, c, c, i : i + 3, j : j + 3] = -HIGH_PASS / 9 / norm.std[c]
            kernel[i, j, 1, c, c, i + 1, j + 1] += HIGH_PASS / norm.std[c]
        self.register_buffer("kernel", kernel.reshape(24, 3, 4, 4), persistent=False)
        self.register_buffer("bias", bias.reshape(24), persistent=False)

    def forward(self, photo: Tensor) -> Tensor:
        padded = F.pad(photo.to(self.kernel), (1, 1, 1, 1), mode="replicate")
        return F.conv2d(padded, self.kernel, self.bias, stride=2)


class LiteGenerator(nn.Module):
    """The light G, which takes and gives the same; of the config it has what ours has."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        wide = functools.partial(scaled, width=config.width)
        down = functools.partial(conv_block, norm=config.trunk_norm)
        up = functools.partial(conv_block, norm=config.decoder_norm)
        self.blocks = HighPassBlocks(config.input)
        self.stem = down(24, wide(STEM))
        below = wide(STEM)
        for number, (count, residuals) in enumerate(STAGES, start=1):
            features = wide(count)
            self.add_module(f"stage{number}_down", down(below, features, stride=2))
            for at in range(1, residuals + 1):
                self.add_module(f"stage{number}_{at}a", down(features, features))
                self.add_module(f"stage{number}_{at}b", down(features, features, slope=1))
            below = features
        self.whole = Block(nn.Linear(below, below))

        widths = [wide(count) for count in LATERALS]
        self.side4 = up(below, widths[3], 1)
        for number in (3, 2, 1):
            above, features = widths[number], widths[number - 1]
            self.add_module(f"side{number}", up(wide(STAGES[number - 1][0]), features, 1, slope=1))
            self.add_module(f"narrow{number}", up(above, features, 1) if above != features else nn.Identity())
            self.add_module(f"join{number}", up(features, features))
        self.narrow0 = up(widths[0], wide(STEM), 1)
        self.join0 = up(2 * wide(STEM), wide(FINEST))
        self.head = Block(nn.Conv2d(wide(FINEST), 1, 1))

    def forward(self, photo: Tensor) -> Tensor:
        stem = x = self.stem(self.blocks(photo))
        features = []
        for number, (_, residuals) in enumerate(STAGES, start=1):
            x = getattr(self, f"stage{number}_down")(x)
            for at in range(1, residuals + 1):
                inner = getattr(self, f"stage{number}_{at}a")(x)
                x = F.relu(x + getattr(self, f"stage{number}_{at}b")(inner), inplace=True)
            features.append(x)
        x = features[3] + self.whole(x.mean((2, 3)))[:, :, None, None]

        x = self.side4(x)
        for number in (3, 2, 1):
            side = getattr(self, f"side{number}")(features[number - 1])
            x = F.relu(_doubled(getattr(self, f"narrow{number}")(x)) + side, inplace=True)
            x = getattr(self, f"join{number}")(x)
        x = self.join0(torch.cat([_doubled(self.narrow0(x)), stem], 1))
        return _doubled(self.head(x))


def make_generator(config: GeneratorConfig) -> nn.Module:
    """The generator's architecture that a config asks for."""
    return (LiteGenerator if config.network == "lite" else Generator)(config)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Discriminator(nn.Module):
    """D_c or D_b: `[B, 3, H, W]` RGB in [0, 1] to `[B]` logits, positive for real."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.normalise = Normalise(config.input)
        widths = [3, *(scaled(count, config.width) for count in config.channels)]
        self.pools: list[int] = []  # after each convolution
        for i, stride in enumerate(config.strides):
            norm = "" if config.norm == "batch" and i == 0 else config.norm
            stride, pool = (1, stride) if config.pool else (stride, 1)
            conv = conv_block(widths[i], widths[i + 1], stride=stride, norm=norm, slope=0.2)
            self.add_module(f"conv{i + 1}", conv)
            self.pools.append(pool)
        hidden = scaled(config.hidden, config.width)
        self.hidden = Block(nn.Linear(widths[-1], hidden), activation=nn.LeakyReLU(0.2, inplace=True))
        self.logit = Block(nn.Linear(hidden, 1))

    def forward(self, photo: Tensor) -> Tensor:
        x = self.normalise(photo)
        for index, pool in enumerate(self.pools, start=1):
            x = getattr(self, f"conv{index}")(x)
            x = F.max_pool2d(x, pool) if pool > 1 else x
        return self.logit(self.hidden(x.mean((2, 3))))[:, 0]


class Classifier(nn.Module):
    """V: `[B, 3, H, W]` RGB in [0, 1] to features, `[B, F]`, and the logits of blurred, mixed, clear, `[B, 3]`."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.flattens = config.head == "flatten"
        self.normalise = Normalise(config.input)
        self.trunk = VGG16(config.width, config.norm)

        def dense(inputs: int, outputs: int) -> Block:
            norm = nn.BatchNorm1d(outputs) if config.norm else None
            return Block(nn.Linear(inputs, outputs), norm, nn.ReLU(inplace=True))

        features, hidden = scaled(BLOCKS[-1][-1][1], config.width), scaled(config.hidden, config.width)
        if self.flattens:
            pixels = (config.input_size // 32) ** 2
            self.features = dense(pixels * features, scaled(config.features, config.width))
            features = scaled(config.features, config.width)
        self.hidden = dense(features, hidden)
        self.logits = Block(nn.Linear(hidden, 3))

    def forward(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        x, _ = self.trunk(self.normalise(photo))
        features = self.features(_flat(F.max_pool2d(x, 2))) if self.flattens else x.mean((2, 3))
        return features, self.logits(self.hidden(features))


def _flat(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).flatten(1)  # channels last, for which our weights are made


# Weights --------------------------------------------------------------------------------------------------------------

_PLACES = {  # a Block's tensor -> our collection, what ends our layer's name, our leaf
    "layer.weight": ("params", "", "kernel"),
    "layer.bias": ("params", "", "bias"),
    "norm.weight": ("params", "_norm", "scale"),
    "norm.bias": ("params", "_norm", "bias"),
    "norm.running_mean": ("batch_stats", "_norm", "mean"),
    "norm.running_var": ("batch_stats", "_norm", "var"),
}
_TO_TORCH = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}  # HWIO to OIHW, [in, out] to [out, in]
_TO_OURS = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}


def fill(network: nn.Module, variables: Mapping[str, Tree]) -> None:
    """Gives a network our variables, `params` and `batch_stats`.

    Raises:
        ValueError: they are not those of its config; the names that differ are listed.
    """
    ours = traverse_util.flatten_dict(dict(variables))
    names = {_place(name): name for name in network.state_dict() if not name.endswith("num_batches_tracked")}
    if names.keys() != ours.keys():
        raise ValueError(f"not this network's variables; on one side only: {sorted(names.keys() ^ ours.keys())}")
    arrays = {names[place]: np.asarray(array) for place, array in ours.items()}
    network.load_state_dict({name: torch.tensor(a.transpose(_TO_TORCH[a.ndim])) for name, a in arrays.items()})


def to_tree(tensors: Iterable[tuple[str, Any]]) -> Tree:
    """A network's named tensors (parameters, statistics, gradients) as our tree of arrays; inverse of `fill`."""
    arrays = {_place(name): tensor.detach().cpu().numpy().copy() for name, tensor in tensors}
    return traverse_util.unflatten_dict({place: a.transpose(_TO_OURS[a.ndim]) for place, a in arrays.items()})


def _place(name: str) -> tuple[str, ...]:
    *folders, block, part, tensor = name.split(".")
    collection, end, leaf = _PLACES[f"{part}.{tensor}"]
    return (collection, *folders, block + end, leaf)
