"""The formats of image files: known by their extension in a folder, and by their first bytes when they are opened.

A new format is an entry in `SUFFIXES` and one in `_READERS`.
"""

import re
from collections.abc import Callable
from typing import BinaryIO

from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from sgdbd_jax.errors import UserError

SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)


def _read_heic(file: BinaryIO) -> ImageFile:
    from pillow_heif import HeifImageFile  # optional

    return HeifImageFile(file)


# A pattern of a file's first 64 bytes, and what reads such a file; the file's name plays no part. `Image.open` would
# also try dozens of other formats (one of them starts Ghostscript), take the second image that phones put into a JPEG
# for an animation's, and warn or refuse beyond a number of pixels that only a global sets.
_READERS: dict[bytes, Callable[[BinaryIO], ImageFile]] = {
    rb"\xff\xd8\xff": JpegImageFile,
    rb"\x89PNG": PngImageFile,
    rb"RIFF....WEBP": WebPImageFile,
    rb"(II|MM)[*+\0]{2}": TiffImageFile,
    rb"BM": BmpImageFile,
    rb"GIF8[79]a": GifImageFile,
    rb"P[1-6]\s": PpmImageFile,
    rb"....ftyp(....)*?avi[fs]": AvifImageFile,  # brands are listed, here and below; `mif1` may be in both
    rb"....ftyp(....)*?(he[iv][cmsx]|m[is]f1)": _read_heic,
}


def open_image(file: BinaryIO, name: str) -> ImageFile:
    """Reads the header of an image; its pixels are not unpacked yet.

    Args:
        file: seekable, read from its start.
        name: of the image, for the error.

    Raises:
        UserError: an empty file, a format that is not read, or HEIC without pillow-heif.
        Exception: whatever Pillow's readers raise on a damaged header.
    """
    file.seek(0)
    start = file.read(64)
    file.seek(0)
    if not start:
        raise UserError(f"{name}: empty file (0 bytes); copy it again or remove it")
    for pattern, reader in _READERS.items():
        if re.match(pattern, start, re.DOTALL):
            try:
                return reader(file)
            except ImportError as error:
                raise UserError(
                    f"{name}: HEIC cannot be read ({error}); pip install pillow-heif, or save it as JPEG"
                ) from error
    raise UserError(f"{name}: not an image in a format that can be read; save it as JPEG or PNG")


def count_frames(file: BinaryIO) -> int:
    """How many frames a readable image has; 1 if what follows the first is damaged, which should not cost the photo."""
    try:
        return getattr(open_image(file, ""), "n_frames", 1)
    except Exception:
        return 1
