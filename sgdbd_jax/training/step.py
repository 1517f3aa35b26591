"""The jitted updates: the game's, and that of one network fitted alone.

A step is `step(state, frozen, batch) -> (state, metrics)`: `frozen` are variables that no optimiser sees, `batch` holds
uint8 photos, metrics are scalars. What is minimised is in `game/objective.py`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from sgdbd_jax.config import Config
from sgdbd_jax.game.losses import mask_cross_entropy
from sgdbd_jax.game.objective import disc_objective, objective
from sgdbd_jax.models.classifier import Classifier
from sgdbd_jax.models.folding import fold_norms
from sgdbd_jax.models.layers import to_unit
from sgdbd_jax.models.networks import Networks, apply
from sgdbd_jax.training.parallel import Step, pmean
from sgdbd_jax.training.state import FitState, NetState, TrainState, make_optimiser

Metrics = dict[str, jax.Array]
Batch = dict[str, jax.Array]


def make_game_step(config: Config, networks: Networks, axis: str | None = None) -> Step:
    """One round of the game: the gradient of Eq. 6 by all three networks at once, then an update of each.

    So D_c and D_b learn from the composites made before G's update, as in the release.

    The step takes a TrainState, the classifier's variables, and a batch of uint8 photos as `objective` wants them.
    """
    game, discs = config.game, [f"disc_{side}" for side in config.game.sides]
    optimisers = {"generator": make_optimiser(game.generator_optimiser)}
    optimisers |= {name: make_optimiser(game.disc_optimiser) for name in discs}
    if config.classifier.norm:  # it never changes, so its BatchNorms become a part of its kernels
        classifier = Classifier(dataclasses.replace(config.classifier, norm=False))
        networks = dataclasses.replace(networks, classifier=classifier)
    differentiate = jax.grad(functools.partial(objective, networks=networks, game=game), has_aux=True)

    def step(state: TrainState, frozen: Any, batch: Batch) -> tuple[TrainState, Metrics]:
        params, stats = state.variables(*optimisers)
        frozen = fold_norms(frozen) if config.classifier.norm and frozen else frozen
        grads, outcome = differentiate(params, stats, frozen, jax.tree.map(to_unit, batch), step=state.step)
        metrics = {
            "g_loss": sum(outcome.g_terms.values(), jnp.zeros((), jnp.float32)),
            **outcome.g_terms,
            **outcome.d_terms,
        }
        metrics |= {**accuracies(outcome.accuracy), **describe_mask(outcome.mask)}
        grads, stats, metrics = pmean((grads, outcome.stats, metrics), axis)

        nets = {name: update(getattr(state, name), optimisers[name], grads[name], stats[name]) for name in optimisers}
        nets["generator"] = follow(nets["generator"], state.step, config.ema_decay)
        metrics |= {f"{name}_grad_norm": optax.tree.norm(grads[name]) for name in optimisers}
        metrics["coverage_spread"] = spread(metrics.pop("coverage_square"), metrics["coverage"])
        return state.replace(step=state.step + 1, **nets), metrics

    return step


def make_disc_step(config: Config, networks: Networks, axis: str | None = None) -> Step:
    """D_c and D_b, or the one that plays, learn from pastes before the game; G stays as it is.

    The step takes a TrainState, nothing frozen, and a batch of uint8 photos as `disc_objective` wants them.
    """
    discs = [f"disc_{side}" for side in config.game.sides]
    optimiser = make_optimiser(config.game.disc_optimiser)
    differentiate = jax.grad(functools.partial(disc_objective, networks=networks, game=config.game), has_aux=True)

    def step(state: TrainState, frozen: Any, batch: Batch) -> tuple[TrainState, Metrics]:
        grads, (terms, stats, accuracy) = differentiate(*state.variables(*discs), jax.tree.map(to_unit, batch))
        grads, stats, metrics = pmean((grads, stats, terms | accuracies(accuracy)), axis)
        nets = {name: update(getattr(state, name), optimiser, grads[name], stats[name]) for name in discs}
        return state.replace(step=state.step + 1, **nets), metrics

    return step


def make_fit_step(
    network: nn.Module,
    optimiser: optax.GradientTransformation,
    loss: Callable[[Any, Batch], tuple[jax.Array, Metrics]],
    axis: str | None = None,
    *,
    ema_decay: float = 0.0,
) -> Step:
    """A plain update of one network.

    Args:
        network: applied to `batch["photo"]`, `[B, H, W, 3]` uint8.
        optimiser: its optax optimiser.
        loss: `(network output, batch) -> (scalar, metrics)`.
        axis: as in `pmean`.
        ema_decay: of the network's moving average, where it has one.

    Returns:
        `step(FitState, frozen, batch)`; nothing frozen is used.
    """

    def step(state: FitState, frozen: Any, batch: Batch) -> tuple[FitState, Metrics]:
        def fit_objective(params: Any) -> tuple[jax.Array, Any]:
            output, stats = apply(network, params, state.net.batch_stats, to_unit(batch["photo"]))
            value, metrics = loss(output, batch)
            return value, (stats, metrics)

        (value, (stats, metrics)), grads = jax.value_and_grad(fit_objective, has_aux=True)(state.net.params)
        grads, stats, metrics = pmean((grads, stats, {"loss": value, **metrics}), axis)
        metrics["grad_norm"] = optax.tree.norm(grads)
        net = follow(update(state.net, optimiser, grads, stats), state.step, ema_decay)
        return state.replace(step=state.step + 1, net=net), metrics

    return step


def classifier_loss(output: tuple[jax.Array, jax.Array], batch: Batch) -> tuple[jax.Array, Metrics]:
    """Cross-entropy over blurred, mixed, clear; and the accuracy. `batch["label"]` is `[B]` int32."""
    _, logits = output
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()
    return loss, {"accuracy": (logits.argmax(-1) == batch["label"]).mean()}


def mask_loss(logits: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    """Cross-entropy on masks; `batch["mask"]` is `[B, H, W, 1]` uint8, 255 = in focus.

    So is `batch["weight"]`, where there is one: 255 is a pixel that counts in full.
    """
    weight = to_unit(batch["weight"]) if "weight" in batch else None
    loss = mask_cross_entropy(logits, to_unit(batch["mask"]), weight)
    metrics = describe_mask(jax.nn.sigmoid(logits))
    return loss, {"coverage": metrics["coverage"], "mask_entropy": metrics["mask_entropy"]}


def update(net: NetState, optimiser: optax.GradientTransformation, grads: Any, batch_stats: Any) -> NetState:
    """One optax update of one network."""
    updates, opt_state = optimiser.update(grads, net.opt_state, net.params)
    return net.replace(params=optax.apply_updates(net.params, updates), batch_stats=batch_stats, opt_state=opt_state)


def follow(net: NetState, step: jax.Array, ema_decay: float) -> NetState:
    """Moves the moving average, where there is one, towards the network; faster at first, to forget where it began.

    Args:
        net: just updated.
        step: [] int32, updates done before.
        ema_decay: share of the average that stays, once `step` is large; the schedule is Tarvainen and Valpola's
            (2017).
    """
    if not net.ema:
        return net
    stays = jnp.minimum(ema_decay, (step + 1) / (step + 10))
    return net.replace(ema=optax.incremental_update(net.variables, net.ema, 1 - stays))


def accuracies(by_name: Metrics) -> Metrics:
    """The discriminators' accuracies by the names that logs and the watchdog know."""
    return {f"{name}_accuracy": value for name, value in by_name.items()}


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
