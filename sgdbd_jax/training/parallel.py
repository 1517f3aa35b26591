"""One device or many: the only file that names `pmap`."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from sgdbd_jax.compiling import jit
from sgdbd_jax.errors import UserError

AXIS = "devices"

Step = Callable[..., tuple[Any, dict[str, jax.Array]]]


def axis_name(devices: Sequence[jax.Device]) -> str | None:
    """The name under which a step averages over devices, `None` where there is one alone."""
    return AXIS if len(devices) > 1 or jax.process_count() > 1 else None


def parallelize(step: Step, devices: Sequence[jax.Device]) -> Step:
    """Compiles `step(state, frozen, batch)`: `jit` on one device, `pmap` on several.

    State and frozen variables go in whole, and state comes out whole; only the batch gains a device axis. The state is
    donated: use the one returned.

    Args:
        step: made with `axis_name(devices)`, so that it averages over them.
        devices: this process's devices.

    Returns:
        A function of the same arguments.
    """
    if axis_name(devices) is None:
        return jit(step, donate_argnums=0)
    mapped = jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, None, 0),
        out_axes=(None, None),
        donate_argnums=0,
        devices=list(devices) if jax.process_count() == 1 else None,
    )

    @functools.wraps(step)
    def run(state: Any, frozen: Any, batch: Any) -> tuple[Any, dict[str, jax.Array]]:
        return mapped(state, frozen, split_batch(batch, len(devices)))

    return run


def check_batch(batch: int, devices: Sequence[jax.Device], *, name: str = "batch") -> None:
    """Refuses a batch that all devices, of all processes, cannot share equally.

    Args:
        batch: examples of the whole batch.
        devices: this process's devices.
        name: the config's field, for the message.

    Raises:
        UserError: with the two numbers.
    """
    count = len(devices) if jax.process_count() == 1 else jax.device_count()
    if batch % count:
        raise UserError(f"{name}: {batch} does not divide into {count} devices; choose a multiple of {count}")


def split_batch(batch: Any, devices: int) -> Any:
    """Gives every array of a batch a leading device axis: `[B, ...]` to `[devices, B / devices, ...]`.

    `check_batch` has seen that B is a multiple of `devices`.
    """
    return jax.tree.map(lambda array: array.reshape((devices, -1) + array.shape[1:]), batch)


def process_places(batch: int) -> range:
    """The places of a global batch whose examples this process makes."""
    share = batch // jax.process_count()
    return range(jax.process_index() * share, (jax.process_index() + 1) * share)


def any_process(*flags: bool) -> tuple[bool, ...]:
    """Which of these flags are set in any process; all processes must ask at the same step."""
    if jax.process_count() == 1:
        return flags
    from jax.experimental import multihost_utils

    return tuple(multihost_utils.process_allgather(np.array(flags)).any(axis=0).tolist())


def wait_for_all(name: str) -> None:
    """Lets no process go on before all have come here."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def pmean(tree: Any, axis: str | None) -> Any:
    """Mean over the devices of `axis`; the tree itself when there is no axis."""
    return tree if axis is None else jax.lax.pmean(tree, axis)
