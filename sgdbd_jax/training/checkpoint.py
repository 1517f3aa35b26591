"""Checkpoints: atomic, the newest few and the best kept, never half-read.

A folder a step, written by Orbax under another name and renamed when whole, so a run killed at any moment finds its
last whole checkpoint.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sgdbd_jax.config import FREE_FIELDS, Config, flatten
from sgdbd_jax.errors import UserError
from sgdbd_jax.weights import write_atomically


class Checkpoints:
    """The checkpoints of one stage of a run."""

    def __init__(self, folder: Path, *, keep: int):
        """Opens, or makes, a folder of checkpoints.

        Args:
            folder: its path.
            keep: how many of the newest stay, besides the best on validation.

        Raises:
            UserError: the folder cannot be made.
        """
        import orbax.checkpoint as ocp
        from orbax.checkpoint.checkpoint_managers import preservation_policy as policy

        self.folder = folder.absolute()
        self._args = ocp.args
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
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
                ),
            )
        except OSError as error:
            raise UserError(f"{folder}: cannot keep checkpoints here ({error.strerror or error})") from error

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
            UserError: it cannot be written (full disk).
        """
        host = jax.tree.map(np.asarray, state)  # host arrays: every process holds the same ones, and one writes
        try:
            self._manager.save(step, args=self._args.StandardSave(host), metrics=metrics, force=True)
            self._manager.wait_until_finished()
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[-1][:200]
            raise UserError(
                f"{self.folder / str(step)}: the checkpoint cannot be saved ({reason});"
                " free some space and run the same command again: it continues from the checkpoint before"
            ) from error

    def restore(self, step: int, like: Any) -> Any:
        """Reads a checkpoint.

        Args:
            step: its name.
            like: a state of the same structure, shapes and dtypes.

        Returns:
            The state, in arrays on the default device.

        Raises:
            UserError: it is damaged, or of another structure.
        """
        shapes = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
        try:
            restored = self._manager.restore(step, args=self._args.StandardRestore(shapes))
        except Exception as error:  # Orbax and tensorstore raise many kinds for a damaged folder
            reason = str(error).strip().splitlines()[0][:200]
            raise UserError(
                f"{self.folder / str(step)}: the checkpoint cannot be read, perhaps truncated ({reason});"
                " remove that folder to continue from the one before"
            ) from error
        return jax.tree.map(jax.numpy.asarray, restored)

    def close(self) -> None:
        """Releases Orbax's threads."""
        self._manager.close()


def _f_measure(metrics: Any) -> float:
    return metrics.get("f_measure", -1.0)


def claim_workdir(workdir: Path, config: Config) -> None:
    """Binds a work folder to a config: writes `config.json` in a fresh one, compares it in a used one.

    Raises:
        UserError: the folder holds a run of another config, whose differing fields are listed, or cannot be written.
    """
    path = workdir / "config.json"
    now = json.loads(json.dumps(flatten(config)))
    if path.exists():
        try:
            before = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: not readable as JSON ({error}); choose another --workdir") from error
        names = sorted((before.keys() | now.keys()) - FREE_FIELDS)
        changed = [
            f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
            for name in names
            if before.get(name) != now.get(name)
        ]
        if changed:
            raise UserError(
                f"{workdir}: holds a run of another config ({'; '.join(changed)}); choose another --workdir"
            )
    write_atomically(path, json.dumps(now, indent=1).encode())
