"""What can be worked out beforehand for a network that is not trained: BatchNorm folded away, filters transformed."""

from collections.abc import Mapping
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict

from sgdbd_jax.models.convolution import WIDE_READY, make_taps, wide
from sgdbd_jax.models.layers import NORM_EPSILON


def fold_norms(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of the same network without the BatchNorms that follow a convolution or a dense layer.

    Args:
        variables: `params` and, where it has BatchNorm, `batch_stats`, as they are after training.

    Returns:
        Variables for the config without `trunk_norm` and `decoder_norm` (generator), `norm` (classifier). The norms of
        skips stay: they follow no convolution.
    """
    params, stats = flatten_dict(variables["params"]), flatten_dict(variables.get("batch_stats", {}))
    for *above, norm in sorted({path[:-1] for path in stats}):  # in one order, so that a program is found again
        layer = (*above, norm.removesuffix("_norm"))
        if (*layer, "kernel") not in params:
            continue
        scale = params.pop((*above, norm, "scale")) * (1 / (stats.pop((*above, norm, "var")) + NORM_EPSILON) ** 0.5)
        shift = params.pop((*above, norm, "bias")) - stats.pop((*above, norm, "mean")) * scale
        params[*layer, "kernel"] = params[*layer, "kernel"] * scale
        params[*layer, "bias"] = params[*layer, "bias"] * scale + shift
    return {"params": unflatten_dict(params), "batch_stats": unflatten_dict(stats)}


def with_taps(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a network, with Winograd's filters of its wide kernels; convolutions with a stride leave them.

    Made anew in each call, they would take a tenth of a small photo's time on a CPU.

    Args:
        variables: `params` and the like.

    Returns:
        The same, and a collection `taps`, six arrays of `[1, 3, C, K]` for each such kernel.
    """
    kernels = {path: leaf for path, leaf in flatten_dict(variables["params"]).items() if path[-1] == "kernel"}
    ready = {path: leaf for path, leaf in kernels.items() if wide(leaf.shape, WIDE_READY)}
    taps = {(*path[:-1], "taps"): make_taps(leaf, 4) for path, leaf in ready.items()}
    return {**variables, "taps": unflatten_dict(taps)}
