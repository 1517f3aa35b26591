"""TIFF files: which of their images is the photo, and what reads it.

Pillow reads samples of up to 8 bits, and those of 12; tifffile reads what is deeper, signed or a float, as well as
files that were cut off. Packed samples take imagecodecs too; without it, Pillow reads those of 16 bits.
"""

import contextlib
import importlib.util
import io
import itertools
import logging
import re
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import tifffile
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TiffImageFile

from sgdbd_jax.data.opened import Hearer, MissingPackage, Opened, describe, open_with_pillow, whole
from sgdbd_jax.data.raw import read_raw
from sgdbd_jax.data.samples import note_dark, to_levels

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # else it prints what is odd in a file

_ORIENTATION, _PROFILE = ExifTags.Base.Orientation, ExifTags.Base.InterColorProfile
_MOST_PAGES = 64  # looked at for the photo
_RAW_COLOURS = {32803, 34892}  # a filter's mosaic, linear raw
_RAW_PACKINGS = {32767, 34713}  # Sony's, Nikon's
_DNG_VERSION, _MAX_SAMPLE, _SUBFILE, _OLD_SUBFILE = 50706, 281, 254, 255
_RGB, _PALETTE, _CMYK, _YCBCR, _LAB, _ICC_LAB = 2, 3, 5, 6, 8, 9
_COLOURS = {0: 1, 1: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3, _LAB: 3, _ICC_LAB: 3}
_DEEP_GREY = {np.dtype(kind) for kind in (np.float32, np.int32, np.uint32)}  # that Pillow reads
_PLAIN, _LZW, _PACKBITS, _ZIPS = 1, 5, 32773, {8, 32946}
_PACKINGS = {_PLAIN, _LZW, _PACKBITS, 34925, 50000, *_ZIPS}  # that keep each value
# Canon's CR2, and Phase One's; other programs may have pixels where these have their marks.
_RAW_START = re.compile(rb"II\*\0\x10\0\0\0CR\x02|.{8}(IIII.waR|MMMMRaw.)", re.DOTALL)
_SMALLEST = 3000  # of so many bytes, no packing makes less than one


def read_tiff(file: BinaryIO) -> Opened:
    """The photo of a TIFF file.

    It is the first page, but if that is a thumbnail or otherwise a smaller version of another page, or of one under it,
    the largest of these. Camera raw files are for `raw`.
    """
    file.seek(0)
    tiff = tifffile.TiffFile(file)
    try:
        pages = list(itertools.islice(_pages(tiff), _MOST_PAGES))
    except IndexError as error:
        raise OSError("damaged: it has no image") from error
    if _is_raw(file, [page for page, _ in pages]):
        return read_raw(file)
    first = pages[0][0]
    photo = _choose(pages)
    opened = _open(file, photo)

    def load(hearer: Hearer) -> Image.Image:
        image = opened.load(hearer)
        for tag in (_ORIENTATION, _PROFILE):  # what is under a page, or behind it, may leave these to it
            value = _tag(photo, tag) or _tag(first, tag)
            if tag == _PROFILE and isinstance(value, bytes) and "icc_profile" not in image.info:
                image.info["icc_profile"] = value
            elif tag == _ORIENTATION and value and not (isinstance(image, TiffImageFile) and _tag(photo, tag)):
                image.getexif()[_ORIENTATION] = value
        return image

    def frames() -> int:
        row = [page for page, top in pages if top]
        before = row[: row.index(photo)] if photo in row else []
        versions = [page for page in row if page is not photo and (_is_reduced(page) or _is_mask(page))]
        versions += [page for page in before if page not in versions and _is_version(page, photo)]
        return (len(tiff.pages) if len(pages) >= _MOST_PAGES else len(row)) - len(versions)

    return Opened(opened.size, load, frames)


def _pages(tiff: tifffile.TiffFile) -> Iterator[tuple[Any, bool]]:
    """The first pages of a file and those under the pages, and whether they are in the first row; at least one.

    Damage after the first page ends the search.
    """
    tiff.pages.useframes = False
    yield tiff.pages.first, True
    with contextlib.suppress(Exception):
        for number, page in enumerate(tiff.pages):
            if number:
                yield page, True
            yield from ((under, False) for under in page.pages or ())


def _tag(page: Any, code: int) -> Any:
    tag = page.tags.get(code) if isinstance(page, tifffile.TiffPage) else None
    return None if tag is None else tag.value


def _number(page: Any, code: int) -> int:
    value = _tag(page, code)
    return value if isinstance(value, int) else 0


def _is_raw(file: BinaryIO, pages: list[Any]) -> bool:
    file.seek(0)
    return (
        _RAW_START.match(file.read(16)) is not None
        or _tag(pages[0], _DNG_VERSION) is not None
        or any(page.photometric in _RAW_COLOURS or page.compression in _RAW_PACKINGS for page in pages)
    )


def _choose(pages: list[tuple[Any, bool]]) -> Any:
    first = pages[0][0]
    shown = [page for page, _ in pages if not _is_mask(page)]
    if _is_reduced(first) or _is_mask(first):
        versions = shown
    else:
        under = [page for page in first.pages or () if not _is_mask(page)]
        versions = [first, *under, *(page for page, top in pages if top and _is_version(first, page))]
    return max(versions, key=_area, default=first)


def _is_reduced(page: Any) -> bool:
    return bool(_number(page, _SUBFILE) & 1) or _number(page, _OLD_SUBFILE) == 2


def _is_mask(page: Any) -> bool:
    return bool(_number(page, _SUBFILE) & 4)


def _is_version(page: Any, of: Any) -> bool:
    """Whether a page has the proportions of another, and half its width and height at the most."""
    crossed = page.imagewidth * of.imagelength - page.imagelength * of.imagewidth
    return abs(crossed) <= max(of.imagewidth, of.imagelength) and 2 * page.imagewidth <= of.imagewidth


def _area(page: Any) -> int:
    return page.imagewidth * page.imagelength


def _open(file: BinaryIO, page: Any) -> Opened:
    cut_off = any(_lost(page, file))
    few_bits = (
        page.bitspersample <= 8
        and page.sampleformat in {1, 4}
        and not (page.compression == _PACKBITS and page.predictor > 1)  # which libtiff does not undo
        and not (page.compression == _PLAIN and page.planarconfig == 2 and page.extrasamples)  # which Pillow does not
    )
    by_pillow = few_bits or page.bitspersample == 12
    if by_pillow and not cut_off:
        with contextlib.suppress(SyntaxError, OSError, KeyError):  # kinds that Pillow does not know
            return _by_pillow(file, page)
    if cut_off and page.compression not in _PACKINGS:
        raise OSError("damaged: the end of the file is missing")
    return _by_tifffile(file, page)


def _by_pillow(file: BinaryIO, page: Any) -> Opened:
    opened = open_with_pillow(lambda: TiffImageFile(_with_first(file, page)))
    return Opened(opened.size, opened.load)


def _with_first(file: BinaryIO, page: Any) -> BinaryIO:
    """The file, with a page as its first."""
    tiff = page.parent.tiff
    file.seek(4 if tiff.offsetsize == 4 else 8)
    place = file.tell()
    first = int.from_bytes(file.read(tiff.offsetsize), "little" if tiff.byteorder == "<" else "big")
    file.seek(0)
    if page.offset == first:
        return file
    data = bytearray(whole(file))
    data[place : place + tiff.offsetsize] = page.offset.to_bytes(
        tiff.offsetsize, "little" if tiff.byteorder == "<" else "big"
    )
    return io.BytesIO(data)


def _lost(page: Any, file: BinaryIO) -> list[bool]:
    """Which strips or tiles lie beyond the end of the file."""
    size = file.seek(0, io.SEEK_END)
    return [start + count > size for start, count in zip(page.dataoffsets, page.databytecounts)]


def _by_tifffile(file: BinaryIO, page: Any) -> Opened:
    size = file.seek(0, io.SEEK_END)
    width, height, colour = page.imagewidth, page.imagelength, int(page.photometric)
    if page.imagedepth != 1 or colour not in _COLOURS or page.samplesperpixel < _COLOURS[colour] or page.dtype is None:
        raise ValueError(f"a TIFF of a kind that is not read, of colours {page.photometric!s}")
    if colour == _PALETTE and (page.dtype.kind not in "bu" or page.colormap is None):
        raise ValueError(f"a TIFF of a palette that it lacks, or of indices of type {page.dtype}")
    if page.compression not in _PACKINGS or page.is_subsampled:
        raise ValueError(f"a TIFF whose samples of type {page.dtype} are packed by {page.compression!s}")

    def load(hearer: Hearer) -> Image.Image:
        needed = width * height * page.samplesperpixel * page.dtype.itemsize
        if needed > size * (10 if page.compression == _PLAIN else _SMALLEST):
            raise OSError(f"damaged: {size:,} bytes cannot hold {width} x {height} pixels")
        try:
            samples, lost = _unpack(file, page)
        except MissingPackage as missing:
            deep_grey = (
                page.samplesperpixel == 1
                and page.dtype in _DEEP_GREY
                and page.parent.tiff.byteorder == "<"
                and page.compression != _PACKBITS  # whose predictor libtiff does not undo
            )
            if not (deep_grey or page.dtype == np.uint16) or any(_lost(page, file)):
                raise
            try:
                image = open_with_pillow(lambda: TiffImageFile(_with_first(file, page))).load(hearer)
            except SyntaxError:  # kinds that Pillow does not know
                raise missing from None
            if deep_grey:
                return _image(np.asarray(image).view(page.dtype)[..., np.newaxis], page, hearer)
            if image.mode == "I;16":
                return image
            note_dark(int(np.asarray(image).max()).bit_length() + 8, 16, hearer.dark)
            return image
        image = _image(samples, page, hearer)
        if lost.any():
            hearer.damaged(describe(lost))
        return image

    return Opened((width, height), load)


def _unpack(file: BinaryIO, page: Any) -> tuple[np.ndarray, np.ndarray]:
    """`[H, W, C]` samples, and `[H]` bool, which rows lie beyond the end of the file."""
    packing = int(page.compression)
    if not _has_imagecodecs():
        known = packing in _ZIPS | {_PLAIN, _PACKBITS} and (page.predictor != 3 or packing == _PLAIN)
        if not known or page.bitspersample not in {1, 2, 4, 8, 16, 32, 64}:
            raise MissingPackage("its packed samples are read with imagecodecs", "imagecodecs", "tiff")
        if packing in _ZIPS:
            page.compression = tifffile.COMPRESSION.NONE  # unpacked below, to no more than it should be
    planes, _, height, width, depth = page.shaped
    samples = np.zeros((planes, height, width, depth), page.dtype)
    lost = np.zeros(height, bool)
    beyond = _lost(page, file)
    for index, (start, count) in enumerate(zip(page.dataoffsets, page.databytecounts)):
        if not count:
            continue  # sparse files leave out what is 0
        file.seek(start)
        data = file.read(count)
        rows = page.tilelength if page.is_tiled else page.rowsperstrip
        across = page.tilewidth if page.is_tiled else width
        row_bytes = -(-across * depth * page.bitspersample // 8)
        kept = rows
        if beyond[index]:
            kept = len(data) // row_bytes if packing == _PLAIN else 0
            data = data[: kept * row_bytes].ljust(row_bytes * rows, b"\0") if kept else b""
        elif packing in _ZIPS and page.compression == tifffile.COMPRESSION.NONE:
            data = zlib.decompressobj().decompress(data, row_bytes * rows)
        segment, (plane, _, top, left, _), shape = page.decode(data or None, index)
        lost[top + kept : top + rows] = True
        if segment is not None and top < height:
            part = segment[0, : height - top, : width - left]
            samples[plane, top : top + part.shape[0], left : left + part.shape[1]] = part
    page.compression = tifffile.COMPRESSION(packing)
    return np.moveaxis(samples[..., 0], 0, -1) if planes > 1 else samples[0], lost


def _has_imagecodecs() -> bool:
    return importlib.util.find_spec("imagecodecs") is not None


def _image(samples: np.ndarray, page: Any, hearer: Hearer) -> Image.Image:
    """Samples `[H, W, C]` as an image of 8 bits."""
    colour, count = int(page.photometric), _COLOURS[int(page.photometric)]
    peak = 2**page.bitspersample - 1 if page.dtype.kind == "u" and page.bitspersample % 8 else _declared(page)
    colours = samples[..., :count] if count > 1 else samples[..., 0]
    if colour == _PALETTE:
        table = np.asarray(page.colormap)
        levels = (table if table.max() < 256 else table >> 8).astype(np.uint8).T[colours.astype(np.uint16)]
    elif colour in {_LAB, _ICC_LAB}:
        if samples.dtype.kind not in "iu" or samples.dtype.itemsize > 2:
            raise ValueError(f"L*a*b* of type {samples.dtype}")
        levels = (colours.view(f"u{samples.dtype.itemsize}") >> (8 * samples.dtype.itemsize - 8)).astype(np.uint8)
        if colour == _ICC_LAB:
            levels[..., 1:] ^= 128
    else:
        levels = to_levels(np.ascontiguousarray(colours), peak=peak, dark=hearer.dark)
    if colour == 0:  # white is zero
        levels = 255 - levels
    image = Image.frombytes(
        {_CMYK: "CMYK", _YCBCR: "YCbCr", _LAB: "LAB", _ICC_LAB: "LAB"}.get(colour, "L" if levels.ndim == 2 else "RGB"),
        levels.shape[1::-1],
        levels.tobytes(),
    )
    extra = page.extrasamples or ((2,) if colour == _RGB and samples.shape[2] == 4 else ())
    opacity = next((index for index, kind in enumerate(extra) if kind in {1, 2}), None)
    if opacity is not None and count + opacity < samples.shape[2]:
        opaque = np.ascontiguousarray(samples[..., count + opacity])
        alpha = Image.fromarray(to_levels(opaque, peak=peak))
        if image.mode not in {"L", "RGB"}:
            image.info["alpha"] = alpha
        elif extra[opacity] == 1:  # colours come multiplied by it
            straight, multiplied = ("LA", "La") if image.mode == "L" else ("RGBA", "RGBa")
            image = Image.merge(multiplied, [*image.split(), alpha]).convert(straight)
        else:
            image.putalpha(alpha)
    return image


def _declared(page: Any) -> int | None:
    """What the file says is white, if it does; other than 10 bits, 12 bits and the like it is a mere statistic."""
    value = _tag(page, _MAX_SAMPLE)
    peak = max(value) if isinstance(value, tuple) else value
    return peak if peak in {2**bits - 1 for bits in range(8, 33)} else None
