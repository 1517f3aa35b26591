"""The jitted updates: the game's, and that of one network fitted alone.

A step is `step(state, frozen, batch) -> (state, metrics)`: `frozen` are variables that no optimiser sees, `batch` holds
uint8 photos, metrics are scalars.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from sgdbd_jax.composite import composites, paste
from sgdbd_jax.config import Config
from sgdbd_jax.losses import (
    adversarial_loss,
    bilateral_loss,
    binarisation_loss,
    coverage_loss,
    discriminator_loss,
    mask_cross_entropy,
)
from sgdbd_jax.models.layers import to_unit
from sgdbd_jax.training.parallel import Step, average
from sgdbd_jax.training.state import FitState, NetState, Networks, TrainState, make_optimiser

Metrics = dict[str, jax.Array]
Batch = dict[str, jax.Array]


def make_game_step(config: Config, networks: Networks, axis: str | None = None) -> Step:
    """One round of the game (Eq. 6): G, then D_c and D_b on the composites made before G's update, as in the release.

    The step takes a TrainState, the classifier's variables, and a batch of `source`, `clear`, `blurred` (and, with a
    second draw, `clear_real`, `blurred_real`), each `[B, H, W, 3]` uint8. G runs forward once; each D's forward on its
    composites serves both G's loss and its own (the compiler shares it: the arguments are the same).
    """
    generator_optimiser, disc_optimiser = (
        make_optimiser(config.generator_optimiser),
        make_optimiser(config.disc_optimiser),
    )
    play_clear, play_blur = config.discriminators != "blur", config.discriminators != "clear"

    def judge(disc: NetState, params: Any, photo: jax.Array, stats: Any = None) -> tuple[jax.Array, Any]:
        variables = {"params": params, "batch_stats": disc.batch_stats if stats is None else stats}
        logits, new = networks.discriminator.apply(variables, photo, train=True, mutable=["batch_stats"])
        return logits, new.get("batch_stats", {})

    def generator_loss(params: Any, state: TrainState, classifier: Any, photos: Batch) -> tuple[jax.Array, Any]:
        variables = {"params": params, "batch_stats": state.generator.batch_stats}
        logits, new = networks.generator.apply(variables, photos["source"], train=True, mutable=["batch_stats"])
        mask = jax.nn.sigmoid(logits)
        composite_clear, composite_blur = composites(mask, photos["source"], photos["clear"], photos["blurred"])
        terms = {}
        if play_clear:
            fake, _ = judge(state.disc_clear, state.disc_clear.params, composite_clear)
            terms["adversarial_clear"] = config.eta * adversarial_loss(fake, form=config.adversarial_form)
        if play_blur:
            fake, _ = judge(state.disc_blur, state.disc_blur.params, composite_blur)
            terms["adversarial_blur"] = config.eta * adversarial_loss(fake, form=config.adversarial_form)
        if config.bilateral_weight:
            features = (
                networks.classifier.apply(classifier, photo, train=False)[0]
                for photo in (composite_clear, photos["clear_real"], composite_blur, photos["blurred_real"])
            )
            terms["bilateral"] = config.bilateral_weight * bilateral_loss(*features)
        if config.coverage_weight:
            terms["coverage_term"] = config.coverage_weight * coverage_loss(mask, minimum=config.coverage_minimum)
        if config.binarisation_weight:
            terms["binarisation"] = config.binarisation_weight * binarisation_loss(mask)
        loss = sum(terms.values(), jnp.zeros(()))
        return loss, (mask, composite_clear, composite_blur, new.get("batch_stats", {}), terms)

    def disc_loss(params: Any, disc: NetState, real: jax.Array, fake: jax.Array) -> tuple[jax.Array, Any]:
        # Two calls, as in the release: real and fake photos each have their own batch statistics.
        fake_logits, stats = judge(disc, params, fake)
        real_logits, stats = judge(disc, params, real, stats)
        loss = config.disc_weight * discriminator_loss(real_logits, fake_logits)
        return loss, (stats, (real_logits > 0).mean(), (fake_logits < 0).mean())

    def step(state: TrainState, classifier: Any, batch: Batch) -> tuple[TrainState, Metrics]:
        photos = jax.tree.map(to_unit, batch)
        photos = {"clear_real": photos["clear"], "blurred_real": photos["blurred"], **photos}

        (loss, aux), grads = jax.value_and_grad(generator_loss, has_aux=True)(
            state.generator.params, state, classifier, photos
        )
        mask, composite_clear, composite_blur, stats, terms = jax.lax.stop_gradient(aux)
        updates = {"generator": (grads, stats)}
        metrics: Metrics = {"generator_loss": loss, **terms, **describe_mask(mask)}

        games = []
        if play_clear:
            games.append(("disc_clear", state.disc_clear, photos["clear_real"], composite_clear))
        if play_blur:
            games.append(("disc_blur", state.disc_blur, photos["blurred_real"], composite_blur))
        for name, disc, real, fake in games:
            if config.paste_real:
                real = paste(mask, real, photos["clear" if name == "disc_clear" else "blurred"])
            (loss, (stats, on_real, on_fake)), grads = jax.value_and_grad(disc_loss, has_aux=True)(
                disc.params, disc, real, fake
            )
            updates[name] = (grads, stats)
            metrics |= {f"{name}_loss": loss, f"{name}_accuracy": (on_real + on_fake) / 2}

        updates, metrics = average((updates, metrics), axis)
        optimisers = {"generator": generator_optimiser, "disc_clear": disc_optimiser, "disc_blur": disc_optimiser}
        nets = {name: update(getattr(state, name), optimisers[name], *new) for name, new in updates.items()}
        metrics |= {f"{name}_grad_norm": optax.tree.norm(grads) for name, (grads, _) in updates.items()}
        metrics["coverage_spread"] = spread(metrics.pop("coverage_square"), metrics["coverage"])
        return state.replace(step=state.step + 1, **nets), metrics

    return step


def make_fit_step(
    network: nn.Module,
    optimiser: optax.GradientTransformation,
    loss: Callable[[Any, Batch], tuple[jax.Array, Metrics]],
    axis: str | None = None,
) -> Step:
    """A plain update of one network.

    Args:
        network: applied to `batch["photo"]`, `[B, H, W, 3]` uint8.
        optimiser: its optax optimiser.
        loss: `(network output, batch) -> (scalar, metrics)`.
        axis: as in `average`.

    Returns:
        `step(FitState, frozen, batch)`; nothing frozen is used.
    """

    def step(state: FitState, frozen: Any, batch: Batch) -> tuple[FitState, Metrics]:
        def objective(params: Any) -> tuple[jax.Array, Any]:
            variables = {"params": params, "batch_stats": state.net.batch_stats}
            output, new = network.apply(variables, to_unit(batch["photo"]), train=True, mutable=["batch_stats"])
            value, metrics = loss(output, batch)
            return value, (new.get("batch_stats", {}), metrics)

        (value, (stats, metrics)), grads = jax.value_and_grad(objective, has_aux=True)(state.net.params)
        grads, stats, metrics = average((grads, stats, {"loss": value, **metrics}), axis)
        metrics["grad_norm"] = optax.tree.norm(grads)
        return state.replace(step=state.step + 1, net=update(state.net, optimiser, grads, stats)), metrics

    return step


def classifier_loss(output: tuple[jax.Array, jax.Array], batch: Batch) -> tuple[jax.Array, Metrics]:
    """Cross-entropy over blurred, mixed, clear; and the accuracy. `batch["label"]` is `[B]` int32."""
    _, logits = output
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()
    return loss, {"accuracy": (logits.argmax(-1) == batch["label"]).mean()}


def mask_loss(logits: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    """Cross-entropy on masks; `batch["mask"]` is `[B, H, W, 1]` uint8, 255 = in focus."""
    loss = mask_cross_entropy(logits, to_unit(batch["mask"]))
    metrics = describe_mask(jax.nn.sigmoid(logits))
    return loss, {"coverage": metrics["coverage"], "mask_entropy": metrics["mask_entropy"]}


def update(net: NetState, optimiser: optax.GradientTransformation, grads: Any, batch_stats: Any) -> NetState:
    """One optax update of one network."""
    updates, opt_state = optimiser.update(grads, net.opt_state, net.params)
    return NetState(optax.apply_updates(net.params, updates), batch_stats, opt_state)


def describe_mask(mask: jax.Array) -> Metrics:
    """What the watchdog looks at: coverage (mean, and mean square over photos) and entropy in bits a pixel."""
    coverage = mask.mean(axis=(1, 2, 3))
    entropy = -(jax.scipy.special.xlogy(mask, mask) + jax.scipy.special.xlogy(1 - mask, 1 - mask)) / jnp.log(2.0)
    return {
        "coverage": coverage.mean(),
        "coverage_square": jnp.square(coverage).mean(),
        "mask_entropy": entropy.mean(),
    }


def spread(mean_square: jax.Array, mean: jax.Array) -> jax.Array:
    """Standard deviation from the first two moments."""
    return jnp.sqrt(jnp.maximum(mean_square - jnp.square(mean), 0))
