"""With `jax_enable_x64`, by which JAX's own default is float64, everything here stays float32."""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_game import CONFIG, classifier_variables, make_batch, networks
from tiny_generators import CONFIG as GENERATOR
from tiny_generators import random_variables

from sgdbd_jax.config import Config
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.fields import replace
from sgdbd_jax.models.networks import Networks
from sgdbd_jax.presets import RELEASE, VGG16_DISCRIMINATOR
from sgdbd_jax.training import state
from sgdbd_jax.training.checkpoint import Checkpoints
from sgdbd_jax.training.state import FitState, init_game, init_net, make_optimiser
from sgdbd_jax.training.step import classifier_loss, make_disc_step, make_fit_step, make_game_step, mask_loss

SHARED = {
    "second_draw": True,
    "paste_weight": 1.0,
    "paste_real": True,
    "coverage_weight": 1.0,
    "binarisation_weight": 0.2,
    "bilateral_weight": 1.0,
    "ema_decay": 0.9,
}


@pytest.fixture
def x64() -> Iterator[None]:
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def steps(config: Config, parts: Networks, classifier: dict) -> dict[str, tuple]:
    """Every step that there is: what to call it with."""
    batch = make_batch(config)
    game = init_game(config, parts)
    game = game.replace(generator=game.generator.with_ema())
    pairs = {"clear_real": "clear", "clear_fake": "source", "blur_real": "blur", "blur_fake": "clear_real"}
    calls = {
        "game": (make_game_step(config, parts), game, classifier, batch),
        "discriminators": (make_disc_step(config, parts), game, None, {new: batch[old] for new, old in pairs.items()}),
    }
    rate, crop = make_optimiser(config.pastes.warm_optimiser, steps=10), config.crops.crop
    net = init_net(parts.generator, rate, jax.random.key(0), crop).with_ema()
    step = make_fit_step(parts.generator, rate, mask_loss, ema_decay=0.9)
    example = {"photo": batch["paste"], "mask": batch["paste_mask"]}
    calls["masks"] = (step, FitState(jnp.zeros((), jnp.int32), net), None, example)
    rate = make_optimiser(config.pretraining.classifier_optimiser)
    net = init_net(parts.classifier, rate, jax.random.key(0), crop)
    example = {"photo": batch["source"], "label": np.arange(config.game.batch, dtype=np.int32) % 3}
    step = make_fit_step(parts.classifier, rate, classifier_loss)
    calls["classifier"] = (step, FitState(jnp.zeros((), jnp.int32), net), None, example)
    return calls


def kinds(tree) -> set[np.dtype]:
    return {leaf.dtype for leaf in jax.tree.leaves(tree)}


def test_the_networks_learn_in_float32(x64, monkeypatch):
    """Most norms, heads and ways to join that there are; nothing is compiled."""
    monkeypatch.setattr(state, "_first_variables", state._first_variables.__wrapped__)  # else it must be
    small = dict.fromkeys(("crop", "photo_size", "classifier.input_size"), 32) | {"batch": 4}
    small |= {f"{name}.width": 0.03 for name in ("generator", "discriminator", "classifier")}
    discriminator = dataclasses.replace(VGG16_DISCRIMINATOR, init="random")
    config = replace(RELEASE, {**SHARED, "discriminator": discriminator, "generator.skip_norm": True, **small})
    parts = Networks.of(config)
    rate = make_optimiser(config.pretraining.classifier_optimiser)

    def learn() -> dict:
        net = init_net(parts.classifier, rate, jax.random.key(0), 32)
        calls = steps(config, parts, {name: tree for name, tree in net.variables.items() if tree})
        return {name: (first, step(first, frozen, batch)) for name, (step, first, frozen, batch) in calls.items()}

    for name, tree in jax.eval_shape(learn).items():
        assert kinds(tree) == {np.dtype(np.float32), np.dtype(np.int32)}, name


def played() -> dict[str, tuple]:
    """A step of the game and one of a generator alone, by networks that compile in a second."""
    calls = steps(replace(CONFIG, SHARED), networks(), classifier_variables())
    steps_of = {name: calls[name] for name in ("game", "masks")}
    return {name: jax.jit(step)(first, frozen, batch) for name, (step, first, frozen, batch) in steps_of.items()}


def mask() -> np.ndarray:
    photo = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    variables = jax.tree.map(np.float64, random_variables())  # as a program in float64 may hold them
    return Detector(GENERATOR, variables, work_size=32)(photo)


@pytest.fixture
def in_float32() -> tuple[dict[str, tuple], np.ndarray]:
    """Without x64: steps, and a mask."""
    return played(), mask()


def test_steps_checkpoints_and_masks_are_what_they_are_without(in_float32, x64, tmp_path):
    steps_before, mask_before = in_float32
    steps_now, mask_now = played(), mask()
    for name, tree in steps_now.items():
        assert kinds(tree) == {np.dtype(np.float32), np.dtype(np.int32)}, name
        compared = slice(name != "game", 2)  # a first step of Adam's goes by the signs of gradients, of rounding too
        for a, b in zip(jax.tree.leaves(tree[compared]), jax.tree.leaves(steps_before[name][compared]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)

    (saved, _), (like, _) = steps_before["game"], steps_now["game"]
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, saved)
    restored = checkpoints.restore(1, like)
    checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, restored, saved)
    assert kinds(restored) == kinds(saved)

    assert mask_now.dtype == np.float32 and mask_now.std() > 0.01
    np.testing.assert_allclose(mask_now, mask_before, atol=1e-5)
