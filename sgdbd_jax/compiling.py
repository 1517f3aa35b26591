"""How this package compiles: `jit` and `pmap`, without the compiler's fusions that are sometimes wrong.

jaxlib 0.10.2 to 0.11 hand convolutions, matrix products and sums on CPUs to YNNPACK, fused with what surrounds them,
and some of these programs give wrong numbers without an error (JAX's issue 39103): a product with more than 32,768
columns whose sum along the other axis follows has some of the columns' sums in the place of others. Without them
networks train as fast, and masks are made faster.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib.version

_FUSIONS = "xla_cpu_experimental_ynn_fusion_type"
_MISCOUNTS = (0, 10, 2) <= jaxlib.version.__version_info__[:3] < (0, 12)
OPTIONS: dict[str, Any] = {_FUSIONS: ""} if _MISCOUNTS else {}


def jit(function: Callable, *, options: dict[str, Any] | None = None, **how: Any) -> Callable:
    """`jax.jit` with `OPTIONS`; inside another program, whose options hold, or a transformation, plain `jax.jit`.

    Args:
        function: what is compiled.
        options: of the compiler, beside `OPTIONS`.
        how: as `jax.jit` takes it: `static_argnums`, `donate_argnums`.

    Returns:
        The compiled function; its `lower` is that of `jax.jit`.
    """
    alone = jax.jit(function, compiler_options=OPTIONS | (options or {}), **how)
    inside = jax.jit(function, **how)

    @functools.wraps(function)
    def run(*arguments: Any) -> Any:
        # JAX refuses options inside a program; there, an array may be traced even if no argument is.
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((arguments, jnp.zeros(()))))
        return (inside if traced else alone)(*arguments)

    run.lower = alone.lower  # type: ignore[attr-defined]
    return run


def pmap(function: Callable, *, devices: Sequence[jax.Device] | None, **how: Any) -> Callable:
    """`jax.pmap` with `OPTIONS`; of several processes without, which share out GPUs, where these have no part.

    Args:
        function: what is compiled.
        devices: as `jax.pmap` takes them.
        how: the same: `axis_name`, `in_axes`, `out_axes`, `donate_argnums`.
    """
    mapped = jax.pmap(function, devices=devices, **how)
    if jax.process_count() > 1:  # a program that is compiled by hand takes the arrays of all of them
        return mapped
    compiled: dict[Any, Callable] = {}

    @functools.wraps(function)
    def run(*arguments: Any) -> Any:
        kind = jax.tree.structure(arguments), tuple(map(jax.typeof, jax.tree.leaves(arguments)))
        if kind not in compiled:
            compiled[kind] = mapped.lower(*arguments).compile(compiler_options=OPTIONS)
        return compiled[kind](*arguments)

    return run
