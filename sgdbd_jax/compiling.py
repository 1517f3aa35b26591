"""How what is not trained is compiled: without the compiler's fusions that are sometimes wrong.

jaxlib 0.10.2 to 0.11 hand convolutions, matrix products and sums on CPUs to YNNPACK, fused with what surrounds them,
and some of these programs give wrong numbers without an error (JAX's issue 39103): a product with more than 32,768
columns whose sum along the other axis follows has some of the columns' sums in the place of others. Masks are made
faster without them. Training steps, which would be slowed by two fifths, are compiled with them (`training/parallel`):
none has a product and a sum in one fusion, which their tests look for.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib.version

_FUSIONS = "xla_cpu_experimental_ynn_fusion_type"
_MISCOUNTS = (0, 10, 2) <= jaxlib.version.__version_info__[:3] < (0, 12)
OPTIONS: dict[str, Any] = {_FUSIONS: ""} if _MISCOUNTS else {}


def jit(function: Callable, *, options: dict[str, Any] | None = None, **how: Any) -> Callable:
    """`jax.jit` with `OPTIONS`; plain `jax.jit` inside a transformation or another program, whose options hold.

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
