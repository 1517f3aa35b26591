"""Whatever holds a photo, as the array that it is."""

import contextlib
import io
from typing import Any

import numpy as np
from PIL import Image

from sgdbd_jax.data.photos import decode_photo, load_photo, photo_from_image
from sgdbd_jax.errors import UserError, shown


def as_pixels(photo: Any) -> np.ndarray:
    """The pixels of a photo.

    Args:
        photo: as `Detector` takes one: a path, an open file, bytes, a PIL image, an array of any library.

    Returns:
        `[H, W, 3]` uint8; of what came as an array, the same array, which `check_photo` has not seen.

    Raises:
        UserError: a file, or the bytes of one, that is no photo.
        ValueError: an image whose values have no known range.
        TypeError: none of these things, or a file opened as text.
    """
    if isinstance(photo, np.ndarray):
        return photo
    if isinstance(photo, Image.Image):
        return photo_from_image(photo)
    if isinstance(photo, bytes | bytearray) or (isinstance(photo, memoryview) and photo.ndim == 1):
        data = bytes(photo)
        return decode_photo(data, name=f"image of {len(data)} bytes")
    if isinstance(photo, str) or hasattr(photo, "__fspath__"):
        return load_photo(photo)
    if hasattr(photo, "read") or hasattr(photo, "read_bytes"):  # the latter: a path inside an archive
        return _read(photo)
    if isinstance(photo, memoryview) or hasattr(photo, "__array__"):
        return _as_array(photo)
    raise TypeError(
        "a photo is a path, an open file, bytes, a PIL image or a uint8 array [H, W, 3], and several are a list or"
        f" tuple of these; here {type(photo).__name__}"
    )


def check_photo(photo: np.ndarray) -> None:
    """Refuses an array that is no photo, and says how it becomes one.

    Raises:
        ValueError: it is not `[H, W, 3]` uint8, or empty.
    """
    if photo.dtype == np.uint8 and photo.ndim == 3 and photo.shape[2] == 3 and photo.size:
        return
    found = f"a photo must be uint8 [H, W, 3], here {photo.dtype} {photo.shape}"
    remedy = _remedy(photo)
    raise ValueError(f"{found}; {remedy}" if remedy else found)


def _remedy(photo: np.ndarray) -> str:
    """What makes a photo of an array that is none, if anything is known to."""
    if photo.size == 0:
        return "it has no pixels"
    if photo.dtype == object:
        return "several photos are taken as a list"
    if photo.ndim == 1 and photo.dtype == np.uint8:
        return "bytes of an image file are taken as bytes: array.tobytes()"
    if photo.ndim == 3 and photo.shape[0] in (1, 3, 4) and photo.shape[2] not in (1, 3, 4):
        return "channels come last: array.transpose(1, 2, 0)"
    if photo.ndim == 2 or photo.ndim == 3 and photo.shape[2] == 1:
        return "of grey make three channels: np.dstack([array] * 3)"
    if photo.ndim == 3 and photo.shape[2] in (2, 4) and photo.dtype == np.uint8:
        return "PIL.Image.fromarray(array) is taken with its alpha channel, array[..., :3] without"
    if photo.ndim == 3 and np.issubdtype(photo.dtype, np.floating):
        return "of values in [0, 1] multiply by 255: np.rint(255 * array).astype(np.uint8)"
    if photo.ndim == 3 and photo.dtype == np.uint16:
        return "scale 16 bits to 8: (array // 257).astype(np.uint8)"
    if photo.ndim == 3 and np.issubdtype(photo.dtype, np.integer):
        return "of values from 0 to 255: array.astype(np.uint8)"
    return ""


def _as_array(photo: Any) -> np.ndarray:
    try:
        return np.asarray(photo)
    except Exception as error:  # of another library's: on a GPU, with a gradient, of a type that NumPy has not
        raise ValueError(
            f"{type(photo).__name__} cannot become a NumPy array ({str(error) or type(error).__name__}); make it uint8"
            " [H, W, 3] in the computer's memory"
        ) from error


def _read(file: Any) -> np.ndarray:
    """Decodes an open file, from its beginning if it can be rewound, as Pillow does."""
    named = getattr(file, "name", None)
    name = named if isinstance(named, str) else str(file) if hasattr(file, "read_bytes") else "open file"
    text = TypeError(f"{shown(name)}: was opened as text; open it in binary mode, as open(path, 'rb')")
    if isinstance(file, io.TextIOBase):
        raise text
    try:
        if hasattr(file, "read_bytes"):
            data = file.read_bytes()
        else:
            with contextlib.suppress(AttributeError, OSError):  # a connection, which has no way back
                file.seek(0)
            data = file.read()
    except UnicodeDecodeError as error:
        raise text from error
    except Exception as error:  # closed, cut off, damaged: an archive's and a connection's files have errors of theirs
        raise UserError(f"{shown(name)}: cannot be read ({str(error) or type(error).__name__})") from error
    if isinstance(data, str):
        raise text
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"{shown(name)}: reading it gives {type(data).__name__}, not bytes")
    return decode_photo(bytes(data), name=name)
