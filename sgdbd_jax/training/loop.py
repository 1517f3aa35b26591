"""One stage of a run: step after step, with checkpoints, logs, a watchdog and samples; resumable anywhere."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import Any

import jax

from sgdbd_jax.data.batches import Example, ExampleMaker, make_batch, prefetch
from sgdbd_jax.errors import UserError
from sgdbd_jax.files import write_atomically
from sgdbd_jax.training.checkpoint import Checkpoints
from sgdbd_jax.training.log import MetricsLog
from sgdbd_jax.training.parallel import Step, any_process, process_places
from sgdbd_jax.training.run import Reporter, Run, Stopped
from sgdbd_jax.training.samples import sample_picture, score_generator
from sgdbd_jax.training.state import FitState, NetState, TrainState
from sgdbd_jax.training.watchdog import Watchdog, check_state


@dataclass(frozen=True)
class Stage:
    """What a stage does.

    Attributes:
        name: of its checkpoints, log rows and sample grids.
        example: makes one example of a batch.
        stream: of random numbers; stages never share draws.
        steps: how many it has.
        batch: examples a step.
        makes_masks: whether its network is the generator, which can be validated and shown.
    """

    name: str
    example: ExampleMaker
    stream: int
    steps: int
    batch: int
    makes_masks: bool = True


def run_stage(run: Run, stage: Stage, state: Any, step: Step, frozen: Any = None) -> Any:
    """Runs a stage to its end, from its last checkpoint where it has one.

    Args:
        run: the run it belongs to.
        stage: what to do.
        state: TrainState or FitState to start from; donated.
        step: from `parallelize`.
        frozen: variables that the step takes and no optimiser sees.

    Returns:
        The state after the last step.

    Raises:
        UserError: a value is not finite, the disk refuses, a checkpoint is damaged.
        Stopped: the run was asked to stop; a checkpoint is saved.
    """
    config, keeping, reporter = run.config, run.config.keeping, run.reporter
    checkpoints = Checkpoints(run.workdir / "checkpoints" / stage.name, keep=keeping.keep)
    log: MetricsLog | None = None
    try:
        done = checkpoints.latest() or 0
        if done:
            state = checkpoints.restore(done, state)
        reporter.stage(stage.name, done, stage.steps)
        if done > stage.steps:
            raise UserError(
                f"{run.workdir}: stage {stage.name} has done {done} steps, {stage.steps} are asked for;"
                " ask for at least as many, or choose another --workdir"
            )
        if done == stage.steps:
            return state
        if run.main:
            log = MetricsLog(run.workdir, stage.name, step=done, tensorboard=keeping.tensorboard)

        def make(at: int) -> Example:
            places = process_places(stage.batch)
            return make_batch(
                stage.example, seed=config.seed, stream=stage.stream, step=at, batch=stage.batch, places=places
            )

        batches = prefetch(make, range(done, stage.steps))
        watchdog = Watchdog() if stage.makes_masks else Watchdog(winning=1.0)  # before the game, winning is the aim
        pending: list[Any] = []
        saved_at = logged_at = time.monotonic()
        for number, batch in zip(itertools.count(done + 1), batches):
            state, metrics = step(state, frozen, batch)
            if jax.default_backend() == "cpu":  # there a step holds its memory from the call on
                jax.block_until_ready(metrics)
            pending.append(metrics)
            last = number == stage.steps
            show = stage.makes_masks and (last or number % keeping.grid_every == 0)
            validation = run.photos.validation if stage.makes_masks else None
            if not last and number % config.validation.validate_every:
                validation = None
            # Several processes must stop and save at the same steps; every so often they agree whether to.
            stopping = late = False
            if jax.process_count() == 1 or number % keeping.log_every == 0:
                minutes = (time.monotonic() - saved_at) / 60
                stopping, late = any_process(run.should_stop(), minutes > keeping.checkpoint_minutes)
            save = last or stopping or late or validation is not None or number % keeping.checkpoint_every == 0

            means: dict[str, float] | None = None
            scores: dict[str, float] | None = None
            if save or show or number % keeping.log_every == 0:  # all is looked at before anything is written
                means = _look(watchdog, reporter, number, pending)
                means["seconds_per_step"] = (time.monotonic() - logged_at) / len(pending)
                pending = []
            if save:
                check_state(number, state)
            if validation is not None:
                result = score_generator(run, generator_of(state), validation)
                scores = {name: result[name] for name in ("f_measure", "mae", "precision", "recall")}
                means = {**(means or {}), **{f"validation_{name}": value for name, value in scores.items()}}
            if means is not None and log is not None:
                log.write(number, means)
            if show and run.main:
                picture = sample_picture(run, generator_of(state))
                write_atomically(run.workdir / "grids" / f"{stage.name}_{number:06d}.png", picture)
            if save:
                checkpoints.save(number, state, scores)
                saved_at = time.monotonic()
            if means is not None:
                logged_at = time.monotonic()
            reporter.step(means)
            if stopping and not last:
                raise Stopped(f"stopped at step {number} of {stage.steps} of stage {stage.name}, checkpoint saved")
        return state
    finally:
        if log is not None:
            log.close()
        checkpoints.close()


def generator_of(state: TrainState | FitState) -> NetState:
    """The generator's part of a state that has one."""
    return state.generator if isinstance(state, TrainState) else state.net


def _look(watchdog: Watchdog, reporter: Reporter, number: int, pending: list[Any]) -> dict[str, float]:
    """Shows the watchdog every step since the last look; gives the means over them."""
    values = [{name: float(value) for name, value in metrics.items()} for metrics in jax.device_get(pending)]
    for at, metrics in enumerate(values, start=number - len(values) + 1):
        for warning in watchdog.look(at, metrics):
            reporter.warn(warning)
    return {name: sum(metrics[name] for metrics in values) / len(values) for name in values[0]}
