"""Masks whose numbers are not greys from 0 to white: labels 0 and 1, 8 bits in a deeper file, colours."""

from typing import BinaryIO, cast

import numpy as np
from PIL import Image, ImageChops

from sgdbd_jax.data.colours import Note, to_grey
from sgdbd_jax.data.orientation import upright
from sgdbd_jax.errors import UserError

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


def own_values(mask: np.ndarray, file: BinaryIO, name: str, note: Note) -> np.ndarray:
    """The numbers in the file of a mask that came out black, or nearly, if they are of 8 bits in samples of more.

    Args:
        mask: `[H, W]` uint8, as it was read.
        file: seekable; of a mask that could be read.
        name: of the mask, for the error.
        note: called with `SHALLOW` if more is in it than 0 and 1, which `to_white` will note.

    Returns:
        `[H, W]` uint8: those numbers if it is grey and none is above 255; else the mask.

    Raises:
        UserError: colours of 16 bits, of which the upper 8 alone were read, and are 0.
    """
    if mask.max() > 1:
        return mask
    file.seek(0)
    try:
        image = Image.open(file, formats=("PNG", "PPM", "TIFF"))
        image.load()
    except Exception:  # read by another program, or too large for Pillow's taste
        return mask
    if image.mode.startswith("I"):
        values = np.asarray(upright(image))
        if values.shape != mask.shape or values.min() < 0 or not 0 < values.max() <= 255:
            return mask
        if values.max() > 1:
            note(SHALLOW)
        return values.astype(np.uint8)
    if not mask.any():
        import cv2  # which reads all bits of colours

        file.seek(0)
        colours = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
        if colours is not None and colours.dtype == np.uint16 and (brightest := colours[..., :3].max()):
            raise UserError(f"{name}: its brightest value is {brightest} of 65535; save it as 8-bit grey, 255 = white")
    return mask


def to_white(mask: np.ndarray, note: Note) -> np.ndarray:
    """A mask of labels as one of greys: where nothing but 0 and 1 is in it, 1 becomes 255, and `note` is called."""
    if mask.max() != 1:
        return mask
    note(ZEROS_AND_ONES)
    return mask * np.uint8(255)
