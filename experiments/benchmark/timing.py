"""Seconds of several sides in turn, the line through points, and what the machine itself gives: rate and memory."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sgdbd_jax.errors import UserError

Run = Callable[[], object]  # returns when its work is done
Clock = Callable[[], float]  # gives seconds

REST = 0.3  # seconds before each run, where there are several sides: threads of the one before may still spin


def in_turn(
    sides: Mapping[str, Run], rounds: int, *, what: str = "", warm_up: int = 1, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Times every side once a round, A B C A B C ..., so that a slow moment of the machine meets all of them.

    Between two sides there is a rest of `REST`.

    Args:
        sides: what to time, by name.
        rounds: timed ones, after `warm_up` others.
        what: is measured, for the progress bar.
        clock: gives seconds.

    Returns:
        The seconds of each timed run, in order, by name.
    """
    from tqdm import tqdm

    seconds: dict[str, list[float]] = {name: [] for name in sides}
    with tqdm(desc=what, total=(warm_up + rounds) * len(sides), unit="run", delay=2, leave=False) as bar:
        for number in range(warm_up + rounds):
            for name, run in sides.items():
                time.sleep(REST if len(sides) > 1 else 0)
                start = clock()
                run()
                if number >= warm_up:
                    seconds[name].append(clock() - start)
                bar.update()
    return seconds


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How many times as fast as theirs ours is, by the medians: above 1 where ours takes less time."""
    return statistics.median(theirs) / statistics.median(ours)


@dataclass(frozen=True)
class Line:
    """`fixed + slope * size`, and how well it fits."""

    fixed: float
    slope: float
    r_squared: float  # share of the variance that it explains
    departure: float  # of the point farthest from it, as a share of its own value there


def fit_line(sizes: Sequence[float], seconds: Sequence[float]) -> Line:
    """The least-squares line through points of at least two sizes."""
    x, y = np.asarray(sizes, float), np.asarray(seconds, float)
    slope, fixed = np.polyfit(x, y, 1)
    line = fixed + slope * x
    r_squared = 1 - np.square(y - line).sum() / np.square(y - y.mean()).sum()
    return Line(float(fixed), float(slope), float(r_squared), float(np.abs(y / line - 1).max()))


def jax_matrix_rate(side: int, dtype: str = "float32") -> float:
    """What JAX reaches; see `matrix_rate`."""
    import jax
    import jax.numpy as jnp

    matrix, multiply = jnp.ones((side, side), dtype), jax.jit(jnp.matmul)
    return matrix_rate(lambda: multiply(matrix, matrix).block_until_ready(), side)


def torch_matrix_rate(side: int, device: str) -> float:
    """What PyTorch reaches in float32."""
    import torch

    matrix = torch.ones((side, side), device=device)
    return matrix_rate(lambda: (matrix @ matrix)[0, 0].item(), side)  # item waits for the device


def matrix_rate(multiply: Run, side: int) -> float:
    """GFLOP/s of the fastest of ten products of two `side` x `side` matrices."""
    return 2 * side**3 / min(in_turn({"": multiply}, 10, what="matrix products")[""]) / 1e9


def peak_memory(run: Run) -> int:
    """The most bytes that this process held resident during a call, by the kernel's own mark, set back before.

    `getrusage` would not do: its mark never falls, and starts at the parent process's.

    Raises:
        UserError: not on Linux.
    """
    gc.collect()
    with contextlib.suppress(AttributeError):  # glibc keeps what the compiler has freed; the step has no part in that
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        raise UserError(f"peak memory: cannot be measured here ({error}); it takes Linux") from error
    run()
    return resident_memory("VmHWM")


def resident_memory(field: str = "VmRSS") -> int:
    """Bytes that this process holds resident now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
