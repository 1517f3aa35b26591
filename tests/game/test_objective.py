"""The objective: one scalar, in which each network learns from its own terms and from nothing else."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_game import CONFIG, classifier_variables, make_batch, networks

from sgdbd_jax.config import GameConfig
from sgdbd_jax.fields import replace
from sgdbd_jax.game.objective import disc_objective, objective
from sgdbd_jax.models.layers import to_unit
from sgdbd_jax.models.networks import Networks
from sgdbd_jax.training.state import init_game

NETWORKS, CLASSIFIER = networks(), classifier_variables()
NAMES = ("generator", "disc_clear", "disc_blur")
ALL_TERMS = {
    "second_draw": True,
    "paste_weight": 0.5,
    "coverage_weight": 1.0,
    "coverage_minimum": 0.9,
    "binarisation_weight": 1.0,
}


def game_of(changes):
    """The objective of a tiny game as a function of parameters and photos; these parameters; and these photos."""
    config = replace(CONFIG, changes)
    params, stats = init_game(config, NETWORKS).variables("generator", *(f"disc_{side}" for side in config.game.sides))
    photos = {name: to_unit(jnp.asarray(photo)) for name, photo in make_batch(config).items()}

    @jax.jit
    def of(params, photos):
        return objective(params, stats, CLASSIFIER, photos, networks=NETWORKS, game=config.game)

    return of, params, photos


@functools.cache
def played(**changes):
    """Value, outcome, the gradient of the value, and that of each term, all by the parameters of all networks."""
    of, params, photos = game_of(changes)

    @jax.jit
    def differentiate(params):
        (value, outcome), grads = jax.value_and_grad(of, has_aux=True)(params, photos)
        return value, outcome, grads, jax.jacrev(lambda params: terms_of(of(params, photos)[1]))(params)

    return differentiate(params)


def terms_of(outcome):
    return outcome.g_terms | outcome.d_terms


def largest(tree):
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


def test_its_value_is_the_sum_of_its_terms_each_named():
    value, outcome, *_ = played(**ALL_TERMS)
    assert value.shape == ()
    assert float(value) == pytest.approx(sum(map(float, terms_of(outcome).values())), rel=1e-6)
    sides = {f"{term}_{side}" for term in ("adversarial", "d_loss") for side in ("clear", "blur")}
    assert set(terms_of(outcome)) == sides | {"bilateral", "pastes", "coverage_term", "binarisation"}
    assert outcome.mask.shape == (4, 16, 16, 1)


@pytest.mark.parametrize("side", ["clear", "blur"])
def test_a_discriminator_learns_from_its_own_loss_alone(side):
    """Its derivative of the whole is that of its own term; and its own term teaches nobody else."""
    _, _, whole, by_term = played(**ALL_TERMS)
    name, own = f"disc_{side}", by_term[f"d_loss_{side}"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), whole[name], own[name])
    assert largest(own[name]) > 1e-3
    assert all(largest(own[other]) == 0 for other in NAMES if other != name)


def test_the_generator_learns_from_every_term_but_those_of_the_discriminators():
    _, _, whole, by_term = played(**ALL_TERMS)
    parts = [part for term, part in by_term.items() if not term.startswith("d_loss")]
    for part in parts:
        assert largest(part["generator"]) > 1e-5
        assert largest(part["disc_clear"]) == largest(part["disc_blur"]) == 0
    total = jax.tree.map(lambda *leaves: sum(leaves), *(part["generator"] for part in parts))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), whole["generator"], total)


@pytest.mark.parametrize("name", NAMES)
def test_a_small_step_along_a_network_s_gradient_changes_its_own_terms_by_its_square(name):
    """By differences: G's terms for the generator, its own loss for a discriminator."""
    of, params, photos = game_of(ALL_TERMS)
    grads = played(**ALL_TERMS)[2][name]
    square = sum(float(jnp.vdot(leaf, leaf)) for leaf in jax.tree.leaves(grads))

    def own_terms(step):
        moved = jax.tree.map(lambda leaf, grad: leaf + step * grad, params[name], grads)
        terms = terms_of(of(params | {name: moved}, photos)[1])
        own = {"disc_clear": ["d_loss_clear"], "disc_blur": ["d_loss_blur"]}
        wanted = own.get(name, [term for term in terms if not term.startswith("d_loss")])
        return sum(float(terms[term]) for term in wanted)

    step = 1e-3 / square**0.5
    assert (own_terms(step) - own_terms(-step)) / (2 * step) == pytest.approx(square, rel=0.03)


def test_with_real_photos_pasted_a_discriminator_teaches_the_mask_nothing():
    by_term = played(second_draw=True, paste_real=True)[3]
    for side in ("clear", "blur"):
        assert largest(by_term[f"d_loss_{side}"]["generator"]) == 0


def test_composites_and_features_see_the_draws_that_they_should():
    """Other clear photos of the first draw change the composite; of the second, what D_c takes for real."""
    of, params, photos = game_of({"second_draw": True})
    terms = terms_of(of(params, photos)[1])
    first = terms_of(of(params, photos | {"clear": 1 - photos["clear"]})[1])
    second = terms_of(of(params, photos | {"clear_real": 1 - photos["clear_real"]})[1])
    assert float(first["adversarial_clear"]) != float(terms["adversarial_clear"])
    assert float(second["adversarial_clear"]) == float(terms["adversarial_clear"])
    for changed in (first, second):
        assert float(changed["d_loss_clear"]) != float(terms["d_loss_clear"])
        assert float(changed["bilateral"]) != float(terms["bilateral"])
        assert float(changed["d_loss_blur"]) == float(terms["d_loss_blur"])


@pytest.mark.parametrize("side", ["clear", "blur"])
def test_discriminators_that_learn_alone_have_the_loss_that_they_have_in_the_game(side):
    """Of the same photos: the game's composites as fakes, and its second draw as real ones."""
    config = replace(CONFIG, {"discriminators": side})
    of, params, photos = game_of({"discriminators": side})
    outcome = of(params, photos)[1]
    mask, name = outcome.mask, f"disc_{side}"
    inside, outside = ("source", "clear") if side == "clear" else ("blur", "source")
    fake = mask * photos[inside] + (1 - mask) * photos[outside]
    stats = init_game(config, NETWORKS).variables(name)[1]
    alone = jax.jit(functools.partial(disc_objective, networks=NETWORKS, game=config.game))
    value, (terms, after, accuracy) = alone(
        {name: params[name]}, stats, {f"{side}_fake": fake, f"{side}_real": photos[side]}
    )
    assert set(terms) == {f"d_loss_{side}"} and set(accuracy) == set(after) == {name}
    assert float(value) == pytest.approx(float(terms_of(outcome)[f"d_loss_{side}"]), rel=1e-5)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves({name: outcome.stats[name]}), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


# Levers of the game, by hand: a generator that is its logits, discriminators that weigh pixels ------------------------


class Logits:
    """Gives its parameter, `[B, H, W, 1]`, as the mask's logits."""

    def apply(self, variables, photo, **_):
        return variables["params"], {}


class Weighing:
    """One logit a photo, the sum of its values by weights; and with patches one of each pixel."""

    def __init__(self, patches=False):
        self.patches = patches

    def apply(self, variables, photo, **_):
        each = (photo * variables["params"]).sum(-1)
        whole = each.sum((1, 2))
        return ((whole, each) if self.patches else whole), {}


RNG = np.random.default_rng(3)
HAND = {name: RNG.uniform(size=(2, 2, 3, 3)).astype(np.float32) for name in ("source", "clear", "blur")}
LOGITS = np.array([2, -1, 0.5, -3, 1, -0.2, 0.1, -4, 3, -0.6, 0.8, -1.5], np.float32).reshape(2, 2, 3, 1)
WEIGHTS = {f"disc_{side}": RNG.normal(size=(2, 3, 3)).astype(np.float32) for side in ("clear", "blur")}
BY_HAND = {"generator": LOGITS, **WEIGHTS}
ETA = 0.4


def by_hand(*, patches=False, step=0, **changes):
    """The outcome of that game without its bilateral loss, and the gradient of its value."""
    game = GameConfig(**{"eta": ETA, "bilateral_weight": 0.0, **changes})
    networks = Networks(Logits(), Weighing(patches), None)
    function = functools.partial(objective, networks=networks, game=game, step=step)
    (value, outcome), grads = jax.value_and_grad(function, has_aux=True)(BY_HAND, dict.fromkeys(BY_HAND, {}), {}, HAND)
    return value, outcome, grads


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


def judged(mask):
    """By side: the logits of composites, the real photos, and how a composite moves with the mask."""
    source, clear, blur = HAND["source"], HAND["clear"], HAND["blur"]
    sides = {
        "clear": (mask * source + (1 - mask) * clear, clear, source - clear),
        "blur": ((1 - mask) * source + mask * blur, blur, blur - source),
    }
    weigh = {side: lambda photo, side=side: (photo * WEIGHTS[f"disc_{side}"]).sum((1, 2, 3)) for side in sides}
    return {side: (weigh[side](fake), weigh[side](real), slope) for side, (fake, real, slope) in sides.items()}


def taught(mask, slope_of_mask):
    """The gradient of Eq. 3 as printed by the logits: of log(1 - D), -D, over the batch's mean."""
    total = 0
    for side, (fake, _, slope) in judged(mask).items():
        by_pixel = (slope * WEIGHTS[f"disc_{side}"]).sum(-1, keepdims=True)
        total = total - ETA / len(fake) * sigmoid(fake)[:, None, None, None] * by_pixel * slope_of_mask
    return total


@pytest.mark.parametrize("step", [0, 10**6])
def test_at_the_defaults_the_value_is_that_of_equations_3_and_4(step):
    """Whatever the round: no lever of later sections is at work."""
    mask = sigmoid(LOGITS)
    value, outcome, grads = by_hand(step=step)
    assert set(terms_of(outcome)) == {f"{term}_{side}" for term in ("adversarial", "d_loss") for side in judged(mask)}
    for side, (fake, real, _) in judged(mask).items():
        assert float(outcome.g_terms[f"adversarial_{side}"]) == pytest.approx(-ETA * softplus(fake).mean(), rel=1e-5)
        wanted = softplus(-real).mean() + softplus(fake).mean()
        assert float(outcome.d_terms[f"d_loss_{side}"]) == pytest.approx(wanted, rel=1e-5)
    assert float(value) == pytest.approx(sum(map(float, terms_of(outcome).values())), rel=1e-6)
    np.testing.assert_allclose(grads["generator"], taught(mask, mask * (1 - mask)), rtol=1e-4, atol=1e-6)


def test_hard_composites_are_of_decisions_and_teach_as_if_they_were_of_the_mask():
    mask, decisions = sigmoid(LOGITS), (LOGITS > 0).astype(np.float32)
    _, outcome, grads = by_hand(hard=True)
    for side, (fake, real, _) in judged(decisions).items():
        assert float(outcome.g_terms[f"adversarial_{side}"]) == pytest.approx(-ETA * softplus(fake).mean(), rel=1e-5)
        wanted = softplus(-real).mean() + softplus(fake).mean()
        assert float(outcome.d_terms[f"d_loss_{side}"]) == pytest.approx(wanted, rel=1e-5)
    np.testing.assert_allclose(outcome.mask, mask, rtol=1e-5)  # which the mask terms and the watchdog look at
    np.testing.assert_allclose(grads["generator"], taught(decisions, mask * (1 - mask)), rtol=1e-4, atol=1e-6)


def test_a_low_temperature_decides_the_game_s_masks():
    mask = sigmoid(LOGITS / 0.25)
    _, outcome, grads = by_hand(temperature=0.25)
    np.testing.assert_allclose(outcome.mask, mask, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(grads["generator"], taught(mask, mask * (1 - mask) / 0.25), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("hard", [False, True])
def test_composites_are_of_the_smoothed_mask_and_mask_terms_of_the_mask_itself(hard):
    """The Gaussian is linear, so what it is given learns by its transpose; decisions come after it."""
    mask, sigma = sigmoid(LOGITS), 0.8
    weigh = [np.exp(-((np.subtract.outer(*[np.arange(side)] * 2) / sigma) ** 2) / 2) for side in (2, 3)]
    down, across = (each / each.sum(1, keepdims=True) for each in weigh)
    smooth = np.einsum("ih,bhwc,jw->bijc", down, mask, across)
    shown = (smooth > 0.5).astype(np.float32) if hard else smooth
    _, outcome, grads = by_hand(smoothing=sigma, hard=hard, binarisation_weight=2.0)
    for side, (fake, *_) in judged(shown).items():
        assert float(outcome.g_terms[f"adversarial_{side}"]) == pytest.approx(-ETA * softplus(fake).mean(), rel=1e-4)
    assert float(outcome.g_terms["binarisation"]) == pytest.approx(2 * np.minimum(mask, 1 - mask).mean(), rel=1e-5)
    np.testing.assert_allclose(outcome.mask, mask, rtol=1e-5)
    back = np.einsum("ih,bijc,jw->bhwc", down, taught(shown, 1), across)
    back = back + 2 * np.where(mask < 0.5, 1, -1) / mask.size
    np.testing.assert_allclose(grads["generator"], back * mask * (1 - mask), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("ramp", "step", "share"), [(0, 0, 1), (1, 0, 1), (10, 0, 0.1), (10, 4, 0.5), (10, 9, 1), (10, 10**6, 1)]
)
def test_the_weight_of_binarisation_rises_to_its_full(ramp, step, share):
    mask = sigmoid(LOGITS)
    _, outcome, _ = by_hand(binarisation_weight=2.0, binarisation_ramp=ramp, step=jnp.asarray(step))
    wanted = share * 2 * np.minimum(mask, 1 - mask).mean()
    assert float(outcome.g_terms["binarisation"]) == pytest.approx(wanted, rel=1e-5)


def test_a_held_slope_is_half_its_weight_times_the_square_and_teaches_the_discriminators_alone():
    """A linear discriminator's slope is its weights w, which r1 / 2 |w|^2 draws by r1 w."""
    _, plain, before = by_hand()
    _, outcome, grads = by_hand(r1_weight=3.0)
    assert set(outcome.d_terms) - set(plain.d_terms) == {"slope_clear", "slope_blur"}
    assert outcome.g_terms.keys() == plain.g_terms.keys()
    for side in ("clear", "blur"):
        weights = WEIGHTS[f"disc_{side}"]
        assert float(outcome.d_terms[f"slope_{side}"]) == pytest.approx(1.5 * (weights**2).sum(), rel=1e-5)
        added = grads[f"disc_{side}"] - before[f"disc_{side}"]
        np.testing.assert_allclose(added, 3 * weights, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(grads["generator"], before["generator"])


def test_patches_count_as_much_as_the_whole_and_accuracy_is_of_the_whole():
    mask = sigmoid(LOGITS)
    _, plain, _ = by_hand()
    _, outcome, _ = by_hand(patches=True)
    source, clear, weights = HAND["source"], HAND["clear"], WEIGHTS["disc_clear"]
    fake = ((mask * source + (1 - mask) * clear) * weights).sum(-1)
    patches = softplus(-(clear * weights).sum(-1)).mean() + softplus(fake).mean()
    wanted = (float(plain.d_terms["d_loss_clear"]) + patches) / 2
    assert float(outcome.d_terms["d_loss_clear"]) == pytest.approx(wanted, rel=1e-5)
    wanted = (float(plain.g_terms["adversarial_clear"]) - ETA * softplus(fake).mean()) / 2
    assert float(outcome.g_terms["adversarial_clear"]) == pytest.approx(wanted, rel=1e-5)
    assert {name: float(share) for name, share in outcome.accuracy.items()} == {
        name: float(share) for name, share in plain.accuracy.items()
    }
