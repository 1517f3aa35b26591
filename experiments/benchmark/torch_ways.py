"""What sets apart the two ways in which PyTorch does what we do.

- "release", as the authors' program works: PyTorch's defaults; the classifier is read from disk at every step; all
  parameters require gradients, so that those of frozen networks are computed and thrown away; each discriminator
  judges the composites twice, for the generator's loss and for its own.
- "best", as fast as plain PyTorch goes: channels_last, fused optimisers, cuDNN's fastest algorithms, BatchNorm folded
  into convolutions where it is in evaluation, and nothing computed that is thrown away. Under `torch.compile`, which
  does not split a backward pass, discriminators still judge twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from experiments.benchmark.torch_networks import Block, fill
from sgdbd_jax.config import OptimiserConfig

Way = Literal["release", "best"]
Tree = Any


def ready(network: nn.Module, variables: Mapping[str, Tree], *, way: Way, device: str, compile: bool) -> nn.Module:
    """Fills a network and brings it to where and how it runs."""
    fill(network, variables)
    if way == "best" and not network.training:
        _fold_norms(network)
    network.to(device)
    network.to(memory_format=torch.channels_last if way == "best" else torch.contiguous_format)  # type: ignore[call-overload]
    if compile:
        network.compile(dynamic=False)  # for every size anew, as ours
    return network


def to_tensor(photos: np.ndarray, *, way: Way, device: str) -> Tensor:
    """`[B, H, W, C]` uint8 to `[B, C, H, W]` float32 in [0, 1], channels_last, as the bytes lie, or contiguous."""
    moved = torch.tensor(photos).to(device).permute(0, 3, 1, 2)
    return (moved if way == "best" else moved.contiguous()).float() / 255


def backend(way: Way) -> contextlib.AbstractContextManager:
    """cuDNN as it is, or with its fastest algorithms."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=way == "best")


def _fold_norms(network: nn.Module) -> None:
    """Folds each BatchNorm that follows a convolution into it; others stay."""
    for block in network.modules():
        if isinstance(block, Block) and isinstance(block.layer, nn.Conv2d) and isinstance(block.norm, nn.BatchNorm2d):
            block.layer, block.norm = fuse_conv_bn_eval(block.layer, block.norm), nn.Identity()


@contextlib.contextmanager
def judging_for_generator(disc: nn.Module, *, frozen: bool) -> Iterator[None]:
    """Keeps a discriminator's running statistics as they are; frozen, its parameters get no gradients either."""
    norms = [layer for layer in disc.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.track_running_stats = False
    disc.requires_grad_(not frozen)
    try:
        yield
    finally:
        disc.requires_grad_(True)
        for norm in norms:
            norm.track_running_stats = True


def make_optimiser(
    parameters: Iterable[tuple[str, nn.Parameter]], config: OptimiserConfig, *, way: Way
) -> torch.optim.Optimizer:
    """What ours are in PyTorch: SGD with momentum, or Adam; one kernel over all parameters in the best way.

    Args:
        parameters: with their names, of which the trunk's begin with "trunk.".
        config: ours; the rate stays what it is there.
        way: "release" or "best".

    Raises:
        ValueError: Muon, which PyTorch has for matrices alone.
    """
    if config.name == "muon":
        raise ValueError("PyTorch's Muon takes no kernels of convolutions")
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in parameters:
        factor = config.trunk_factor if name.startswith("trunk.") else 1.0
        groups.setdefault(config.learning_rate * factor, []).append(parameter)
    taken = [{"params": group, "lr": rate} for rate, group in groups.items()]
    fused = way == "best" or None
    if config.name == "sgd":
        return torch.optim.SGD(taken, momentum=config.momentum, fused=fused)
    return torch.optim.Adam(taken, betas=(config.momentum, 0.999), fused=fused)
