"""What every detector begins and ends with: a photo that is one, its grey, and a map that fills [0, 1]."""

from typing import Any

import numpy as np

from sgdbd_jax.detection.pixels import as_pixels, check_photo


def checked(photo: Any) -> np.ndarray:
    """A photo as an array, if it is one.

    Args:
        photo: as `Detector` takes one, most often `[H, W, 3]` uint8.

    Returns:
        `[H, W, 3]` uint8.

    Raises:
        ValueError, TypeError, UserError: what `Detector` refuses, in its words.
    """
    pixels = as_pixels(photo)
    check_photo(pixels)
    return pixels


def grey(photo: np.ndarray) -> np.ndarray:
    """0.299 R + 0.587 G + 0.114 B, not rounded.

    Args:
        photo: `[H, W, 3]` uint8.

    Returns:
        `[H, W]` float32 in [0, 255]. Of a grey photo exactly its levels, as the weights alone are not in float32.
    """
    levels = photo @ np.array([0.299, 0.587, 0.114])
    return np.round(levels, 6).astype(np.float32)


def levels(photo: np.ndarray) -> np.ndarray:
    """The same as whole levels, halves rounded up, as Matlab and OpenCV have them: `[H, W]` uint8."""
    return np.floor(grey(photo) + 0.5).astype(np.uint8)


def minmax(values: np.ndarray) -> np.ndarray:
    """A map stretched to [0, 1]: Matlab's `mat2gray`.

    Args:
        values: any shape.

    Returns:
        The same shape, float32; zeros where all values are the same.

    Raises:
        ArithmeticError: some are not finite.
    """
    values = np.asarray(values)
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ArithmeticError("a map has values that are not finite")
    if not high > low:
        return np.zeros(values.shape, np.float32)
    stretched = (values - low) / (high - low)  # in the map's own precision: a float64 may differ past float32's digits
    return stretched.astype(np.float32)
