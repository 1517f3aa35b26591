"""Eq. 3 to 6 and the mask terms, against values worked out by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgdbd_jax.game.losses import (
    adversarial_loss,
    bilateral_loss,
    binarisation_loss,
    coverage_loss,
    discriminator_loss,
    feature_distance,
    mask_cross_entropy,
    slope_penalty,
    verdicts_mean,
)

LN2, LN3, LN4 = math.log(2), math.log(3), math.log(4)
# Logits of which D says 1/2, 3/4 and 1/4.
HALF, THREE_QUARTERS, QUARTER = 0.0, LN3, -LN3
LN_3_4, LN_1_4 = math.log(3 / 4), -LN4


def array(*values):
    return jnp.asarray(values, jnp.float32)


def mask(*photos):
    """Photos of 1 x N pixels: `[B, 1, N, 1]`."""
    return array(*photos)[:, None, :, None]


@pytest.mark.parametrize(
    ("logits", "saturating", "non_saturating"),
    [
        ([HALF], -LN2, LN2),
        ([THREE_QUARTERS], LN_1_4, -LN_3_4),
        ([QUARTER], LN_3_4, -LN_1_4),
        ([THREE_QUARTERS, QUARTER], (LN_1_4 + LN_3_4) / 2, -(LN_3_4 + LN_1_4) / 2),
    ],
)
def test_adversarial_loss_is_equation_3(logits, saturating, non_saturating):
    assert float(adversarial_loss(array(*logits), form="saturating")) == pytest.approx(saturating, rel=1e-6)
    assert float(adversarial_loss(array(*logits), form="non_saturating")) == pytest.approx(non_saturating, rel=1e-6)


@pytest.mark.parametrize(
    ("form", "logit", "value", "slope"),
    [  # far out, log(sigmoid(x)) is x below zero, and 0 above
        ("saturating", 1e4, -1e4, -1.0),
        ("saturating", -1e4, 0.0, 0.0),
        ("non_saturating", 1e4, 0.0, 0.0),
        ("non_saturating", -1e4, 1e4, -1.0),
    ],
)
def test_a_certain_discriminator_costs_no_overflow(form, logit, value, slope):
    loss, grad = jax.value_and_grad(lambda x: adversarial_loss(x, form=form))(array(logit))
    assert float(loss) == value
    assert grad.tolist() == [slope]


def test_only_the_non_saturating_form_still_teaches_where_the_discriminator_wins():
    """At D(C) = e^-10 the slope of log(1 - D) is D's 0.00005, that of -log D is 1 less that."""
    slope = {
        form: abs(float(jax.grad(lambda x, form=form: adversarial_loss(x, form=form))(array(-10.0))[0]))
        for form in ("saturating", "non_saturating")
    }
    assert slope["saturating"] == pytest.approx(1 / (1 + math.exp(10)), rel=1e-4)
    assert slope["non_saturating"] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("form", ["saturating", "non_saturating"])
def test_both_forms_fall_as_the_composites_look_more_real(form):
    losses = [float(adversarial_loss(array(logit), form=form)) for logit in (-3.0, 0.0, 3.0)]
    assert losses == sorted(losses, reverse=True)


def test_another_adversarial_form_is_refused():
    with pytest.raises(ValueError, match="'wasserstein' is neither"):
        adversarial_loss(array(0.0), form="wasserstein")


@pytest.mark.parametrize(
    ("real", "fake", "loss"),
    [
        ([HALF], [HALF], 2 * LN2),
        ([THREE_QUARTERS], [QUARTER], -2 * LN_3_4),
        ([QUARTER], [THREE_QUARTERS], 2 * LN4),
        ([THREE_QUARTERS, QUARTER], [HALF, HALF], -(LN_3_4 + LN_1_4) / 2 + LN2),
        ([1e4], [-1e4], 0.0),
        ([-1e4], [1e4], 2e4),
    ],
)
def test_discriminator_loss_is_equation_4_negated(real, fake, loss):
    assert float(discriminator_loss(array(*real), array(*fake))) == pytest.approx(loss, rel=1e-6)


def test_a_discriminator_that_is_wrong_for_certain_has_finite_gradients():
    slopes = jax.grad(discriminator_loss, argnums=(0, 1))(array(-1e4, 1e4), array(1e4, -1e4))
    assert [slope.tolist() for slope in slopes] == [[-0.5, 0.0], [0.5, 0.0]]


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ([1, 0], [5, 0], 0.0),  # scale does not matter
        ([1, 0], [0, 2], 1.0),
        ([1, 0], [-3, 0], 2.0),
        ([3, 4], [4, 3], 1 - 24 / 25),
        ([0, 0], [1, 0], 1.0),
    ],
)
def test_feature_distance_is_one_less_the_cosine(a, b, distance):
    assert float(feature_distance(array(a), array(b))) == pytest.approx(distance, abs=1e-6)


def test_feature_distance_is_the_mean_over_photos():
    assert float(feature_distance(array([1, 0], [1, 0]), array([1, 0], [-1, 0]))) == pytest.approx(1.0)


def test_bilateral_loss_is_equation_5():
    """2 - cos(C_c, I_c) - cos(C_b, I_b) = 2 - 24/25 - 0."""
    loss = bilateral_loss(array([3, 4]), array([4, 3]), array([1, 0]), array([0, 1]))
    assert float(loss) == pytest.approx(2 - 24 / 25, rel=1e-6)


@pytest.mark.parametrize(("sign", "loss"), [(1, 0.0), (-1, 4.0)])
def test_agreeing_features_give_the_smallest_bilateral_loss_and_opposite_ones_the_largest(sign, loss):
    """The literal Eq. 5, a cosine of the cosine, is 2 - 2 cos(1) for both."""
    v = array([0.6, 0.8])
    assert float(bilateral_loss(sign * v, v, sign * v, v)) == pytest.approx(loss, abs=1e-6)


def test_descending_the_bilateral_loss_brings_features_together():
    real, fake = array([1, 0]), array([1, 1])
    slope = jax.grad(lambda f: bilateral_loss(f, real, real, real))(fake)
    moved = fake - 0.1 * slope
    assert float(feature_distance(moved, real)) < float(feature_distance(fake, real))


@pytest.mark.parametrize(("a", "b"), [([0, 0], [0, 0]), ([0, 0], [1, 2]), ([1e-20, 0], [1, 0]), ([1e15, 0], [1, 0])])
def test_zero_and_extreme_features_have_finite_gradients(a, b):
    for grad in jax.grad(feature_distance, argnums=(0, 1))(array(a), array(b)):
        assert np.isfinite(grad).all()


@pytest.mark.parametrize(
    ("photos", "loss"),
    [
        ([[0, 0, 0, 0]], 0.1),
        ([[0.4, 0, 0, 0]], 0.0),
        ([[0.2, 0, 0, 0]], 0.05),
        ([[1, 1, 1, 1]], 0.0),
        ([[1, 1, 1, 1], [0, 0, 0, 0]], 0.05),  # a full mask makes no good of an empty one
    ],
)
def test_coverage_loss_counts_what_each_mask_lacks(photos, loss):
    assert float(coverage_loss(mask(*photos))) == pytest.approx(loss, abs=1e-7)


def test_coverage_minimum_is_a_share():
    assert float(coverage_loss(mask([0.2, 0.2]), minimum=0.5)) == pytest.approx(0.3)


def test_an_empty_mask_is_pushed_up_alike_everywhere():
    slope = jax.grad(lambda m: coverage_loss(m))(mask([0, 0, 0, 0]))
    np.testing.assert_allclose(slope, np.full((1, 1, 4, 1), -0.25))


@pytest.mark.parametrize(
    ("pixels", "loss"), [([0, 1], 0.0), ([0.5, 0.5], 0.5), ([0.2, 0.9], 0.15), ([0.3, 0.7, 0, 1], 0.15)]
)
def test_binarisation_loss_is_the_distance_to_black_or_white(pixels, loss):
    assert float(binarisation_loss(mask(pixels))) == pytest.approx(loss, abs=1e-7)


@pytest.mark.parametrize(
    ("logits", "truth", "loss"),
    [
        ([HALF], [1], LN2),
        ([HALF], [0.3], LN2),
        ([THREE_QUARTERS, QUARTER], [1, 0], -LN_3_4),
        ([THREE_QUARTERS], [0.5], -(LN_3_4 + LN_1_4) / 2),
        ([1e4, -1e4], [1, 0], 0.0),
        ([1e4, -1e4], [0, 1], 1e4),
    ],
)
def test_mask_cross_entropy(logits, truth, loss):
    assert float(mask_cross_entropy(mask(logits), mask(truth))) == pytest.approx(loss, rel=1e-6, abs=1e-7)


def test_a_weight_lessens_what_a_pixel_costs():
    """At logit 0 each pixel costs ln 2, and at ln 3 a wrong one ln 4."""
    logits, truth = mask([0, LN3], [0, 0]), mask([1, 0], [0, 0])
    weighed = mask_cross_entropy(logits, truth, mask([1, 0.5], [0, 0]))
    assert float(weighed) == pytest.approx((LN2 + LN4 / 2) / 4)
    assert float(mask_cross_entropy(logits, truth, jnp.ones_like(truth))) == float(mask_cross_entropy(logits, truth))
    slope = jax.grad(mask_cross_entropy)(logits, truth, mask([1, 0.5], [0, 0]))
    np.testing.assert_allclose(slope.ravel(), [-0.5 / 4, 0.5 * 0.75 / 4, 0, 0])


def test_a_mask_that_is_wrong_for_certain_has_the_gradient_of_a_probability():
    slope = jax.grad(mask_cross_entropy)(mask([1e4, -1e4]), mask([0, 1]))
    np.testing.assert_allclose(slope.ravel(), [0.5, -0.5])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: adversarial_loss(jnp.zeros((2, 1))),
        lambda: discriminator_loss(jnp.zeros(2), jnp.zeros((2, 1))),
        lambda: feature_distance(jnp.zeros((2, 3)), jnp.zeros((1, 3))),
        lambda: feature_distance(jnp.zeros(3), jnp.zeros(3)),
        lambda: coverage_loss(jnp.zeros((2, 4, 4))),
        lambda: mask_cross_entropy(jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 2, 2))),
        lambda: mask_cross_entropy(*[jnp.zeros((1, 2, 2, 1))] * 2, jnp.zeros((2, 2))),
    ],
)
def test_shapes_that_would_broadcast_are_refused(wrong):
    with pytest.raises(AssertionError):
        wrong()


# Verdicts on patches, and slopes --------------------------------------------------------------------------------------


def test_one_verdict_a_photo_is_the_loss_itself():
    real, fake = array(HALF, QUARTER), array(THREE_QUARTERS, HALF)
    assert float(verdicts_mean(discriminator_loss, real, fake)) == float(discriminator_loss(real, fake))


def test_every_size_of_patch_counts_alike_however_many_there_are():
    """The whole is undecided, ln 2; of 1 x 2 patches one costs -ln 3/4 and one ln 4; of 1 x 1, ln 4."""
    verdicts = (array(HALF), array([[THREE_QUARTERS, QUARTER]]), array([[QUARTER]]))
    wanted = (LN2 + (-LN_3_4 + LN4) / 2 + LN4) / 3
    assert float(verdicts_mean(adversarial_loss, verdicts)) == pytest.approx(wanted)


def test_verdicts_unlike_in_structure_are_refused():
    with pytest.raises(ValueError, match="shorter|longer"):
        verdicts_mean(discriminator_loss, (array(0.0), array([[0.0]])), array(0.0))


WEIGHTS = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3)), jnp.float32)


def linear(weights):
    return lambda photos: (photos * weights).sum((1, 2, 3))


@pytest.mark.parametrize("batch", [1, 4])
def test_the_slope_of_a_linear_discriminator_is_its_weights(batch):
    """At whatever photos, and however many; and what it teaches is to shrink: 2 w."""
    real = jnp.asarray(np.random.default_rng(1).uniform(size=(batch, 2, 3, 3)), jnp.float32)
    value, slope = jax.value_and_grad(lambda weights: slope_penalty(linear(weights), real))(WEIGHTS)
    assert float(value) == pytest.approx(float((WEIGHTS**2).sum()), rel=1e-5)
    np.testing.assert_allclose(slope, 2 * WEIGHTS, rtol=1e-5)


def test_the_slope_is_that_at_each_photo_squared_before_the_mean():
    """Of the sum of squares x^2 it is 2 x: at photos of 1 and of 3 in 12 values, 12 (2^2 + 6^2) / 2."""
    real = jnp.stack([jnp.full((2, 2, 3), 1.0), jnp.full((2, 2, 3), 3.0)])
    assert float(slope_penalty(lambda photos: (photos**2).sum((1, 2, 3)), real)) == pytest.approx(12 * (4 + 36) / 2)


def test_the_slope_of_several_verdicts_is_that_of_their_mean_and_of_places_as_of_one():
    """A whole of weight 3, and 2 patches of a row each of weight 1: by itself, a row's 6 slopes of 1 make 6, not 12."""
    rows = lambda photos: photos.sum((2, 3))[..., None]  # noqa: E731
    assert float(slope_penalty(rows, jnp.ones((2, 2, 2, 3)))) == pytest.approx(6)
    verdicts = lambda photos: (3 * photos.sum((1, 2, 3)), photos.sum((2, 3))[..., None])  # noqa: E731
    assert float(slope_penalty(verdicts, jnp.ones((2, 2, 2, 3)))) == pytest.approx(12 * ((3 + 0.5**0.5) / 2) ** 2)
