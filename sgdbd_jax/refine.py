"""Masks that follow a photo's edges: the guided filter (He, Sun and Tang, "Guided Image Filtering", PAMI 2013)."""

import numpy as np
from scipy import ndimage


def guided_filter(mask: np.ndarray, photo: np.ndarray, *, radius: int = 8, epsilon: float = 1e-3) -> np.ndarray:
    """A mask as a locally linear function of the photo's colours (their Eq. 14 to 16, and Sec. 3.4 for colour).

    Args:
        mask: `[H, W]` float in [0, 1].
        photo: `[H, W, 3]` uint8, the guide.
        radius: of the square windows, in pixels.
        epsilon: colour variance, of colours in [0, 1], below which a window counts as flat.

    Returns:
        `[H, W]` float32 in [0, 1].
    """
    guide = photo.astype(np.float32) / 255
    size = 2 * radius + 1

    def mean(values: np.ndarray) -> np.ndarray:
        return ndimage.uniform_filter(values, (size, size) + (0,) * (values.ndim - 2), mode="reflect")

    colour, level = mean(guide), mean(mask.astype(np.float32))
    covariance = mean(guide * mask[..., None]) - colour * level[..., None]
    products = guide[..., :, None] * guide[..., None, :]
    spread = mean(products.reshape(*mask.shape, 9)).reshape(*mask.shape, 3, 3)
    spread = spread - colour[..., :, None] * colour[..., None, :] + epsilon * np.eye(3, dtype=np.float32)
    slope = np.linalg.solve(spread, covariance[..., None])[..., 0]
    offset = level - (slope * colour).sum(-1)
    return np.clip((mean(slope) * guide).sum(-1) + mean(offset), 0, 1).astype(np.float32)
