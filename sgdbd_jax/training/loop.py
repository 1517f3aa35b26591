"""A whole run: pretrain the classifier, warm the generator if asked to, play the game; resumable at every step."""

from __future__ import annotations

import functools
import itertools
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sgdbd_jax import pictures
from sgdbd_jax.composite import composites
from sgdbd_jax.config import Config, from_dict, to_dict
from sgdbd_jax.data.batches import Row, RowMaker, RowMakers, make_batch, prefetch
from sgdbd_jax.data.sources import PhotoSet
from sgdbd_jax.data.training_sets import Photos
from sgdbd_jax.detector import Detector
from sgdbd_jax.errors import UserError
from sgdbd_jax.training.checkpoint import Checkpoints, claim_workdir
from sgdbd_jax.training.log import MetricsLog, read_log
from sgdbd_jax.training.parallel import Step, axis_name, parallelize, process_rows
from sgdbd_jax.training.state import FitState, NetState, Networks, TrainState, init_game, init_net, make_optimiser
from sgdbd_jax.training.step import classifier_loss, make_fit_step, make_game_step, mask_loss, to_unit
from sgdbd_jax.training.watchdog import Watchdog
from sgdbd_jax.validation import score_detector
from sgdbd_jax.weights import load_weights, merge, save_weights, write_atomically

# Streams of random numbers: stages never share draws.
CLASSIFIER_STREAM, HELD_OUT_STREAM, WARM_STREAM, GAME_STREAM, GRID_STREAM = 10, 11, 12, 13, 14
HELD_OUT_PASTES = 256
GRID_ROWS = 6


class Stopped(Exception):
    """The run was asked to stop, and has saved a checkpoint."""


class Reporter:
    """What a run tells while it goes on; this one tells nobody."""

    def stage(self, name: str, done: int, steps: int) -> None:
        """A stage of so many steps begins, or goes on after `done` of them."""

    def step(self, metrics: dict[str, float] | None) -> None:
        """A step is done; `metrics` are means since the last that were given."""

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
    config = run.config
    for name in ("batch", "classifier_batch"):
        process_rows(getattr(config, name))
    claim_workdir(run.workdir, config)
    if config.supervised:
        stage = "supervised"
        state: Any = _fit_generator(run, stage, run.rows.supervised, config.steps)
        net, restore = state.net, lambda state: state.net
    else:
        stage = "game"
        classifier = pretrain_classifier(run) if config.bilateral_weight else {}
        warm = _fit_generator(run, "warm", run.rows.warm, config.warm_steps).net if config.warm_steps else None
        state = init_game(config, run.networks, run.trunk)
        if warm is not None:
            fresh = make_optimiser(config.generator_optimiser).init(warm.params)
            state = state.replace(generator=NetState(warm.params, warm.batch_stats, fresh))
        step = parallelize(make_game_step(config, run.networks, run.axis), run.devices)
        state = _stage(run, stage, state, step, classifier, run.rows.game, config.steps, config.batch, GAME_STREAM)
        net, restore = state.generator, lambda state: state.generator
    return _deliver(run, stage, state, net, restore)


def pretrain_classifier(run: Run) -> Any:
    """The frozen classifier's variables: read from a file, or trained on pastes and written to one.

    Its accuracy on pastes of photos that it has not seen goes into `classifier.safetensors` and to the reporter.
    """
    config, path = run.config, run.workdir / "classifier.safetensors"
    optimiser = make_optimiser(config.classifier_optimiser)
    state = FitState(
        jnp.zeros((), jnp.int32),
        init_net(
            run.networks.classifier,
            optimiser,
            jax.random.fold_in(jax.random.key(config.seed), 3),
            config.crop,
            run.trunk,
        ),
    )
    given = Path(config.classifier_weights) if config.classifier_weights else path
    if config.classifier_weights or path.exists():
        loaded, metadata = load_weights(given, kind="classifier")
        expected = {name: tree for name, tree in state.net.variables.items() if tree}
        if from_dict(type(config.classifier), metadata["config"]) != config.classifier:
            raise UserError(f"{given}: a classifier of another config than this run's")
        return {"batch_stats": {}, **merge(expected, loaded, where=str(given))}

    step = parallelize(make_fit_step(run.networks.classifier, optimiser, classifier_loss, run.axis), run.devices)
    batch = config.classifier_batch
    state = _stage(
        run, "classifier", state, step, {}, run.rows.classifier, config.classifier_steps, batch, CLASSIFIER_STREAM
    )
    variables = {name: tree for name, tree in state.net.variables.items() if tree}
    accuracy = _held_out_accuracy(run, variables)
    run.reporter.say(f"classifier: accuracy {accuracy:.3f} on {HELD_OUT_PASTES} held-out pastes")
    if run.main:
        metadata = {"kind": "classifier", "config": to_dict(config.classifier), "held_out_accuracy": accuracy}
        save_weights(path, jax.device_get(variables), metadata)
        shutil.rmtree(run.workdir / "checkpoints" / "classifier", ignore_errors=True)
    return {"batch_stats": {}, **variables}


def _held_out_accuracy(run: Run, variables: Any) -> float:
    row = functools.partial(run.rows.classifier, held_out=True)
    pastes = make_batch(
        row, seed=run.config.seed, stream=HELD_OUT_STREAM, step=0, batch=HELD_OUT_PASTES, rows=range(HELD_OUT_PASTES)
    )

    @jax.jit
    def predict(variables: Any, photo: jax.Array) -> jax.Array:
        _, logits = run.networks.classifier.apply(variables, to_unit(photo), train=False)
        return jnp.argmax(logits, -1)

    chunks = range(0, HELD_OUT_PASTES, 32)
    predicted = np.concatenate([np.asarray(predict(variables, pastes["photo"][at : at + 32])) for at in chunks])
    return float((predicted == pastes["label"]).mean())


def _fit_generator(run: Run, stage: str, row: RowMaker, steps: int) -> FitState:
    """Trains the generator alone by cross-entropy on masks."""
    config, optimiser = run.config, make_optimiser(run.config.generator_optimiser)
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    net = init_net(run.networks.generator, optimiser, key, config.crop, run.trunk)
    step = parallelize(make_fit_step(run.networks.generator, optimiser, mask_loss, run.axis), run.devices)
    state = FitState(jnp.zeros((), jnp.int32), net)
    return _stage(run, stage, state, step, {}, row, steps, config.batch, WARM_STREAM)


def _stage(
    run: Run,
    name: str,
    state: Any,
    step: Step,
    frozen: Any,
    row: RowMaker,
    steps: int,
    batch: int,
    stream: int,
) -> Any:
    """Runs one stage to its end, from its last checkpoint where it has one."""
    config, reporter = run.config, run.reporter
    checkpoints = Checkpoints(run.workdir / "checkpoints" / name, keep=config.keep)
    try:
        done = checkpoints.latest() or 0
        if done:
            state = checkpoints.restore(done, state)
        reporter.stage(name, done, steps)
        if done >= steps:
            return state
        log = MetricsLog(run.workdir, name, step=done, tensorboard=config.tensorboard) if run.main else None
        rows = process_rows(batch)
        make = functools.partial(_timed_batch, row, config.seed, stream, batch, rows)
        watchdog, pending = Watchdog(), []
        saved_at = logged_at = time.monotonic()
        for number, data in zip(itertools.count(done + 1), prefetch(make, range(done, steps))):
            state, metrics = step(state, frozen, data)
            pending.append(metrics)
            stopping = run.should_stop()
            last = number == steps
            validation = run.photos.validation if name != "classifier" else None
            validate = validation is not None and (last or number % config.validate_every == 0)
            # The clock asks for a checkpoint on one process alone; with several, only steps do.
            late = jax.process_count() == 1 and time.monotonic() - saved_at > 60 * config.checkpoint_minutes
            save = validate or last or stopping or late or number % config.checkpoint_every == 0
            grid = name != "classifier" and (last or number % config.grid_every == 0)
            means = None
            if save or grid or number % config.log_every == 0:  # before anything is written, all is looked at
                means = _look(watchdog, reporter, number, pending)
                means["seconds_per_step"] = (time.monotonic() - logged_at) / len(pending)
                pending, logged_at = [], time.monotonic()
            scores = None
            if validate and validation is not None:
                result = _score(run, _generator_of(state), validation)
                scores = {key: result[key] for key in ("f_measure", "mae", "precision", "recall")}
                means = {**(means or {}), **{f"validation_{key}": value for key, value in scores.items()}}
            if means is not None and log is not None:
                log.write(number, means)
            if grid and run.main:
                write_atomically(run.workdir / "grids" / f"{name}_{number:06d}.png", _grid(run, _generator_of(state)))
            if save:
                checkpoints.save(number, state, scores)
                saved_at = time.monotonic()
            logged_at = time.monotonic() if save or grid else logged_at
            reporter.step(means)
            if stopping and not last:
                raise Stopped(f"stopped at step {number} of {steps} of stage {name}, checkpoint saved")
        if log is not None:
            log.close()
        return state
    finally:
        checkpoints.close()


def _timed_batch(row: RowMaker, seed: int, stream: int, batch: int, rows: range, step: int) -> Row:
    return make_batch(row, seed=seed, stream=stream, step=step, batch=batch, rows=rows)


def _look(watchdog: Watchdog, reporter: Reporter, number: int, pending: list[Any]) -> dict[str, float]:
    """Shows the watchdog every step since the last look; gives the means over them."""
    values = [{name: float(value) for name, value in metrics.items()} for metrics in jax.device_get(pending)]
    for at, metrics in enumerate(values, start=number - len(values) + 1):
        for warning in watchdog.look(at, metrics):
            reporter.warn(warning)
    return {name: sum(metrics[name] for metrics in values) / len(values) for name in values[0]}


def _generator_of(state: TrainState | FitState) -> NetState:
    return state.generator if isinstance(state, TrainState) else state.net


def _score(run: Run, net: NetState, photos: PhotoSet) -> dict[str, Any]:
    """Scores a generator as `evaluate` would, on photos scaled as in training."""
    detector = Detector(run.config.generator, net.variables, work_size=run.config.photo_size or "native")
    return score_detector(detector, photos).result


def _grid(run: Run, net: NetState) -> bytes:
    """Source, mask, truth (where it is known) and composites of a few photos, always the same."""
    config = run.config
    data = make_batch(
        run.rows.game, seed=config.seed, stream=GRID_STREAM, step=0, batch=GRID_ROWS, rows=range(GRID_ROWS)
    )
    truth, held_out = None, run.photos.held_out
    if held_out is not None and held_out.masks is not None:
        data["source"] = np.stack(held_out.images[:GRID_ROWS])
        truth = np.stack(held_out.masks[:GRID_ROWS])
    detector = Detector(config.generator, net.variables, work_size="native")
    masks = np.stack([detector(photo) for photo in data["source"]])[..., None]
    photos = (to_unit(jnp.asarray(data[name])) for name in ("source", "clear", "blurred"))
    clear, blur = composites(jnp.asarray(masks), *photos)
    columns = {"source": data["source"], "mask": masks}
    columns |= {"truth": truth} if truth is not None else {}
    return pictures.sample_grid(columns | {"composite_clear": np.asarray(clear), "composite_blur": np.asarray(blur)})


def _deliver(run: Run, stage: str, state: Any, net: NetState, restore: Callable[[Any], NetState]) -> Path:
    """Writes `generator.safetensors`, two pictures, and `result.json` where there is something to score on."""
    config, step = run.config, run.config.steps
    checkpoints = Checkpoints(run.workdir / "checkpoints" / stage, keep=config.keep)
    try:
        best = checkpoints.best()
        if best is not None and best != step:
            net, step = restore(checkpoints.restore(best, state)), best
    finally:
        checkpoints.close()
    path = run.workdir / "generator.safetensors"
    if not run.main:
        return path
    variables = {name: tree for name, tree in jax.device_get(net.variables).items() if tree}
    metadata = {"kind": "generator", "config": to_dict(config.generator), "step": step, "seed": config.seed}
    save_weights(path, variables, metadata)
    write_atomically(run.workdir / "samples.png", _grid(run, net))
    write_atomically(run.workdir / "learning_curve.png", pictures.learning_curve(read_log(run.workdir, stage)))
    scored_on = run.photos.held_out or run.photos.validation
    if scored_on is not None:
        result = _score(run, net, scored_on)
        write_atomically(run.workdir / "result.json", json.dumps(result, indent=1).encode())
    return path
