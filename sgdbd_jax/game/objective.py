"""The paper on one page: the game of G, D_c and D_b as one scalar, whose one gradient moves all three networks.

`stop_gradient` says who learns from what. G's terms see the discriminators as they are, and a discriminator's see the
composites as they are; so the derivative by one network's parameters is that of its own terms alone.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from sgdbd_jax.config import GameConfig
from sgdbd_jax.game.composites import composed, composites, paste
from sgdbd_jax.game.losses import (
    adversarial_loss,
    bilateral_loss,
    binarisation_loss,
    coverage_loss,
    discriminator_loss,
    mask_cross_entropy,
    slope_penalty,
    verdicts_mean,
)
from sgdbd_jax.models.networks import Networks, apply

Tree = Any
Terms = dict[str, jax.Array]


class Outcome(NamedTuple):
    """What the objective says besides its value."""

    g_terms: Terms  # [] each, what G learns from: `adversarial_clear`, `adversarial_blur`, `bilateral`, ...
    d_terms: Terms  # [] each, what D_c and D_b learn from: `d_loss_clear`, `slope_clear`, ...
    stats: dict[str, Tree]  # BatchNorm statistics after this round, by network
    mask: jax.Array  # M at the game's temperature, [B, H, W, 1] in [0, 1], also where composites are of decisions
    accuracy: Terms  # [] each: share of photos that a discriminator is right about, by its name


def objective(
    params: dict[str, Tree],
    stats: dict[str, Tree],
    classifier: Tree,
    photos: dict[str, jax.Array],
    *,
    networks: Networks,
    game: GameConfig,
    step: jax.Array | int = 0,
) -> tuple[jax.Array, Outcome]:
    """eta * L_G + L_D + L_B (Eq. 6), each where it is to be minimised, and the mask terms of the release.

    Args:
        params: of `generator`, `disc_clear` and `disc_blur`; of discriminators, those that `game.sides` names.
        stats: their BatchNorm statistics, by the same names.
        classifier: V's variables, which stay; not read without a bilateral loss.
        photos: float in [0, 1]: `source` T, `clear` I_c and `blur` I_b, `[B, H, W, 3]` each; with a second draw,
            `clear_real` and `blur_real`; with a weight of pastes, `paste` and `paste_mask`, `[B, H, W, 1]`.
        networks: the three architectures.
        game: weights and switches.
        step: [] rounds played before, for a weight that rises.

    Returns:
        The value, `[]`, which is the sum of all terms; and what else there is to say of the round.
    """
    g_terms: Terms = {}
    d_terms: Terms = {}
    new: dict[str, Tree] = {}
    accuracy: Terms = {}

    shown = jnp.concatenate([photos["source"], *([photos["paste"]] if game.paste_weight else ())])
    logits, new["generator"] = apply(networks.generator, params["generator"], stats["generator"], shown)
    logits, on_pastes = jnp.split(logits, [len(photos["source"])])
    mask = jax.nn.sigmoid(logits / game.temperature)
    composing = composed(mask, game)
    pair = composites(composing, photos["source"], photos["clear"], photos["blur"])  # C_c, C_b: Eq. 1, 2
    fake = dict(zip(("clear", "blur"), pair))
    real = {side: photos[f"{side}_real" if game.second_draw else side] for side in fake}

    for side in game.sides:
        name = f"disc_{side}"
        genuine = paste(stop_gradient(composing), real[side], photos[side]) if game.paste_real else real[side]
        fooled, _ = apply(networks.discriminator, stop_gradient(params[name]), stats[name], fake[side])
        on_fake, after = apply(networks.discriminator, params[name], stats[name], stop_gradient(fake[side]))
        on_real, new[name] = apply(networks.discriminator, params[name], after, genuine)
        against = functools.partial(adversarial_loss, form=game.adversarial_form)
        g_terms[f"adversarial_{side}"] = game.eta * verdicts_mean(against, fooled)  # Eq. 3
        d_terms[f"d_loss_{side}"] = game.disc_weight * verdicts_mean(discriminator_loss, on_real, on_fake)  # Eq. 4
        if game.r1_weight:
            judge = functools.partial(_judge, networks, params[name], after)
            d_terms[f"slope_{side}"] = game.r1_weight / 2 * slope_penalty(judge, genuine)
        accuracy[name] = accuracy_of(on_real, on_fake)

    if game.bilateral_weight:  # Eq. 5

        def features(photo: jax.Array) -> jax.Array:
            return networks.classifier.apply(classifier, photo, train=False)[0]

        sides = [features(photo) for side in fake for photo in (fake[side], real[side])]
        g_terms["bilateral"] = game.bilateral_weight * bilateral_loss(*sides)
    if game.paste_weight:
        g_terms["pastes"] = game.paste_weight * mask_cross_entropy(on_pastes, photos["paste_mask"])
    if game.coverage_weight:
        g_terms["coverage_term"] = game.coverage_weight * coverage_loss(mask, minimum=game.coverage_minimum)
    if game.binarisation_weight:
        risen = jnp.minimum(1.0, (step + 1) / max(1, game.binarisation_ramp))
        g_terms["binarisation"] = risen * game.binarisation_weight * binarisation_loss(mask)
    value = sum([*g_terms.values(), *d_terms.values()], jnp.zeros((), jnp.float32))  # Eq. 6
    return value, Outcome(g_terms, d_terms, new, mask, accuracy)


def disc_objective(
    params: dict[str, Tree],
    stats: dict[str, Tree],
    photos: dict[str, jax.Array],
    *,
    networks: Networks,
    game: GameConfig,
) -> tuple[jax.Array, tuple[Terms, dict[str, Tree], Terms]]:
    """L_D alone (Eq. 4), for discriminators that learn from pastes before the game (not in the paper).

    Args:
        params, stats: of the discriminators that `game.sides` names, by name.
        photos: float in [0, 1], `clear_real`, `clear_fake`, `blur_real` and `blur_fake`, `[B, H, W, 3]` each.
        networks, game: as above.

    Returns:
        The value, `[]`; and terms, new statistics and accuracies, by name.
    """
    terms: Terms = {}
    new: dict[str, Tree] = {}
    accuracy: Terms = {}
    for side in game.sides:
        name = f"disc_{side}"
        on_fake, after = apply(networks.discriminator, params[name], stats[name], photos[f"{side}_fake"])
        on_real, new[name] = apply(networks.discriminator, params[name], after, photos[f"{side}_real"])
        terms[f"d_loss_{side}"] = game.disc_weight * verdicts_mean(discriminator_loss, on_real, on_fake)
        accuracy[name] = accuracy_of(on_real, on_fake)
    return sum(terms.values(), jnp.zeros((), jnp.float32)), (terms, new, accuracy)


def accuracy_of(on_real: Any, on_fake: Any) -> jax.Array:
    """Share of photos, half of them real, that a discriminator is right about; patches are not asked.

    Args:
        on_real, on_fake: its verdicts, as `verdicts_mean` takes them.

    Returns:
        `[]` in [0, 1].
    """
    real, fake = jax.tree.leaves(on_real)[0], jax.tree.leaves(on_fake)[0]
    return ((real > 0).mean() + (fake < 0).mean()) / 2


def _judge(networks: Networks, params: Tree, stats: Tree, photo: jax.Array) -> Any:
    """A discriminator's verdicts alone."""
    return apply(networks.discriminator, params, stats, photo)[0]
