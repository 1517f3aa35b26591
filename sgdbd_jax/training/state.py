"""What a run consists of: networks and optimisers, which are static, and state, which is arrays."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from sgdbd_jax.config import Config, OptimiserConfig
from sgdbd_jax.models.classifier import Classifier
from sgdbd_jax.models.discriminator import Discriminator
from sgdbd_jax.models.generator import Generator
from sgdbd_jax.models.vgg16 import LAYERS
from sgdbd_jax.weights import merge

Tree = Any


class NetState(struct.PyTreeNode):
    """One network's arrays."""

    params: Tree
    batch_stats: Tree  # BatchNorm's running statistics; {} without BatchNorm
    opt_state: Tree
    average: Tree = struct.field(default_factory=dict)  # moving average of `variables`, which predicts; {}: none

    @property
    def variables(self) -> dict[str, Tree]:
        """What the network's `apply` takes, as it trains."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def predicting(self) -> dict[str, Tree]:
        """The variables to predict with: the moving average where there is one."""
        return self.average or self.variables

    def averaged(self) -> NetState:
        """The same, with a moving average that begins here."""
        return self.replace(average=jax.tree.map(jnp.copy, self.variables))


class TrainState(struct.PyTreeNode):
    """All that a checkpoint of the game holds: arrays, no functions."""

    step: jax.Array  # [] int32: updates done
    generator: NetState
    disc_clear: NetState  # D_c: judges composites that should look in focus
    disc_blur: NetState  # D_b: judges composites that should look out of focus


class FitState(struct.PyTreeNode):
    """All that a checkpoint of one network's own training holds (classifier, warm start, supervised)."""

    step: jax.Array  # [] int32: updates done
    net: NetState


@dataclass(frozen=True)
class Networks:
    """The three architectures of a config."""

    generator: Generator
    discriminator: Discriminator
    classifier: Classifier

    @classmethod
    def of(cls, config: Config, axis_name: str | None = None) -> Networks:
        """Builds them; with `axis_name`, BatchNorm's statistics are averaged over that axis of devices."""
        return cls(
            Generator(config.generator, axis_name),
            Discriminator(config.discriminator, axis_name),
            Classifier(config.classifier, axis_name),
        )


def make_optimiser(config: OptimiserConfig, steps: int = 0) -> optax.GradientTransformation:
    """The optax optimiser of a config: Adam, or SGD with momentum; with `steps`, its rate falls to 0 along a cosine."""
    rate = optax.cosine_decay_schedule(config.learning_rate, steps) if steps else config.learning_rate
    rule = optax.sgd(rate, config.momentum) if config.name == "sgd" else optax.adam(rate, b1=config.momentum)
    if config.trunk == 1:
        return rule
    return optax.chain(rule, optax.masked(optax.scale(config.trunk), _in_trunk))


def _in_trunk(params: Tree) -> Tree:
    return {name: jax.tree.map(lambda _, name=name: name == "trunk", tree) for name, tree in params.items()}


def init_net(
    network: nn.Module,
    optimiser: optax.GradientTransformation,
    key: jax.Array,
    size: int,
    trunk: Tree | None = None,
    start: Tree | None = None,
) -> NetState:
    """A network's first state.

    Args:
        network: maps `[B, H, W, 3]` photos to whatever it maps them to.
        optimiser: its optax optimiser.
        key: PRNG key of the random kernels.
        size: side in pixels of the photos it will see.
        trunk: `{layer: {"kernel", "bias"}}` of a VGG16, put in the place of the random trunk (or, of a discriminator,
            of as many convolutions as it has); `None` keeps it random.
        start: `params` and `batch_stats` to start from instead of all that.

    Raises:
        UserError: the trunk's shapes are not the network's.
    """
    if start is not None:
        return NetState(start["params"], start["batch_stats"], optimiser.init(start["params"]))
    variables = _first_variables(network, key, size)
    params = dict(variables["params"])
    if trunk is not None:
        where = "vgg16, which needs networks of its own widths"
        if isinstance(network, Discriminator):
            named = {f"conv{at}": trunk[name] for at, name in enumerate(LAYERS, start=1) if f"conv{at}" in params}
            params |= jax.tree.map(jnp.asarray, merge({name: params[name] for name in named}, named, where=where))
        else:
            expected = {name: layer for name, layer in params["trunk"].items() if name in trunk}
            params["trunk"] |= jax.tree.map(jnp.asarray, merge(expected, trunk, where=where))
    return NetState(params, variables.get("batch_stats", {}), optimiser.init(params))


# Compiled with little care: what runs once, in milliseconds, took longer to compile than a game's step.
@functools.partial(jax.jit, static_argnums=(0, 2), compiler_options={"xla_backend_optimization_level": 0})
def _first_variables(network: nn.Module, key: jax.Array, size: int) -> Tree:
    return network.init(key, jnp.zeros((1, size, size, 3)), train=False)


def init_game(config: Config, networks: Networks, trunk: Tree | None = None, start: Tree | None = None) -> TrainState:
    """The game's first state, a function of `config.seed` alone (and of the VGG16 `trunk` and G's `start`, if any)."""
    key = jax.random.key(config.seed)
    disc_optimiser = make_optimiser(config.disc_optimiser)
    disc_trunk = trunk if config.discriminator.trunk == "vgg16" else None
    discs = [
        init_net(networks.discriminator, disc_optimiser, jax.random.fold_in(key, number), config.crop, disc_trunk)
        for number in (1, 2)
    ]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        generator=init_net(
            networks.generator,
            make_optimiser(config.generator_optimiser),
            jax.random.fold_in(key, 0),
            config.crop,
            trunk,
            start,
        ),
        disc_clear=discs[0],
        disc_blur=discs[1],
    )
