"""Cases that break bounds, by which the campaign shows that it can fail."""

import ctypes
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sgdbd_jax.errors import UserError

from .cases import Skipped


def misbehave(seed: int, folder: Path) -> tuple[str, Callable[[], str]]:
    """By the seed: 3 kills its process, 4 hangs, 5 takes 300 MB, 6 raises, 7 refuses; 8 cannot be tried."""
    if seed == 8:
        raise Skipped("it is the eighth")

    def trial() -> str:
        if seed == 3:
            ctypes.string_at(0)
        if seed == 4:
            time.sleep(60)
        if seed == 5:
            return f"{np.ones(300_000_000, np.uint8).sum()} ones"
        if seed == 6:
            raise KeyError("six")
        if seed == 7:
            raise UserError("7: is no photo; remove it")
        return "an answer"

    return f"case {seed}", trial
