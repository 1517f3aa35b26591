"""Runs the steps of the game, of the discriminators and of the fit on 1, 2 and 4 simulated devices.

`python simulated_devices.py OUT.npz`. It is a program of its own, for a process has the devices that it starts with.
"""

import os
import sys
from typing import Any

from quick import FLAGS

os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=4 {FLAGS}"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
from tiny_game import CONFIG, TinyClassifier, TinyGenerator, classifier_variables, make_batch

from sgdbd_jax.config import DiscriminatorConfig
from sgdbd_jax.fields import replace
from sgdbd_jax.models.discriminator import Discriminator
from sgdbd_jax.models.networks import Networks
from sgdbd_jax.training.parallel import axis_name, parallelize
from sgdbd_jax.training.state import FitState, init_game, init_net, make_optimiser
from sgdbd_jax.training.step import make_disc_step, make_fit_step, make_game_step, mask_loss

GAME = replace(CONFIG, {"crop": 32, "photo_size": 32, "batch": 8, "second_draw": True, "binarisation_weight": 0.2})
DISCRIMINATOR = DiscriminatorConfig(width=0.05, channels=(64, 128), strides=(2, 2))
STEPS = 2


def play(devices):
    axis = axis_name(devices)
    parts: list[Any] = [TinyGenerator(axis), Discriminator(DISCRIMINATOR, axis), TinyClassifier(axis)]
    networks = Networks(*parts)
    step = parallelize(make_game_step(GAME, networks, axis), devices)
    state, frozen = init_game(GAME, networks), classifier_variables()
    yield state, {}
    for at in range(STEPS):
        state, metrics = step(state, frozen, make_batch(GAME, seed=at))
    yield state, metrics


def learn(devices):
    axis = axis_name(devices)
    parts: list[Any] = [TinyGenerator(axis), Discriminator(DISCRIMINATOR, axis), TinyClassifier(axis)]
    networks = Networks(*parts)
    step = parallelize(make_disc_step(GAME, networks, axis), devices)
    state = init_game(GAME, networks)
    yield state, {}
    for at in range(STEPS):
        photos = make_batch(GAME, seed=at)
        names = {"clear_real": "clear", "clear_fake": "source", "blur_real": "blur", "blur_fake": "clear_real"}
        state, metrics = step(state, None, {name: photos[shown] for name, shown in names.items()})
    yield state, metrics


def fit(devices):
    axis, sgd = axis_name(devices), make_optimiser(GAME.game.generator_optimiser)
    network = TinyGenerator(axis)
    step = parallelize(make_fit_step(network, sgd, mask_loss, axis), devices)
    state = FitState(jnp.zeros((), jnp.int32), init_net(network, sgd, jax.random.key(0), 32))
    yield state, {}
    for at in range(STEPS):
        photos = make_batch(GAME, seed=at)
        state, metrics = step(state, None, {"photo": photos["source"], "mask": photos["clear"][..., :1]})
    yield state, metrics


def main(path):
    arrays: dict[str, Any] = {}
    for task in (play, learn, fit):
        for count in (1, 2, 4):
            for moment, (state, metrics) in zip(("start", "end"), task(jax.devices()[:count])):
                for name, leaf in jax.tree.leaves_with_path({"state": state, "metrics": metrics}):
                    arrays[f"{task.__name__}/{count}/{moment}/{jax.tree_util.keystr(name)}"] = np.asarray(leaf)
    np.savez(path, **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
