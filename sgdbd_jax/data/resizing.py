"""Photos and masks brought to another size."""

import numpy as np
from PIL import Image


def resize_photo(photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes bilinearly, averaging over the source pixels when it shrinks (antialiased).

    Args:
        photo: `[H, W, 3]` or `[H, W]` uint8.
        size: height and width wanted; the aspect ratio is not kept.

    Returns:
        `[height, width, 3]` or `[height, width]` uint8.
    """
    height, width = size
    return np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR))


def squash(photo: np.ndarray, size: int | None) -> np.ndarray:
    """`resize_photo` to `size` x `size` pixels; the photo or mask itself for `None`."""
    return photo if size is None else resize_photo(photo, (size, size))


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`resize_photo` for a mask as networks give it, without rounding to 8 bits.

    Args:
        mask: `[H, W]` float32 in [0, 1].
        size: height and width wanted.

    Returns:
        `[height, width]` float32 in [0, 1].
    """
    height, width = size
    if height >= mask.shape[0] and width >= mask.shape[1]:  # as Pillow's to 1e-6, in a tenth of its time
        import cv2

        resized = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        return np.clip(resized, 0, 1, out=resized)  # a copy of a large mask takes as long as the rest
    smaller = Image.fromarray(mask.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(smaller), 0, 1)  # PIL's weights sum to 1 only up to rounding
