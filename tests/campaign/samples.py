"""A small file of every format that is read, each made once a process, of the kinds that cameras and programs write."""

import functools
import io
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import handmade_images
import numpy as np
from PIL import Image, features

from .cases import Skipped

HEIGHT, WIDTH = 40, 56


@functools.cache
def pixels() -> np.ndarray:
    """`[H, W, 3]` uint8: noise on the left, which no coder shrinks, and a ramp on the right."""
    photo = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    photo[:, WIDTH // 2 :] = np.linspace(0, 255, WIDTH // 2, dtype=np.uint8)[:, None]
    return photo


def tiff(*pages: Mapping[int, Any], order: str = "<") -> bytes:
    """A TIFF, byte by byte.

    Args:
        pages: each a dict of a tag's number to its value, int, bytes or ints; tag 273 (or 324) holds the strips (or
            tiles) themselves as bytes, and 330 the pages below this one.
        order: "<" as Intel's, or ">".
    """
    data = bytearray(struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 0))

    def write(page: Mapping[int, Any], link: int) -> int:
        """Appends a page, sets the four bytes at `link` to its place, and gives the place of its own link."""
        tags = dict(page)
        for places, counts in ((273, 279), (324, 325)):
            if places in tags:
                strips, starts = tags[places], []
                for strip in strips:
                    starts.append(len(data))
                    data.extend(strip + b"\0" * (-len(strip) % 2))
                tags |= {places: starts, counts: [len(strip) for strip in strips]}
        below = tags.pop(330, ())
        if below:
            tags[330] = [0] * len(below)
        entries, patches = [], []
        for tag, value in sorted(tags.items()):
            kind, size = (7, 1) if isinstance(value, bytes) else (4, 4)
            values = value if isinstance(value, bytes | list | tuple) else [value]
            packed = value if isinstance(value, bytes) else struct.pack(f"{order}{len(values)}I", *values)
            if tag in (258, 262, 277, 284, 339, 259, 274):  # whose readers want short integers
                kind, size, packed = 3, 2, struct.pack(f"{order}{len(values)}H", *values)
            if len(packed) > 4:
                data.extend(b"\0" * (len(data) % 2))
                patches += [(len(data) + size * at) for at in range(len(values))] if tag == 330 else []
                place = struct.pack(f"{order}I", len(data))
                data.extend(packed)
            else:
                place = packed.ljust(4, b"\0")
                patches += [-len(entries) - 1] if tag == 330 else []
            entries.append(struct.pack(f"{order}HHI", tag, kind, len(values)) + place)
        data.extend(b"\0" * (len(data) % 2))
        start = len(data)
        data[link : link + 4] = struct.pack(f"{order}I", start)
        data.extend(struct.pack(f"{order}H", len(entries)) + b"".join(entries) + b"\0" * 4)
        own_link = len(data) - 4
        for each, patch in zip(below, patches):
            write(each, patch if patch >= 0 else start + 2 + 12 * (-patch - 1) + 8)
        return own_link

    link = 4
    for page in pages:
        link = write(page, link)
    return bytes(data)


def page(array: np.ndarray, order: str = "<", planar: bool = False, tile: int = 0, **more: Any) -> dict[int, Any]:
    """A TIFF page of `[H, W]` or `[H, W, C]`, uncompressed, in strips of 16 rows or in tiles."""
    bands = 1 if array.ndim == 2 else array.shape[2]
    array = array.reshape(*array.shape[:2], bands)
    kind = {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    tags: dict[int, Any] = {256: array.shape[1], 257: array.shape[0], 258: [8 * array.itemsize] * bands, 259: 1}
    tags |= {262: {1: 1, 3: 2, 4: 5}[bands], 277: bands, 284: 2 if planar else 1, 339: [kind] * bands}
    planes = np.moveaxis(array, 2, 0)[..., None] if planar else array[None]
    planes = planes.astype(array.dtype.newbyteorder(order))
    if tile:
        grow = [(0, 0), (0, -array.shape[0] % tile), (0, -array.shape[1] % tile), (0, 0)]
        planes = np.pad(planes, grow)
        tags |= {322: tile, 323: tile, 324: []}
        for plane in planes:
            for top in range(0, plane.shape[0], tile):
                for left in range(0, plane.shape[1], tile):
                    tags[324].append(plane[top : top + tile, left : left + tile].tobytes())
    else:
        tags[278] = 16
        tags[273] = [plane[top : top + 16].tobytes() for plane in planes for top in range(0, len(plane), 16)]
    return tags | {int(tag[1:]): value for tag, value in more.items()}


def _saved(kind: str, mode: str = "RGB", **options: Any) -> Callable[[], bytes]:
    """What makes a file by Pillow."""

    def make() -> bytes:
        file = io.BytesIO()
        _image(mode).save(file, kind, **options)
        return file.getvalue()

    return make


def _image(mode: str = "RGB") -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(pixels()[..., 0].astype(np.uint16) * 257)
    if mode == "F":
        return Image.fromarray(pixels()[..., 0].astype(np.float32) / 255)
    if mode == "RGBA":
        image = Image.fromarray(pixels())
        image.putalpha(Image.fromarray(np.ascontiguousarray(pixels()[..., 1])))
        return image
    return Image.fromarray(pixels()).convert(mode)


def _frames(kind: str, **options: Any) -> Callable[[], bytes]:
    frames = [_image().rotate(180 * number) for number in range(3)]
    return _saved(kind, save_all=True, append_images=frames[1:], **options)


def _avif(**options: Any) -> Callable[[], bytes]:
    def make() -> bytes:
        if not features.check("avif"):
            raise Skipped("Pillow was built without AVIF")
        return _saved("AVIF", **options)()

    return make


def _heic(mode: str) -> Callable[[], bytes]:
    def make() -> bytes:
        try:
            from pillow_heif import from_pillow
        except ImportError as error:
            raise Skipped("pillow-heif is not installed") from error
        file = io.BytesIO()
        from_pillow(_image(mode)).save(file, quality=80)
        return file.getvalue()

    return make


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation
    exif[0x010F] = "a camera"
    return exif.tobytes()


def _raw() -> bytes:
    """As cameras write: a thumbnail first, the sensor's own samples below it, a preview as JPEG beside them."""
    sensor = page(np.zeros((HEIGHT, WIDTH), np.uint16), s254=0)
    sensor |= {262: 32803, 33421: struct.pack("<HH", 2, 2), 33422: b"\0\1\1\2"}
    jpeg = _saved("JPEG")()
    preview = {254: 1, 256: WIDTH, 257: HEIGHT, 258: [8] * 3, 259: 7, 262: 6, 277: 3, 278: HEIGHT, 273: [jpeg]}
    thumbnail = page(pixels()[::4, ::4].copy(), s254=1, s330=[sensor, preview], s274=6, s50706=b"\1\4\0\0")
    return tiff(thumbnail)


def _text() -> Any:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Comment", "a text", zip=True)
    info.add_itxt("Title", "a title", zip=True)
    return info


def _deep() -> np.ndarray:
    return pixels().astype(np.uint16) * 257


PHOTOS: dict[str, Callable[[], bytes]] = {
    "jpeg": _saved("JPEG", quality=90),
    "jpeg progressive": _saved("JPEG", progressive=True, subsampling=0),
    "jpeg grey": _saved("JPEG", "L"),
    "jpeg cmyk": _saved("JPEG", "CMYK"),
    "jpeg with exif and profile": _saved("JPEG", exif=_exif(), icc_profile=handmade_images.P3, comment=b"a comment"),
    "jpeg with restarts": _saved("JPEG", restart_marker_blocks=1),
    "mpo": _frames("MPO"),
    "png": _saved("PNG"),
    "png grey": _saved("PNG", "L"),
    "png rgba": _saved("PNG", "RGBA"),
    "png palette": _saved("PNG", "P", transparency=b"\0\x80\xff"),
    "png 1 bit": _saved("PNG", "1"),
    "png 16 bit grey": _saved("PNG", "I;16"),
    "png 16 bit": lambda: handmade_images.png(6, 1, 16, 2, _deep()[0, :6].astype(">u2").tobytes()),
    "png with texts": _saved("PNG", exif=_exif(), icc_profile=handmade_images.P3, pnginfo=_text(), dpi=(72, 72)),
    "apng": _frames("PNG"),
    "webp": _saved("WEBP"),
    "webp lossless": _saved("WEBP", "RGBA", lossless=True),
    "webp alpha": _saved("WEBP", "RGBA", exif=_exif(), icc_profile=handmade_images.P3),
    "webp animated": _frames("WEBP"),
    "tiff": _saved("TIFF"),
    "tiff lzw": _saved("TIFF", compression="tiff_lzw", exif=_exif()),
    "tiff deflate": _saved("TIFF", "RGBA", compression="tiff_adobe_deflate", icc_profile=handmade_images.P3),
    "tiff packbits": _saved("TIFF", "P", compression="packbits"),
    "tiff jpeg": _saved("TIFF", compression="jpeg"),
    "tiff fax": _saved("TIFF", "1", compression="group4"),
    "tiff cmyk": _saved("TIFF", "CMYK"),
    "tiff lab": _saved("TIFF", "LAB"),
    "tiff float": _saved("TIFF", "F", compression="tiff_lzw"),
    "tiff 16 bit grey": _saved("TIFF", "I;16"),
    "tiff 16 bit": lambda: tiff(page(_deep(), ">"), order=">"),
    "tiff planar": lambda: tiff(page(pixels(), planar=True)),
    "tiff planar 16 bit": lambda: tiff(page(_deep(), planar=True)),
    "tiff tiles": lambda: tiff(page(pixels(), tile=16)),
    "tiff planar tiles 16 bit": lambda: tiff(page(_deep(), ">", planar=True, tile=16), order=">"),
    "tiff signed": lambda: tiff(page(pixels()[..., 0].astype(np.int16))),
    "tiff pages": lambda: tiff(page(pixels()), page(pixels()[::2].copy(), s254=1)),
    "dng": _raw,
    "bmp": _saved("BMP"),
    "bmp palette": _saved("BMP", "P"),
    "bmp alpha": _saved("BMP", "RGBA"),
    "bmp 1 bit": _saved("BMP", "1"),
    "gif": _saved("GIF", "P", transparency=3),
    "gif animated": _frames("GIF"),
    "pbm": _saved("PPM", "1"),
    "pgm": _saved("PPM", "L"),
    "ppm": _saved("PPM"),
    "pgm 16 bit": _saved("PPM", "I;16"),
    "ppm in letters": lambda: f"P3 {WIDTH} {HEIGHT} 255\n{' '.join(map(str, pixels().ravel()))}\n".encode(),
    "avif": _avif(),
    "avif with exif": _avif(exif=_exif(), icc_profile=handmade_images.P3),
    "heic": _heic("RGB"),
    "heic alpha": _heic("RGBA"),
}
MASKS: Sequence[str] = (
    *("png grey", "png 1 bit", "png palette", "png rgba", "png 16 bit grey", "jpeg grey", "tiff 16 bit grey"),
    *("tiff fax", "tiff float", "tiff signed", "bmp 1 bit", "bmp palette", "gif", "pgm", "pbm", "webp lossless"),
)


@functools.cache
def sample(name: str) -> bytes:
    """The file of a name in `PHOTOS`.

    Raises:
        Skipped: what writes it is not installed.
    """
    return PHOTOS[name]()
