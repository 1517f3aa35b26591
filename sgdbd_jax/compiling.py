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
import jaxlib.version

_FUSIONS = "xla_cpu_experimental_ynn_fusion_type"
_MISCOUNTS = (0, 10, 2) <= jaxlib.version.__version_info__[:3] < (0, 12)
OPTIONS: dict[str, Any] = {_FUSIONS: ""} if _MISCOUNTS else {}


def jit(function: Callable, *, options: dict[str, Any] | None = None, **how: Any) -> Callable:
    """`jax.jit` with `OPTIONS`.

    Args:
        function: what is compiled.
        options: of the compiler, beside `OPTIONS`.
        how: as `jax.jit` takes it: `static_argnums`, `donate_argnums`.
    """
    return jax.jit(function, compiler_options=OPTIONS | (options or {}), **how)


def pmap(function: Callable, *, devices: Sequence[jax.Device] | None, **how: Any) -> Callable:
    """`jax.pmap` with `OPTIONS`, for arguments of one shape: it is compiled by the first call.

    Args:
        function: what is compiled.
        devices: as `jax.pmap` takes them.
        how: the same: `axis_name`, `in_axes`, `out_axes`, `donate_argnums`.
    """
    mapped = jax.pmap(function, devices=devices, **how)
    compiled: list[Callable] = []

    @functools.wraps(function)
    def run(*arguments: Any) -> Any:
        if not compiled:
            compiled.append(mapped.lower(*arguments).compile(compiler_options=OPTIONS))
        return compiled[0](*arguments)

    return run
