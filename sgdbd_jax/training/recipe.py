"""A whole run, its stages in order, each as far as asked for; then delivery.

G on pastes; G on a teacher's masks; the game, before it the classifier and the discriminators' warm start; G on its
own masks. Or G on true masks, and nothing else.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from sgdbd_jax import pictures
from sgdbd_jax.data.training_sets import fingerprints
from sgdbd_jax.fields import to_dict
from sgdbd_jax.files import write_atomically
from sgdbd_jax.training.checkpoint import Checkpoints
from sgdbd_jax.training.log import read_log
from sgdbd_jax.training.loop import Stage, generator_of, run_stage
from sgdbd_jax.training.parallel import check_batch, parallelize
from sgdbd_jax.training.pretrain import fit_generator, pretrain_classifier
from sgdbd_jax.training.run import Run
from sgdbd_jax.training.samples import predicting, prediction, sample_picture, score_generator
from sgdbd_jax.training.start import digests, given_generator
from sgdbd_jax.training.state import FitState, TrainState, init_game, make_optimiser
from sgdbd_jax.training.step import make_disc_step, make_game_step
from sgdbd_jax.training.targets import Targets, own_targets, teacher_targets
from sgdbd_jax.training.workdir import claim_workdir
from sgdbd_jax.weights import halve, save_weights

WARM_STREAM, GAME_STREAM, TAUGHT_STREAM, DISC_STREAM, TEACHER_STREAM = 12, 13, 15, 16, 17  # of random numbers


def train(run: Run) -> Path:
    """Trains to the end, or on from the last checkpoint.

    Returns:
        The finished generator's weight file: the best on validation where there is one, else the last.

    Raises:
        UserError: the work folder holds another run, a value is not finite, the disk refuses, ...
        Stopped: the run was asked to stop.
    """
    config, examples, pastes = run.config, run.examples, run.config.pastes
    game, taught = config.game, config.self_training
    check_batches(run)
    generator = given_generator(run)  # as far as it has learned
    if game.steps and not config.supervised:  # what the game refuses, it refuses before other stages
        init_game(config, run.networks, run.vgg16, generator)
    starts = digests(config)
    claim_workdir(run.workdir, config, fingerprints(run.photos) | starts)
    if config.supervised:
        stage = Stage("supervised", examples.supervised, GAME_STREAM, game.steps, game.batch)
        state: Any = fit_generator(run, stage, make_optimiser(game.generator_optimiser), generator)
        return deliver(run, stage, state, starts)

    if pastes.warm_steps:
        stage = Stage("warm", examples.warm, WARM_STREAM, pastes.warm_steps, pastes.warm_batch)
        state = fit_generator(run, stage, make_optimiser(pastes.warm_optimiser, stage.steps), generator)
        generator = state.net.predicting
    if taught.teacher_steps:
        stage, state = learn_masks(run, "teacher", TEACHER_STREAM, taught.teacher_steps, generator, teacher_targets)
        generator = state.net.predicting
    if game.steps:
        stage = Stage("game", examples.game, GAME_STREAM, game.steps, game.batch)
        state = play(run, stage, generator)
        generator = state.generator.predicting
    if taught.taught_steps:
        assert generator is not None  # the config sees to it
        own = functools.partial(own_targets, generator=generator)
        stage, state = learn_masks(run, "taught", TAUGHT_STREAM, taught.taught_steps, generator, own)
    return deliver(run, stage, state, starts)


def learn_masks(
    run: Run,
    name: str,
    stream: int,
    steps: int,
    generator: dict[str, Any] | None,
    make_targets: Callable[[Run], Targets],
) -> tuple[Stage, FitState]:
    """A stage on refined masks of the source photos, which are not made again once it is done."""
    pastes = run.config.pastes
    made = Targets(()) if steps_done(run, name) == steps else make_targets(run)
    example = functools.partial(run.examples.taught, targets=made.masks, weights=made.weights, places=made.places)
    stage = Stage(name, example, stream, steps, pastes.warm_batch)
    return stage, fit_generator(run, stage, make_optimiser(pastes.warm_optimiser, steps), generator)


def check_batches(run: Run) -> None:
    """Refuses batches that the devices cannot share.

    Raises:
        UserError: naming the field.
    """
    config, pastes, taught = run.config, run.config.pastes, run.config.self_training
    warms = not config.supervised and (pastes.warm_steps or taught.teacher_steps or taught.taught_steps)
    batches = {"batch": config.game.batch, "classifier_batch": config.pretraining.classifier_batch}
    batches |= {"warm_batch": pastes.warm_batch} if warms else {}
    for name, batch in batches.items():
        check_batch(batch, run.devices, name=name)


def play(run: Run, stage: Stage, generator: dict[str, Any] | None) -> TrainState:
    """The game, from a generator where there is one; before it the classifier, and the discriminators' warm start."""
    config, disc_warm_steps = run.config, run.config.pastes.disc_warm_steps
    classifier = pretrain_classifier(run) if config.game.bilateral_weight else {}
    state = init_game(config, run.networks, run.vgg16, generator)
    if disc_warm_steps:
        makers = run.examples.discriminators
        before = Stage("discriminators", makers, DISC_STREAM, disc_warm_steps, stage.batch, makes_masks=False)
        state = run_stage(run, before, state, parallelize(make_disc_step(config, run.networks, run.axis), run.devices))
        state = state.replace(step=jnp.zeros_like(state.step))  # the game's begin here
    if config.ema_decay:
        state = state.replace(generator=state.generator.with_ema())
    step = parallelize(make_game_step(config, run.networks, run.axis), run.devices)
    return run_stage(run, stage, state, step, classifier)


def steps_done(run: Run, stage: str) -> int:
    """Steps of a stage that have a checkpoint."""
    checkpoints = Checkpoints(run.workdir / "checkpoints" / stage, keep=run.config.keeping.keep)
    try:
        return checkpoints.latest() or 0
    finally:
        checkpoints.close()


def deliver(run: Run, stage: Stage, state: TrainState | FitState, starts: Mapping[str, str]) -> Path:
    """Writes two pictures, `result.json` where there is something to score on, and last `generator.safetensors`.

    So a folder that has the generator has all of it.
    """
    config, step = run.config, stage.steps
    checkpoints = Checkpoints(run.workdir / "checkpoints" / stage.name, keep=config.keeping.keep)
    try:
        best = checkpoints.best()
        if best is not None and best != step:
            state, step = checkpoints.restore(best, state), best
    finally:
        checkpoints.close()
    net, path = generator_of(state), run.workdir / "generator.safetensors"
    if not run.main:
        return path
    delivered = jax.device_get(predicting(config.prediction, net.predicting))
    variables = {name: tree for name, tree in delivered.items() if tree}
    work_size, refinement = prediction(config)
    asked: dict[str, Any] = {"work_size": work_size} | ({"refinement": asdict(refinement)} if refinement else {})
    asked |= {"reduced": True} if config.prediction.reduced else {}
    asked |= {"gain": config.prediction.gain, "middle": config.prediction.middle}  # which are in the last layer
    metadata = {"kind": "generator", "config": to_dict(config.generator), "prediction": asked, "seed": config.seed}
    metadata |= {"stage": stage.name, "step": step}
    metadata |= {name: digest for name, digest in starts.items() if name == "given generator"}
    write_atomically(run.workdir / "samples.png", sample_picture(run, net))
    log = [row for row in read_log(run.workdir) if row["stage"] != "classifier"]
    write_atomically(run.workdir / "learning_curve.png", pictures.learning_curve(log))
    scored_on = run.photos.held_out or run.photos.validation
    if scored_on is not None:
        result = score_generator(run, net, scored_on)
        write_atomically(run.workdir / "result.json", json.dumps(result, indent=1).encode())
    save_weights(path, halve(variables) if config.prediction.half else variables, metadata)
    return path
