"""Any image file -> array: photos as uint8 RGB, upright (`orientation`) and in sRGB (`colours`); masks as uint8 grey.

Which formats there are is in `formats`.
"""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image

from sgdbd_jax.data.colours import to_eight_bits, to_grey, to_rgb, without_unused_alpha
from sgdbd_jax.data.formats import open_image
from sgdbd_jax.data.labels import grey_of_mask, own_values, to_white
from sgdbd_jax.data.opened import Hearer, MissingPackage, Note, Opened
from sgdbd_jax.data.orientation import lies_sideways, upright
from sgdbd_jax.data.png import key_in_eight_bits
from sgdbd_jax.errors import UserError, shown

# More than any camera's or phone's sensor has (200 million); takes 2 GB at the least while it is read.
MAX_PIXELS = 300_000_000

# A larger image has no more pixels a byte, unless its header lies: whether a file holds them would show too late.
LARGE, DENSE = 50_000_000, 10_000

Least = Callable[[int, int], tuple[int, int]]  # from an image's height and width to those that are enough
White = Literal["focused", "blurred"]  # what white means in the file of a mask


def load_photo(path: str | os.PathLike, *, max_pixels: int = MAX_PIXELS, note: Note | None = None) -> np.ndarray:
    """Reads an image file as it is meant to be seen.

    JPEG, PNG, WebP, TIFF, BMP, GIF, PNM and AVIF, HEIC where pillow-heif is installed, and camera raw where rawpy is;
    the content of a file decides which it is, not its name. The EXIF orientation is applied; colours are brought to
    sRGB by the file's colour profile; transparent parts are laid on white; what white is in deep samples, `samples`
    says; of an animation or of several pages, the first, if it is no thumbnail of another. Metadata that is damaged
    costs no photo.

    Where data is damaged or missing, the rows that are not there become grey, or coarse in a progressive JPEG, if some
    tenth is there, or all of it coarsely, and if `note` hears of it. A JPEG or PNG that lacks nothing but the mark of
    its end is whole, and so is a PNG whose pixels come to their end, though a check sum around them is wrong.

    Args:
        path: an image file of any mode.
        max_pixels: larger images are refused before they unpack: a small file may hold more than memory does.
        note: called with what was left out (other frames, a colour profile that cannot be used), what looks odd, and
            how many rows are missing, not with the name; without it, a photo that lacks some is refused.

    Returns:
        `[H, W, 3]` uint8 sRGB.

    Raises:
        UserError: missing, unreadable, empty, truncated, damaged, too large, or not an image.
    """
    with _open_file(Path(path)) as file:
        return _decode_photo(file, path, max_pixels, note)[0]


def load_smaller(
    path: str | os.PathLike,
    least: Least,
    *,
    max_pixels: int = MAX_PIXELS,
    note: Note | None = None,
) -> tuple[np.ndarray, tuple[int, int]]:
    """Reads an image file that need not be seen in full, as `load_photo` does, if its format has a faster way.

    A JPEG holds a half, a quarter and an eighth of its size, which take a half to a third of the time to read.

    Args:
        path, max_pixels, note: as `load_photo` takes them.
        least: from an image's height and width, as stored or as displayed, to those that are enough.

    Returns:
        `[H, W, 3]` uint8 sRGB, no smaller than `least` says unless the whole is; and the whole's height and width, as
        it is displayed.

    Raises:
        UserError: as `load_photo`.
    """
    with _open_file(Path(path)) as file:
        return _decode_photo(file, path, max_pixels, note, least)


def photo_from_image(image: Image.Image) -> np.ndarray:
    """A Pillow image as `load_photo` would read its file; the image stays as it was.

    Of a PNG that names a transparent colour, Pillow does not keep all. Of 16 bits of a colour it has the upper 8: what
    has these of the transparent one is transparent. Grey of 2 or 4 bits is scaled to 8, and the transparent one is not;
    it shows as transparent where it is black, or where the image's pixels have not been loaded yet.

    Args:
        image: of any mode.

    Returns:
        `[H, W, 3]` uint8 sRGB.

    Raises:
        ValueError: it has no pixels, or its values have no known range.
    """
    if not (image.width and image.height):
        raise ValueError(f"an image must have pixels, here {image.width} x {image.height}")
    key = key_in_eight_bits(image)
    image.load()  # Pillow turns a TIFF upright here
    if image.format in {"BMP", "DIB"}:
        image = without_unused_alpha(image)
    turned = to_eight_bits(upright(image), dark=_ignore)
    turned = image.copy() if turned is image else turned  # as `info` is changed here and in `to_rgb`
    if key is not None and "transparency" in turned.info:
        turned.info["transparency"] = key
    return _to_array(to_rgb(turned, None))


def load_mask(
    path: str | os.PathLike, *, white: White, labels: bool = True, note: Note = lambda what: None
) -> np.ndarray:
    """Reads a mask file; transparency and colour profiles are ignored.

    Args:
        path: an image file of any mode, 0 to white; whole, as a mask that lacks some rows would score as another.
        white: what white means in the file. CUHK's own masks are `"blurred"`, DUT's `"focused"`.
        labels: whether 1 is white in a mask that holds nothing but 0 and 1, and whether deep grey of which no value is
            above 255 is of 8 bits. If not, such masks are nearly black, as they may be where a program wrote soft ones.
        note: called with what was done so, or with what is odd, in words of `data.labels`; not with the name.

    Returns:
        `[H, W]` uint8, 255 = in focus; other grey values stay grey.

    Raises:
        UserError: as `load_photo`.
    """
    with _open_file(Path(path)) as file:
        return _decode_mask(file, path, white, labels, note)


def decode_photo(data: bytes, *, name: object, max_pixels: int = MAX_PIXELS, note: Note | None = None) -> np.ndarray:
    """Decodes the bytes of an image file; `name` stands in the error. See `load_photo`."""
    return _decode_photo(io.BytesIO(data), name, max_pixels, note)[0]


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


def _decode_photo(
    file: BinaryIO, name: object, max_pixels: int, note: Note | None, least: Least | None = None
) -> tuple[np.ndarray, tuple[int, int]]:
    def damaged(text: str) -> None:
        if note is None:
            raise OSError(text)
        note(text)

    said = note or _ignore
    hearer = Hearer(said, damaged, said)
    return _decode(file, shown(name), max_pixels, hearer, lambda image: to_rgb(image, note), least)


def _decode_mask(file: BinaryIO, name: object, white: White, labels: bool, note: Note) -> np.ndarray:
    def damaged(text: str) -> None:
        raise OSError(text)

    hearer = Hearer(_ignore, damaged, None)
    if labels:
        mask, _ = _decode(file, shown(name), MAX_PIXELS, hearer, lambda image: grey_of_mask(image, note))
        mask = to_white(own_values(mask, file, note), note)
    else:
        mask, _ = _decode(file, shown(name), MAX_PIXELS, hearer, to_grey)
    return mask if white == "focused" else 255 - mask


def _ignore(text: str) -> None:
    """Hears a note that nobody asked for."""


def _decode(
    file: BinaryIO,
    name: str,
    max_pixels: int,
    hearer: Hearer,
    convert: Callable[[Image.Image], Image.Image],
    least: Least | None = None,
) -> tuple[np.ndarray, tuple[int, int]]:
    """Decodes, brings to 8 bits, sets upright and converts, whatever the decoders throw; and the whole's height, width.

    They are the array's own where `least` did not make it smaller.
    """
    try:
        opened = open_image(file, name)
        width, height = opened.size
        if width * height > max_pixels:
            raise Image.DecompressionBombError(f"{width} x {height}, the limit is {max_pixels:,}")
        if width <= 0 or height <= 0:
            raise ValueError(f"it has no pixels, {width} x {height}")
        if width * height > max(LARGE, DENSE * file.seek(0, io.SEEK_END)):
            raise OSError(f"damaged: its size cannot be {width} x {height}")
        if least is not None and opened.smaller is not None:
            opened = opened.smaller(least(height, width)[::-1])
        image = opened.load(hearer)
        smaller, sideways = image.size != (width, height), lies_sideways(image)
        image = upright(image)
        image = to_eight_bits(image, dark=hearer.dark)  # rebound, so that no more than two versions are held at a time
        image = convert(image)
        if (frames := _count(opened)) > 1:
            hearer.note(f"first of {frames} frames")
        array = _to_array(image)
        if least is None or not smaller:
            return array, array.shape[:2]
        return array, (width, height) if sideways else (height, width)
    except UserError:
        raise
    except MissingPackage as error:
        raise UserError(f"{name}: {error}") from error
    except Image.DecompressionBombError as error:  # ours, or that of WebP's reader, 179 million
        raise UserError(f"{name}: too many pixels ({error}); scale the photo down, or raise max_pixels") from error
    except Exception as error:  # OSError, SyntaxError, ValueError, struct.error and more, by format
        reason = " ".join(str(error).split()) or type(error).__name__
        remedy = "if it is truncated or damaged copy it again, if not save it as JPEG or 8-bit PNG"
        raise UserError(f"{name}: cannot be decoded ({reason}); {remedy}") from error


def _count(opened: Opened) -> int:
    """How many frames a readable image has; 1 if what follows the first is damaged, which should not cost the photo."""
    try:
        return opened.frames()
    except Exception:
        return 1


def _to_array(image: Image.Image) -> np.ndarray:
    """The pixels, of mode L or RGB; of a large image strip by strip, as `np.asarray` holds them twice meanwhile."""
    rows = max(1, 2**21 // image.width)
    if rows >= image.height:
        return np.asarray(image)
    array = np.empty((image.height, image.width, 3)[: 3 if image.mode == "RGB" else 2], np.uint8)
    for top in range(0, image.height, rows):
        array[top : top + rows] = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
    return array
