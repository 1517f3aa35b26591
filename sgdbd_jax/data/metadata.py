"""What a photo's file says beside its pixels, in any format: when it was taken, and what its XMP packet holds."""

import contextlib
import io
import os
import re
import struct
import zlib
from collections.abc import Callable
from datetime import datetime
from typing import BinaryIO

from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

_EXIF_BLOCK, _TIME, _FRACTION, _OTHER_FRACTION, _XMP = 0x8769, 0x9003, 0x9291, 0x9290, 700
_START = 64  # bytes by which a format is known
_LONGEST = {_TIME: 64, _FRACTION: 64, _OTHER_FRACTION: 64, _XMP: 2**20}  # bytes of a value that is one
_BYTES = (1, 2, 7)  # kinds of values: numbers of 8 bits, text, anything
_MOST = 4096  # tags of a block that is one


def when_taken(path: str | os.PathLike) -> datetime | None:
    """The time of a photo, as the camera's clock showed it: DateTimeOriginal, with its fraction of a second.

    Of raw files that are no kind of TIFF (CR3, RAF and a few more) LibRaw tells it, in whole seconds.

    Args:
        path: an image file.

    Returns:
        The time, without a zone; `None` where the file does not tell it, or cannot be read.
    """
    for way in (_by_exif, _by_libraw):
        with contextlib.suppress(Exception):  # metadata that is damaged, whatever readers raise on it, costs no photo
            if (time := way(path)) is not None:
                return time
    return None


def embedded_xmp(path: str | os.PathLike) -> bytes | None:
    """The XMP packet in an image file, `None` where there is none that can be found.

    It is found in JPEG, PNG, WebP, AVIF, HEIC, TIFF, and raw files that are a kind of it; not in CR3, RAF and the few
    others.
    """
    with contextlib.suppress(Exception), open(path, "rb") as file:
        reader = _reader(file)
        if reader is None:
            return _first_tags(file)[1].get(_XMP)
        if reader is PngImageFile:
            return _png_packet(file)
        found = reader(file).info.get("xmp")
        return found.encode() if isinstance(found, str) else found
    return None


def _png_packet(file: BinaryIO) -> bytes | None:
    """That of a PNG file, which may follow the pixels; Pillow does not look there before it has unpacked them."""
    place = 8
    while file.seek(place) and len(start := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        if kind == b"iTXt":
            keyword, _, rest = file.read(min(length, _LONGEST[_XMP])).partition(b"\0")
            if keyword == b"XML:com.adobe.xmp":
                text = rest[2:].split(b"\0", 2)[2]  # after a language, and the keyword in it
                return zlib.decompressobj().decompress(text, _LONGEST[_XMP]) if rest[0] else text
        place += 12 + length
    return None


def _by_exif(path: str | os.PathLike) -> datetime | None:
    with open(path, "rb") as file:
        reader = _reader(file)
        if reader is not None:
            return _time_in(io.BytesIO(reader(file).info.get("exif", b"").removeprefix(b"Exif\0\0")))
        return _time_in(file)  # a TIFF, or raw files that are one: CR2, NEF, ARW, DNG, PEF, ORF, RW2


def _reader(file: BinaryIO) -> Callable[[BinaryIO], Image.Image] | None:
    """What reads the header of a file by Pillow, if it is of a format that it is for."""
    start = file.read(_START)
    file.seek(0)
    return next((read for pattern, read in _READERS.items() if re.match(pattern, start, re.DOTALL)), None)


def _by_libraw(path: str | os.PathLike) -> datetime | None:
    with open(path, "rb") as file:
        if not re.match(_RAW, file.read(_START), re.DOTALL):
            return None
    import rawpy  # optional

    with rawpy.imread(os.fspath(path)) as raw:
        time = raw.other.timestamp
    return time if time.year > 1970 else None  # 1970 begins the count, and stands for none


def _time_in(block: BinaryIO) -> datetime | None:
    """By the tags of a TIFF file, which an EXIF block is."""
    order, tags = _first_tags(block)
    if _EXIF_BLOCK in tags:
        tags = _tags(block, order, struct.unpack(order + "I", tags[_EXIF_BLOCK])[0])
    digits = re.match(r"(\d{4})\D(\d\d)\D(\d\d)\D(\d\d):(\d\d):(\d\d)", tags.get(_TIME, b"").decode("latin-1"))
    if digits is None:
        return None
    fraction = re.match(rb"\d*", tags.get(_FRACTION) or tags.get(_OTHER_FRACTION, b""))
    year, month, day, hour, minute, second = map(int, digits.groups())
    microseconds = int(fraction[0][:6].ljust(6, b"0")) if fraction else 0
    return datetime(year, month, day, hour, minute, second, microseconds)


def _first_tags(block: BinaryIO) -> tuple[str, dict[int, bytes]]:
    """The order of bytes, and the tags of the first directory."""
    start = block.read(8)
    order = {b"II": "<", b"MM": ">"}[start[:2]]  # the next two bytes differ by maker
    return order, _tags(block, order, struct.unpack(order + "I", start[4:])[0])


def _tags(block: BinaryIO, order: str, place: int) -> dict[int, bytes]:
    """The tags of a directory: of texts and packets the bytes, of the others the four that stand for them."""
    block.seek(place)
    (count,) = struct.unpack(order + "H", block.read(2))
    entries = list(struct.iter_unpack(order + "HHI4s", block.read(12 * min(count, _MOST))))
    tags = {}
    for tag, kind, length, value in entries:
        if tag in _LONGEST and kind in _BYTES:
            if length > 4:
                block.seek(struct.unpack(order + "I", value)[0])
                value = block.read(min(length, _LONGEST[tag]))
            tags[tag] = value[:length].rstrip(b"\0 ")
        elif tag == _EXIF_BLOCK:
            tags[tag] = value
    return tags


def _heic(file: BinaryIO) -> Image.Image:
    from pillow_heif import HeifImageFile  # optional

    return HeifImageFile(file)


_READERS: dict[bytes, Callable[[BinaryIO], Image.Image]] = {  # a pattern of a file's first bytes -> what reads it
    rb"\xff\xd8\xff": JpegImageFile,
    rb"\x89PNG": PngImageFile,
    rb"RIFF....WEBP": WebPImageFile,
    rb"....ftyp(....)*?avi[fs]": AvifImageFile,
    rb"....ftyp(....)*?(he[iv][cmsx]|m[is]f1)": _heic,
}
_RAW = rb"II.{4}HEAPCCDR|FUJIFILMCCD-RAW|\0MRM|FOVb|....ftypcrx "  # other raw files
