"""Progress bars of a training."""

from __future__ import annotations

import sys
from typing import Any


class Bar:
    """Progress bars on standard error: one while photos are read, one a stage."""

    def __init__(self) -> None:
        self._bar: Any = None

    def photos(self, name: str) -> Any:
        """A function to call as photos of a set come in."""

        def progress(done: int, count: int) -> None:
            if done == 1:
                self._open(f"reading {name}", 0, count, "photo")
            self._bar.update()

        return progress

    def reporter(self) -> Any:
        """The training loop's reporter, drawn on these bars."""
        from sgdbd_jax.training.run import Reporter

        bar = self

        class OnBar(Reporter):
            def stage(self, name: str, done: int, steps: int) -> None:
                bar._open(name, done, steps, "step")

            def step(self, metrics: dict[str, float] | None) -> None:
                discs = ("disc_clear_accuracy", "disc_blur_accuracy")
                shown = ("loss", "accuracy", *discs, "coverage", "mask_entropy", "validation_f_measure")
                bar._bar.update()
                if metrics:
                    known = bar._known = {**bar._known, **{key: metrics[key] for key in shown if key in metrics}}
                    bar._bar.set_postfix({key: f"{value:.2f}" for key, value in known.items()})

            def say(self, text: str) -> None:
                bar._bar.write(text, file=sys.stderr)

            def warn(self, text: str) -> None:
                bar._bar.write(f"warning: {text}", file=sys.stderr)

        return OnBar()

    def close(self) -> None:
        """Ends the bar that is open, if any."""
        if self._bar is not None:
            self._bar.close()

    def _open(self, name: str, done: int, total: int, unit: str) -> None:
        from tqdm import tqdm

        self.close()
        self._known: dict[str, float] = {}
        self._bar = tqdm(desc=name, initial=done, total=total, unit=unit)
