"""Eq. 3 to 5, and the mask terms of the release: pure functions of arrays, each a scalar to minimise.

All work from logits: a sigmoid followed by a logarithm overflows.
"""

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
