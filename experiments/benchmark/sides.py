"""Ours and PyTorch's, made of the same values: a step of the game, and a detector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax

from experiments.benchmark.timing import Run
from sgdbd_jax.config import Config
from sgdbd_jax.detector import Detector
from sgdbd_jax.models import convolution
from sgdbd_jax.models.generator import MULTIPLE
from sgdbd_jax.training.parallel import parallelize
from sgdbd_jax.training.state import Networks, TrainState, init_game, init_net
from sgdbd_jax.training.step import make_game_step, to_unit

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
        names = ["source", "clear", "blurred"] + (["clear_real", "blurred_real"] if config.second_draw else [])
        batch = {name: noise(config.batch, config.crop, seed) for seed, name in enumerate(names)}
        classifier = init_net(networks.classifier, optax.identity(), jax.random.key(1), config.crop)
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
        """A call that plays the next step of a twin, a key of TWINS."""
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
        net = init_net(Networks.of(config).generator, optax.identity(), jax.random.key(config.seed), MULTIPLE)
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


def count_operations(function: Callable, *arguments: Any) -> float:
    """Operations of one call, by the compiler's analysis of the plain program, compiled.

    Plain, for our own derivatives run in loops, whose bodies the analysis counts once. Compiled, for only then are
    equal computations shared: before, a step's count has each discriminator's forward on composites twice, 6% too much.
    """
    with convolution.plain():
        lowered = jax.jit(function).lower(*arguments)
    # It never runs, so its machine code need not be good.
    analysis: Any = lowered.compile(compiler_options={"xla_backend_optimization_level": "0"}).cost_analysis()
    return analysis["flops"]


def torch_device() -> str:
    """PyTorch's name of the device."""
    return "cuda" if gpu() else "cpu"


def _filled(variables: dict[str, Any]) -> dict[str, Any]:
    return {name: tree for name, tree in variables.items() if tree}
