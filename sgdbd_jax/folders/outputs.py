"""From a photo and its mask to the files that show them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from sgdbd_jax.data.listing import RESULT_ENDINGS
from sgdbd_jax.data.photos import White
from sgdbd_jax.data.resizing import resize_photo
from sgdbd_jax.pictures import mask_png, png

Binary = Literal["fixed", "adaptive", "conservative"]

ENDINGS = RESULT_ENDINGS
TINT = (90, 0, 160)  # RGB that the blurred part of an overlay is drawn towards
STRENGTH = 0.65  # how far; the blurred part stays recognisable
THUMBNAIL = 256  # pixels on the longer side


@dataclass(frozen=True)
class Results:
    """Which files a photo gets.

    Attributes:
        polarity: what is white in the mask and the binary mask; overlay and cutout are the same in either.
        overlay: also the photo with its blurred part tinted.
        cutout: also the photo with the mask as its transparency, in focus = opaque.
        binary: also a mask of two values, chosen as `binary_mask` says.
    """

    polarity: White = "focused"
    overlay: bool = False
    cutout: bool = False
    binary: Binary | None = None

    @property
    def endings(self) -> list[str]:
        """How the files' names end."""
        wanted = (True, self.overlay, self.cutout, self.binary is not None)
        return [ending for ending, is_wanted in zip(ENDINGS, wanted, strict=True) if is_wanted]

    @property
    def show_photo(self) -> bool:
        """Whether any of the files shows the photo itself, at its own size."""
        return self.overlay or self.cutout

    def files(self, photo: np.ndarray, mask: np.ndarray) -> Iterator[tuple[str, bytes]]:
        """Makes the files, one at a time: of a large photo each may take as much memory as the photo.

        Args:
            photo: `[H, W, 3]` uint8 RGB; of any size if no file shows it.
            mask: `[H, W]` uint8, 255 = in focus.

        Yields:
            The end of a file's name, and its bytes, a PNG.
        """
        for ending in self.endings:
            yield ending, self._file(ending, photo, mask)

    def _file(self, ending: str, photo: np.ndarray, mask: np.ndarray) -> bytes:
        if ending == ".overlay.png":
            return png(overlay(photo, mask), compress_level=1)  # of the levels the fastest
        if ending == ".cutout.png":
            picture = Image.fromarray(photo)
            picture.putalpha(Image.fromarray(mask))
            return png(picture, compress_level=1)
        chosen = binary_mask(mask, self.binary) if self.binary and ending == ".binary.png" else mask
        return mask_png(chosen if self.polarity == "focused" else 255 - chosen)


def eight_bits(mask: np.ndarray) -> np.ndarray:
    """A mask as its file holds it, from which all other results are made.

    Args:
        mask: `[H, W]` float32 in [0, 1], 1 = in focus.

    Returns:
        `[H, W]` uint8, 255 = in focus.
    """
    return cv2.convertScaleAbs(mask, alpha=255)  # rounds to the nearest, without a float copy


def overlay(photo: np.ndarray, mask: np.ndarray) -> Image.Image:
    """The photo as it is where in focus, darkened and violet where blurred.

    Args:
        photo: `[H, W, 3]` uint8 RGB.
        mask: `[H, W]` uint8, 255 = in focus.

    Returns:
        An RGB picture.
    """
    picture = Image.fromarray(photo)
    tinted = np.rint(STRENGTH * np.arange(255, -1, -1)).astype(np.uint8)  # how much, for each of the mask's values
    picture.paste(TINT, mask=Image.fromarray(tinted[mask]))
    return picture


def binary_mask(mask: np.ndarray, kind: Binary) -> np.ndarray:
    """A mask of two values: what is in focus, and what is not.

    - `fixed`: in focus is what the mask gives at least 0.5: what is more likely in focus than not.
    - `adaptive`: at least `min(1.5 * mean, 1)`, the mean being the mask's, as in evaluation protocol `paper`: finds the
      part most in focus of any photo, even of one that is blurred all over; a black mask comes out white.
    - `conservative`: at least 0.9: only what is surely in focus, at the price of missing some that is.

    Args:
        mask: `[H, W]` uint8, 255 = in focus.
        kind: one of these three.

    Returns:
        `[H, W]` uint8, 255 = in focus, else 0.
    """
    return np.multiply(mask >= threshold(mask, kind), 255, dtype=np.uint8)


def threshold(mask: np.ndarray, kind: Binary) -> float:
    """The least value that is in focus, of 255, as `binary_mask` says."""
    return {"fixed": 0.5 * 255, "adaptive": min(1.5 * float(mask.mean()), 255.0), "conservative": 0.9 * 255}[kind]


def thumbnails(photo: np.ndarray, mask: np.ndarray) -> tuple[bytes, bytes]:
    """A photo and its overlay, small.

    Args:
        photo: `[h, w, 3]` uint8 RGB, of any size.
        mask: `[H, W]` uint8, 255 = in focus.

    Returns:
        Two JPEGs of at most 256 x 256 pixels, in the photo's shape.
    """
    scale = min(1.0, THUMBNAIL / max(mask.shape))
    size = max(1, round(scale * mask.shape[0])), max(1, round(scale * mask.shape[1]))
    small = resize_photo(photo, size)
    level = np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.BOX))  # OpenCV's takes four times it
    pictures = Image.fromarray(small), overlay(small, level)
    plain, tinted = map(_jpeg, pictures)
    return plain, tinted


def _jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    return file.getvalue()
