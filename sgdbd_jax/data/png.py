"""PNG files without what Pillow refuses them for: metadata that is large or damaged costs no photo."""

import io
import struct
import zlib
from collections.abc import Callable, Iterable
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from sgdbd_jax.data.opened import Hearer, Opened, open_with_pillow, whole
from sgdbd_jax.data.samples import note_dark, to_levels

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = {b"IHDR", b"PLTE", b"IDAT"}
_FRAMES = {b"acTL", b"fcTL"}  # of an animation, whose first frame is read
_MOST = 8 * 1032  # pixels a byte: of one bit each, packed by zlib
_SMALL = 2**20  # bytes of text that Pillow takes
_LARGEST_PROFILE = 2**26  # bytes; those of printers have some million


def read_png(file: BinaryIO) -> Opened:
    """The image of a PNG file, or an animation's first.

    What shows in the image is kept: colour profile, transparency, EXIF. Of these, one whose check sum is wrong is left
    out with a note.

    Raises:
        OSError: the check sum of the header or the palette is wrong.
    """
    chunks, notes, profile, doubted = _read(whole(file))
    kinds = [kind for kind, _ in chunks]
    data = _SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks) + _chunk(b"IEND", b"")
    interlaced = b"IHDR" in kinds and chunks[kinds.index(b"IHDR")][1][12:13] == b"\1"

    def read() -> PngImageFile:
        return PngImageFile(io.BytesIO(data))

    opened = open_with_pillow(read, partly=0 if interlaced else _MOST * len(data))

    def load(hearer: Hearer) -> Image.Image:
        if doubted and not _is_sound(content for kind, content in chunks if kind == b"IDAT"):
            raise OSError("damaged: the check sum of its pixels is wrong")
        for text in notes:
            hearer.note(text)
        image = _to_eight_bits(opened.load(hearer), read, hearer)
        if profile:
            image.info["icc_profile"] = profile
        return image

    return Opened(opened.size, load, opened.frames)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _read(data: bytes) -> tuple[list[tuple[bytes, bytes]], list[str], bytes | None, bool]:
    """What matters of a file up to the end of its first image.

    Returns:
        The chunks; what to say of those that are left out, or odd; the colour profile; and whether a check sum of the
        pixels is wrong.
    """
    chunks: list[tuple[bytes, bytes]] = []
    notes: list[str] = []
    profile, doubted = None, False
    position = len(_SIGNATURE)
    view = memoryview(data)
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        content, end = bytes(view[position + 8 : position + 8 + length]), position + 12 + length
        right = data[end - 4 : end] == struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
        position = end
        if kind == b"IEND" or (kind == b"fcTL" and any(each == b"IDAT" for each, _ in chunks)):
            break
        if kind in _PIXELS:
            if end > len(data) and kind == b"IDAT":
                chunks.append((kind, content))  # cut off: read as far as it goes
                break
            if not right and kind == b"IDAT":
                doubted = True
            elif not right:
                raise OSError(f"damaged: the check sum of its {_NAMES[kind]} is wrong")
            chunks.append((kind, content))
        elif kind == b"iCCP":
            profile = _profile(content) if right else None
            if profile is None:
                notes.append("colour profile ignored (it is damaged)")
        elif kind in {b"tRNS", b"eXIf"}:
            if right:
                chunks.append((kind, content))
            else:
                notes.append(f"{_NAMES[kind]} ignored (its check sum is wrong)")
        elif right and (kind in _FRAMES or _is_exif_text(kind, content)):
            chunks.append((kind, content))
    if doubted:
        notes.append("a wrong check sum in its data")
    return chunks, notes, profile, doubted


def _is_sound(parts: Iterable[bytes]) -> bool:
    """Whether packed pixels come to their end and are what their own check sum says."""
    unzip = zlib.decompressobj()
    try:
        for part in parts:
            while part and not unzip.eof:
                unzip.decompress(part, 2**20)
                part = unzip.unconsumed_tail
    except zlib.error:
        return False
    return unzip.eof


_NAMES = {b"IHDR": "header", b"PLTE": "palette", b"tRNS": "transparency", b"eXIf": "EXIF"}


def _unzip(data: bytes, most: int) -> bytes | None:
    try:
        unzip = zlib.decompressobj()
        unzipped = unzip.decompress(data, most)
        return unzipped if unzip.eof else None
    except zlib.error:
        return None


def _profile(content: bytes) -> bytes | None:
    _, _, packed = content.partition(b"\0")
    return _unzip(packed[1:], _LARGEST_PROFILE) if packed[:1] == b"\0" else None


def _is_exif_text(kind: bytes, content: bytes) -> bool:
    """Whether older programs put EXIF, which has the orientation, into a text of a size that Pillow takes."""
    name, _, text = content.partition(b"\0")
    if kind not in {b"tEXt", b"zTXt", b"iTXt"} or name not in {b"Raw profile type exif", b"XML:com.adobe.xmp"}:
        return False
    if kind == b"zTXt":
        return text[:1] == b"\0" and _unzip(text[1:], _SMALL) is not None
    packed = kind == b"iTXt" and text[:1] == b"\1"
    return len(text) < _SMALL and (not packed or _unzip(text[2:].split(b"\0", 2)[-1], _SMALL) is not None)


def _to_eight_bits(image: Image.Image, read: Callable[[], PngImageFile], hearer: Hearer) -> Image.Image:
    """An image of 16 bits, or one whose transparent pixels are told by their value, in terms that Pillow goes by."""
    depths = {"I;16B": 16, "RGB;16B": 16, "LA;16B": 16, "RGBA;16B": 16, "1": 1, "L;2": 2, "L;4": 4}
    bits, key = depths.get(str(read().tile[0].args), 8), image.info.get("transparency")
    if bits < 8 and key is not None:
        image = image.convert("L")  # already scaled to 8 bits
        image.info["transparency"] = key * 255 // (2**bits - 1) if bits > 1 else key
    elif image.mode == "I;16":
        samples = np.asarray(image)
        levels = Image.fromarray(to_levels(samples, dark=hearer.dark))
        if key is not None:
            levels.info["alpha"] = Image.fromarray(np.where(samples == key, 0, 255).astype(np.uint8))
        return _like(image, levels)
    elif bits == 16:
        brightest = max(np.asarray(image.getchannel(band)).max() for band in image.getbands() if band != "A")
        note_dark(int(brightest).bit_length() + 8, 16, hearer.dark)
        if key is not None:
            lower = read()
            lower.tile = [lower.tile[0]._replace(args="RGB;16L")]  # what is the upper byte in the other byte order
            lower.load()
            samples = np.asarray(image).astype(np.uint16) << 8 | np.asarray(lower)
            image.info["alpha"] = Image.fromarray(np.where((samples == key).all(-1), 0, 255).astype(np.uint8))
            del image.info["transparency"]
    return image


def key_in_eight_bits(image: Image.Image) -> int | tuple[int, ...] | bytes | None:
    """The transparent grey or colour of an image as Pillow opens it, in terms of its pixels as far as that is known."""
    key = image.info.get("transparency")
    tiles = getattr(image, "tile", None)  # gone when the image is loaded
    bits = {"L;2": 2, "L;4": 4}.get(str(tiles[0].args)) if tiles else None
    if image.format == "PNG" and bits and isinstance(key, int):
        return key * 255 // (2**bits - 1)
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        return tuple(sample >> 8 for sample in key)
    return key


def _like(image: Image.Image, levels: Image.Image) -> Image.Image:
    """With what else the file says of the image: EXIF above all."""
    levels.info = {name: value for name, value in image.info.items() if name != "transparency"} | levels.info
    return levels
