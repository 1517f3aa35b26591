"""One round of the game, against a plain account of it; every switch; and what is shared, donated and left alone."""

import contextlib
import dataclasses
import functools
import math
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_game import CONFIG, TinyClassifier, TinyGenerator, classifier_variables, make_batch, networks
from twins import compiled

from sgdbd_jax.config import OptimiserConfig
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import replace
from sgdbd_jax.models.convolution import plain, tile
from sgdbd_jax.models.discriminator import Discriminator
from sgdbd_jax.models.layers import to_unit
from sgdbd_jax.models.networks import Networks
from sgdbd_jax.presets import PRESETS
from sgdbd_jax.training.parallel import parallelize
from sgdbd_jax.training.state import FitState, init_game, init_net, make_optimiser
from sgdbd_jax.training.step import classifier_loss, make_disc_step, make_fit_step, make_game_step, mask_loss

NETWORKS = networks()
CLASSIFIER = classifier_variables()
MASK_TERMS = (("bilateral_weight", 0.0), ("eta", 0.0), ("coverage_weight", 2.0), ("binarisation_weight", 3.0))
DISCS = ("disc_clear", "disc_blur")
RELEASE_CHOICES = {
    "disc_weight": 0.5,
    "second_draw": True,
    "coverage_weight": 1.0,
    "coverage_minimum": 0.6,  # above the masks' mean, so that the term is at work
    "binarisation_weight": 1.0,
}
ALONE = {"bilateral_weight": 0.0, "eta": 0.0}  # nothing teaches the generator


@functools.cache
def compiled_step(changes=()):
    """The compiled step of a tiny game with these `(field, value)` changes, and its config."""
    config = replace(CONFIG, dict(changes))
    arguments = init_game(config, NETWORKS), classifier_of(config), make_batch(config)
    return jax.jit(make_game_step(config, NETWORKS)).lower(*arguments).compile(), config


def play(changes=None, *, rounds=1):
    """The first state of a tiny game with these changes, the state after some rounds, and the last round's metrics."""
    step, config = compiled_step(tuple((changes or {}).items()))
    start = state = init_game(config, NETWORKS)
    for at in range(rounds):
        state, metrics = step(state, classifier_of(config), make_batch(config, seed=at))
    return start, state, {name: float(value) for name, value in metrics.items()}


def classifier_of(config):
    return CLASSIFIER if config.game.bilateral_weight else {}


def moved(before, after):
    """How far a tree of arrays has moved."""
    return jax.tree.map(jnp.subtract, after, before)


def assert_agree(a, b):
    """Two trees of moves agree to rounding, which is measured by the largest move of the tree.

    A bias before a norm has a gradient of zero, of which rounding made 1.3e-5 of the largest move on a processor with
    AVX-512.
    """
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(a))
    assert largest > 1e-3  # so that agreement says something
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=3e-5 * largest), a, b)


# The round, told plainly ----------------------------------------------------------------------------------------------


class Plain:
    """The same round by probabilities and loops: a gradient and an update at a time, everything computed anew."""

    def __init__(self, config):
        self.config = config

    def call(self, network, params, stats, photo):
        out, new = network.apply({"params": params, "batch_stats": stats}, photo, train=True, mutable=["batch_stats"])
        return out, new["batch_stats"]

    def composites(self, params, state, b):
        count = len(b["source"])
        shown = jnp.concatenate([b[name] for name in ("source", "paste") if name in b])
        logits, stats = self.call(NETWORKS.generator, params, state.generator.batch_stats, shown)
        m, on_paste = jnp.split(1 / (1 + jnp.exp(-logits)), [count])
        if self.config.game.paste_weight:  # for the objective
            truth = b["paste_mask"]
            self.on_pastes = -(truth * jnp.log(on_paste) + (1 - truth) * jnp.log(1 - on_paste)).mean()
        return m, {
            "disc_clear": m * b["source"] + (1 - m) * b["clear"],
            "disc_blur": (1 - m) * b["source"] + m * b["blur"],
        }, stats  # fmt: skip

    def cosine(self, a, b):
        va, vb = (NETWORKS.classifier.apply(CLASSIFIER, x, train=False)[0] for x in (a, b))
        return ((va * vb).sum(1) / jnp.sqrt((va**2).sum(1) * (vb**2).sum(1))).mean()

    def generator_objective(self, params, state, b, real):
        config = self.config
        m, composite, _ = self.composites(params, state, b)
        total = config.game.paste_weight * self.on_pastes if config.game.paste_weight else 0.0
        for name in DISCS:
            disc = getattr(state, name)
            logits, _ = self.call(NETWORKS.discriminator, disc.params, disc.batch_stats, composite[name])
            d = 1 / (1 + jnp.exp(-logits))
            total += (
                config.game.eta
                * (jnp.log(1 - d) if config.game.adversarial_form == "saturating" else -jnp.log(d)).mean()
            )
            total += config.game.bilateral_weight * (1 - self.cosine(composite[name], real[name]))
        for photo in range(config.game.batch):
            lacking = jnp.maximum(config.game.coverage_minimum - m[photo].mean(), 0)
            total += config.game.coverage_weight * lacking / config.game.batch
        return total + config.game.binarisation_weight * jnp.where(m < 0.5, m, 1 - m).mean()

    def disc_objective(self, params, disc, real, fake):
        fake_logits, stats = self.call(NETWORKS.discriminator, params, disc.batch_stats, fake)
        real_logits, stats = self.call(NETWORKS.discriminator, params, stats, real)
        d_real, d_fake = 1 / (1 + jnp.exp(-real_logits)), 1 / (1 + jnp.exp(-fake_logits))
        return -self.config.game.disc_weight * (jnp.log(d_real).mean() + jnp.log(1 - d_fake).mean()), stats

    def step(self, state, batch):
        config = self.config
        b = {name: photo / 255.0 for name, photo in batch.items()}
        real = {
            "disc_clear": b["clear_real"] if config.game.second_draw else b["clear"],
            "disc_blur": b["blur_real"] if config.game.second_draw else b["blur"],
        }
        # G first; the composites that the discriminators then see were made before its update.
        m, composite, stats = self.composites(state.generator.params, state, b)
        grads = jax.grad(self.generator_objective)(state.generator.params, state, b, real)
        new = {"generator": self.update(state.generator, config.game.generator_optimiser, grads, stats)}
        for name, first in (("disc_clear", "clear"), ("disc_blur", "blur")):
            disc, shown = getattr(state, name), real[name]
            if config.game.paste_real:
                shown = m * shown + (1 - m) * b[first]
            grads, stats = jax.grad(self.disc_objective, has_aux=True)(disc.params, disc, shown, composite[name])
            new[name] = self.update(disc, config.game.disc_optimiser, grads, stats)
        return state.replace(step=state.step + 1, **new)

    def update(self, net, optimiser, grads, stats):
        rule = optax.sgd(optimiser.learning_rate, optimiser.momentum)
        updates, opt_state = rule.update(grads, net.opt_state, net.params)
        return net.replace(params=optax.apply_updates(net.params, updates), batch_stats=stats, opt_state=opt_state)


def test_before_the_game_only_discriminators_learn_and_as_in_it():
    start = init_game(CONFIG, NETWORKS)
    photos = make_batch(replace(CONFIG, {"second_draw": True}))
    sides = {"clear": ("clear", "source"), "blur": ("blur", "clear_real")}
    batch = {
        f"{side}_{what}": photos[name] for side, names in sides.items() for what, name in zip(("real", "fake"), names)
    }
    state, metrics = jax.jit(make_disc_step(CONFIG, NETWORKS))(start, None, batch)
    plain = Plain(CONFIG)
    for side in sides:
        disc = getattr(start, f"disc_{side}")
        shown = (batch[f"{side}_{what}"] / 255.0 for what in ("real", "fake"))
        grads, stats = jax.grad(plain.disc_objective, has_aux=True)(disc.params, disc, *shown)
        wanted = plain.update(disc, CONFIG.game.disc_optimiser, grads, stats)
        found = getattr(state, f"disc_{side}")
        assert_agree(moved(disc.params, found.params), moved(disc.params, wanted.params))
        assert_agree(moved(disc.batch_stats, found.batch_stats), moved(disc.batch_stats, wanted.batch_stats))
    jax.tree.map(np.testing.assert_array_equal, state.generator, start.generator)
    assert int(state.step) == 1
    assert set(metrics) == {name.format(side) for side in sides for name in ("d_loss_{}", "disc_{}_accuracy")}


@pytest.mark.parametrize(
    "changes",
    [
        {"adversarial_form": "saturating"},
        RELEASE_CHOICES,
        {"second_draw": True, "paste_real": True, "bilateral_weight": 0.3},
        {"paste_weight": 0.7},
    ],
)
def test_a_round_is_what_a_plain_account_of_it_says(changes):
    """Parameters, BatchNorm statistics and momenta of all three networks after two rounds."""
    config = replace(CONFIG, changes)
    start, state, _ = play(changes, rounds=2)
    plain, step = start, jax.jit(Plain(config).step)
    for at in range(2):
        plain = step(plain, make_batch(config, seed=at))
    for name in ("generator", *DISCS):
        before, ours, theirs = (getattr(one, name) for one in (start, state, plain))
        assert_agree(moved(before.params, ours.params), moved(before.params, theirs.params))
        assert_agree(moved(before.batch_stats, ours.batch_stats), moved(before.batch_stats, theirs.batch_stats))
        assert_agree(ours.opt_state, theirs.opt_state)
    assert int(state.step) == 2


def test_a_round_with_our_own_convolutions_is_the_round_with_the_compiler_s():
    """With discriminators wide enough for all of them."""
    wide = {"discriminator.channels": (128, 128, 128), "discriminator.strides": (1, 2, 1), "crop": 32, "photo_size": 32}
    config = replace(CONFIG, wide)
    assert tile((4, 32, 32, 128), (3, 3, 128, 128), 1) == 4 and tile((4, 16, 16, 128), (3, 3, 128, 128), 1) == 2
    nets = Networks(NETWORKS.generator, Networks.of(config).discriminator, NETWORKS.classifier)
    start, batch = init_game(config, nets), make_batch(config)

    def round_of(context):
        with context:
            return jax.jit(make_game_step(config, nets))(start, CLASSIFIER, batch)

    (ours, said), (plainly, told) = round_of(contextlib.nullcontext()), round_of(plain())
    for name in ("generator", *DISCS):
        before = getattr(start, name)
        assert_agree(*(moved(before.params, getattr(after, name).params) for after in (ours, plainly)))
    for name, value in told.items():
        assert float(said[name]) == pytest.approx(float(value), rel=1e-4)


def test_a_moving_average_follows_the_generator_and_predicts():
    """After one round a tenth of the start is left (1 of 10); after the next 2 of 11, or the decay if that is less."""
    config = replace(CONFIG, {"ema_decay": 0.15})
    begun = init_game(config, NETWORKS)
    state = begun.replace(generator=begun.generator.with_ema())
    step, seen = jax.jit(make_game_step(config, NETWORKS)), [begun.generator.variables]
    for at in range(2):
        state, _ = step(state, CLASSIFIER, make_batch(config, seed=at))
        seen.append(state.generator.variables)

    def expected(first, second, third):
        return 0.15 * (0.1 * first + 0.9 * second) + 0.85 * third

    jax.tree.map(
        lambda found, *values: np.testing.assert_allclose(found, expected(*values), rtol=1e-5, atol=1e-7),
        state.generator.predicting,
        *seen,
    )
    assert begun.generator.predicting == begun.generator.variables  # without an average, itself


# What is computed once, donated, or left alone ------------------------------------------------------------------------


def test_the_generator_and_each_discriminator_s_fake_forward_run_once():
    """Counted by hand, for networks of 2, 2 and 1 convolutions; a first layer's input needs no gradient.

    G: 2 forward, 2 + 1 backward. Each D: 2 forward on fakes and 2 on real photos; 2 backward to the composite, for G;
    2 + 1 backward on fakes and 2 + 1 on real photos, for itself. Classifier: each real photo and composite forward, and
    each composite backward.
    """
    with plain():  # so that every convolution is one in the program
        arguments = init_game(CONFIG, NETWORKS), CLASSIFIER, make_batch(CONFIG)
        program = jax.jit(make_game_step(CONFIG, NETWORKS)).lower(*arguments).compile().as_text()
    assert program.count(" convolution(") == 5 + 2 * (2 + 2 + 2 + 3 + 3) + 2 * (2 + 1)


def test_the_state_is_donated_and_neither_classifier_nor_batch_is():
    step = parallelize(make_game_step(CONFIG, NETWORKS), jax.devices()[:1])
    state, batch = init_game(CONFIG, NETWORKS), jax.tree.map(jnp.asarray, make_batch(CONFIG))
    frozen = jax.tree.map(jnp.copy, CLASSIFIER)
    new, _ = step(state, frozen, batch)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((frozen, batch, new)))
    jax.tree.map(np.testing.assert_array_equal, frozen, CLASSIFIER)


def test_the_state_holds_three_networks_and_a_step_and_no_classifier():
    start, state, _ = play()
    assert set(vars(state)) == {"step", "generator", "disc_clear", "disc_blur"}
    assert jax.tree.structure(state) == jax.tree.structure(start)
    assert not any("logits" in jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(state))
    assert (int(start.step), int(state.step), state.step.dtype) == (0, 1, jnp.int32)


def test_networks_start_apart_and_from_the_seed_alone():
    one, other = init_game(CONFIG, NETWORKS), init_game(replace(CONFIG, {"seed": 1}), NETWORKS)
    jax.tree.map(np.testing.assert_array_equal, one, init_game(CONFIG, NETWORKS))
    kernels = [
        net.params["conv1"]["kernel"] for net in (one.disc_clear, one.disc_blur, other.disc_clear, other.disc_blur)
    ]
    for i in range(4):
        for j in range(i):
            assert float(jnp.abs(kernels[i] - kernels[j]).max()) > 0.01


def test_a_trunk_takes_the_place_of_random_kernels():
    trunk = {"conv": {"kernel": np.ones((3, 3, 3, 4), np.float32), "bias": np.ones(4, np.float32)}}

    class WithTrunk(nn.Module):
        @nn.compact
        def __call__(self, photo, *, train):
            return TinyClassifier(name="trunk")(photo, train=train)

    sgd = make_optimiser(CONFIG.game.generator_optimiser)
    net = init_net(WithTrunk(), sgd, jax.random.key(0), 16, trunk)
    jax.tree.map(np.testing.assert_array_equal, net.params["trunk"]["conv"], trunk["conv"])
    assert set(net.params["trunk"]) == {"conv", "logits"}  # the rest of it stays


def test_discriminators_start_from_as_much_of_a_vgg16_as_they_have():
    names, channels = ("conv1_1", "conv1_2", "conv2_1"), (3, 64, 64, 128)
    trunk = {
        name: {
            "kernel": np.full((3, 3, *channels[at : at + 2]), at, np.float32),
            "bias": np.full(channels[at + 1], at, np.float32),
        }
        for at, name in enumerate(names)
    }
    fields = {"channels": (64, 64), "strides": (1, 2), "init": "vgg16"}
    config = replace(
        CONFIG, {f"discriminator.{name}": value for name, value in fields.items()} | {"discriminator.width": 1}
    )
    sgd = make_optimiser(config.game.disc_optimiser)
    params = init_net(Discriminator(config.discriminator), sgd, jax.random.key(0), 16, trunk).params
    for at, name in enumerate(names[:2]):
        jax.tree.map(np.testing.assert_array_equal, params[f"conv{at + 1}"], trunk[name])
    assert set(params) == {"conv1", "conv2", "conv2_norm", "hidden", "logit"}
    wider = Discriminator(dataclasses.replace(config.discriminator, channels=(64, 65)))
    with pytest.raises(UserError, match=r"vgg16, .*of another shape: conv2/bias \(64,\) instead of \(65,\)"):
        init_net(wider, sgd, jax.random.key(0), 16, trunk)


def test_batch_norm_s_statistics_move_in_all_three_networks():
    """By a tenth to the batch's own in the generator, and twice that in a discriminator, for fakes and real photos."""
    start, state, _ = play()
    for name in ("generator", *DISCS):
        for leaf in jax.tree.leaves(moved(getattr(start, name).batch_stats, getattr(state, name).batch_stats)):
            assert float(jnp.abs(leaf).min()) > 0
    conv = functools.partial(jax.lax.conv, window_strides=(1, 1), padding="SAME")
    layer = start.generator.params["conv"]
    photo = to_unit(jnp.asarray(make_batch(CONFIG)["source"])).transpose(0, 3, 1, 2)
    x = conv(photo, layer["kernel"].transpose(3, 2, 0, 1)) + layer["bias"][:, None, None]
    np.testing.assert_allclose(
        state.generator.batch_stats["conv_norm"]["mean"], 0.1 * x.mean((0, 2, 3)), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(state.generator.batch_stats["conv_norm"]["var"], 0.9 + 0.1 * x.var((0, 2, 3)), rtol=1e-4)


# Switches -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kept", "other"), [("clear", "blur"), ("blur", "clear")])
def test_one_discriminator_alone_leaves_the_other_untouched_and_plays_as_with_it(kept, other):
    start, state, metrics = play({"discriminators": kept})
    jax.tree.map(np.testing.assert_array_equal, getattr(state, f"disc_{other}"), getattr(start, f"disc_{other}"))
    _, both, both_metrics = play()
    before, alone, together = (getattr(one, f"disc_{kept}").params for one in (start, state, both))
    assert_agree(moved(before, alone), moved(before, together))
    assert not [name for name in metrics if name.startswith((f"disc_{other}", f"adversarial_{other}"))]
    assert metrics["g_loss"] == pytest.approx(both_metrics["g_loss"] - both_metrics[f"adversarial_{other}"], rel=1e-5)


@pytest.mark.parametrize(("kept", "other"), [("clear", "blur"), ("blur", "clear")])
def test_before_the_game_too_one_discriminator_alone_leaves_the_other_untouched(kept, other):
    config = replace(CONFIG, {"discriminators": kept})
    start, photos = init_game(config, NETWORKS), make_batch(config)
    batch = {f"{kept}_real": photos["clear"], f"{kept}_fake": photos["source"]}
    state, metrics = jax.jit(make_disc_step(config, NETWORKS))(start, None, batch)
    jax.tree.map(np.testing.assert_array_equal, getattr(state, f"disc_{other}"), getattr(start, f"disc_{other}"))
    assert set(metrics) == {f"d_loss_{kept}", f"disc_{kept}_accuracy"}
    move = moved(getattr(start, f"disc_{kept}").params, getattr(state, f"disc_{kept}").params)
    assert optax.tree.norm(move) > 1e-3


def test_without_anything_to_learn_from_the_generator_stays_and_the_discriminators_play_on():
    start, state, metrics = play(ALONE)  # no bilateral loss: `play` gives it no classifier
    jax.tree.map(np.testing.assert_array_equal, state.generator.params, start.generator.params)
    assert metrics["g_loss"] == 0 and "bilateral" not in metrics
    before, both = start.disc_clear.params, play()[1].disc_clear.params
    assert_agree(moved(before, state.disc_clear.params), moved(before, both))


def test_the_adversarial_and_the_bilateral_loss_add_up():
    """SGD moves the generator by the sum of what each would move it by; the discriminators do not see L_B."""
    start, both, _ = play()
    _, adversarial, _ = play({"bilateral_weight": 0.0})
    _, bilateral, metrics = play({"eta": 0.0})
    moves = [moved(start.generator.params, one.generator.params) for one in (adversarial, bilateral)]
    assert all(optax.tree.norm(move) > 1e-3 for move in moves)
    assert_agree(jax.tree.map(jnp.add, *moves), moved(start.generator.params, both.generator.params))
    assert metrics["g_loss"] == metrics["bilateral"] > 0
    before = start.disc_blur.params
    assert_agree(moved(before, bilateral.disc_blur.params), moved(before, adversarial.disc_blur.params))


def test_real_photos_are_those_of_the_second_draw_if_there_is_one():
    """Another second draw changes what D sees and what features are compared with, and not the composites."""
    step, config = compiled_step(tuple(RELEASE_CHOICES.items()))
    state, batch = init_game(config, NETWORKS), make_batch(config)
    other = batch | {name: 255 - batch[name] // 2 for name in ("clear_real", "blur_real")}
    (_, one), (_, two) = step(state, CLASSIFIER, batch), step(state, CLASSIFIER, other)
    for name in ("adversarial_clear", "adversarial_blur", "coverage"):
        assert float(one[name]) == float(two[name])
    for name in ("d_loss_clear", "d_loss_blur", "bilateral"):
        assert float(one[name]) != float(two[name])


@pytest.mark.parametrize("level", [0.02, 0.25, 0.9])
def test_what_is_said_of_a_mask_by_hand(level):
    """Of a generator whose mask is the same everywhere; its mean is a sum in float32, one pixel after the other."""
    step, config = compiled_step(MASK_TERMS)
    state = init_game(config, NETWORKS)
    head = {"kernel": jnp.zeros((3, 3, 3, 1)), "bias": jnp.full(1, math.log(level / (1 - level)))}
    generator = state.generator.replace(params={**state.generator.params, "head": head})
    _, metrics = step(state.replace(generator=generator), {}, make_batch(config))
    metrics = {name: float(value) for name, value in metrics.items()}
    entropy = -level * math.log2(level) - (1 - level) * math.log2(1 - level)
    assert metrics["coverage"] == pytest.approx(level, rel=1e-5)
    assert metrics["coverage_spread"] == pytest.approx(0, abs=1e-3)
    assert metrics["mask_entropy"] == pytest.approx(entropy, rel=1e-5)
    assert metrics["coverage_term"] == pytest.approx(2 * max(0.1 - level, 0), rel=1e-5)
    assert metrics["binarisation"] == pytest.approx(3 * min(level, 1 - level), rel=3e-5)
    assert metrics["g_loss"] == pytest.approx(metrics["coverage_term"] + metrics["binarisation"], rel=1e-5)


def test_no_fusion_of_a_step_has_a_product_and_a_sum():
    """Which some versions of the compiler's library get wrong; see `sgdbd_jax.compiling`."""
    text = compiled_step()[0].as_text()
    bodies = dict(re.findall(r"^%(\S+) \([^\n]*\{\n(.*?)^\}", text, flags=re.MULTILINE | re.DOTALL))
    fused = re.findall(r"calls=%(\S+?),[^\n]*__ynn_fusion", text)
    assert set(fused) <= set(bodies) and bool(fused) == ("__ynn_fusion" in text)
    assert [name for name in fused if " dot(" in bodies[name] and " reduce(" in bodies[name]] == []


def test_the_spread_of_coverage_is_that_from_photo_to_photo():
    state, photo = init_game(CONFIG, NETWORKS), to_unit(jnp.asarray(make_batch(CONFIG)["source"]))
    logits, _ = NETWORKS.generator.apply(state.generator.variables, photo, train=True, mutable=["batch_stats"])
    coverage = np.asarray(jax.nn.sigmoid(logits)).mean((1, 2, 3))
    assert coverage.std() > 0.005
    assert play()[2]["coverage_spread"] == pytest.approx(coverage.std(), rel=0.01)


def test_metrics_have_the_names_that_the_watchdog_knows():
    _, _, metrics = play()
    watched = {"coverage", "coverage_spread", "mask_entropy", "disc_clear_accuracy", "disc_blur_accuracy"}
    losses = {"g_loss", "d_loss_clear", "d_loss_blur", "bilateral"}
    parts = {"adversarial_clear", "adversarial_blur"}
    norms = {"generator_grad_norm", "disc_clear_grad_norm", "disc_blur_grad_norm"}
    assert set(metrics) == watched | losses | parts | norms
    assert all(math.isfinite(value) for value in metrics.values())
    assert 0 <= metrics["disc_clear_accuracy"] <= 1


@pytest.mark.parametrize("bias", [50.0, -50.0])
def test_a_discriminator_that_says_one_thing_to_all_is_right_about_half(bias):
    step, config = compiled_step(MASK_TERMS)
    state = init_game(config, NETWORKS)
    logit = {**state.disc_clear.params["logit"], "bias": jnp.full(1, bias)}
    disc = state.disc_clear.replace(params={**state.disc_clear.params, "logit": logit})
    _, metrics = step(state.replace(disc_clear=disc), {}, make_batch(config))
    assert float(metrics["disc_clear_accuracy"]) == 0.5


def test_the_norms_are_those_of_the_gradients():
    """SGD's first move is the gradient times the learning rate, here 1."""
    start, state, metrics = play()
    for name in ("generator", *DISCS):
        move = optax.tree.norm(moved(getattr(start, name).params, getattr(state, name).params))
        assert metrics[f"{name}_grad_norm"] == pytest.approx(float(move), rel=1e-3)


# One network alone ----------------------------------------------------------------------------------------------------


def test_bytes_become_the_unit_range_in_float32():
    unit = to_unit(jnp.asarray([0, 51, 255], jnp.uint8))
    assert unit.dtype == jnp.float32
    np.testing.assert_allclose(unit, [0, 0.2, 1], rtol=1e-6)


def test_supervised_training_descends_the_cross_entropy_on_masks():
    network, sgd = TinyGenerator(), optax.sgd(1.0)
    net = init_net(network, sgd, jax.random.key(0), 16)
    photo = make_batch(CONFIG)["source"]
    truth = np.random.default_rng(5).integers(0, 256, (4, 16, 16, 1), np.uint8)

    def objective(params):
        variables = {"params": params, "batch_stats": net.batch_stats}
        logits, new = network.apply(variables, photo / 255.0, train=True, mutable=["batch_stats"])
        m, t = 1 / (1 + jnp.exp(-logits)), truth / 255.0
        return -(t * jnp.log(m) + (1 - t) * jnp.log(1 - m)).mean(), (m, new["batch_stats"])

    (loss, (mask, stats)), grads = jax.jit(jax.value_and_grad(objective, has_aux=True))(net.params)
    step = jax.jit(make_fit_step(network, sgd, mask_loss))
    state, metrics = step(FitState(jnp.zeros((), jnp.int32), net), None, {"photo": photo, "mask": truth})
    assert_agree(moved(net.params, state.net.params), jax.tree.map(jnp.negative, grads))
    assert_agree(moved(net.batch_stats, state.net.batch_stats), moved(net.batch_stats, stats))
    assert int(state.step) == 1
    assert set(metrics) == {"loss", "coverage", "mask_entropy", "grad_norm"}
    assert float(metrics["loss"]) == pytest.approx(float(loss), rel=1e-5)
    assert float(metrics["coverage"]) == pytest.approx(float(mask.mean()), rel=1e-5)
    assert float(metrics["grad_norm"]) == pytest.approx(float(optax.tree.norm(grads)), rel=1e-4)


def test_the_classifier_s_loss_and_accuracy_by_hand():
    """Softmax of (ln 2, 0, 0) is (1/2, 1/4, 1/4)."""
    logits = jnp.asarray([[math.log(2), 0, 0], [math.log(2), 0, 0]])
    loss, metrics = classifier_loss((jnp.zeros((2, 4)), logits), {"label": jnp.asarray([0, 2])})
    assert float(loss) == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert float(metrics["accuracy"]) == 0.5


def test_a_fitted_network_without_batch_norm_has_no_statistics():
    network, sgd = TinyClassifier(), optax.sgd(0.1)
    state = FitState(jnp.zeros((), jnp.int32), init_net(network, sgd, jax.random.key(0), 16))
    batch = {"photo": make_batch(CONFIG)["source"], "label": np.array([0, 1, 2, 0], np.int32)}
    new, metrics = jax.jit(make_fit_step(network, sgd, classifier_loss))(state, None, batch)
    assert new.net.batch_stats == {} and set(metrics) == {"loss", "accuracy", "grad_norm"}


@pytest.mark.parametrize(
    ("name", "moves"),
    [  # of gradients 4 and 0
        ("sgd", [-0.1 * 4, -0.1 * 0.5 * 4]),
        # m / sqrt(v), both debiased: 4 / 4, then (0.5 * 0.5 * 4 / 0.75) / sqrt(0.999 * 0.001 * 16 / (1 - 0.999^2))
        ("adam", [-0.1, -0.1 * (4 / 3) / math.sqrt(0.999 * 0.016 / 0.001999)]),
    ],
)
def test_optimisers_by_their_first_moves(name, moves):
    """With a learning rate of 0.1, and 0.5 for SGD's momentum and Adam's beta1."""
    rule = make_optimiser(OptimiserConfig(name, 0.1, 0.5))
    state = rule.init(jnp.float32(1.0))
    for gradient, move in zip((4.0, 0.0), moves):
        update, state = rule.update(jnp.float32(gradient), state, jnp.float32(1.0))
        assert float(update) == pytest.approx(move, rel=1e-4)


def test_muon_moves_kernels_along_orthogonal_matrices_and_all_else_by_adam():
    """At 0.2 times the root of the longer side, which makes the moves as large as Adam's.

    Adam has half the rate, and Nesterov's momentum: (0.9 * 0.1 / 0.19 + 0.1 / 0.1) of a first gradient.
    """
    rng = np.random.default_rng(0)
    params = {
        "conv": {"kernel": rng.normal(size=(3, 3, 4, 8)), "bias": np.ones(8)},
        "dense": {"kernel": rng.normal(size=(8, 6))},
        "head": {"kernel": rng.normal(size=(1, 1, 8, 1))},
    }
    params = jax.tree.map(jnp.float32, params)
    rule = make_optimiser(OptimiserConfig("muon", 0.1))
    moves, _ = rule.update(params, rule.init(params), params)
    for matrix in (moves["conv"]["kernel"].reshape(36, 8), moves["dense"]["kernel"]):
        scale = 0.1 * 0.2 * math.sqrt(max(matrix.shape))
        values = np.linalg.svd(matrix, compute_uv=False) / scale
        assert values.min() > 0.6 and values.max() < 1.3  # as orthogonal as five steps make it
    for leaf, gradient in ((moves["conv"]["bias"], 1.0), (moves["head"]["kernel"], params["head"]["kernel"])):
        first = 0.05 * (0.9 * 0.1 / 0.19 + 1)
        np.testing.assert_allclose(leaf, -first * np.sign(gradient) * np.ones_like(leaf), rtol=1e-4)


def test_a_rate_rises_in_the_warm_up_and_then_falls_to_nothing():
    rule = make_optimiser(OptimiserConfig("sgd", 1.0, 0.0, warm_up=4), steps=12)
    state, moves = rule.init(jnp.float32(0)), []
    for _ in range(13):
        move, state = rule.update(jnp.float32(-1), state)
        moves.append(float(move))
    np.testing.assert_allclose(moves[:5], [0.25, 0.4375, 0.625, 0.8125, 1.0], rtol=1e-6)
    np.testing.assert_allclose([moves[8], moves[12]], [0.5, 0], atol=1e-6)


def test_a_trunk_learns_slower_and_a_stage_s_rate_falls_along_a_cosine():
    """SGD of rate 1: the first update is the gradient, a fifth of it in the trunk; half-way through, half of both."""
    rule = make_optimiser(OptimiserConfig("sgd", 1.0, 0.0, trunk_factor=0.2), steps=4)
    params = {"trunk": {"kernel": jnp.zeros(())}, "head": {"kernel": jnp.zeros(())}}
    gradients, state = jax.tree.map(jnp.ones_like, params), rule.init(params)
    moves = []
    for _ in range(5):
        move, state = rule.update(gradients, state, params)
        moves.append((float(move["trunk"]["kernel"]), float(move["head"]["kernel"])))
    np.testing.assert_allclose(moves[0], (-0.2, -1.0), rtol=1e-6)
    np.testing.assert_allclose(moves[2], (-0.1, -0.5), rtol=1e-6)
    np.testing.assert_allclose(moves[4], (0, 0), atol=1e-7)


def test_the_weights_of_a_batch_are_those_of_its_pixels():
    """255 counts in full; without weights all do."""
    logits = jnp.array([0.0, 2.0, -1.0, 3.0]).reshape(1, 2, 2, 1)
    truth = jnp.array([255, 0, 0, 255], jnp.uint8).reshape(1, 2, 2, 1)
    each = np.logaddexp(0, np.array([-0.0, 2.0, -1.0, -3.0]))  # ln(1 + exp(x)): of the wrong side's logit
    for weight, wanted in (([255, 255, 255, 255], each), ([255, 51, 0, 255], each * (1, 0.2, 0, 1))):
        batch = {"mask": truth, "weight": jnp.array(weight, jnp.uint8).reshape(1, 2, 2, 1)}
        assert float(mask_loss(logits, batch)[0]) == pytest.approx(wanted.mean(), rel=1e-6)
    assert float(mask_loss(logits, {"mask": truth})[0]) == pytest.approx(each.mean(), rel=1e-6)


def test_a_round_of_preset_game_s_discriminator_with_every_lever_moves_it_and_the_generator_and_stays_finite():
    """One side, narrow: slopes of slopes pass through our own convolutions, its norms and its patches."""
    changes = {"discriminator.width": 0.05, "crop": 32, "batch": 2, "discriminators": "clear"}
    changes |= {"hard": True, "smoothing": 2.0, "r1_weight": 1.0, "temperature": 0.5, "binarisation_ramp": 10}
    config = replace(PRESETS["game"], changes)
    nets = dataclasses.replace(NETWORKS, discriminator=Discriminator(config.discriminator))
    state, batch = init_game(config, nets), make_batch(config)
    state = state.replace(generator=state.generator.with_ema())
    after, metrics = compiled(make_game_step(config, nets), state, {}, batch)(state, {}, batch)
    assert {"slope_clear", "binarisation", "adversarial_clear", "d_loss_clear"} <= metrics.keys()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((after, metrics)))
    for name in ("generator", "disc_clear"):
        moves = moved(getattr(state, name).params, getattr(after, name).params)
        assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(moves)) > 1e-5
    assert all(float(jnp.abs(moves[f"patch{at}"]["kernel"]).max()) > 0 for at in (3, 5, 6))
