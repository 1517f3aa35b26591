"""Masks whose numbers are not greys from 0 to white: labels 0 and 1, 8 bits in a deeper file, colours."""

from typing import BinaryIO, cast

import numpy as np
from PIL import Image, ImageChops

from sgdbd_jax.data.colours import Note
from sgdbd_jax.data.formats import open_image
from sgdbd_jax.errors import UserError

# What may be noted of masks, between their number and their names.
ZEROS_AND_ONES = "masks of 0 and 1 alone, read as 0 and 255"
SHALLOW = "masks of 8 bits in files of more, read as those"
COLOURED = "masks in colour, of which the brightness is read"
DIM = "masks without a pixel above half of white"


def own_values(image: Image.Image, note: Note) -> Image.Image:
    """A mask's own numbers, where scaling or the colours of a palette would make them nearly black.

    Args:
        image: as decoded, of any mode.
        note: called with `SHALLOW` if 8 bits are found in deeper grey; labels are noted by `to_white`.

    Returns:
        The image; in mode L if it is of more than 8 bits, and no value above 255, or all are 0 and 1 of a palette that
        gives black to the one and a colour to the other.
    """
    if image.mode == "P" and cast(tuple[int, int], image.getextrema())[1] == 1:
        zero, one = np.reshape([*(image.getpalette() or []), *[0] * 6][:6], (2, 3))
        if zero.any() or np.ptp(one) == 0:
            return image
        labels = Image.fromarray(np.asarray(image))
        labels.info["exif"] = image.info.get("exif")  # which may turn it
        return labels
    if not image.mode.startswith("I"):
        return image
    values = image.convert("I")
    low, high = cast(tuple[int, int], values.getextrema())
    if low < 0 or not 0 < high <= 255:
        return image
    if high > 1:
        note(SHALLOW)
    values.info.pop("transparency", None)
    return values.point([*range(256)] * 256, "L")


def to_white(mask: np.ndarray, note: Note) -> np.ndarray:
    """A mask of labels as one of greys: where nothing but 0 and 1 is in it, 1 becomes 255, and `note` is called."""
    if mask.max() != 1:
        return mask
    note(ZEROS_AND_ONES)
    return mask * np.uint8(255)


def note_colours(image: Image.Image, note: Note) -> None:
    """Calls `note` if the channels of an image of 8 bits differ markedly: by more than 32 in one pixel of a hundred."""
    if image.mode in {"1", "L", "LA"}:
        return
    rgb = image.convert("RGBA") if image.mode == "P" else image  # whose transparency Pillow drops with a warning
    red, green, blue = rgb.convert("RGB").split()
    lightest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    darkest = ImageChops.darker(ImageChops.darker(red, green), blue)
    histogram = ImageChops.subtract(lightest, darkest).histogram()
    if sum(histogram[33:]) > sum(histogram) / 100:
        note(COLOURED)


def refuse_lost_values(file: BinaryIO, name: object) -> None:
    """Refuses 16-bit colours, of which Pillow takes the upper 8 bits, where these alone are 0.

    Args:
        file: of a mask that was read as black.
        name: of the mask, for the error.

    Raises:
        UserError: the mask is not black.
    """
    if not any(";16" in str(tile) for tile in open_image(file, "").tile):
        return
    import cv2  # reads all 16 bits

    file.seek(0)
    values = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is not None and values.dtype == np.uint16 and (brightest := values[..., :3].max()):
        raise UserError(f"{name}: its brightest value is {brightest} of 65535; save it as 8-bit grey, 255 = white")
