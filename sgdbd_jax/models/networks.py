"""The three architectures of a config, and how one of them is called while it trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax

from sgdbd_jax.config import Config, GeneratorConfig
from sgdbd_jax.models.classifier import Classifier
from sgdbd_jax.models.discriminator import Discriminator
from sgdbd_jax.models.generator import Generator
from sgdbd_jax.models.lite import LiteGenerator


@dataclass(frozen=True)
class Networks:
    """G, the architecture of D_c and D_b, and V."""

    generator: Generator | LiteGenerator
    discriminator: Discriminator
    classifier: Classifier

    @classmethod
    def of(cls, config: Config, axis_name: str | None = None) -> Networks:
        """Builds them; with `axis_name`, BatchNorm's statistics are averaged over that axis of devices."""
        return cls(
            make_generator(config.generator, axis_name),
            Discriminator(config.discriminator, axis_name),
            Classifier(config.classifier, axis_name),
        )


def make_generator(config: GeneratorConfig, axis_name: str | None = None) -> Generator | LiteGenerator:
    """The generator's architecture that a config asks for."""
    return (LiteGenerator if config.network == "lite" else Generator)(config, axis_name)


def apply(network: nn.Module, params: Any, stats: Any, photo: jax.Array) -> tuple[Any, Any]:
    """A network's output in training, and its BatchNorm statistics after it.

    Args:
        network: any of ours.
        params: its parameters.
        stats: its BatchNorm statistics; `{}` without BatchNorm.
        photo: `[B, H, W, 3]` float in [0, 1].

    Returns:
        What the network gives, and the new statistics.
    """
    variables = {"params": params, "batch_stats": stats}
    output, new = network.apply(variables, photo, train=True, mutable=["batch_stats"])
    return output, new.get("batch_stats", {})
