"""Any image file -> array: photos as uint8 RGB, masks as uint8 with 255 = in focus."""

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from sgdbd_jax.errors import UserError

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

White = Literal["focused", "blurred"]

_TURNS = {  # EXIF orientation -> what sets the photo upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def list_photos(folder: str | os.PathLike, *, recursive: bool = False) -> list[Path]:
    """Lists the image files of a folder, by extension in either case.

    Args:
        folder: the folder. Hidden entries (a leading dot) are left out: they are other programs' thumbnails and forks.
        recursive: also look into its subfolders; links to folders are not followed.

    Returns:
        Paths sorted by their place under `folder`, the same on every machine.

    Raises:
        UserError: no such folder, not readable, or no image file in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}; name a folder of photos")

    def refuse(error: OSError) -> None:
        raise UserError(f"{folder}: cannot be listed ({error.strerror or error})") from error

    found = []
    for place, subfolders, files in os.walk(folder, onerror=refuse):
        subfolders[:] = [name for name in subfolders if recursive and not name.startswith(".")]
        found += [Path(place, name) for name in files if _has_photo_suffix(name) and not name.startswith(".")]
    if not found:
        raise UserError(f"{folder}: no photos; expected files ending in {', '.join(sorted(SUFFIXES))}")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def photo_stem(name: str) -> str:
    """The name by which a photo is paired: without its image extension, other dots kept."""
    return name.rpartition(".")[0] if _has_photo_suffix(name) else name


def load_photo(path: str | os.PathLike) -> np.ndarray:
    """Reads an image file as it is meant to be seen.

    The EXIF orientation is applied; transparent parts are laid on white; 16-bit grey and float grey in [0, 1] are
    scaled to 8 bits; of an animation the first frame is taken. Colour profiles are not applied.

    Args:
        path: an image file of any mode.

    Returns:
        `[H, W, 3]` uint8 sRGB.

    Raises:
        UserError: missing, empty, truncated, damaged, too large, or not an image.
    """
    return decode_photo(_read_bytes(Path(path)), name=path)


def load_mask(path: str | os.PathLike, *, white: White) -> np.ndarray:
    """Reads a mask file; transparency is ignored.

    Args:
        path: an image file of any mode, 0 to white.
        white: what white means in the file. CUHK's own masks are `"blurred"`, DUT's `"focused"`.

    Returns:
        `[H, W]` uint8, 255 = in focus; grey values stay grey.

    Raises:
        UserError: as `load_photo`.
    """
    return decode_mask(_read_bytes(Path(path)), name=path, white=white)


def decode_photo(data: bytes, *, name: object) -> np.ndarray:
    """Decodes the bytes of an image file; `name` stands in the error. See `load_photo`."""
    return np.asarray(_decode(data, name, _to_rgb))


def decode_mask(data: bytes, *, name: object, white: White) -> np.ndarray:
    """Decodes the bytes of a mask file; `name` stands in the error. See `load_mask`."""
    mask = np.asarray(_decode(data, name, _to_grey))
    return mask if white == "focused" else 255 - mask


def resize_photo(photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes bilinearly, averaging over the source pixels when it shrinks (antialiased).

    Args:
        photo: `[H, W, 3]` or `[H, W]` uint8.
        size: height and width wanted; the aspect ratio is not kept.

    Returns:
        `[height, width, 3]` or `[height, width]` uint8.
    """
    height, width = size
    return np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR))


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`resize_photo` for a mask as networks give it, without rounding to 8 bits.

    Args:
        mask: `[H, W]` float32 in [0, 1].
        size: height and width wanted.

    Returns:
        `[height, width]` float32 in [0, 1].
    """
    height, width = size
    resized = Image.fromarray(mask.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(resized), 0, 1)  # PIL's weights sum to 1 only up to rounding


def _has_photo_suffix(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _read_bytes(path: Path) -> bytes:
    if not path.is_file():
        raise UserError(f"{path}: {'not a file' if path.exists() else 'no such file'}; name an image file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not data:
        raise UserError(f"{path}: empty file (0 bytes); copy it again or remove it")
    return data


def _decode(data: bytes, name: object, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Decodes, sets upright, brings to 8 bits and converts, whatever PIL's decoders throw."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return convert(_to_eight_bits(_upright(image)))
    except UnidentifiedImageError as error:
        raise UserError(f"{name}: not an image in a format that can be read; save it as JPEG or PNG") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{name}: too many pixels ({error}); scale the photo down first") from error
    except Exception as error:  # OSError, SyntaxError, ValueError, struct.error and more, by format
        remedy = "if it is truncated or damaged copy it again, if not save it as JPEG or 8-bit PNG"
        raise UserError(f"{name}: cannot be decoded ({error}); {remedy}") from error


def _upright(image: Image.Image) -> Image.Image:
    """Applies the EXIF orientation. `ImageOps.exif_transpose` also rewrites the EXIF block, and fails on odd ones."""
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (SyntaxError, TypeError, ValueError, struct.error):  # a malformed block should not cost the photo
        turn = None
    return image if turn is None else image.transpose(turn)


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scales deep grey to 8 bits; PIL's own conversion would clip it to white."""
    if image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):
            raise ValueError("float samples outside [0, 1]")
        return Image.fromarray(np.rint(values * 255).astype(np.uint8))
    if image.mode.startswith("I"):  # PIL opens 16-bit grey as I;16 or, from some formats, as 32-bit I
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("samples deeper than 16 bits")
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    opaque = Image.new("RGBA", image.size, "white")
    opaque.alpha_composite(image.convert("RGBA"))
    return opaque.convert("RGB")


def _to_grey(image: Image.Image) -> Image.Image:
    # A palette's transparency may be a table, which PIL drops without a warning only on the way through RGBA.
    return (image.convert("RGBA") if image.mode == "P" else image).convert("L")
