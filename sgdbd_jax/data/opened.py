"""An image file whose header was read; its pixels are unpacked when they are asked for, as far as they are there."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

Note = Callable[[str], None]  # called with what was left out of a photo, or is damaged in it

# Of the rows of a damaged photo, so many at the least must be there for it to be worth reading.
LEAST = 0.1

_GREY: dict[str, int | tuple[int, ...]] = {"L": 128, "RGB": (128, 128, 128), "RGBA": (128, 128, 128, 255)}


class MissingPackage(Exception):
    """A package is not installed that some files are read with."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f"{what}: pip install {package}, or in a clone pip install '.[{extra}]'; or save it as JPEG")


@dataclasses.dataclass(frozen=True)
class Hearer:
    """Who hears what is wrong with a file.

    Attributes:
        note: what was left out of it, or had to be guessed.
        damaged: what of it is lost; may raise.
        dark: that deep samples look like those of fewer bits; `None` if that is nothing odd.
    """

    note: Note
    damaged: Note
    dark: Note | None


@dataclasses.dataclass(frozen=True)
class Opened:
    """What a file's header says.

    Attributes:
        size: (width, height) as stored.
        load: unpacks the pixels. In `info`, `icc_profile` may hold a colour profile, and `alpha` an image of mode L,
            how opaque each pixel is where the mode does not say it.
        frames: counts the frames or pages that show something else.
        smaller: the same image at a half, a quarter or an eighth of its size, which takes less time to unpack, and is
            no smaller than the (width, height) it is given; `None` where the format has no such way.
    """

    size: tuple[int, int]
    load: Callable[[Hearer], Image.Image]
    frames: Callable[[], int] = lambda: 1
    smaller: Callable[[tuple[int, int]], "Opened"] | None = None


def open_with_pillow(read: Callable[[], ImageFile], *, partly: float = 0) -> Opened:
    """An image as Pillow reads it.

    Args:
        read: reads the header; called again for each attempt at the pixels.
        partly: how many pixels the rows that come before damage have at the most; 0 if they are not worth having.
    """
    image = read()

    def load(hearer: Hearer) -> Image.Image:
        image = read()
        try:
            unpack(image)
            return image
        except OSError:
            if partly < LEAST * image.width * image.height:
                raise
            image, lost = load_partly(read)
            if lost.all():
                raise
            hearer.damaged(describe(lost))
            return image

    return Opened(image.size, load, lambda: getattr(read(), "n_frames", 1))


def unpack(image: ImageFile) -> None:
    """Unpacks an image in place, whatever its size: `load` of a TIFF goes by the limit of `Image.open`, a global."""
    if isinstance(image, TiffImageFile):
        width, height = (image.tag_v2[tag] for tag in (ExifTags.Base.ImageWidth, ExifTags.Base.ImageLength))
        image.im = Image.new(image.mode, (width, height), None).im
    image.load()


def load_partly(read: Callable[[], ImageFile]) -> tuple[ImageFile, np.ndarray]:
    """Unpacks what there is of a damaged image; rows that are not there become grey.

    Args:
        read: reads the header.

    Returns:
        The image, and `[H]` bool, which rows are lost.
    """
    image = read()
    width, height = image.size
    pixel = len(Image.new(image.mode, (1, 1)).tobytes())
    noise = np.random.default_rng(0).integers(0, 256, height * pixel, np.uint8)
    # What is left of this, no decoder wrote: Pillow unpacks into the image's memory, row by row.
    column = Image.frombytes(image.mode, (1, height), noise.tobytes())
    image.im = column.resize(image.size, Image.Resampling.NEAREST).im
    try:
        image.load()
    except OSError:
        image.tile = []
    lost = np.zeros(height, bool)
    for top, bottom in ranges(height, max(1, 2**21 // width)):
        found = image.crop((0, top, width, bottom))
        left = column.crop((0, top, 1, bottom)).resize(found.size, Image.Resampling.NEAREST)
        rows = (np.frombuffer(part.tobytes(), np.uint8).reshape(bottom - top, -1) for part in (found, left))
        lost[top:bottom] = np.equal(*rows).all(-1)
    edges = np.flatnonzero(np.diff(np.pad(lost, 1).astype(np.int8)))
    for top, bottom in edges.reshape(-1, 2).tolist():
        image.paste(_GREY.get(image.mode, 0), (0, top, width, bottom))
    return image, lost


def ranges(end: int, step: int) -> Iterator[tuple[int, int]]:
    """From 0 to `end` in steps: where each begins, and where it ends."""
    return ((start, min(start + step, end)) for start in range(0, end, step))


def describe(lost: np.ndarray) -> str:
    """What to say of the rows that are lost, `[H]` bool.

    Raises:
        OSError: too few are left.
    """
    count, rows = int(lost.sum()), len(lost)
    if rows - count < LEAST * rows:
        raise OSError(f"damaged: {count} of its {rows} rows are missing")
    where = "last " if lost[rows - count :].all() else "first " if lost[:count].all() else ""
    if count == 1:
        return f"damaged: {f'the {where}' if where else '1 '}of {rows} rows is missing"
    return f"damaged: {'the ' if where else ''}{where}{count} of {rows} rows are missing"


def whole(file: BinaryIO) -> bytes:
    """All bytes of a file."""
    file.seek(0)
    return file.read()
