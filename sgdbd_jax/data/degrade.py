"""What cameras and files do to a photo after its blur: softness, noise, JPEG. The same for all sets of photos.

A discriminator, or a detector that learns from pastes, could otherwise distinguish sets of photos by their grain and
their compression instead of their focus: a blur made here removes the noise of a photo, defocus does not.
"""

import io

import numpy as np
from PIL import Image
from scipy import ndimage

SOFTNESS = (0.3, 0.8)  # sigma in pixels of the blur of the whole photo, for 3 photos in 10
NOISE = (1.0, 6.0)  # standard deviation in grey levels of brightness, half of that of colours, for half of the photos;
# the greater one is the default of `sets.noise`
QUALITY = (60, 94)  # of JPEG, for 7 photos in 10


def degrade(photo: np.ndarray, rng: np.random.Generator, *, noise: float = NOISE[1]) -> np.ndarray:
    """A photo as a camera and a file would give it: perhaps softened, perhaps noisy, perhaps compressed.

    Args:
        photo: `[H, W, 3]` uint8.
        rng: source of all randomness.
        noise: greatest standard deviation of the noise, in grey levels.

    Returns:
        `[H, W, 3]` uint8.
    """
    softens, grains, compresses = rng.random(3) < (0.3, 0.5, 0.7)
    sigma, deviation = rng.uniform(*SOFTNESS), rng.uniform(NOISE[0], noise)
    quality = int(rng.integers(*QUALITY, endpoint=True))
    values = photo.astype(np.float32)
    if softens:
        values = ndimage.gaussian_filter(values, (sigma, sigma, 0)).astype(np.float32)
    if grains:  # of brightness, and half as much of each colour
        grain = rng.standard_normal((*photo.shape[:2], 4), np.float32)
        values += np.float32(deviation) * (grain[..., :1] + 0.5 * grain[..., 1:])
    photo = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    if not compresses:
        return photo
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "jpeg", quality=quality)
    return np.array(Image.open(file))


def without_colours(photo: np.ndarray) -> np.ndarray:
    """A photo in grey: its luminance (ITU-R BT.601, as of files in grey), three times; `[H, W, 3]` uint8."""
    grey = np.asarray(Image.fromarray(photo).convert("L"))
    return np.repeat(grey[..., None], 3, axis=-1)
