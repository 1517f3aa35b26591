"""Any image file -> array: photos as uint8 RGB, upright (`orientation`) and in sRGB (`colours`); masks as uint8 grey.

Which formats there are is in `formats`.
"""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TiffImageFile

from sgdbd_jax.data.colours import Note, to_eight_bits, to_grey, to_rgb
from sgdbd_jax.data.formats import count_frames, open_image
from sgdbd_jax.data.labels import grey_of_mask, own_values, to_white
from sgdbd_jax.data.orientation import upright
from sgdbd_jax.errors import UserError, shown

# More than any camera's or phone's sensor has (200 million); takes 2 GB at the least while it is read.
MAX_PIXELS = 300_000_000

White = Literal["focused", "blurred"]  # what white means in the file of a mask


def load_photo(path: str | os.PathLike, *, max_pixels: int = MAX_PIXELS, note: Note | None = None) -> np.ndarray:
    """Reads an image file as it is meant to be seen.

    JPEG, PNG, WebP, TIFF, BMP, GIF, PNM and AVIF, and HEIC where pillow-heif is installed; the content of a file
    decides which it is, not its name. The EXIF orientation is applied; colours are brought to sRGB by the file's colour
    profile; transparent parts are laid on white; deep grey (12 and 16 bits, float in [0, 1]) is scaled to 8 bits, of
    16-bit colours the upper 8 are taken; of an animation or of several pages, the first.

    Args:
        path: an image file of any mode.
        max_pixels: larger images are refused before they unpack: a small file may hold more than memory does.
        note: called with what was left out (other frames, a colour profile that cannot be used), not with the name.

    Returns:
        `[H, W, 3]` uint8 sRGB.

    Raises:
        UserError: missing, unreadable, empty, truncated, damaged, too large, or not an image.
    """
    with _open_file(Path(path)) as file:
        return _decode_photo(file, path, max_pixels, note)


def photo_from_image(image: Image.Image) -> np.ndarray:
    """A Pillow image as `load_photo` would read its file; the image stays as it was.

    Args:
        image: of any mode.

    Returns:
        `[H, W, 3]` uint8 sRGB.

    Raises:
        ValueError: its values have no known range.
    """
    image.load()  # Pillow turns a TIFF upright here
    turned = upright(to_eight_bits(image))
    return _to_array(to_rgb(image.copy() if turned is image else turned, None))  # a copy, as `to_rgb` changes `info`


def load_mask(
    path: str | os.PathLike, *, white: White, labels: bool = True, note: Note = lambda what: None
) -> np.ndarray:
    """Reads a mask file; transparency and colour profiles are ignored.

    Args:
        path: an image file of any mode, 0 to white.
        white: what white means in the file. CUHK's own masks are `"blurred"`, DUT's `"focused"`.
        labels: whether 1 is white in a mask that holds nothing but 0 and 1, and whether deep grey of which no value is
            above 255 is of 8 bits. If not, such masks are nearly black, as they may be where a program wrote soft ones.
        note: called with what was done so, or with what is odd, in words of `data.labels`; not with the name.

    Returns:
        `[H, W]` uint8, 255 = in focus; other grey values stay grey.

    Raises:
        UserError: as `load_photo`; and, with `labels`, 16-bit colours that 8 bits would turn to black.
    """
    with _open_file(Path(path)) as file:
        return _decode_mask(file, path, white, labels, note)


def decode_photo(data: bytes, *, name: object) -> np.ndarray:
    """Decodes the bytes of an image file; `name` stands in the error. See `load_photo`."""
    return _decode_photo(io.BytesIO(data), name, MAX_PIXELS, None)


def decode_mask(data: bytes, *, name: object, white: White) -> np.ndarray:
    """Decodes the bytes of a mask file that is not of labels; `name` stands in the error. See `load_mask`."""
    return _decode_mask(io.BytesIO(data), name, white, False, _ignore)


def _open_file(path: Path) -> BinaryIO:
    try:
        if path.is_file():  # reading a pipe would wait for ever
            return path.open("rb")
        wrong = "not a file" if path.exists() else "no such file"
    except OSError as error:
        raise UserError(f"{shown(path)}: cannot be read ({error.strerror or error})") from error
    raise UserError(f"{shown(path)}: {wrong}; name an image file")


def _decode_photo(file: BinaryIO, name: object, max_pixels: int, note: Note | None) -> np.ndarray:
    photo = _decode(file, shown(name), max_pixels, lambda image: to_rgb(image, note))
    if note and (frames := count_frames(file)) > 1:
        note(f"first of {frames} frames")
    return photo


def _decode_mask(file: BinaryIO, name: object, white: White, labels: bool, note: Note) -> np.ndarray:
    if labels:
        mask = _decode(file, shown(name), MAX_PIXELS, lambda image: grey_of_mask(image, note))
        mask = to_white(own_values(mask, file, shown(name), note), note)
    else:
        mask = _decode(file, shown(name), MAX_PIXELS, to_grey)
    return mask if white == "focused" else 255 - mask


def _ignore(text: str) -> None:
    """Hears a note that nobody asked for."""


def _decode(file: BinaryIO, name: str, max_pixels: int, convert: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Decodes, brings to 8 bits, sets upright and converts, whatever Pillow's decoders throw."""
    try:
        image: Image.Image = open_image(file, name)
        if image.width * image.height > max_pixels:
            raise Image.DecompressionBombError(f"{image.width} x {image.height}, the limit is {max_pixels:,}")
        if isinstance(image, TiffImageFile):  # its `load` would go by the limit of `Image.open`, a global
            width, height = (image.tag_v2[tag] for tag in (ExifTags.Base.ImageWidth, ExifTags.Base.ImageLength))
            image.im = Image.new(image.mode, (width, height), None).im
        image.load()
        image = upright(to_eight_bits(image))  # rebound, so that no more than two versions are held at a time
        image = convert(image)
        return _to_array(image)
    except UserError:
        raise
    except Image.DecompressionBombError as error:  # ours, or that of WebP's reader, 179 million
        raise UserError(f"{name}: too many pixels ({error}); scale the photo down, or raise max_pixels") from error
    except Exception as error:  # OSError, SyntaxError, ValueError, struct.error and more, by format
        reason = " ".join(str(error).split()) or type(error).__name__
        remedy = "if it is truncated or damaged copy it again, if not save it as JPEG or 8-bit PNG"
        raise UserError(f"{name}: cannot be decoded ({reason}); {remedy}") from error


def _to_array(image: Image.Image) -> np.ndarray:
    """The pixels, of mode L or RGB; of a large image strip by strip, as `np.asarray` holds them twice meanwhile."""
    rows = max(1, 2**21 // image.width)
    if rows >= image.height:
        return np.asarray(image)
    array = np.empty((image.height, image.width, 3)[: 3 if image.mode == "RGB" else 2], np.uint8)
    for top in range(0, image.height, rows):
        array[top : top + rows] = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
    return array
