"""BatchNorm folded into the convolutions before it, for a generator that only predicts."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict
from jax import lax

from sgdbd_jax.config import GeneratorConfig
from sgdbd_jax.models.layers import NORM_EPSILON


def fold_norms(config: GeneratorConfig, variables: Mapping[str, Any]) -> tuple[GeneratorConfig, dict[str, Any]]:
    """The same generator, in evaluation mode, with fewer layers.

    Args:
        config: the generator's.
        variables: its `params` and, where it has BatchNorm, `batch_stats`, as they are after training.

    Returns:
        A config without `trunk_norm` and `decoder_norm`, and the variables that go with it. Norms of skips stay: they
        follow no convolution.
    """
    params, stats = flatten_dict(variables["params"]), flatten_dict(variables.get("batch_stats", {}))
    for *above, norm in {path[:-1] for path in stats}:
        conv = (*above, norm.removesuffix("_norm"))
        if (*conv, "kernel") not in params:
            continue
        scale = params.pop((*above, norm, "scale")) * lax.rsqrt(stats.pop((*above, norm, "var")) + NORM_EPSILON)
        shift = params.pop((*above, norm, "bias")) - stats.pop((*above, norm, "mean")) * scale
        params[*conv, "kernel"] = params[*conv, "kernel"] * scale
        params[*conv, "bias"] = params[*conv, "bias"] * scale + shift
    folded = {"params": unflatten_dict(params), "batch_stats": unflatten_dict(stats)}
    return dataclasses.replace(config, trunk_norm=False, decoder_norm=False), folded
