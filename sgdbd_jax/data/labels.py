"""Masks whose numbers are not greys from 0 to white: labels 0 and 1, 8 bits in a deeper file, colours."""

from typing import Any, BinaryIO, cast

import numpy as np
import tifffile
from PIL import ExifTags, Image, ImageChops

from sgdbd_jax.data.colours import to_grey
from sgdbd_jax.data.opened import Note
from sgdbd_jax.data.orientation import upright

# What may be noted of masks, between their number and their names.
ZEROS_AND_ONES = "masks of 0 and 1 alone, read as 0 and 255"
SHALLOW = "masks of 8 bits in files of more, read as those"
COLOURED = "masks in colour, of which the brightness is read"
DIM = "masks without a pixel above half of white"


def grey_of_mask(image: Image.Image, note: Note) -> Image.Image:
    """`colours.to_grey` of a mask of 8 bits; labels of a palette stay labels, and `note` hears of colours.

    Args:
        image: of any mode of 8 bits.
        note: called if channels differ markedly: by more than 32 in one pixel of a hundred.

    Returns:
        The image in mode L: the numbers 0 and 1 themselves, where a palette gives black to the one and a colour to the
        other.
    """
    if image.mode in {"1", "L", "LA"}:
        return to_grey(image)
    if image.mode == "P" and cast(tuple[int, int], image.getextrema())[1] == 1:
        zero, one = np.reshape([*(image.getpalette() or []), *[0] * 6][:6], (2, 3))
        if not zero.any() and np.ptp(one) > 0:
            return Image.fromarray(np.asarray(image))
    rgb = image.convert("RGBA") if image.mode == "P" else image  # whose transparency Pillow drops with a warning
    red, green, blue = rgb.convert("RGB").split()
    lightest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    darkest = ImageChops.darker(ImageChops.darker(red, green), blue)
    histogram = ImageChops.subtract(lightest, darkest).histogram()
    if sum(histogram[33:]) > sum(histogram) / 100:
        note(COLOURED)
    return to_grey(image)


def own_values(mask: np.ndarray, file: BinaryIO, note: Note) -> np.ndarray:
    """The numbers in the file of a mask that came out black, or nearly, if they are of 8 bits in samples of more.

    Args:
        mask: `[H, W]` uint8, as it was read.
        file: seekable; of a mask that could be read.
        note: called with `SHALLOW` if more is in it than 0 and 1, which `to_white` will note.

    Returns:
        `[H, W]` uint8: those numbers, of colours the largest, if none is above 255; else the mask.
    """
    if mask.max() > 2:  # 1 of 127, the white of 8 bits with a sign
        return mask
    try:
        image = _with_own_values(file)
    except Exception:  # too large for Pillow's taste, or of a kind that holds no such numbers
        return mask
    if image.mode.startswith("I"):
        values = np.asarray(upright(image))
        if values.shape != mask.shape or values.min() < 0 or not 0 < values.max() <= 255:
            return mask
        if values.max() > 1:
            if mask.max() > 1:  # signed 8 bits, as dark as they look
                return mask
            note(SHALLOW)
        return values.astype(np.uint8)
    if not mask.any():
        import cv2  # which reads all bits of colours

        file.seek(0)
        colours = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
        if colours is not None and colours.dtype == np.uint16 and (brightest := colours[..., :3].max()):
            if brightest > 1:
                note(SHALLOW)
            return colours[..., :3].max(axis=-1).astype(np.uint8)
    return mask


def _with_own_values(file: BinaryIO) -> Image.Image:
    """The image of a file, its deep or signed grey unscaled: of mode I or I;16."""
    file.seek(0)
    tiff = file.read(2) in {b"II", b"MM"}
    file.seek(0)
    if tiff:
        page: Any = tifffile.TiffFile(file).pages.first
        if page.samplesperpixel == 1 and page.dtype.kind in "iu" and page.dtype != np.uint8:  # Pillow may drop signs
            image = Image.fromarray(page.asarray().squeeze().astype(np.int32))
            image.getexif()[ExifTags.Base.Orientation] = page.tags.valueof(ExifTags.Base.Orientation, 1)
            return image
        file.seek(0)
    image = Image.open(file, formats=("PNG", "PPM", "TIFF"))
    image.load()
    return image


def to_white(mask: np.ndarray, note: Note) -> np.ndarray:
    """A mask of labels as one of greys: where nothing but 0 and 1 is in it, 1 becomes 255, and `note` is called."""
    if mask.max() != 1:
        return mask
    note(ZEROS_AND_ONES)
    return mask * np.uint8(255)
