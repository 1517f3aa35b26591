"""Ours and PyTorch's, made of the same values: a step of the game, and a detector."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax
from jax.extend.core import jaxprs_in_params
from jax.interpreters.partial_eval import dce_jaxpr

from experiments.benchmark.timing import Run
from sgdbd_jax.config import Config
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.models import convolution
from sgdbd_jax.models.layers import to_unit
from sgdbd_jax.training.parallel import parallelize
from sgdbd_jax.training.state import Networks, TrainState, init_game, init_net
from sgdbd_jax.training.step import make_game_step

OURS = "ours"
TWINS: dict[str, dict[str, Any]] = {
    "torch release": {"way": "release"},
    "torch best": {"way": "best"},
    "torch compiled": {"way": "best", "compile": True},
}
Detect = Callable[[np.ndarray], np.ndarray]  # [B, S, S, 3] uint8 -> [B, S, S] float32, on the host


def gpu() -> bool:
    """Whether JAX computes on a GPU; PyTorch then does too."""
    return jax.default_backend() == "gpu"


def noise(count: int, side: int, seed: int = 0) -> np.ndarray:
    """Photos of noise, `[count, side, side, 3]` uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


@dataclass(frozen=True)
class Game:
    """What every side's first step starts from."""

    config: Config
    state: TrainState
    classifier: Any
    batch: dict[str, np.ndarray]

    @classmethod
    def of(cls, config: Config) -> Game:
        """Random variables of a config, and a batch of noise."""
        networks = Networks.of(config)
        crop, game = config.crops.crop, config.game
        names = ["source", "clear", "blur"] + (["clear_real", "blur_real"] if game.second_draw else [])
        names += ["paste"] if game.paste_weight else []
        batch = {name: noise(game.batch, crop, seed) for seed, name in enumerate(names)}
        batch |= {"paste_mask": batch["paste"][..., :1]} if game.paste_weight else {}
        classifier = init_net(networks.classifier, optax.identity(), jax.random.key(1), crop)
        return cls(config, init_game(config, networks), _filled(classifier.variables), batch)

    def our_step(self) -> tuple[Run, Any]:
        """A call that plays our next step, and its compiled program; it takes the state over."""
        state, classifier, batch = self.state, self.classifier, self.batch
        program: Any = parallelize(self._step(), jax.local_devices()[:1])
        compiled = program.lower(state, classifier, batch).compile()

        def run() -> None:
            nonlocal state
            state, metrics = compiled(state, classifier, batch)
            jax.block_until_ready((state, metrics))

        return run, compiled

    def operations(self) -> float:
        """Operations of a step; see `count_operations`."""
        return count_operations(self._step(), self.state, self.classifier, self.batch)

    def _step(self) -> Callable:
        return make_game_step(self.config, Networks.of(self.config))

    def torch_step(self, twin: str) -> Run:
        """A call that plays the next step of a twin, a key of TWINS, and gives its losses."""
        import torch

        from experiments.benchmark.torch_twin import TorchGame

        game = TorchGame(self.config, self.state, self.classifier, device=torch_device(), **TWINS[twin])
        batch = self.batch

        def run() -> dict[str, float]:
            losses = game.step(batch)
            if gpu():
                torch.cuda.synchronize()  # the last update has not been waited for
            return losses

        return run


@dataclass(frozen=True)
class Detecting:
    """A generator with random variables."""

    config: Config
    variables: Any

    @classmethod
    def of(cls, config: Config) -> Detecting:
        """Draws the variables of a config's generator."""
        network = Networks.of(config).generator
        net = init_net(network, optax.identity(), jax.random.key(config.seed), network.multiple)
        return cls(config, _filled(net.variables))

    def ours(self, side: int) -> Detect:
        """Ours, for photos of one side."""
        detector = Detector(self.config.generator, self.variables, work_size=side)
        return lambda photos: np.asarray(detector.detect(photos))

    def torch(self, twin: str) -> Detect:
        """That of a twin, a key of TWINS."""
        from experiments.benchmark.torch_twin import TorchDetector

        return TorchDetector(self.config.generator, self.variables, device=torch_device(), **TWINS[twin])

    def operations(self, side: int) -> float:
        """Operations of one photo's mask; see `count_operations`."""
        network = Networks.of(self.config).generator
        return count_operations(
            lambda variables, photo: network.apply(variables, to_unit(photo), train=False),
            self.variables,
            noise(1, side),
        )


def make_step(who: str, config: Config) -> Run:
    """A call that plays the next step of one side: OURS, or a key of TWINS."""
    game = Game.of(config)
    return game.our_step()[0] if who == OURS else game.torch_step(who)


def make_prediction(who: str, config: Config, side: int, batch: int) -> Run:
    """A call that detects on the same photos again, by one side: OURS, or a key of TWINS."""
    detecting = Detecting.of(config)
    detect = detecting.ours(side) if who == OURS else detecting.torch(who)
    return functools.partial(detect, noise(batch, side))


def count_operations(function: Callable, *arguments: Any) -> float:
    """Additions and multiplications of one call's convolutions and matrix products, in their plain forms.

    Counted in the program as written, for the compiler's own analysis counts the body of a loop once, whatever its
    length; and without our own algorithms, whose savings are not to look like idleness.
    """
    with convolution.plain():
        program = jax.make_jaxpr(function)(*arguments).jaxpr
    return _operations(dce_jaxpr(program, [True] * len(program.outvars))[0])  # without what nobody uses


def _operations(program: Any) -> float:
    total = 0.0
    for equation in program.eqns:
        name, params = equation.primitive.name, equation.params
        if name == "conv_general_dilated":
            kernel = equation.invars[1].aval
            taps = kernel.size / kernel.shape[params["dimension_numbers"].rhs_spec[0]]
            total += 2 * equation.outvars[0].aval.size * taps / math.prod(params["lhs_dilation"])
        elif name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += 2 * equation.outvars[0].aval.size * math.prod(shape[axis] for axis in contracted)
        times = params["length"] if name == "scan" else 1
        total += times * sum(_operations(inner) for inner in jaxprs_in_params(params))
    return total


def torch_device() -> str:
    """PyTorch's name of the device."""
    return "cuda" if gpu() else "cpu"


def _filled(variables: dict[str, Any]) -> dict[str, Any]:
    return {name: tree for name, tree in variables.items() if tree}
