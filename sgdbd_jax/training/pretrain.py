"""What is trained alone: the classifier before the game, the generator by cross-entropy on masks; what is given."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sgdbd_jax.config import flatten, from_dict, to_dict
from sgdbd_jax.data.batches import make_batch
from sgdbd_jax.errors import UserError
from sgdbd_jax.models.layers import to_unit
from sgdbd_jax.training.loop import Stage, run_stage
from sgdbd_jax.training.parallel import parallelize
from sgdbd_jax.training.state import FitState, NetState, init_net, make_optimiser
from sgdbd_jax.training.step import classifier_loss, make_fit_step, mask_loss
from sgdbd_jax.weights import load_weights, merge, reading_metadata, save_weights

if TYPE_CHECKING:
    from sgdbd_jax.training.run import Run

CLASSIFIER_STREAM, HELD_OUT_STREAM = 10, 11  # of random numbers
HELD_OUT_PASTES = 256


def pretrain_classifier(run: Run) -> dict[str, Any]:
    """The frozen classifier's variables: read from a file, or trained on pastes and written to one.

    Its accuracy on pastes of photos that it has not seen goes into `classifier.safetensors` and to the reporter.

    Raises:
        UserError: the file given is not such a classifier's.
    """
    config, path = run.config, run.workdir / "classifier.safetensors"
    optimiser = make_optimiser(config.classifier_optimiser)
    key = jax.random.fold_in(jax.random.key(config.seed), 3)
    net = init_net(run.networks.classifier, optimiser, key, config.crop, run.trunk)
    given = Path(config.classifier_weights) if config.classifier_weights else path
    if config.classifier_weights or path.exists():
        return _read(given, "classifier", config.classifier, net)

    step = parallelize(make_fit_step(run.networks.classifier, optimiser, classifier_loss, run.axis), run.devices)
    stage = Stage(
        "classifier",
        run.rows.classifier,
        CLASSIFIER_STREAM,
        config.classifier_steps,
        config.classifier_batch,
        makes_masks=False,
    )
    state = run_stage(run, stage, FitState(jnp.zeros((), jnp.int32), net), step)
    variables = {name: tree for name, tree in state.net.variables.items() if tree}
    accuracy = _held_out_accuracy(run, variables)
    run.reporter.say(f"classifier: accuracy {accuracy:.3f} on {HELD_OUT_PASTES} held-out pastes")
    if run.main:
        metadata = {"kind": "classifier", "config": to_dict(config.classifier), "held_out_accuracy": accuracy}
        save_weights(path, jax.device_get(variables), metadata)
        shutil.rmtree(run.workdir / "checkpoints" / "classifier", ignore_errors=True)
    return variables


def fit_generator(
    run: Run, stage: Stage, optimiser: optax.GradientTransformation, start: Mapping[str, Any] | None = None
) -> FitState:
    """Trains the generator alone by cross-entropy on the masks of the stage's rows; from `start`, where it is given."""
    config = run.config
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    net = init_net(run.networks.generator, optimiser, key, config.crop, run.trunk, start)
    net = net.averaged() if config.average else net
    fit = make_fit_step(run.networks.generator, optimiser, mask_loss, run.axis, decay=config.average)
    step = parallelize(fit, run.devices)
    return run_stage(run, stage, FitState(jnp.zeros((), jnp.int32), net), step)


def given_generator(run: Run) -> dict[str, Any] | None:
    """The variables of the generator that the run was told to start from, or `None`.

    Raises:
        UserError: the file is not such a generator's.
    """
    config = run.config
    if not config.generator_weights:
        return None
    key = jax.random.key(0)  # only its shapes are asked for
    net = init_net(run.networks.generator, make_optimiser(config.generator_optimiser), key, config.crop)
    return {"batch_stats": {}} | _read(Path(config.generator_weights), "generator", config.generator, net)


def load_given(path: str | Path, kind: str, config: Any) -> dict[str, Any]:
    """A network's variables as its file holds them, their shapes not looked at.

    Raises:
        UserError: the file is not that of a network of this kind and config.
    """
    loaded, metadata = load_weights(path, kind=kind)
    with reading_metadata(path):
        found = from_dict(type(config), metadata["config"])
    before, now = flatten(found), flatten(config)
    changed = [f"{name} is {before[name]!r} there, {now[name]!r} here" for name in now if before[name] != now[name]]
    if changed:
        raise UserError(f"{path}: a {kind} of another config than this run's ({'; '.join(changed)})")
    return loaded


def _read(path: Path, kind: str, config: Any, net: NetState) -> dict[str, Any]:
    """The same on the device, each of the shape that the network asks for."""
    expected = {name: tree for name, tree in net.variables.items() if tree}
    loaded = merge(expected, load_given(path, kind, config), where=str(path))
    return jax.tree.map(jnp.asarray, loaded)  # once, not each step


def _held_out_accuracy(run: Run, variables: Any) -> float:
    row = functools.partial(run.rows.classifier, held_out=True)
    pastes = make_batch(
        row, seed=run.config.seed, stream=HELD_OUT_STREAM, step=0, batch=HELD_OUT_PASTES, rows=range(HELD_OUT_PASTES)
    )

    @jax.jit
    def predict(variables: Any, photo: jax.Array) -> jax.Array:
        _, logits = run.networks.classifier.apply(variables, to_unit(photo), train=False)
        return jnp.argmax(jnp.asarray(logits), -1)

    chunks = range(0, HELD_OUT_PASTES, 32)
    predicted = np.concatenate([np.asarray(predict(variables, pastes["photo"][at : at + 32])) for at in chunks])
    return float((predicted == pastes["label"]).mean())
