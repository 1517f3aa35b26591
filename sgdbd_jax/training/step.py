"""The jitted updates: the game's, and that of one network fitted alone.

A step is `step(state, frozen, batch) -> (state, metrics)`: `frozen` are variables that no optimiser sees, `batch` holds
uint8 photos, metrics are scalars.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from sgdbd_jax.config import Config
from sgdbd_jax.game.composites import composites, paste
from sgdbd_jax.game.losses import (
    adversarial_loss,
    binarisation_loss,
    coverage_loss,
    discriminator_loss,
    feature_distance,
    mask_cross_entropy,
)
from sgdbd_jax.models.classifier import Classifier
from sgdbd_jax.models.folding import fold_norms
from sgdbd_jax.models.layers import to_unit
from sgdbd_jax.training.parallel import Step, average
from sgdbd_jax.training.state import FitState, NetState, Networks, TrainState, make_optimiser

Metrics = dict[str, jax.Array]
Batch = dict[str, jax.Array]


def make_game_step(config: Config, networks: Networks, axis: str | None = None) -> Step:
    """One round of the game (Eq. 6): G, then D_c and D_b on the composites made before G's update, as in the release.

    The step takes a TrainState, the classifier's variables, and a batch of `source`, `clear`, `blurred` (and, with a
    second draw, `clear_real`, `blurred_real`; with a weight of pastes, `paste`), each `[B, H, W, 3]` uint8, and
    `paste_mask`, `[B, H, W, 1]`. G runs forward once; each D's forward on its composites serves both G's loss and its
    own. What judges the composites does so in a loop, one after the other, and gives its derivative by them at once:
    the memory of one judge serves all.
    """
    optimisers = {
        "generator": make_optimiser(config.generator_optimiser),
        "disc_clear": make_optimiser(config.disc_optimiser),
        "disc_blur": make_optimiser(config.disc_optimiser),
    }
    sides = [side for side in ("clear", "blur") if config.discriminators in (side, "both")]
    frozen = networks.classifier
    if config.classifier.norm:  # it never changes, so its BatchNorms are a part of its kernels
        frozen = Classifier(dataclasses.replace(config.classifier, norm=False))

    def make_composites(params: Any, state: TrainState, photos: Batch) -> tuple[tuple[jax.Array, ...], Any]:
        variables = {"params": params, "batch_stats": state.generator.batch_stats}
        shown = jnp.concatenate([photos["source"], *([photos["paste"]] if config.paste_weight else ())])
        logits, new = networks.generator.apply(variables, shown, train=True, mutable=["batch_stats"])
        logits, on_pastes = jnp.split(logits, [len(photos["source"])])
        mask = jax.nn.sigmoid(logits)
        pair = composites(mask, photos["source"], photos["clear"], photos["blurred"])
        return (mask, on_pastes, jnp.stack(pair)), new.get("batch_stats", {})

    def mask_terms(mask: jax.Array, on_pastes: jax.Array, photos: Batch) -> tuple[jax.Array, Metrics]:
        terms = {}
        if config.paste_weight:
            terms["pastes"] = config.paste_weight * mask_cross_entropy(on_pastes, photos["paste_mask"])
        if config.coverage_weight:
            terms["coverage_term"] = config.coverage_weight * coverage_loss(mask, minimum=config.coverage_minimum)
        if config.binarisation_weight:
            terms["binarisation"] = config.binarisation_weight * binarisation_loss(mask)
        return sum(terms.values(), jnp.zeros(())), terms

    play = _play_against(config, networks)

    def step(state: TrainState, classifier: Any, batch: Batch) -> tuple[TrainState, Metrics]:
        photos = jax.tree.map(to_unit, batch)
        photos = {"clear_real": photos["clear"], "blurred_real": photos["blurred"], **photos}
        draws = [(photos["clear_real"], photos["clear"]), (photos["blurred_real"], photos["blurred"])]

        (mask, on_pastes, fakes), pullback, stats = jax.vjp(
            lambda params: make_composites(params, state, photos), state.generator.params, has_aux=True
        )
        slopes = jax.value_and_grad(mask_terms, argnums=(0, 1), has_aux=True)
        (_, terms), (by_mask, by_pastes) = slopes(mask, on_pastes, photos)
        by_fakes = jnp.zeros_like(fakes)
        metrics: Metrics = {}

        if config.bilateral_weight:
            folded = fold_norms(classifier) if config.classifier.norm else classifier

            def distance(pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
                real = frozen.apply(folded, pair[1], train=False)[0]
                return jax.value_and_grad(
                    lambda fake: (
                        config.bilateral_weight * feature_distance(frozen.apply(folded, fake, train=False)[0], real)
                    )
                )(pair[0])

            distances, by_classifier = jax.lax.map(distance, (fakes, jnp.stack([real for real, _ in draws])))
            terms["bilateral"] = distances.sum()  # Eq. 5, its two halves
            by_fakes += by_classifier

        numbers = [("clear", "blur").index(side) for side in sides]
        discs = [getattr(state, f"disc_{side}") for side in sides]
        reals = [paste(mask, *draws[number]) if config.paste_real else draws[number][0] for number in numbers]
        games = [(disc.params, disc.batch_stats, real, fakes[n]) for disc, real, n in zip(discs, reals, numbers)]
        played = jax.lax.map(play, jax.tree.map(lambda *leaves: jnp.stack(leaves), *games))
        updates = {}
        for at, (side, number) in enumerate(zip(sides, numbers)):
            one = jax.tree.map(operator.itemgetter(at), played)
            terms[f"adversarial_{side}"] = one["adversarial"]
            by_fakes = by_fakes.at[number].add(one["by_fake"])
            updates[f"disc_{side}"] = one["update"]
            metrics |= {f"disc_{side}_{name}": value for name, value in one["metrics"].items()}

        loss = sum(terms.values(), jnp.zeros(()))
        updates["generator"] = (pullback((by_mask, by_pastes, by_fakes))[0], stats)
        metrics |= {"generator_loss": loss, **terms, **describe_mask(mask)}

        updates, metrics = average((updates, metrics), axis)
        nets = {name: update(getattr(state, name), optimisers[name], *new) for name, new in updates.items()}
        nets["generator"] = follow(nets["generator"], state.step, config.average)
        metrics |= {f"{name}_grad_norm": optax.tree.norm(grads) for name, (grads, _) in updates.items()}
        metrics["coverage_spread"] = spread(metrics.pop("coverage_square"), metrics["coverage"])
        return state.replace(step=state.step + 1, **nets), metrics

    return step


def make_disc_step(config: Config, networks: Networks, axis: str | None = None) -> Step:
    """D_c and D_b learn from pastes, before the game; G stays as it is.

    The step takes a TrainState, nothing frozen, and a batch of `clear_real`, `clear_fake`, `blur_real`, `blur_fake`,
    each `[B, H, W, 3]` uint8.
    """
    optimiser, play = make_optimiser(config.disc_optimiser), _play_against(config, networks)

    def step(state: TrainState, frozen: Any, batch: Batch) -> tuple[TrainState, Metrics]:
        photos = jax.tree.map(to_unit, batch)
        discs = {"clear": state.disc_clear, "blur": state.disc_blur}
        games = [(d.params, d.batch_stats, photos[f"{side}_real"], photos[f"{side}_fake"]) for side, d in discs.items()]
        played = jax.lax.map(play, jax.tree.map(lambda *leaves: jnp.stack(leaves), *games))
        played = average({"update": played["update"], "metrics": played["metrics"]}, axis)
        nets: dict[str, NetState] = {}
        metrics: Metrics = {}
        for at, (side, disc) in enumerate(discs.items()):
            one = jax.tree.map(operator.itemgetter(at), played)
            nets[f"disc_{side}"] = update(disc, optimiser, *one["update"])
            metrics |= {f"disc_{side}_{name}": value for name, value in one["metrics"].items()}
        return state.replace(step=state.step + 1, **nets), metrics

    return step


def _play_against(config: Config, networks: Networks) -> Callable[[tuple[Any, Any, jax.Array, jax.Array]], Any]:
    """One discriminator's move, a function of its `params`, its `batch_stats`, real photos and fakes.

    Real and fake each have their batch statistics. It gives what the fakes cost G (`adversarial`) and the derivative of
    that by them (`by_fake`), the discriminator's gradient and new statistics (`update`), and `metrics`.
    """

    def judge(params: Any, batch_stats: Any, photo: jax.Array) -> tuple[jax.Array, Any]:
        variables = {"params": params, "batch_stats": batch_stats}
        logits, new = networks.discriminator.apply(variables, photo, train=True, mutable=["batch_stats"])
        return logits, new.get("batch_stats", {})

    def fooling(logits: jax.Array) -> jax.Array:
        return config.eta * adversarial_loss(logits, form=config.adversarial_form)

    def telling(real: jax.Array, fake: jax.Array) -> jax.Array:
        return config.disc_weight * discriminator_loss(real, fake)

    def play(game: tuple[Any, Any, jax.Array, jax.Array]) -> dict[str, Any]:
        params, stats, real, fake = game
        on_fake, fake_pullback, stats = jax.vjp(lambda p, x: judge(p, stats, x), params, fake, has_aux=True)
        on_real, real_pullback, stats = jax.vjp(lambda p: judge(p, stats, real), params, has_aux=True)
        adversarial, slope = jax.value_and_grad(fooling)(on_fake)
        loss, (real_slope, fake_slope) = jax.value_and_grad(telling, argnums=(0, 1))(on_real, on_fake)
        grads = jax.tree.map(jnp.add, real_pullback(real_slope)[0], fake_pullback(fake_slope)[0])
        accuracy = ((on_real > 0).mean() + (on_fake < 0).mean()) / 2
        return {
            "adversarial": adversarial,
            "by_fake": fake_pullback(slope)[1],
            "update": (grads, stats),
            "metrics": {"loss": loss, "accuracy": accuracy},
        }

    return play


def make_fit_step(
    network: nn.Module,
    optimiser: optax.GradientTransformation,
    loss: Callable[[Any, Batch], tuple[jax.Array, Metrics]],
    axis: str | None = None,
    *,
    decay: float = 0.0,
) -> Step:
    """A plain update of one network.

    Args:
        network: applied to `batch["photo"]`, `[B, H, W, 3]` uint8.
        optimiser: its optax optimiser.
        loss: `(network output, batch) -> (scalar, metrics)`.
        axis: as in `average`.
        decay: of the network's moving average, where it has one.

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
        net = follow(update(state.net, optimiser, grads, stats), state.step, decay)
        return state.replace(step=state.step + 1, net=net), metrics

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
    return net.replace(params=optax.apply_updates(net.params, updates), batch_stats=batch_stats, opt_state=opt_state)


def follow(net: NetState, step: jax.Array, decay: float) -> NetState:
    """Moves the average, where there is one, towards the network; faster at first, to forget where it began.

    Args:
        net: just updated.
        step: [] int32, updates done before.
        decay: share of the average that stays, once `step` is large; the schedule is Tarvainen and Valpola's (2017).
    """
    if not net.average:
        return net
    stays = jnp.minimum(decay, (step + 1) / (step + 10))
    return net.replace(average=optax.incremental_update(net.variables, net.average, 1 - stays))


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
