"""Ours and others', made of the same values: a step of the game, one of a generator's own training, and a detector."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend.core import jaxprs_in_params
from jax.interpreters.partial_eval import dce_jaxpr

from experiments.benchmark.timing import Run
from sgdbd_jax.config import Config
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import flatten, replace
from sgdbd_jax.models import convolution
from sgdbd_jax.models.layers import to_unit
from sgdbd_jax.models.networks import make_generator
from sgdbd_jax.training.parallel import parallelize
from sgdbd_jax.training.state import FitState, Networks, TrainState, init_game, init_net, make_optimiser
from sgdbd_jax.training.step import make_fit_step, make_game_step, mask_loss

OURS = "ours"
TWINS: dict[str, dict[str, Any]] = {  # of the game and the detector
    "torch release": {"way": "release"},
    "torch best": {"way": "best"},
    "torch compiled": {"way": "best", "compile": True},
}
FIT_TWINS: dict[str, dict[str, Any]] = {  # of a generator's own training
    "torch best": {},
    "torch bfloat16": {"bfloat16": True},
    "torch compiled": {"compile": True},
}
# What the game in PyTorch does not have, and the value at which that makes no difference.
WITHOUT_TWIN = {
    "discriminator.in_blocks": False,
    "discriminator.patches": (0,),
    "classifier.layers": ("conv5_3",),
    "game.binarisation_ramp": 0,
    "game.temperature": 1.0,
    "game.hard": False,
    "game.smoothing": 0.0,
    "game.r1_weight": 0.0,
}
ONNX = "onnxruntime"  # of the detector alone
CPUINFO = Path("/proc/cpuinfo")
Size = tuple[int, int]  # height and width in pixels
Detect = Callable[[np.ndarray], np.ndarray]  # [B, H, W, 3] uint8 -> [B, H, W] float32, on the host


def gpu() -> bool:
    """Whether JAX computes on a GPU; PyTorch then does too."""
    return jax.default_backend() == "gpu"


def bfloat16_unit() -> bool:
    """Whether the device multiplies in bfloat16: a GPU, or a processor whose flags say so."""
    flags = set(CPUINFO.read_text().split()) if CPUINFO.exists() else set()
    return gpu() or bool(flags & {"avx512_bf16", "amx_bf16"})


def check_has_twin(config: Config) -> None:
    """Refuses a game that PyTorch's is not a twin of.

    Raises:
        UserError: naming the fields.
    """
    values = flatten(config)
    asked = [f"{name} {values[name]}" for name, plain in WITHOUT_TWIN.items() if values[name] != plain]
    asked += ["discriminator.norm none"] if config.discriminator.norm == "none" else []
    if asked:
        raise UserError(
            f"{', '.join(asked)}: the game in PyTorch has no twin of this; take another preset, or leave step out"
        )


def noise(count: int, size: Size, seed: int = 0) -> np.ndarray:
    """Photos of noise, `[count, H, W, 3]` uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), np.uint8)


def square(side: int) -> Size:
    """The size of a square."""
    return side, side


def told(size: Size) -> str:
    """A size as photos have it, width x height."""
    return f"{size[1]}x{size[0]}"


class Stepping:
    """A step of ours, compiled, and a call that goes one on; it takes the state over."""

    def __init__(self, step: Callable, state: Any, frozen: Any, batch: dict[str, np.ndarray]) -> None:
        self._state, self._rest = state, (frozen, batch)
        program: Any = parallelize(step, jax.local_devices()[:1])
        self._compiled = program.lower(state, *self._rest).compile()

    def __call__(self) -> dict[str, jax.Array]:
        """Runs a step, and waits; gives its metrics."""
        self._state, metrics = self._compiled(self._state, *self._rest)
        jax.block_until_ready((self._state, metrics))
        return metrics


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
        batch = {name: noise(game.batch, square(crop), seed) for seed, name in enumerate(names)}
        batch |= {"paste_mask": batch["paste"][..., :1]} if game.paste_weight else {}
        classifier = init_net(networks.classifier, optax.identity(), jax.random.key(1), crop)
        return cls(config, init_game(config, networks), _filled(classifier.variables), batch)

    def our_step(self) -> Run:
        """A call that plays our next step; it takes the state over."""
        return Stepping(self._step(), self.state, self.classifier, self.batch)

    def operations(self) -> float:
        """Operations of a step; see `count_operations`."""
        return count_operations(self._step(), self.state, self.classifier, self.batch)

    def _step(self) -> Callable:
        return make_game_step(self.config, Networks.of(self.config))

    def torch_step(self, twin: str) -> Run:
        """A call that plays the next step of a twin, a key of TWINS, and gives its losses."""
        from experiments.benchmark.torch_twin import TorchGame

        game = TorchGame(self.config, self.state, self.classifier, device=torch_device(), **TWINS[twin])
        return _waiting(functools.partial(game.step, self.batch))


@dataclass(frozen=True)
class Fit:
    """What every side's first step of a generator's own training starts from.

    Its optimiser is Adam where the config's is Muon, which PyTorch has not for convolutions.
    """

    config: Config
    state: FitState
    batch: dict[str, np.ndarray]  # `photo` and `mask`

    @classmethod
    def of(cls, config: Config) -> Fit:
        """Random variables of a config's generator, and a batch of noise."""
        if config.pastes.warm_optimiser.name == "muon":
            config = replace(config, {"warm_optimiser.name": "adam"})
        count, size = config.pastes.warm_batch, square(config.crops.crop)
        optimiser = make_optimiser(config.pastes.warm_optimiser)
        net = init_net(Networks.of(config).generator, optimiser, jax.random.key(config.seed), config.crops.crop)
        net = net.with_ema() if config.ema_decay else net
        batch = {"photo": noise(count, size), "mask": noise(count, size, 1)[..., :1]}
        return cls(config, FitState(jnp.zeros((), jnp.int32), net), batch)

    def our_step(self) -> Run:
        """A call that makes our next step, and gives its metrics; it takes the state over."""
        return Stepping(self._step(), self.state, {}, self.batch)

    def operations(self) -> float:
        """Operations of a step; see `count_operations`."""
        return count_operations(self._step(), self.state, {}, self.batch)

    def _step(self) -> Callable:
        optimiser = make_optimiser(self.config.pastes.warm_optimiser)
        network = Networks.of(self.config).generator
        return make_fit_step(network, optimiser, mask_loss, ema_decay=self.config.ema_decay)

    def torch_step(self, twin: str) -> Run:
        """A call that makes the next step of a twin, a key of FIT_TWINS, and gives its loss."""
        from experiments.benchmark.torch_fit import TorchFit

        fit = TorchFit(self.config, self.state, device=torch_device(), **FIT_TWINS[twin])
        return _waiting(functools.partial(fit.step, self.batch))


@dataclass(frozen=True)
class Detecting:
    """A generator with random variables."""

    config: Config
    variables: Any

    @classmethod
    def of(cls, config: Config) -> Detecting:
        """Draws the variables of a config's generator."""
        network = Networks.of(config).generator
        net = init_net(
            network, optax.identity(), jax.random.key(config.seed), make_generator(config.generator).multiple
        )
        return cls(config, _filled(net.variables))

    @property
    def multiple(self) -> int:
        """What photo sides must be multiples of."""
        return make_generator(self.config.generator).multiple

    def photos(self, batch: int, size: Size) -> np.ndarray:
        """Photos of noise, `[B, H, W, 3]` uint8, reflected at their ends up to sides that every network takes."""
        ends = [(0, -side % self.multiple) for side in size]
        return np.pad(noise(batch, size), [(0, 0), *ends, (0, 0)], mode="reflect")

    def ours(self) -> Detect:
        """Ours."""
        detector = Detector(self.config.generator, self.variables)
        return lambda photos: np.asarray(detector.detect(photos))

    def torch(self, twin: str) -> Detect:
        """That of a twin, a key of TWINS."""
        from experiments.benchmark.torch_twin import TorchDetector

        return TorchDetector(self.config.generator, self.variables, device=torch_device(), **TWINS[twin])

    def onnx(self, shape: tuple[int, ...]) -> Detect:
        """That of onnxruntime, for photos of one shape, `(B, H, W, 3)`."""
        from experiments.benchmark.onnx_twin import OnnxDetector

        return OnnxDetector(self.config.generator, self.variables, shape)

    def operations(self, size: Size) -> float:
        """Operations of one photo's mask; see `count_operations`."""
        network = Networks.of(self.config).generator
        return count_operations(
            lambda variables, photo: network.apply(variables, to_unit(photo), train=False),
            self.variables,
            self.photos(1, size),
        )


def make_step(who: str, config: Config) -> Run:
    """A call that plays the next step of one side: OURS, or a key of TWINS."""
    game = Game.of(config)
    return game.our_step() if who == OURS else game.torch_step(who)


def make_fit(who: str, config: Config) -> Run:
    """A call that makes the next step of a generator's own training by one side: OURS, or a key of FIT_TWINS."""
    fit = Fit.of(config)
    return fit.our_step() if who == OURS else fit.torch_step(who)


def make_prediction(who: str, config: Config, size: Size, batch: int) -> Run:
    """A call that detects on the same photos again, by one side: OURS, a key of TWINS, or ONNX."""
    detecting = Detecting.of(config)
    photos = detecting.photos(batch, size)
    detect = detecting.ours() if who == OURS else detecting.onnx(photos.shape) if who == ONNX else detecting.torch(who)
    return functools.partial(detect, photos)


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


def _waiting(step: Run) -> Run:
    """A step of PyTorch's that returns when its last update is done too."""

    def run() -> object:
        result = step()
        if gpu():
            import torch

            torch.cuda.synchronize()
        return result

    return run


def _filled(variables: dict[str, Any]) -> dict[str, Any]:
    return {name: tree for name, tree in variables.items() if tree}
