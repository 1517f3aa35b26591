"""Eq. 3 to 5, and the mask terms of the release: pure functions of arrays, each a scalar to minimise.

All work from logits: a sigmoid followed by a logarithm overflows.
"""

import math
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax


def adversarial_loss(fake_logits: jax.Array, *, form: str = "non_saturating") -> jax.Array:
    """What one discriminator's verdict on the composites costs the generator; half of L_G (Eq. 3).

    >>> undecided = jnp.zeros(4)  # D = 1/2
    >>> print(f"{adversarial_loss(undecided):.3f}, {adversarial_loss(undecided, form='saturating'):.3f}")
    0.693, -0.693

    Args:
        fake_logits: `[B]` float logits of D on composites.
        form: "saturating": `log(1 - D)`, Eq. 3 as printed, whose gradient vanishes as D wins;
            "non_saturating": `-log D` (Goodfellow et al. 2014), the release's.

    Returns:
        `[]` mean over the batch; at most 0 when saturating, at least 0 when not.

    Raises:
        ValueError: another form.
    """
    chex.assert_rank(fake_logits, 1)
    if form == "saturating":
        return jax.nn.log_sigmoid(-fake_logits).mean()
    if form == "non_saturating":
        return -jax.nn.log_sigmoid(fake_logits).mean()
    raise ValueError(f"form {form!r} is neither 'saturating' nor 'non_saturating'")


def discriminator_loss(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Cross-entropy of one discriminator; half of -L_D (Eq. 4, which is maximised).

    >>> right, undecided = jnp.full(4, 100.0), jnp.zeros(4)
    >>> print(f"{abs(discriminator_loss(right, -right)):.3f}, {discriminator_loss(undecided, undecided):.3f}")
    0.000, 1.386

    Args:
        real_logits: `[B]` float logits of D on real photos.
        fake_logits: `[B]` float logits of D on composites.

    Returns:
        `[]` mean over the batch of `-log D(real) - log(1 - D(fake))`, at least 0; `2 log 2` for an undecided D.
    """
    chex.assert_rank([real_logits, fake_logits], 1)
    return -jax.nn.log_sigmoid(real_logits).mean() - jax.nn.log_sigmoid(-fake_logits).mean()


def verdicts_mean(loss: Callable[..., jax.Array], *verdicts: Any) -> jax.Array:
    """The mean of a loss over all that a discriminator judges: the photo, and patches of each size where it has some.

    >>> whole, patches = jnp.zeros(1), jnp.full((1, 2, 2), 100.0)
    >>> print(f"{verdicts_mean(adversarial_loss, whole):.3f}, {verdicts_mean(adversarial_loss, (whole, patches)):.3f}")
    0.693, 0.347

    Args:
        loss: of flat float logits, one array for each of `verdicts`; gives a scalar.
        verdicts: what a discriminator gives, alike in structure: `[B]` float logits, or a tuple of these and of
            `[B, H', W']` logits of patches (Isola et al. 2017).

    Returns:
        `[]` mean over the tuple: every size counts alike, however many patches it has.
    """
    each = [loss(*(logits.ravel() for logits in pair)) for pair in zip(*map(jax.tree.leaves, verdicts), strict=True)]
    return sum(each[1:], each[0]) / len(each)


def slope_penalty(judge: Callable[[jax.Array], Any], real: jax.Array) -> jax.Array:
    """Squared slope of a discriminator at real photos: R1 of Mescheder et al. (2018), before its weight.

    >>> real = jnp.ones((2, 4, 4, 3))
    >>> float(slope_penalty(lambda photos: 0.5 * photos.sum((1, 2, 3)), real))  # 48 slopes of 0.5 a photo
    12.0

    Args:
        judge: maps photos to a discriminator's verdicts, as `verdicts_mean` takes them. Where BatchNorm makes a verdict
            depend on the other photos of the batch, the slope is that of the sum of all verdicts.
        real: `[B, H, W, 3]` float photos.

    Returns:
        `[]` mean over photos of the squared norm, at least 0, of the gradient of their logit: of several sizes the
        mean, each the sum over its places by the root of their number. Slopes of places that see nothing of each other
        add up in the square, so that a size counts as one of its places does.
    """
    chex.assert_rank(real, 4)

    def total(photos: jax.Array) -> jax.Array:
        return verdicts_mean(lambda logits: logits.sum() / math.sqrt(logits.size / len(photos)), judge(photos))

    return jnp.square(jax.grad(total)(real)).sum((1, 2, 3)).mean()


def feature_distance(a: jax.Array, b: jax.Array, *, epsilon: float = 1e-8) -> jax.Array:
    """Mean cosine distance of two batches of features; half of L_B (Eq. 5).

    >>> east, north = jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]])
    >>> [float(feature_distance(east, other)) for other in (3 * east, north, -east)]
    [0.0, 1.0, 2.0]

    Eq. 5 prints the cosine *of* the cosine similarity, which falls as features agree; the similarity is meant.

    Args:
        a, b: `[B, F]` float features, any scale.
        epsilon: floor on the norms; without it a zero feature has a NaN gradient.

    Returns:
        `[]` mean of `1 - cos(a, b)`, in [0, 2]; a zero feature is at distance 1 from everything.
    """
    chex.assert_rank(a, 2)
    chex.assert_equal_shape([a, b])
    return optax.cosine_distance(a, b, epsilon=epsilon).mean()


def bilateral_loss(
    composite_clear: jax.Array, clear: jax.Array, composite_blur: jax.Array, blur: jax.Array
) -> jax.Array:
    """Bilateral triplet-excavating loss L_B (Eq. 5).

    >>> east, north = jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]])
    >>> float(bilateral_loss(east, east, north, north)), float(bilateral_loss(east, north, north, -north))
    (0.0, 3.0)

    Args:
        composite_clear, clear, composite_blur, blur: `[B, F]` float features V of C_c, I_c, C_b, I_b.

    Returns:
        `[]` `2 - cos(V(C_c), V(I_c)) - cos(V(C_b), V(I_b))`, in [0, 4].
    """
    return feature_distance(composite_clear, clear) + feature_distance(composite_blur, blur)


def coverage_loss(mask: jax.Array, *, minimum: float = 0.1) -> jax.Array:
    """Penalty on a mask that covers too little (the release's).

    >>> little, enough = jnp.full((1, 8, 8, 1), 0.04), jnp.full((1, 8, 8, 1), 0.5)
    >>> print(f"{coverage_loss(little):.2f}, {coverage_loss(enough):.2f}")
    0.06, 0.00

    Args:
        mask: `[B, H, W, 1]` float in [0, 1].
        minimum: share of a photo below which its mask is penalised.

    Returns:
        `[]` mean over photos of `relu(minimum - mean(mask))`, in [0, minimum].
    """
    chex.assert_rank(mask, 4)
    return jax.nn.relu(minimum - mask.mean(axis=(1, 2, 3))).mean()


def binarisation_loss(mask: jax.Array) -> jax.Array:
    """Penalty on undecided pixels (the release's).

    >>> float(binarisation_loss(jnp.array([0.0, 1.0]))), float(binarisation_loss(jnp.array([0.5, 0.75])))
    (0.0, 0.375)

    Args:
        mask: float array in [0, 1], any shape.

    Returns:
        `[]` mean of `min(mask, 1 - mask)`, in [0, 0.5].
    """
    return jnp.minimum(mask, 1 - mask).mean()


def mask_cross_entropy(logits: jax.Array, truth: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    """Cross-entropy of a mask against a known one (Table 3's Ours(S), and the warm start on pastes).

    >>> truth = jnp.ones((1, 2, 2, 1))
    >>> print(f"{mask_cross_entropy(0 * truth, truth):.3f}, {mask_cross_entropy(100 * truth, truth):.3f}")
    0.693, 0.000

    Args:
        logits: `[B, H, W, 1]` float logits of M.
        truth: `[B, H, W, 1]` float in [0, 1], 1 = in focus.
        weight: `[B, H, W, 1]` float in [0, 1], what each pixel counts for; `None`: all count in full.

    Returns:
        `[]` mean over pixels, in nats; a weight lessens it, and does not add to that of other pixels.
    """
    chex.assert_equal_shape([logits, truth] + ([] if weight is None else [weight]))
    each = optax.sigmoid_binary_cross_entropy(logits, truth)
    return each.mean() if weight is None else (weight * each).mean()
