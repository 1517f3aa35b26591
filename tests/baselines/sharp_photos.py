"""Photos made in the test, sharp all over, and their blurred versions."""

import cv2
import numpy as np


def sharp_photo(seed: int = 0, side: int = 96, cell: int = 6) -> np.ndarray:
    """Squares of random colours, with a little texture: `[side, side, 3]` uint8."""
    rng = np.random.default_rng(seed)
    count = -(-side // cell)
    squares = rng.integers(20, 236, (count, count, 3)).repeat(cell, 0).repeat(cell, 1)[:side, :side]
    return np.clip(squares + rng.integers(-15, 16, (side, side, 1)), 0, 255).astype(np.uint8)


def blurred(photo: np.ndarray, sigma: float) -> np.ndarray:
    """A photo after a Gaussian."""
    return cv2.GaussianBlur(photo, (0, 0), sigma)


def left_blurred(photo: np.ndarray, sigma: float = 4.0) -> np.ndarray:
    """A photo whose left half is blurred."""
    half = photo.shape[1] // 2
    return np.hstack([blurred(photo, sigma)[:, :half], photo[:, half:]])
