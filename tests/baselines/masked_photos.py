"""Photos of which a part is blurred, and their masks."""

import numpy as np
from sharp_photos import blurred, sharp_photo


def masked_photos(count: int, side: int = 96) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Sharp on the right or on the left, out of focus on the other side: `[side, side, 3]` and `[side, side]` uint8."""
    photos, masks = [], []
    for seed in range(count):
        photo, mask = sharp_photo(100 + seed, side, cell=7), np.zeros((side, side), np.uint8)
        mask[:, side // 2 :] = 255
        mask = mask[:, ::-1] if seed % 2 else mask
        photos.append(np.where(mask[..., None] == 255, photo, blurred(photo, 3)))
        masks.append(mask)
    return photos, masks
