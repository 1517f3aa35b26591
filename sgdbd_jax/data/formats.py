"""The formats of image files: known in a folder by their extension or first bytes, when opened by first bytes alone.

A new format is an entry in `_SUFFIXES` and one in `_READERS`.
"""

import io
import os
import re
import stat
from collections.abc import Callable
from typing import BinaryIO

from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile, DibImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.WebPImagePlugin import WebPImageFile

from sgdbd_jax.data.colours import without_unused_alpha
from sgdbd_jax.data.jpeg import read_jpeg
from sgdbd_jax.data.opened import Opened, open_with_pillow
from sgdbd_jax.data.png import read_png
from sgdbd_jax.data.raw import read_raw
from sgdbd_jax.data.tiff import read_tiff
from sgdbd_jax.errors import UserError

_SUFFIXES = {
    "JPEG": ".jpg .jpeg .jpe .jif .jfif .jfi .mpo",
    "PNG": ".png .apng",
    "WebP": ".webp",
    "TIFF": ".tif .tiff",
    "BMP": ".bmp .dib",
    "GIF": ".gif",
    "PNM": ".pbm .pgm .ppm .pnm",
    "AVIF": ".avif .avifs",
    "HEIC": ".heic .heics .heif .heifs .hif",
    # which each maker calls otherwise
    "camera raw": ".3fr .arw .cr2 .cr3 .crw .dng .erf .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .rw2 .rwl .sr2"
    " .srf .srw .x3f",
}
SUFFIXES = frozenset(" ".join(_SUFFIXES.values()).split())
RAW_SUFFIXES = frozenset(_SUFFIXES["camera raw"].split())
EXPECTED = "files ending in .avif, .bmp, .gif, .heic, .jpg, .png, .tif, .webp or the like"  # for messages


def _pillow(reader: Callable[[BinaryIO], ImageFile], *, packed: bool = True) -> Callable[[BinaryIO], Opened]:
    def read(file: BinaryIO) -> ImageFile:
        file.seek(0)
        return reader(file)

    def open_file(file: BinaryIO) -> Opened:
        most = 0 if packed else 8 * file.seek(0, io.SEEK_END)  # a pixel has a bit at the least
        return open_with_pillow(lambda: read(file), partly=most)

    return open_file


def _bitmap(reader: Callable[[BinaryIO], ImageFile]) -> Callable[[BinaryIO], Opened]:
    def open_file(file: BinaryIO) -> Opened:
        opened = _pillow(reader, packed=False)(file)
        return Opened(opened.size, lambda hearer: without_unused_alpha(opened.load(hearer)))

    return open_file


def _heic(file: BinaryIO) -> ImageFile:
    from pillow_heif import HeifImageFile  # optional

    return HeifImageFile(file)


# A pattern of a file's first 64 bytes, and what reads such a file; the file's name plays no part. `Image.open` would
# also try dozens of other formats (one of them starts Ghostscript), take the second image that phones put into a JPEG
# for an animation's, and warn or refuse beyond a number of pixels that only a global sets.
_READERS: dict[bytes, Callable[[BinaryIO], Opened]] = {
    rb"\xff\xd8\xff": read_jpeg,
    rb"\x89PNG\r\n\x1a\n": read_png,
    rb"RIFF....WEBP": _pillow(WebPImageFile),
    rb"II.{4}HEAPCCDR|(II|MM)(U\0|\0U|R[OS]|O[RS])|FUJIFILMCCD-RAW|\0MRM|FOVb|....ftypcrx ": read_raw,
    rb"(II|MM)[*+\0]{2}": read_tiff,
    rb"BM": _bitmap(BmpImageFile),
    # without the header of a file: size of its own, one plane, bits a pixel, and the packing
    rb"\x28\0{3}.{8}\x01\0[\x01\x04\x08\x10\x18\x20]\0[\0-\x06]\0{3}": _bitmap(DibImageFile),
    rb"GIF8[79]a": _pillow(GifImageFile),
    rb"P[1-6]\s": _pillow(PpmImageFile, packed=False),
    rb"....ftyp(....)*?avi[fs]": _pillow(AvifImageFile),  # brands are listed, here and below; `mif1` may be in both
    rb"....ftyp(....)*?(he[iv][cmsx]|m[is]f1)": _pillow(_heic),
}


# What text can begin like, too, must look more like an image where no suffix says so: TIFF and its kin have a zero
# near, a bitmap has reserved bytes and the size of a header, a portable map its width and height, or a comment before
# them.
_SURELY = re.compile(
    rb"(?!BM|P[1-6]\s|II|MM)|(II|MM).{0,5}\0|BM.{4}\0{4}.{4}[\x0c-\x7c]\0{3}|P[1-6]\s+(#|\d+\s+(#|\d+\s))",
    flags=re.DOTALL,
)
# Copies that other programs keep, downloads that are not finished, and cameras' thumbnails of videos.
_LEFTOVER = re.compile(r"~$|_original$|\.(bak|crdownload|part|thm)$", flags=re.IGNORECASE)


def is_photo(path: str | os.PathLike) -> bool:
    """Whether a file of a folder is to be read as a photo: by its extension, or else by its first bytes.

    Only a file of another extension, or of none, is opened; it is no photo if it cannot be read, nor if it is a pipe, a
    socket or a device. Hidden files (a leading dot), other programs' thumbnails and forks, never are.
    """
    name = os.path.basename(path)
    if name.startswith("."):
        return False
    return has_photo_suffix(name) or (not _LEFTOVER.search(name) and _begins_as_image(path))


def has_photo_suffix(name: str) -> bool:
    """Whether a file's name ends as those of image files do, in upper or lower case."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def has_raw_suffix(name: str) -> bool:
    """Whether a file's name ends as those of camera raw do, in upper or lower case."""
    return os.path.splitext(name)[1].lower() in RAW_SUFFIXES


def _begins_as_image(path: str | os.PathLike) -> bool:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for whoever writes into it
            return False
        with open(path, "rb", buffering=0) as file:
            start = file.read(64)
    except (OSError, ValueError):
        return False
    if start[4:8] == b"ftyp":  # the box that lists brands; what follows it in a video may hold anything
        start = start[: max(8, int.from_bytes(start[:4]))]
    return bool(_SURELY.match(start)) and any(re.match(pattern, start, re.DOTALL) for pattern in _READERS)


def open_image(file: BinaryIO, name: str) -> Opened:
    """Reads the header of an image; its pixels are not unpacked yet.

    Args:
        file: seekable, read from its start.
        name: of the image, for the error.

    Raises:
        UserError: an empty file, a format that is not read, or HEIC without pillow-heif.
        MissingPackage: a format that takes a package which is not installed.
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
