"""Whether an exported program gives a detector's masks."""

from collections.abc import Callable

import jax
import numpy as np

from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.errors import UserError

TOLERANCE = 1e-4  # of a mask's value
SIZES = ((96, 160), (131, 70), (40, 640))  # height and width: wide, tall, as long as a photo
Program = Callable[[np.ndarray], np.ndarray]  # [N, H, W, 3] uint8 -> [N, H, W] float32


def photos_to_try() -> list[np.ndarray]:
    """Photos of three sizes, two in the first batch: `[N, H, W, 3]` uint8, noise that fades from left to right."""
    rng = np.random.default_rng(0)
    made = []
    for number, (height, width) in enumerate(SIZES):
        noise = rng.integers(-128, 128, (2 if number == 0 else 1, height, width, 3))
        fading = np.linspace(1, 0, width)[:, None] ** 2
        made.append((128 + rng.uniform(-60, 60, 3) * fading[::-1] + noise * fading).clip(0, 255).astype(np.uint8))
    return made


def check_program(program: Program, detector: Detector) -> float:
    """Compares a program's masks with those of a detector that neither resizes photos nor refines masks.

    Detectors multiply in TF32 on NVIDIA's GPUs, which moves masks by more than the tolerance; but not here.

    Returns:
        The largest difference.

    Raises:
        UserError: it is more than `TOLERANCE`, or not a number.
    """
    worst = 0.0
    for photos in photos_to_try():
        with jax.default_matmul_precision("highest"):
            error = np.abs(program(photos) - detector(photos)).max()
        if not error <= TOLERANCE:
            size = f"{photos.shape[2]}x{photos.shape[1]}"
            raise UserError(f"masks of {size} pixels differ from Detector's by {error:.2g}, more than {TOLERANCE:g}")
        worst = max(worst, float(error))
    return worst
