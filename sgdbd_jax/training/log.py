"""`metrics.jsonl`: one object a logged step; and, where asked for, TensorBoard event files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sgdbd_jax.errors import UserError
from sgdbd_jax.files import write_atomically


class MetricsLog:
    """Appends rows of one stage of a run."""

    def __init__(self, workdir: Path, stage: str, *, step: int, tensorboard: bool = False):
        """Opens the log for a stage that goes on from `step`.

        Rows that an interrupted leg wrote after its last checkpoint are dropped: their steps are about to be repeated.

        Raises:
            UserError: the log cannot be written, or TensorBoard is asked for and not installed.
        """
        self.path, self.stage = workdir / "metrics.jsonl", stage
        rows = [row for row in read_log(workdir) if row["stage"] != stage or row["step"] <= step]
        write_atomically(self.path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        self._events = None
        if tensorboard:
            try:
                from tensorboardX import SummaryWriter
            except ImportError as error:
                raise UserError("tensorboard: needs tensorboardX; pip install 'sgdbd_jax[tensorboard]'") from error
            # A folder a stage: purging hides every later step of a folder, also another stage's.
            self._events = SummaryWriter(str(workdir / "events" / stage), purge_step=step + 1)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Adds a row: `stage`, `step`, and the values.

        Raises:
            UserError: the disk refuses.
        """
        row = {"stage": self.stage, "step": step, **values}
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror})") from error
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Flushes the event files."""
        if self._events is not None:
            self._events.close()


def read_log(workdir: Path, stage: str | None = None) -> list[dict[str, Any]]:
    """Rows of `metrics.jsonl`, of one stage or of all; a last line cut short by a kill is left out."""
    path = workdir / "metrics.jsonl"
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and {"stage", "step"} <= row.keys():
            rows.append(row)
    return [row for row in rows if stage is None or row["stage"] == stage]
