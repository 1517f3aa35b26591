"""What is done to a network's mask: it is made to follow the photo's edges, and to decide."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import expit


@dataclass(frozen=True)
class Refinement:
    """A guided filter, and a logistic curve, whose values were chosen on validation photos.

    A network that learned from small pastes says "perhaps" of what is only mildly out of focus, and of flat parts.
    """

    radius: float = 0.06  # of the guided filter's windows, as a share of the photo's longer side
    epsilon: float = 1e-4  # colour variance, of colours in [0, 1], below which a window counts as flat
    threshold: float = 0.7  # level of the filtered mask that becomes 1/2
    gain: float = 40.0  # slope of the logistic curve there, times 4

    def __call__(self, mask: np.ndarray, photo: np.ndarray) -> np.ndarray:
        """A network's mask, refined.

        Args:
            mask: `[H, W]` float in [0, 1].
            photo: `[H, W, 3]` uint8, as the network saw it.

        Returns:
            `[H, W]` float32 in [0, 1].
        """
        radius = max(1, round(self.radius * max(mask.shape)))
        level = guided_filter(mask, photo, radius=radius, epsilon=self.epsilon)
        return expit(self.gain * (level - self.threshold)).astype(np.float32)


def guided_filter(mask: np.ndarray, photo: np.ndarray, *, radius: int, epsilon: float) -> np.ndarray:
    """A mask as a locally linear function of the photo's colours: it follows their edges, and is smooth elsewhere.

    He, Sun and Tang, "Guided Image Filtering", PAMI 2013: Eq. 19 to 21, for a guide in colour.

    Args:
        mask: `[H, W]` float in [0, 1].
        photo: `[H, W, 3]` uint8, the guide.
        radius: of the square windows, in pixels.
        epsilon: colour variance, of colours in [0, 1], below which a window counts as flat.

    Returns:
        `[H, W]` float32 in [0, 1].
    """
    guide, size = photo.astype(np.float64) / 255, 2 * radius + 1

    def mean(values: np.ndarray) -> np.ndarray:
        return ndimage.uniform_filter(values, (size, size) + (0,) * (values.ndim - 2), mode="reflect")

    colour, level = mean(guide), mean(mask.astype(np.float64))
    covariance = mean(guide * mask[..., None]) - colour * level[..., None]
    spread = mean(guide[..., :, None] * guide[..., None, :]) - colour[..., :, None] * colour[..., None, :]
    slope = np.linalg.solve(spread + epsilon * np.eye(3), covariance[..., None])[..., 0]
    offset = level - (slope * colour).sum(-1)
    return np.clip((mean(slope) * guide).sum(-1) + mean(offset), 0, 1).astype(np.float32)
