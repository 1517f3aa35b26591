"""Teachers: detectors that look at a photo in several ways, whose masks are averaged before they are refined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sgdbd_jax.data.resizing import resize_mask, resize_photo
from sgdbd_jax.detection.detector import Detector, Seen
from sgdbd_jax.errors import UserError


@dataclass(frozen=True)
class Teacher:
    """Detectors and the views of a photo that each of them has.

    Attributes:
        detectors: each as it is used, and as it sees a photo at the photo's own size; the first one refines.
        sizes: of the views, each seen as it is and mirrored: up to 1, parts of the size at which a detector sees the
            photo; above, sides of a square. Where there are none, the photo is seen as the detector sees it, once.
    """

    detectors: Sequence[tuple[Detector, Detector]]
    sizes: Sequence[float] = ()

    @property
    def looks(self) -> int:
        """How many masks of a photo are averaged."""
        return len(self.detectors) * (2 * len(self.sizes) or 1)

    def __call__(self, photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mask of a photo, and how far the views disagree.

        Args:
            photo: `[H, W, 3]` uint8.

        Returns:
            `[H, W]` float32 in [0, 1] each: the mean of the views' masks, refined; and their standard deviation before
            that, at most 0.5.

        Raises:
            UserError: a mask is not finite.
        """
        seen = [detect.see(photo) for detect, _ in self.detectors]
        size = (seen[0].mask.shape[0], seen[0].mask.shape[1])
        masks = [mask for (_, native), own in zip(self.detectors, seen) for mask in self._views(native, own)]
        level = np.stack([mask if mask.shape == size else resize_mask(mask, size) for mask in masks])
        if not np.isfinite(level).all():
            raise UserError("a mask is not finite: the generator has diverged; lower the learning rates")
        mask = self.detectors[0][0].finish(photo, Seen(seen[0].photo, level.mean(axis=0)))
        return mask, resize_mask(level.std(axis=0), mask.shape)

    def _views(self, native: Detector, own: Seen) -> list[np.ndarray]:
        """What one detector makes of the views of a photo, each brought upright, of its own size."""
        if not self.sizes:
            return [own.mask]
        masks = []
        height, width = own.photo.shape[:2]
        for size in self.sizes:
            shape = (round(size * height), round(size * width)) if size <= 1 else (int(size), int(size))
            same = shape == (height, width)
            photo = own.photo if same else resize_photo(own.photo, (max(1, shape[0]), max(1, shape[1])))
            masks += [own.mask if same else native.see(photo).mask, native.see(photo[:, ::-1]).mask[:, ::-1]]
        return masks
