"""A whole run: the classifier, the generator on pastes, the game, its own masks, as far as asked for; deliver."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from sgdbd_jax import pictures
from sgdbd_jax.config import Config, to_dict
from sgdbd_jax.data.batches import RowMakers
from sgdbd_jax.data.training_sets import Photos, fingerprints
from sgdbd_jax.files import file_sha256, write_atomically
from sgdbd_jax.training.checkpoint import Checkpoints, claim_workdir
from sgdbd_jax.training.log import read_log
from sgdbd_jax.training.loop import Reporter, Stage, generator_of, run_stage
from sgdbd_jax.training.parallel import axis_name, check_batch, parallelize
from sgdbd_jax.training.pretrain import fit_generator, given_generator, pretrain_classifier
from sgdbd_jax.training.samples import prediction, sample_picture, score_generator
from sgdbd_jax.training.state import FitState, Networks, TrainState, init_game, make_optimiser
from sgdbd_jax.training.step import make_disc_step, make_game_step
from sgdbd_jax.training.teach import make_targets
from sgdbd_jax.weights import halve, save_weights

WARM_STREAM, GAME_STREAM, TAUGHT_STREAM, DISC_STREAM = 12, 13, 15, 16  # of random numbers


@dataclass
class Run:
    """One run in its work folder.

    Attributes:
        config: all choices.
        workdir: holds `config.json`, `metrics.jsonl`, `checkpoints/`, `grids/`, and what `train` returns.
        photos: the sets.
        trunk: `{layer: {"kernel", "bias"}}` of a VGG16, or `None` for random initialisation.
        reporter: told of progress.
        should_stop: asked after each step; a yes saves and raises `Stopped`.
        devices: this process's devices to train on; all of them by default.
    """

    config: Config
    workdir: Path
    photos: Photos
    trunk: Any = None
    reporter: Reporter = field(default_factory=Reporter)
    should_stop: Callable[[], bool] = lambda: False
    devices: Sequence[jax.Device] = field(default_factory=jax.local_devices)

    def __post_init__(self) -> None:
        self.axis = axis_name(self.devices)
        self.networks = Networks.of(self.config, self.axis)
        self.rows = RowMakers(self.photos.training, self.config)
        self.main = jax.process_index() == 0  # one process writes


def train(run: Run) -> Path:
    """Trains to the end, or on from the last checkpoint.

    Returns:
        The finished generator's weight file: the best on validation where there is one, else the last.

    Raises:
        UserError: the work folder holds another run, a value is not finite, the disk refuses, ...
        Stopped: the run was asked to stop.
    """
    config, rows = run.config, run.rows
    warms = not config.supervised and (config.warm_steps or config.taught_steps)
    for name in ("batch", "classifier_batch") + (("warm_batch",) if warms else ()):
        check_batch(getattr(config, name), run.devices, name=name)
    start = given_generator(run)  # the generator so far
    if config.steps and not config.supervised:  # what the game refuses, it refuses before other stages
        init_game(config, run.networks, run.trunk, start)
    given = digests_of_given(config)
    claim_workdir(run.workdir, config, fingerprints(run.photos.training) | given)
    if config.supervised:
        stage = Stage("supervised", rows.supervised, GAME_STREAM, config.steps, config.batch)
        state: Any = fit_generator(run, stage, make_optimiser(config.generator_optimiser), start)
        return _deliver(run, stage, state, given)

    if config.warm_steps:
        stage = Stage("warm", rows.warm, WARM_STREAM, config.warm_steps, config.warm_batch)
        state = fit_generator(run, stage, make_optimiser(config.warm_optimiser, stage.steps), start)
        start = state.net.predicting
    if config.steps:
        stage = Stage("game", rows.game, GAME_STREAM, config.steps, config.batch)
        state = _play(run, stage, start)
        start = state.generator.predicting
    if config.taught_steps:
        assert start is not None  # the config sees to it
        done = _done(run, "taught") == config.taught_steps
        row = functools.partial(rows.taught, targets=() if done else make_targets(run, start))
        stage = Stage("taught", row, TAUGHT_STREAM, config.taught_steps, config.warm_batch)
        state = fit_generator(run, stage, make_optimiser(config.warm_optimiser, stage.steps), start)
    return _deliver(run, stage, state, given)


def digests_of_given(config: Config) -> dict[str, str]:
    """What tells the files of weights that a run starts from, by name."""
    given = {"generator": config.generator_weights, "classifier": config.classifier_weights}
    return {f"given {name}": file_sha256(path)[:12] for name, path in given.items() if path and Path(path).is_file()}


def _done(run: Run, stage: str) -> int:
    """Steps of a stage that have a checkpoint."""
    checkpoints = Checkpoints(run.workdir / "checkpoints" / stage, keep=run.config.keep)
    try:
        return checkpoints.latest() or 0
    finally:
        checkpoints.close()


def _log(run: Run) -> list[dict[str, Any]]:
    """What the log says of the generator's training."""
    return [row for row in read_log(run.workdir) if row["stage"] != "classifier"]


def _play(run: Run, stage: Stage, start: dict[str, Any] | None) -> TrainState:
    """The game, from a generator where there is one."""
    config = run.config
    classifier = pretrain_classifier(run) if config.bilateral_weight else {}
    state = init_game(config, run.networks, run.trunk, start)
    if config.disc_warm_steps:
        stage_of_discs = Stage(
            "discriminators",
            run.rows.discriminators,
            DISC_STREAM,
            config.disc_warm_steps,
            config.batch,
            makes_masks=False,
        )
        learn = parallelize(make_disc_step(config, run.networks, run.axis), run.devices)
        state = run_stage(run, stage_of_discs, state, learn)
        state = state.replace(step=jnp.zeros_like(state.step))  # the game's begin here
    if config.average:
        state = state.replace(generator=state.generator.averaged())
    step = parallelize(make_game_step(config, run.networks, run.axis), run.devices)
    return run_stage(run, stage, state, step, classifier)


def _deliver(run: Run, stage: Stage, state: TrainState | FitState, given: Mapping[str, str]) -> Path:
    """Writes `generator.safetensors`, two pictures, and `result.json` where there is something to score on."""
    config, step = run.config, stage.steps
    checkpoints = Checkpoints(run.workdir / "checkpoints" / stage.name, keep=config.keep)
    try:
        best = checkpoints.best()
        if best is not None and best != step:
            state, step = checkpoints.restore(best, state), best
    finally:
        checkpoints.close()
    net, path = generator_of(state), run.workdir / "generator.safetensors"
    if not run.main:
        return path
    variables = {name: tree for name, tree in jax.device_get(net.predicting).items() if tree}
    work_size, refinement = prediction(config)
    asked = {"work_size": work_size} | ({"refinement": asdict(refinement)} if refinement else {})
    metadata = {"kind": "generator", "config": to_dict(config.generator), "prediction": asked, "seed": config.seed}
    metadata |= {"stage": stage.name, "step": step}
    metadata |= {name: digest for name, digest in given.items() if name == "given generator"}
    save_weights(path, halve(variables) if config.half else variables, metadata)
    write_atomically(run.workdir / "samples.png", sample_picture(run, net))
    write_atomically(run.workdir / "learning_curve.png", pictures.learning_curve(_log(run)))
    scored_on = run.photos.held_out or run.photos.validation
    if scored_on is not None:
        result = score_generator(run, net, scored_on)
        write_atomically(run.workdir / "result.json", json.dumps(result, indent=1).encode())
    return path
