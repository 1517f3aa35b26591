"""What is trained alone: the classifier before the game, the generator by cross-entropy on masks."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sgdbd_jax.compiling import jit
from sgdbd_jax.data.batches import make_batch
from sgdbd_jax.fields import to_dict
from sgdbd_jax.models.layers import to_unit
from sgdbd_jax.training.loop import Stage, run_stage
from sgdbd_jax.training.parallel import parallelize
from sgdbd_jax.training.run import Run
from sgdbd_jax.training.start import read_network
from sgdbd_jax.training.state import FitState, init_net, make_optimiser
from sgdbd_jax.training.step import classifier_loss, make_fit_step, mask_loss
from sgdbd_jax.weights import save_weights

CLASSIFIER_STREAM, HELD_OUT_STREAM = 10, 11  # of random numbers
HELD_OUT_PASTES = 256


def pretrain_classifier(run: Run) -> dict[str, Any]:
    """The frozen classifier's variables: read from a file, or trained on pastes and written to one.

    Its accuracy on pastes of photos that it has not seen goes into `classifier.safetensors` and to the reporter.

    Raises:
        UserError: the file given is not such a classifier's.
    """
    config, path = run.config, run.workdir / "classifier.safetensors"
    pretraining, weights = config.pretraining, config.start.classifier_weights
    optimiser = make_optimiser(pretraining.classifier_optimiser)
    key = jax.random.fold_in(jax.random.key(config.seed), 3)
    net = init_net(run.networks.classifier, optimiser, key, config.crops.crop, run.vgg16)
    if weights or path.exists():
        return read_network(Path(weights) if weights else path, "classifier", config.classifier, net)

    step = parallelize(make_fit_step(run.networks.classifier, optimiser, classifier_loss, run.axis), run.devices)
    stage = Stage(
        "classifier",
        run.examples.classifier,
        CLASSIFIER_STREAM,
        pretraining.classifier_steps,
        pretraining.classifier_batch,
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
    """Trains the generator alone by cross-entropy on the masks of the stage's examples; from `start`, if any."""
    config = run.config
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    net = init_net(run.networks.generator, optimiser, key, config.crops.crop, run.vgg16, start)
    net = net.with_ema() if config.ema_decay else net
    fit = make_fit_step(run.networks.generator, optimiser, mask_loss, run.axis, ema_decay=config.ema_decay)
    step = parallelize(fit, run.devices)
    return run_stage(run, stage, FitState(jnp.zeros((), jnp.int32), net), step)


def _held_out_accuracy(run: Run, variables: Any) -> float:
    example = functools.partial(run.examples.classifier, held_out=True)
    pastes = make_batch(
        example,
        seed=run.config.seed,
        stream=HELD_OUT_STREAM,
        step=0,
        batch=HELD_OUT_PASTES,
        places=range(HELD_OUT_PASTES),
    )

    @jit
    def predict(variables: Any, photo: jax.Array) -> jax.Array:
        _, logits = run.networks.classifier.apply(variables, to_unit(photo), train=False)
        return jnp.argmax(jnp.asarray(logits), -1)

    chunks = range(0, HELD_OUT_PASTES, 32)
    predicted = np.concatenate([np.asarray(predict(variables, pastes["photo"][at : at + 32])) for at in chunks])
    return float((predicted == pastes["label"]).mean())
