"""Each side in a process of its own, so that no side meets the other's threads, memory or settings."""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any

import jax

from experiments.benchmark import timing
from experiments.benchmark.sides import OURS, gpu
from sgdbd_jax.errors import UserError

_process: dict[str, Any] = {}  # in such a process: what it runs, and its memory before


class Apart:
    """A side's call, made in another process by `make(who, *arguments)`, and run there; a context manager that ends it.

    `who` is OURS or a key of TWINS; `make` is found by its name, as pickle finds it.

    Raises:
        UserError: the process ended, perhaps for want of memory.
    """

    def __init__(self, who: str, make: Callable[..., timing.Run], *arguments: Any) -> None:
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        try:
            self._do(_make, who, make, *arguments)
        except BaseException:
            self._pool.shutdown()
            raise

    def __call__(self) -> None:
        """Runs it, and waits."""
        self._do(_run)

    def memory(self) -> dict[str, int]:
        """Bytes `before`, with all libraries loaded, and at the `peak` of two runs; on a GPU, bytes of its memory."""
        return self._do(_memory)

    def _do(self, call: Callable, *arguments: Any) -> Any:
        try:
            return self._pool.submit(call, *arguments).result()
        except BrokenProcessPool as error:
            raise UserError("the process of one side ended, perhaps for want of memory") from error

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown()


def _make(who: str, make: Callable[..., timing.Run], *arguments: Any) -> None:
    if who != OURS:
        importlib.import_module("torch")  # a part of what is there before
    _process["who"], _process["before"] = who, 0 if gpu() else timing.resident_memory()
    _process["run"] = make(who, *arguments)


def _run() -> None:
    _process["run"]()


def _memory() -> dict[str, int]:
    peak = timing.peak_memory(lambda: [_process["run"]() for _ in range(2)])
    if gpu() and _process["who"] == OURS:
        peak = jax.devices()[0].memory_stats()["peak_bytes_in_use"]
    elif gpu():
        import torch

        peak = torch.cuda.max_memory_allocated()
    return {"before": _process["before"], "peak": peak}
