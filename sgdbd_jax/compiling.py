"""How everything is compiled: without the compiler's YNNPACK fusions, which are sometimes wrong.

But for `pmap`, which takes no options, and only shares out several devices.

From 0.10.2 on, jaxlib hands convolutions, matrix products and sums on CPUs to YNNPACK, fused with what surrounds them.
Until 0.11 some of these programs give wrong numbers without an error (JAX's issue 39103): a product with more than
32,768 columns whose sum along the other axis follows has some of the columns' sums in the place of others. Without
them masks are made faster, and the weight gradients of narrow kernels several times, in 0.12 too.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jaxlib.version

_FUSIONS = "xla_cpu_experimental_ynn_fusion_type"
_KNOWN = (0, 10, 2) <= jaxlib.version.__version_info__[:3] < (0, 13)  # an option that is not known is an error
OPTIONS: dict[str, Any] = {_FUSIONS: ""} if _KNOWN else {}


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
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((arguments, jax.device_put(0))))
        return (inside if traced else alone)(*arguments)

    run.lower = alone.lower  # type: ignore[attr-defined]
    return run
