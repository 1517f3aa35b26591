"""A run in its work folder: what it has to learn from and with, whom it reports to, and how it is asked to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax

from sgdbd_jax.backend import start_jax
from sgdbd_jax.config import Config
from sgdbd_jax.data.batches import ExampleMakers
from sgdbd_jax.data.training_sets import Photos
from sgdbd_jax.models.networks import Networks
from sgdbd_jax.training.parallel import axis_name


class Stopped(Exception):
    """The run was asked to stop, and has saved a checkpoint."""


class Reporter:
    """What a run tells while it goes on; this one tells nobody."""

    def stage(self, name: str, done: int, steps: int) -> None:
        """A stage of so many steps begins, or goes on after `done` of them."""

    def step(self, metrics: dict[str, float] | None) -> None:
        """A step is done; `metrics` are means over the steps since the last ones."""

    def say(self, text: str) -> None:
        """A line for whoever watches."""

    def warn(self, text: str) -> None:
        """A line for whoever should act."""


@dataclass
class Run:
    """One run in its work folder.

    Attributes:
        config: all choices.
        workdir: holds `config.json`, `metrics.jsonl`, `checkpoints/`, `grids/`, and what `train` returns.
        photos: the sets.
        vgg16: `{layer: {"kernel", "bias"}}`, where trunks start; `None` for random initialisation.
        reporter: told of progress.
        should_stop: asked after each step; a yes saves and raises `Stopped`.
        devices: this process's devices to train on; all of them by default.
    """

    config: Config
    workdir: Path
    photos: Photos
    vgg16: Any = None
    reporter: Reporter = field(default_factory=Reporter)
    should_stop: Callable[[], bool] = lambda: False
    devices: Sequence[jax.Device] = field(default_factory=start_jax)

    def __post_init__(self) -> None:
        self.axis = axis_name(self.devices)
        self.networks = Networks.of(self.config, self.axis)
        self.examples = ExampleMakers(self.photos.training, self.config)
        self.main = jax.process_index() == 0  # one process writes
