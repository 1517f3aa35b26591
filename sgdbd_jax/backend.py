"""JAX's start in this process: on the devices that it is told to use, and not where it would hang."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

from sgdbd_jax.errors import UserError

if TYPE_CHECKING:
    import jax


def start_jax() -> list[jax.Device]:
    """Starts JAX, unless it has been started; to be called before anything is computed, and cheap afterwards.

    Returns:
        This process's devices.

    Raises:
        UserError: JAX finds no device of the kind that it is told to use, or cannot make sense of its settings; or this
            process was forked from one in which JAX had been started, and would wait for threads that no fork has.
    """
    if _inherited:
        raise UserError(
            "this process was forked from one that had used JAX, where JAX would hang: start processes by"
            " multiprocessing.get_context('spawn'), or fork before JAX is first used"
        )
    try:
        import jax
    except ValueError as error:  # JAX_ENABLE_X64=perhaps
        raise UserError(f"JAX cannot start ({_reason(error)}); mend that environment variable") from error
    try:
        return jax.local_devices()
    except Exception as error:  # RuntimeError, or an AssertionError without a word, by platform and version
        for variable in ("JAX_PLATFORM_NAME", "JAX_PLATFORMS"):
            if asked := getattr(jax.config, variable.lower(), None):
                gpu = any(word in asked for word in ("cuda", "gpu"))
                install = ", or, for an NVIDIA GPU, pip install 'jax[cuda12]'" if gpu else ""
                raise UserError(
                    f"{variable}={asked}: JAX cannot start on it ({_reason(error)}); unset {variable} to use what this"
                    f" machine has{install}"
                ) from error
        raise UserError(f"JAX cannot start ({_reason(error)}); JAX_PLATFORMS=cpu has it use the CPU") from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()).partition(" (set JAX_PLATFORMS=''")[0]
    return text or "no such device is found"


def _started() -> bool:
    """Whether anyone has started JAX; its own function would wait for a lock that, in a fork, nobody may hold now."""
    return bool(getattr(sys.modules.get("jax._src.xla_bridge"), "_backends", None))


def _note_fork() -> None:
    global _inherited
    _inherited = _inherited or _started()


def _lost_its_threads() -> bool:
    """Whether this process has no threads but Python's, on Linux; where JAX has been started it has a dozen."""
    try:
        return len(os.listdir("/proc/self/task")) <= threading.active_count()
    except OSError:
        return False


_inherited = _started() and _lost_its_threads()  # this file may be imported in the fork first
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
