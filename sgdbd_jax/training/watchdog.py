"""Watches a game for the ways in which it fails."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from sgdbd_jax.errors import UserError


@dataclass
class Watchdog:
    """Warns early of a full or empty mask and of a winning discriminator; stops at a non-finite value.

    Each warning comes once, until its condition has passed and comes again.
    """

    empty: float = 0.03  # mean coverage below which masks are nearly empty
    full: float = 0.97  # and above which they are nearly full
    flat: float = 0.01  # spread of coverage below which every photo gets much the same mask, as entropy falls
    winning: float = 0.98  # accuracy of a discriminator, averaged over recent steps, at which it has won
    memory: float = 0.98  # of the running averages, a step
    settle: int = 50  # steps before averages mean anything
    averages: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    barking: set[str] = field(default_factory=set)

    def look(self, step: int, metrics: Mapping[str, float]) -> Iterator[str]:
        """Takes one step's metrics and yields the warnings that are new.

        Args:
            step: the step's number, for the messages.
            metrics: `coverage`, `coverage_spread`, `mask_entropy`, `disc_clear_accuracy`, ... whichever there are.

        Raises:
            UserError: a metric is not finite; the first such is named.
        """
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise _diverged(step, f"{name} is {value}")
        self.steps += 1
        for name, value in metrics.items():
            self.averages[name] = self.memory * self.averages.get(name, value) + (1 - self.memory) * value
        if self.steps < self.settle:
            return
        for name, text in self._troubles():
            if name not in self.barking:
                yield f"step {step}: {text}"
        self.barking = {name for name, _ in self._troubles()}

    def _troubles(self) -> Iterator[tuple[str, str]]:
        coverage = self.averages.get("coverage")
        if coverage is not None and coverage < self.empty:
            yield "empty", f"masks are nearly empty (mean coverage {coverage:.3f}): raise coverage_weight, or eta"
        if coverage is not None and coverage > self.full:
            yield "full", f"masks are nearly full (mean coverage {coverage:.3f}): D_b may be too weak; raise eta"
        flat, entropy = self.averages.get("coverage_spread", 1.0), self.averages.get("mask_entropy", 0.0)
        if flat < self.flat and entropy < 0.5:
            yield "flat", f"every photo gets much the same mask (spread of coverage {flat:.4f})"
        for disc in ("disc_clear", "disc_blur"):
            accuracy = self.averages.get(f"{disc}_accuracy", 0.0)
            if accuracy > self.winning:
                yield disc, f"{disc} is winning (accuracy {accuracy:.3f}): lower disc_optimiser.learning_rate"


def check_state(step: int, state: Any) -> None:
    """Refuses a state that no checkpoint should keep; metrics only tell of the one before the last update.

    Args:
        step: its number, for the message.
        state: a tree of arrays.

    Raises:
        UserError: an array's sum of squares is not finite in float32: it holds such a value, or one so large (1e19)
            that the next step has one.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        for path, leaf in jax.tree_util.tree_leaves_with_path(state):
            if not np.isfinite(np.square(np.asarray(leaf, np.float32)).sum()):
                raise _diverged(step, f"{jax.tree_util.keystr(path, simple=True, separator='/')} is not finite")


def _diverged(step: int, what: str) -> UserError:
    return UserError(
        f"step {step}: {what}; the run stops, and its last checkpoint is from before."
        " Lower the learning rates, or look at the newest sample grid"
    )
