"""Checkpoints: atomic, the newest few and the best kept, never half-read.

A folder a step, written by Orbax under another name and renamed when whole, so a run killed at any moment finds its
last whole checkpoint. Checksums beside the arrays tell a folder that was damaged later.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import chex
import jax
import numpy as np

from sgdbd_jax.errors import UserError
from sgdbd_jax.files import write_atomically
from sgdbd_jax.training.parallel import wait_for_all

CHECKSUMS = "checksums.json"  # in a checkpoint's folder
ARRAYS = "default/"  # Orbax's folder for them in a checkpoint's
HANDLES = 64  # files that Orbax may have open at once; where there are fewer, its threads print tracebacks
REMOVED = "removed"  # old checkpoints are moved there first: one half removed must not look like a damaged one


class Checkpoints:
    """The checkpoints of one stage of a run."""

    def __init__(self, folder: Path, *, keep: int):
        """Opens, or makes, a folder of checkpoints.

        Args:
            folder: its path.
            keep: how many of the newest stay, besides the best on validation.

        Raises:
            UserError: the folder cannot be made, what it holds besides arrays is damaged, or too many files are open.
        """
        import orbax.checkpoint as ocp
        from orbax.checkpoint.checkpoint_managers import preservation_policy as policy

        self.folder = folder.absolute()
        self._args = ocp.args
        self._need_handles()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if jax.process_index() == 0:
                self._empty_bin()
            for path in self.folder.iterdir():
                if path.name.isdecimal():
                    self._check(int(path.name), lambda name: not name.startswith(ARRAYS))
            self._manager = ocp.CheckpointManager(
                self.folder,
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=policy.AnyPreservationPolicy(
                        [
                            policy.LatestN(keep),
                            policy.BestN(get_metric_fn=_f_measure, n=1, keep_checkpoints_without_metrics=False),
                        ]
                    ),
                    best_fn=_f_measure,  # makes Orbax keep the scores with the checkpoints
                    enable_async_checkpointing=False,
                    cleanup_tmp_directories=True,
                    todelete_subdir=REMOVED,
                ),
            )
        except OSError as error:
            raise UserError(f"{folder}: cannot keep checkpoints here ({_reason(error)})") from error
        except ValueError as error:  # scores that are not JSON, in a checkpoint without checksums
            raise UserError(
                f"{folder}: a checkpoint cannot be read ({_reason(error)}); remove it to continue from the one before"
            ) from error

    def latest(self) -> int | None:
        """The newest whole checkpoint's step, `None` without any."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """The step of the checkpoint with the highest validation F, `None` where nothing was validated."""
        scored = [(_f_measure(self._manager.metrics(step) or {}), step) for step in self._manager.all_steps()]
        scored = [(score, step) for score, step in scored if score >= 0]
        return max(scored)[1] if scored else None

    def save(self, step: int, state: Any, metrics: dict[str, float] | None = None) -> None:
        """Writes a checkpoint; earlier ones stay until it is whole.

        Args:
            step: its name.
            state: a tree of arrays.
            metrics: validation scores of this very state (`f_measure`), which make it a candidate for the best.

        Raises:
            UserError: it cannot be written (full disk, too many open files).
        """
        self._need_handles()
        host = jax.tree.map(np.asarray, state)  # host arrays: every process holds the same ones, and one writes
        needed, disk = sum(leaf.nbytes for leaf in jax.tree.leaves(host)), shutil.disk_usage(self.folder)
        if disk.total and needed > disk.free:  # found before Orbax's threads find it, each with a traceback
            raise self._unsaved(step, f"it needs {needed / 1e6:.1f} MB, and {disk.free / 1e6:.1f} MB are free")
        try:
            with _quiet():
                self._manager.save(step, args=self._args.StandardSave(host), metrics=metrics, force=True)
                self._manager.wait_until_finished()
            if jax.process_index() == 0:
                path = self.folder / str(step)
                write_atomically(path / CHECKSUMS, json.dumps(_checksums(path)).encode())
                self._empty_bin()
            wait_for_all(f"checkpoint {step}")  # nobody reads a folder that is still being tidied
        except (OSError, ValueError, RuntimeError) as error:
            raise self._unsaved(step, _reason(error)) from error

    def restore(self, step: int, like: Any) -> Any:
        """Reads a checkpoint.

        Args:
            step: its name.
            like: a state of the same structure, shapes and dtypes.

        Returns:
            The state, in arrays on the default device.

        Raises:
            UserError: it is damaged, or of another structure; or too many files are open.
        """
        self._need_handles()
        self._check(step)
        empty = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
        try:
            restored = self._manager.restore(step, args=self._args.StandardRestore(empty))
            chex.assert_trees_all_equal_shapes_and_dtypes(restored, empty)  # Orbax lets some differences pass
        except Exception as error:  # Orbax and tensorstore raise many kinds for a damaged folder
            raise self._damaged(step, _reason(error)) from error
        return jax.tree.map(jax.numpy.asarray, restored)

    def close(self) -> None:
        """Releases Orbax's threads."""
        self._manager.close()

    def _need_handles(self) -> None:
        opened = []
        try:
            for _ in range(HANDLES):
                opened.append(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            raise UserError(
                f"{self.folder}: checkpoints need {HANDLES} open files at once ({_reason(error)}); raise the limit"
                " (ulimit -n) and run the same command again: it continues from the last checkpoint"
            ) from error
        finally:
            for handle in opened:
                os.close(handle)

    def _empty_bin(self) -> None:
        shutil.rmtree(self.folder / REMOVED, ignore_errors=True)

    def _check(self, step: int, concerns: Callable[[str], bool] = lambda name: True) -> None:
        """Compares files with their checksums, for a damaged one makes Orbax's threads print tracebacks.

        A run killed just before it wrote the checksums has none; the checkpoint itself was whole by then.
        """
        path = self.folder / str(step)
        try:
            expected = json.loads((path / CHECKSUMS).read_bytes())
        except FileNotFoundError:
            return
        except ValueError as error:
            raise self._damaged(step, f"{CHECKSUMS}: {error}") from error
        names = {name for name in expected if concerns(name)}
        found = _checksums(path, names)
        for name in sorted(names):
            if found.get(name) != expected[name]:
                raise self._damaged(step, f"{name} is {'not what was written' if name in found else 'missing'}")

    def _unsaved(self, step: int, reason: str) -> UserError:
        return UserError(
            f"{self.folder / str(step)}: the checkpoint cannot be saved ({reason});"
            " free some space and run the same command again: it continues from the checkpoint before"
        )

    def _damaged(self, step: int, reason: str) -> UserError:
        return UserError(
            f"{self.folder / str(step)}: the checkpoint cannot be read, perhaps truncated ({reason});"
            " remove that folder to continue from the one before"
        )


def _checksums(folder: Path, names: Collection[str] | None = None) -> dict[str, int]:
    """CRC-32 of a folder's files, or of those of them that are named, by their paths in it."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and (names is None or name in names):
            found[name] = zlib.crc32(path.read_bytes())
    return found


def _reason(error: Exception) -> str:
    """What the operating system said, where tensorstore quotes it; else the first line of a library's message."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if code := re.search(r"os_error_code='(\d+)'", str(error)):
        return os.strerror(int(code[1]))
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences Orbax's logger: its threads log, with tracebacks, what is raised here anyway."""
    logger = logging.getLogger("absl")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _f_measure(metrics: Any) -> float:
    return metrics.get("f_measure", -1.0)
