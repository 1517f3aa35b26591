"""Eq. 1 and 2, against values worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgdbd_jax.game.composites import composites, decided, paste, smoothed

SOURCE, CLEAR, BLUR = jnp.asarray(np.random.default_rng(0).uniform(size=(3, 2, 4, 5, 3)), jnp.float32)


def constant(value, channels=3):
    return jnp.full((2, 4, 5, channels), value, jnp.float32)


def test_equation_1_and_2_by_hand():
    """M = 0.25, T = 0.8, I_c = 0.4, I_b = 0.2: C_c = 0.2 + 0.3, C_b = 0.6 + 0.05."""
    composite_clear, composite_blur = composites(constant(0.25, 1), constant(0.8), constant(0.4), constant(0.2))
    np.testing.assert_allclose(composite_clear, constant(0.5), rtol=1e-6)
    np.testing.assert_allclose(composite_blur, constant(0.65), rtol=1e-6)


def test_every_pixel_and_channel_is_mixed_by_its_own_mask():
    mask = jnp.asarray(np.random.default_rng(1).uniform(size=(2, 4, 5, 1)), jnp.float32)
    composite_clear, composite_blur = composites(mask, SOURCE, CLEAR, BLUR)
    for at in np.ndindex(2, 4, 5):
        m = float(mask[at][0])
        np.testing.assert_allclose(composite_clear[at], m * SOURCE[at] + (1 - m) * CLEAR[at], atol=1e-6)
        np.testing.assert_allclose(composite_blur[at], (1 - m) * SOURCE[at] + m * BLUR[at], atol=1e-6)


def test_a_full_mask_keeps_the_source_for_d_c_and_hides_it_from_d_b():
    composite_clear, composite_blur = composites(constant(1, 1), SOURCE, CLEAR, BLUR)
    np.testing.assert_allclose(composite_clear, SOURCE, atol=1e-6)
    np.testing.assert_allclose(composite_blur, BLUR, atol=1e-6)


def test_an_empty_mask_hides_the_source_from_d_c_and_keeps_it_for_d_b():
    composite_clear, composite_blur = composites(constant(0, 1), SOURCE, CLEAR, BLUR)
    np.testing.assert_array_equal(composite_clear, CLEAR)
    np.testing.assert_array_equal(composite_blur, SOURCE)


def test_the_true_mask_of_a_pasted_source_gives_the_clear_and_the_blurred_photo_back():
    mask = jnp.asarray(np.random.default_rng(1).integers(0, 2, size=(2, 4, 5, 1)), jnp.float32)
    composite_clear, composite_blur = composites(mask, paste(mask, CLEAR, BLUR), CLEAR, BLUR)
    np.testing.assert_allclose(composite_clear, CLEAR, atol=1e-6)
    np.testing.assert_allclose(composite_blur, BLUR, atol=1e-6)


def test_the_mask_s_gradient_is_the_difference_of_the_photos():
    """d C_c / d M = T - I_c and d C_b / d M = I_b - T, summed over channels."""
    clear, blur = (
        jax.grad(lambda mask, which=which: composites(mask, SOURCE, CLEAR, BLUR)[which].sum())(constant(0.3, 1))
        for which in (0, 1)
    )
    np.testing.assert_allclose(clear, (SOURCE - CLEAR).sum(-1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(blur, (BLUR - SOURCE).sum(-1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(
    ("mask", "inside", "outside"),
    [
        (constant(1, 3), SOURCE, CLEAR),
        (constant(1, 1)[:1], SOURCE, CLEAR),
        (constant(1, 1)[..., 0], SOURCE, CLEAR),
        (constant(1, 1), SOURCE, CLEAR[:1]),
        (constant(1, 1), SOURCE[:, :1], CLEAR),
    ],
)
def test_shapes_that_would_broadcast_are_refused(mask, inside, outside):
    with pytest.raises(AssertionError):
        paste(mask, inside, outside)


def test_decisions_are_exactly_0_or_1_and_have_the_mask_s_gradient():
    mask = jnp.asarray([0.0, 0.1, 0.3, 0.5, 0.5001, 0.7, 0.9999, 1.0])
    np.testing.assert_array_equal(decided(mask), [0, 0, 0, 0, 1, 1, 1, 1])
    weights = jnp.arange(8.0)
    np.testing.assert_array_equal(jax.grad(lambda mask: (weights * decided(mask)).sum())(mask), weights)


def test_a_smoothed_mask_keeps_its_level_and_its_range_up_to_the_borders():
    np.testing.assert_allclose(smoothed(constant(0.3, 1), 2.0), constant(0.3, 1), rtol=1e-6)
    mask = jnp.asarray(np.random.default_rng(2).integers(0, 2, size=(1, 8, 12, 1)), jnp.float32)
    assert 0 <= smoothed(mask, 1.5).min() < smoothed(mask, 1.5).max() <= 1


def test_a_smoothed_edge_is_the_gaussian_s_integral_across_and_unchanged_along():
    """Far from the borders: half at the edge, 0.8413 one deviation inside it; every row alike."""
    mask = jnp.zeros((1, 6, 120, 1)).at[:, :, 60:].set(1)
    across = smoothed(mask, 5.0)[0, :, :, 0]
    np.testing.assert_allclose(across[:, 59:61].mean(axis=1), 0.5, atol=1e-6)
    np.testing.assert_allclose(across[:, 64:66].mean(axis=1), 0.8413, atol=1e-3)  # pixel 65's left side is 5 from it
    turned = smoothed(mask.transpose(0, 2, 1, 3), 5.0)[0, :, :, 0]
    np.testing.assert_allclose(turned, across.T, atol=1e-6)


def test_a_fine_pattern_is_gone_from_a_smoothed_mask():
    """Every second pixel white: its middle is grey, to 1e-3, with a deviation of 2 pixels."""
    mask = (jnp.indices((32, 32)).sum(0) % 2).astype(jnp.float32)[None, :, :, None]
    np.testing.assert_allclose(smoothed(mask, 2.0)[:, 8:24, 8:24], 0.5, atol=1e-3)
