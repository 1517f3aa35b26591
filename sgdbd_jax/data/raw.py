"""Camera raw files: the preview that the camera made, or the photo developed where that is small."""

import io
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile

from sgdbd_jax.data.opened import Hearer, MissingPackage, Opened, whole

# Of the sensor's width and height; cameras' own JPEGs lack some columns and rows at the edges, or have some more.
_FULL = 0.95, 1.05
_MOST = 1000  # pixels a byte
_ORIENTATIONS = {3: 3, 5: 8, 6: 6}  # LibRaw's flip -> the orientation of EXIF


def read_raw(file: BinaryIO) -> Opened:
    """A photo as the camera showed it: its preview, if that is as large as the sensor, give or take 5% a side.

    Else the sensor's data are developed, with the camera's white balance, and a note says so.

    Raises:
        MissingPackage: rawpy is not installed.
        OSError: LibRaw cannot read the file.
    """
    try:
        import rawpy  # optional
    except ImportError as error:
        raise MissingPackage("camera raw, which is read with rawpy (the extra raw)", "rawpy", "raw") from error

    def read() -> "rawpy.RawPy":
        try:
            return rawpy.imread(io.BytesIO(whole(file)))
        except rawpy.LibRawError as error:
            raise OSError(f"camera raw that LibRaw cannot read: {_text(error)}") from error

    with read() as raw:
        size = raw.sizes.width, raw.sizes.height
    if size[0] * size[1] > _MOST * file.seek(0, io.SEEK_END):
        raise OSError(f"damaged: its size cannot be {size[0]} x {size[1]}")

    def load(hearer: Hearer) -> Image.Image:
        with read() as raw:
            preview = _preview(raw, rawpy)
            if preview is not None and _fills(preview.size, size):
                return preview
            try:
                image = Image.fromarray(raw.postprocess(use_camera_wb=True, output_bps=8))  # LibRaw sets it upright
            except rawpy.LibRawError as error:
                raise OSError(f"camera raw that LibRaw cannot develop: {_text(error)}") from error
        found = f"its preview has only {preview.width} x {preview.height}" if preview else "it has no preview"
        hearer.note(f"developed from raw, as {found} pixels" if preview else f"developed from raw, as {found}")
        return image

    return Opened(size, load)


def _text(error: Exception) -> str:
    """What LibRaw says, which comes as bytes."""
    said = error.args[0] if error.args else ""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)


def _preview(raw, rawpy) -> Image.Image | None:
    """The largest preview, with its orientation; `None` if there is none that can be read."""
    try:
        thumb = raw.extract_thumb()
        if thumb.format == rawpy.ThumbFormat.BITMAP:
            image = Image.fromarray(np.ascontiguousarray(thumb.data))
        else:
            image = JpegImageFile(io.BytesIO(thumb.data))
            if not _fills(image.size, (raw.sizes.width, raw.sizes.height)):
                return image  # its size is all that is asked
            image.load()
    except (rawpy.LibRawError, OSError, SyntaxError, ValueError):
        return None
    exif = image.getexif()
    turn = exif.get(ExifTags.Base.Orientation) or _ORIENTATIONS.get(raw.sizes.flip, 1)
    lies = raw.sizes.width > raw.sizes.height
    if turn >= 5 and (image.width > image.height) != lies:
        turn = 1  # it stands upright already
    exif[ExifTags.Base.Orientation] = turn
    return image


def _fills(size: tuple[int, int], sensor: tuple[int, int]) -> bool:
    least, most = _FULL
    return all(least * of <= side <= most * of for side, of in zip(sorted(size), sorted(sensor)))
