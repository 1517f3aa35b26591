"""The PyTorch twin agrees with us, number by number, and each of its two ways does what it is named for.

The game is compared in double precision: in single precision a rounding error may carry a value across the kink of a
ReLU or to another winner of a maximum, after which gradients differ by percents, rightly.
"""

import functools
import gc
import math
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from twins import BATCH, SIZE, black_and_white, cancelled, compiled, random_variables, small

from sgdbd_jax.config import Config, OptimiserConfig
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import replace
from sgdbd_jax.models.classifier import Classifier
from sgdbd_jax.models.networks import make_generator
from sgdbd_jax.presets import PRESETS
from sgdbd_jax.training.state import NetState, Networks, TrainState, make_optimiser
from sgdbd_jax.training.step import make_game_step

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
from experiments.benchmark import torch_networks, torch_twin, torch_ways  # noqa: E402  (after the question whether it can be)

WAYS = ("release", "best")
PLAYERS = ("generator", "disc_clear", "disc_blur")


def random_state(config, rng, dtype=np.float32):
    networks, optimiser = Networks.of(config), make_optimiser(config.game.generator_optimiser)

    def net(network):
        variables = random_variables(network, config.crops.crop, rng, dtype)
        params = variables["params"]
        return NetState(params, variables.get("batch_stats", {}), optimiser.init(params))

    nets = {name: net(networks.generator if name == "generator" else networks.discriminator) for name in PLAYERS}
    return TrainState(step=np.int32(0), **nets), random_variables(networks.classifier, config.crops.crop, rng, dtype)


def random_batch(config, rng):
    """Photos of black and white, which are exact in any precision."""
    names = ["source", "clear", "blur", *(["clear_real", "blur_real"] if config.game.second_draw else [])]
    names += ["paste", "paste_mask"] if config.game.paste_weight else []
    batch = {name: black_and_white(config, rng) for name in names}
    return batch | {name: mask[..., :1] for name, mask in batch.items() if name == "paste_mask"}


class Rounds(NamedTuple):
    config: Config
    start: TrainState
    classifier: dict
    batches: list
    states: list  # ours after each round
    losses: list  # ours of each round


@functools.cache  # pytest makes a fixture with parameters more than once, and this one compiles
def play(preset: str) -> Rounds:
    """Two rounds of ours."""
    config, rng = small(preset), np.random.default_rng(0)
    with jax.enable_x64(True):
        state, classifier = start = random_state(config, rng, np.float64)
        batches, states, losses = [random_batch(config, rng) for _ in range(2)], [], []
        step = compiled(make_game_step(config, Networks.of(config)), *start, batches[0])
        for batch in batches:
            state, metrics = step(state, classifier, batch)
            states.append(jax.tree.map(np.asarray, state))
            losses.append({name: float(value) for name, value in metrics.items()})
    return Rounds(config, start[0], classifier, batches, states, losses)


@pytest.fixture(scope="module", params=["release", "self_trained", "paper"])
def rounds(request):
    return play(request.param)


@pytest.fixture(scope="module", params=WAYS)
def played(rounds, request):
    """The twin after the same two rounds: its losses, gradients and masks of each, and itself."""
    game = torch_twin.TorchGame(rounds.config, rounds.start, rounds.classifier, way=request.param)
    for network in game.networks.values():
        network.double()
    told = []
    for batch in rounds.batches:
        losses = game.step(batch)
        told.append((losses, {name: game.gradients(name) for name in PLAYERS}, game.mask))
    return told, game


def gradients(state: NetState):
    """The first step's: momentum holds nothing else yet."""
    return optax.tree.get(state.opt_state, "trace")


# The game -------------------------------------------------------------------------------------------------------------


def test_every_loss_agrees_in_both_rounds(rounds, played):
    no_losses = {"coverage", "coverage_spread", "mask_entropy", "disc_clear_accuracy", "disc_blur_accuracy"}
    no_losses |= {f"{name}_grad_norm" for name in PLAYERS}
    for (losses, _, _), ours in zip(played[0], rounds.losses, strict=True):
        expected = {name: value for name, value in ours.items() if name not in no_losses}
        assert losses == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_every_term_is_at_work(rounds, played):
    for losses, _, _ in played[0]:
        terms = {name: value for name, value in losses.items() if name != "g_loss" and not name.startswith("d_loss")}
        assert not [name for name, value in terms.items() if abs(value) <= 1e-3]
        assert losses["g_loss"] == pytest.approx(sum(terms.values()), rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_blocks": True}, "discriminator.in_blocks True: the game"),
        ({"patches": (3, 9)}, r"discriminator.patches \(3, 9\): the game"),
        ({"discriminator.norm": "none"}, "discriminator.norm none: the game"),
        ({"classifier.layers": ("conv4_3", "conv5_3")}, r"classifier.layers \('conv4_3', 'conv5_3'\): the game"),
        ({"hard": True}, "game.hard True: the game"),
        ({"temperature": 0.5}, "game.temperature 0.5: the game"),
        ({"r1_weight": 1.0}, "game.r1_weight 1.0: the game"),
        ({"smoothing": 3.0}, "game.smoothing 3.0: the game"),
        (
            {"binarisation_weight": 1.0, "binarisation_ramp": 9, "hard": True},
            "game.binarisation_ramp 9, game.hard True: the game",
        ),
    ],
)
def test_a_game_without_a_twin_is_refused_by_its_fields(changes, message):
    with pytest.raises(UserError, match=f"{message} in PyTorch has no twin of this; take another preset"):
        torch_twin.TorchGame(replace(PRESETS["paper"], changes), None, {}, way="best")


@pytest.mark.parametrize("name", PLAYERS)
def test_every_gradient_agrees(rounds, played, name):
    ours, theirs = gradients(getattr(rounds.states[0], name)), played[0][0][1][name]
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(ours))
    for (path, a), b in zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
        if cancelled(getattr(rounds.start, name).batch_stats, path):
            assert max(np.abs(a).max(), np.abs(b).max()) < 1e-9 * largest
        else:
            assert np.abs(a).max() > 1e-6 * largest  # so that agreement says something
            np.testing.assert_allclose(b, a, rtol=0, atol=1e-4 * np.abs(a).max(), err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize("name", PLAYERS)
def test_parameters_and_means_after_two_rounds_agree(rounds, played, name):
    before, ours = getattr(rounds.start, name).variables, getattr(rounds.states[1], name).variables
    theirs = {"batch_stats": {}, **played[1].variables(name)}
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    move = max(np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (before["params"], ours["params"]))))
    assert move > 1e-4
    for (path, a), b in zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
        if path[-1].key != "var":
            np.testing.assert_allclose(b, a, rtol=0, atol=1e-3 * move, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize("name", PLAYERS)
def test_running_variances_move_by_ours_times_n_over_n_less_1(rounds, played, name):
    """Of N values a channel, for PyTorch takes the unbiased ones."""
    kept = 0.9**2 if name == "generator" else 0.9**4  # two rounds of one call, and of two: G's loss keeps nothing
    start, ours = (getattr(state, name).batch_stats for state in (rounds.start, rounds.states[1]))
    theirs = played[1].variables(name).get("batch_stats", {})
    leaves = zip(jax.tree.leaves_with_path(start), jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    for (path, before), a, b in leaves:
        if path[-1].key == "var":
            photos = 2 * BATCH if name == "generator" and rounds.config.game.paste_weight else BATCH
            count = photos * side(rounds.config, name, path) ** 2
            moved = (a - kept * before) * count / (count - 1)
            np.testing.assert_allclose(b, kept * before + moved, rtol=1e-4, err_msg=jax.tree_util.keystr(path))


def side(config, name, path) -> int:
    """Of a layer's map in pixels, by its name: conv4_2, block3_conv1, skip2, or a discriminator's conv5."""
    number = int(re.search(r"\d", path[-2].key)[0])
    if name != "generator":
        return SIZE // math.prod(config.discriminator.strides[:number])
    return SIZE >> (number - 1) if path[0].key == "trunk" else SIZE >> (4 - number)


def test_masks_agree_in_what_our_metrics_say_of_them(rounds, played):
    for (_, _, mask), ours in zip(played[0], rounds.losses, strict=True):
        m, coverage = mask.numpy(), mask.mean((1, 2, 3)).numpy()
        entropy = -(m * np.log2(m) + (1 - m) * np.log2(1 - m)).mean()
        assert m.shape == (BATCH, 1, SIZE, SIZE)
        assert [coverage.mean(), coverage.std(), entropy] == pytest.approx(
            [ours["coverage"], ours["coverage_spread"], ours["mask_entropy"]], rel=1e-5
        )


@pytest.mark.parametrize("way", WAYS)
def test_in_single_precision_losses_agree_and_gradients_but_for_kinks(rounds, way):
    game = torch_twin.TorchGame(rounds.config, rounds.start, rounds.classifier, way=way)
    losses = game.step(rounds.batches[0])
    assert losses == pytest.approx({name: rounds.losses[0][name] for name in losses}, abs=1e-4)
    for name in PLAYERS:
        a, b = gradients(getattr(rounds.states[0], name)), game.gradients(name)
        distance = math.hypot(*(np.linalg.norm(x - y) for x, y in zip(*map(jax.tree.leaves, (a, b)))))
        assert distance < 0.1 * math.hypot(*map(np.linalg.norm, jax.tree.leaves(a)))


def test_one_discriminator_alone_plays_as_with_the_other():
    config, rng = small("self_trained"), np.random.default_rng(2)
    (state, classifier), batch = random_state(config, rng), random_batch(config, rng)
    both, alone = (
        torch_twin.TorchGame(replace(config, {"discriminators": which}), state, classifier, way="best").step(batch)
        for which in ("both", "clear")
    )
    assert both.keys() - alone.keys() == {"adversarial_blur", "d_loss_blur"}
    total = both.pop("g_loss") - both["adversarial_blur"]
    assert alone.pop("g_loss") == pytest.approx(total, rel=1e-5)
    assert alone == pytest.approx({name: both[name] for name in alone}, rel=1e-5)


RULES = {
    "sgd": OptimiserConfig("sgd", 0.1, 0.5),
    "adam": OptimiserConfig("adam", 0.1, 0.5),
    "adam, slower in the trunk": OptimiserConfig("adam", 0.1, 0.5, trunk_factor=0.2),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_optimisers_move_as_optax_s(rule, way):
    start = {"trunk": {"kernel": [[1.0, -2.0]]}, "head": {"kernel": [[1.0, -2.0]], "bias": [1.0, -2.0]}}
    params = jax.tree.map(jnp.array, start, is_leaf=lambda leaf: isinstance(leaf, list))
    paths = [".".join(key.key for key in path) for path, _ in jax.tree.leaves_with_path(params)]
    theirs = [torch.nn.Parameter(torch.tensor(np.array(leaf))) for leaf in jax.tree.leaves(params)]
    ours, optimiser = make_optimiser(rule), torch_ways.make_optimiser(zip(paths, theirs), rule, way=way)
    opt_state = ours.init(params)
    for gradient in ([3.0, -1e-3], [-1.0, 2e-3], [0.0, 1.0]):
        grads = jax.tree.map(lambda leaf, gradient=gradient: jnp.array(gradient).reshape(leaf.shape), params)
        updates, opt_state = ours.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        for parameter in theirs:
            parameter.grad = torch.tensor(gradient).reshape(parameter.shape)
        optimiser.step()
    for path, a, b in zip(paths, jax.tree.leaves(params), theirs, strict=True):
        np.testing.assert_allclose(b.detach(), a, rtol=1e-5, err_msg=path)


# The two ways ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=WAYS)
def way_s_game(request):
    """A game, after a step whose readings of files and calls of networks were counted."""
    config, rng = small("release"), np.random.default_rng(3)
    game = torch_twin.TorchGame(config, *random_state(config, rng), way=request.param)
    counts = dict.fromkeys((*game.networks, "files"), 0)

    def counted(name, call):
        def count(*arguments, **options):
            counts[name] += 1
            return call(*arguments, **options)

        return count

    with pytest.MonkeyPatch.context() as patch:
        for name, network in game.networks.items():
            patch.setattr(network, "forward", counted(name, network.forward))
        patch.setattr(torch, "load", counted("files", torch.load))
        game.step(random_batch(config, rng))
    return request.param, game, counts


def test_the_release_judges_again_and_reads_the_classifier_at_each_step_and_the_best_way_does_not(way_s_game):
    way, _, counts = way_s_game
    again = way == "release"
    discs = {"disc_clear": 2 + again, "disc_blur": 2 + again}
    assert counts == {"generator": 1, "classifier": 4, "files": int(again), **discs}


def test_the_release_computes_the_classifier_s_gradients_and_the_best_way_does_not(way_s_game):
    way, game, _ = way_s_game
    trunk = game.networks["classifier"].trunk
    assert (trunk.conv3_1.layer.weight.grad is not None) == (way == "release")


def test_the_best_way_is_channels_last_and_the_release_is_not(way_s_game):
    way, game, _ = way_s_game
    for name in ("generator", "classifier"):
        kernel = game.networks[name].trunk.conv3_1.layer.weight
        assert kernel.is_contiguous(memory_format=torch.channels_last) == (way == "best")
        assert kernel.is_contiguous() == (way == "release")


@pytest.mark.parametrize("way", WAYS)
def test_the_classifier_s_file_goes_with_the_game(way, monkeypatch):
    config, files = small("release"), []
    monkeypatch.setattr(torch, "save", lambda state, path: files.append(path))
    game = torch_twin.TorchGame(config, *random_state(config, np.random.default_rng(4)), way=way)
    assert [file.parent.is_dir() for file in files] == ([True] if way == "release" else [])
    del game
    gc.collect()
    assert not any(file.parent.exists() for file in files)


# Networks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_a_detector_s_masks_agree(preset):
    config, rng = small(preset).generator, np.random.default_rng(5)
    network = make_generator(config)
    variables = random_variables(network, SIZE, rng)
    photos = rng.integers(0, 256, (BATCH, SIZE, 2 * SIZE, 3), np.uint8)
    ours = compiled(lambda v, x: jax.nn.sigmoid(network.apply(v, x / 255, train=False)), variables, photos)
    expected = np.asarray(ours(variables, photos))[..., 0]
    for way in WAYS:
        masks = torch_twin.TorchDetector(config, variables, way=way)(photos)
        assert (masks.shape, masks.dtype) == ((BATCH, SIZE, 2 * SIZE), np.float32)
        np.testing.assert_allclose(masks, expected, atol=1e-4)
    assert expected.std() > 0.01


@pytest.mark.parametrize("preset", ["release", "demo"])
def test_a_classifier_s_features_and_logits_agree(preset):
    """At 64 pixels the flattened map has 2 x 2, whose order matters."""
    config, rng = small(preset, 64).classifier, np.random.default_rng(6)
    variables = random_variables(Classifier(config), 64, rng)
    photos = rng.uniform(size=(BATCH, 64, 64, 3)).astype(np.float32)
    ours = compiled(lambda v, x: Classifier(config).apply(v, x, train=False), variables, photos)(variables, photos)
    network = torch_networks.Classifier(config).eval()
    torch_networks.fill(network, variables)
    with torch.no_grad():
        theirs = network(torch.tensor(photos).permute(0, 3, 1, 2))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4)
        assert float(np.std(a)) > 0.05


@pytest.mark.parametrize("preset", ["demo", "lite"])
def test_weights_come_back_as_they_went(preset):
    config = small(preset).generator
    network = torch_networks.make_generator(config)
    variables = random_variables(make_generator(config), SIZE, np.random.default_rng(7))
    torch_networks.fill(network, variables)
    tensors = [(name, value) for name, value in network.state_dict().items() if not name.endswith("tracked")]
    jax.tree.map(np.testing.assert_array_equal, torch_networks.to_tree(tensors), variables)


def test_weights_of_another_network_are_refused_by_name():
    trained, demo = (small(preset).generator for preset in ("self_trained", "demo"))
    variables = random_variables(make_generator(demo), SIZE, np.random.default_rng(8))
    with pytest.raises(ValueError, match="conv1_1_norm"):
        torch_networks.fill(torch_networks.Generator(trained), variables)
