"""What a run learns: the state of its networks, which is arrays, and the optimisers that move it."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import optax.contrib
from flax import struct

from sgdbd_jax.compiling import jit
from sgdbd_jax.config import Config, OptimiserConfig
from sgdbd_jax.models.discriminator import Discriminator
from sgdbd_jax.models.lite import LiteGenerator
from sgdbd_jax.models.networks import Networks
from sgdbd_jax.models.vgg16 import LAYERS
from sgdbd_jax.weights import merge

Tree = Any


class NetState(struct.PyTreeNode):
    """One network's arrays."""

    params: Tree
    batch_stats: Tree  # BatchNorm's running statistics; {} without BatchNorm
    opt_state: Tree
    ema: Tree = struct.field(default_factory=dict)  # moving average of `variables`, which predicts; {}: none

    @property
    def variables(self) -> dict[str, Tree]:
        """What the network's `apply` takes, as it trains."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def predicting(self) -> dict[str, Tree]:
        """The variables to predict with: the moving average where there is one."""
        return self.ema or self.variables

    def with_ema(self) -> NetState:
        """The same, with a moving average that begins here."""
        return self.replace(ema=jax.tree.map(jnp.copy, self.variables))


class TrainState(struct.PyTreeNode):
    """All that a checkpoint of the game holds: arrays, no functions."""

    step: jax.Array  # [] int32: updates done
    generator: NetState
    disc_clear: NetState  # D_c: judges composites that should look in focus
    disc_blur: NetState  # D_b: judges composites that should look out of focus

    def variables(self, *names: str) -> tuple[dict[str, Tree], dict[str, Tree]]:
        """Parameters, and BatchNorm statistics, of these networks by name: what an objective takes."""
        nets = {name: getattr(self, name) for name in names}
        return {n: net.params for n, net in nets.items()}, {n: net.batch_stats for n, net in nets.items()}


class FitState(struct.PyTreeNode):
    """All that a checkpoint of one network's own training holds (classifier, warm start, supervised)."""

    step: jax.Array  # [] int32: updates done
    net: NetState


def make_optimiser(config: OptimiserConfig, steps: int = 0) -> optax.GradientTransformation:
    """The optax optimiser of a config: Adam, SGD with momentum, or Muon.

    With `steps`, its rate falls to 0 along a cosine, after the warm-up. Muon is Jordan's (2024) for convolutions, a
    kernel being a matrix from its inputs to its outputs, at the size of Adam's moves (Liu et al. 2025,
    arXiv:2502.16982).
    """
    rate = _rate(config, steps)
    if config.name == "sgd":
        rule = optax.sgd(rate, config.momentum)
    elif config.name == "adam":
        rule = optax.adam(rate, b1=config.momentum)
    else:
        rule = optax.contrib.muon(
            rate,
            adam_b1=config.momentum,
            adam_learning_rate=_rate(replace(config, learning_rate=config.learning_rate / 2), steps),
            muon_weight_dimension_numbers=_matrices,
            consistent_rms=0.2,
        )
    if config.trunk_factor == 1:
        return rule
    return optax.chain(rule, optax.masked(optax.scale(config.trunk_factor), _in_trunk))


def _rate(config: OptimiserConfig, steps: int) -> optax.Schedule | float:
    if not steps:
        return config.learning_rate
    falls = optax.cosine_decay_schedule(config.learning_rate, max(1, steps - config.warm_up))
    if not config.warm_up:
        return falls
    rises = optax.linear_schedule(config.learning_rate / config.warm_up, config.learning_rate, config.warm_up)
    return optax.join_schedules([rises, falls], [config.warm_up])


def _matrices(params: Tree) -> Tree:
    """Which parameters Muon moves, as matrices of which axes: kernels, but that of the last layer."""

    def axes(path: tuple[Any, ...], leaf: jax.Array) -> Any:
        moved = leaf.ndim > 1 and path[0].key != "head"
        return optax.contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), (leaf.ndim - 1,)) if moved else None

    return jax.tree_util.tree_map_with_path(axes, params)


def _in_trunk(params: Tree) -> Tree:
    return {name: jax.tree.map(lambda _, name=name: name == "trunk", tree) for name, tree in params.items()}


def init_net(
    network: nn.Module,
    optimiser: optax.GradientTransformation,
    key: jax.Array,
    size: int,
    vgg16: Tree | None = None,
    start: Tree | None = None,
) -> NetState:
    """A network's first state.

    Args:
        network: maps `[B, H, W, 3]` photos to whatever it maps them to.
        optimiser: its optax optimiser.
        key: PRNG key of the random kernels.
        size: side in pixels of the photos it will see.
        vgg16: `{layer: {"kernel", "bias"}}`, put in the place of the random trunk (or, of a discriminator, of as many
            convolutions as it has); `None` keeps it random, and so it is in a light generator, which has none.
        start: `params` and `batch_stats` to start from instead of all that.

    Raises:
        UserError: VGG16's shapes are not the network's.
    """
    if start is not None:
        return NetState(start["params"], start["batch_stats"], optimiser.init(start["params"]))
    variables = _first_variables(network, key, size)
    params = dict(variables["params"])
    if vgg16 is not None and not isinstance(network, LiteGenerator):
        where = "vgg16, which needs networks of its own widths"
        if isinstance(network, Discriminator):
            named = {f"conv{at}": vgg16[name] for at, name in enumerate(LAYERS, start=1) if f"conv{at}" in params}
            params |= jax.tree.map(jnp.asarray, merge({name: params[name] for name in named}, named, where=where))
        else:
            expected = {name: layer for name, layer in params["trunk"].items() if name in vgg16}
            params["trunk"] |= jax.tree.map(jnp.asarray, merge(expected, vgg16, where=where))
    return NetState(params, variables.get("batch_stats", {}), optimiser.init(params))


# Compiled with little care: what runs once, in milliseconds, took longer to compile than a game's step.
@functools.partial(jit, static_argnums=(0, 2), options={"xla_backend_optimization_level": 0})
def _first_variables(network: nn.Module, key: jax.Array, size: int) -> Tree:
    return network.init(key, jnp.zeros((1, size, size, 3), jnp.float32), train=False)


def init_game(config: Config, networks: Networks, vgg16: Tree | None = None, start: Tree | None = None) -> TrainState:
    """The game's first state, a function of `config.seed` alone (and of `vgg16` and G's `start`, if any)."""
    key = jax.random.key(config.seed)
    disc_optimiser = make_optimiser(config.game.disc_optimiser)
    disc_vgg16 = vgg16 if config.discriminator.init == "vgg16" else None
    discs = [
        init_net(networks.discriminator, disc_optimiser, jax.random.fold_in(key, number), config.crops.crop, disc_vgg16)
        for number in (1, 2)
    ]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        generator=init_net(
            networks.generator,
            make_optimiser(config.game.generator_optimiser),
            jax.random.fold_in(key, 0),
            config.crops.crop,
            vgg16,
            start,
        ),
        disc_clear=discs[0],
        disc_blur=discs[1],
    )
