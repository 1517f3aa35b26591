"""Any image file -> array: photos as uint8 RGB, masks as uint8 with 255 = in focus."""

import functools
import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Literal, cast

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageCms
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from sgdbd_jax.errors import UserError, shown

SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)

# More than any camera's or phone's sensor has (200 million); takes 2 GB at the least while it is read.
MAX_PIXELS = 300_000_000

White = Literal["focused", "blurred"]
Note = Callable[[str], None]

_TURNS = {  # EXIF orientation -> what sets the photo upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _read_heic(file: BinaryIO) -> ImageFile:
    from pillow_heif import HeifImageFile  # an extra

    return HeifImageFile(file)


# What reads a file, by how it begins; its name has no say. `Image.open` would try dozens of other formats too (one of
# them starts Ghostscript), take the second image that phones put into a JPEG for an animation's, and warn or refuse
# beyond a number of pixels that only a global sets.
_READERS: dict[bytes, Callable[[BinaryIO], ImageFile]] = {
    rb"\xff\xd8\xff": JpegImageFile,
    rb"\x89PNG": PngImageFile,
    rb"RIFF....WEBP": WebPImageFile,
    rb"(II|MM)[*+\0]{2}": TiffImageFile,
    rb"BM": BmpImageFile,
    rb"GIF8[79]a": GifImageFile,
    rb"P[1-6]\s": PpmImageFile,
    rb"....ftyp(....)*?avi[fs]": AvifImageFile,  # a list of brands, here and in the next; both may have `mif1`
    rb"....ftyp(....)*?(he[iv][cmsx]|m[is]f1)": _read_heic,
}

_DESCRIBED = {b"GRAY": "L", b"RGB ": "RGB", b"CMYK": "CMYK"}  # colour space of a profile -> mode of pixels it describes


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

    def refuse(error: OSError) -> None:
        raise UserError(f"{shown(error.filename)}: cannot be listed ({error.strerror})") from error

    try:
        wrong = None if folder.is_dir() else "not a folder" if folder.exists() else "no such folder"
    except OSError as error:
        refuse(error)
    if wrong:
        raise UserError(f"{shown(folder)}: {wrong}; name a folder of photos")
    found = []
    for place, subfolders, files in os.walk(folder, onerror=refuse):
        subfolders[:] = [name for name in subfolders if recursive and not name.startswith(".")]
        found += [Path(place, name) for name in files if _has_photo_suffix(name) and not name.startswith(".")]
    if not found:
        raise UserError(f"{shown(folder)}: no photos; expected files ending in {', '.join(sorted(SUFFIXES))}")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def photo_stem(name: str) -> str:
    """The name by which a photo is paired: without its image extension, other dots kept."""
    return name.rpartition(".")[0] if _has_photo_suffix(name) else name


def load_photo(path: str | os.PathLike, *, max_pixels: int = MAX_PIXELS, note: Note | None = None) -> np.ndarray:
    """Reads an image file as it is meant to be seen.

    JPEG, PNG, WebP, TIFF, BMP, GIF, PNM and AVIF, and HEIC where pillow-heif is installed, told by content, not name.
    The EXIF orientation is applied; colours are brought to sRGB by the file's colour profile; transparent parts are
    laid on white; deep grey (12 and 16 bits, float in [0, 1]) is scaled to 8 bits, of 16-bit colours the upper 8 are
    taken; of an animation or of several pages, the first.

    Args:
        path: an image file of any mode.
        max_pixels: larger images are refused before they unpack: a small file may hold more than memory does.
        note: told, without the photo's name, what was left out: other frames, a colour profile that cannot be used.

    Returns:
        `[H, W, 3]` uint8 sRGB.

    Raises:
        UserError: missing, unreadable, empty, truncated, damaged, too large, or not an image.
    """
    with _open_file(Path(path)) as file:
        return _decode_photo(file, path, max_pixels, note)


def photo_from_image(image: Image.Image) -> np.ndarray:
    """A Pillow image as `load_photo` would read its file; the image stays as it was.

    Args:
        image: of any mode.

    Returns:
        `[H, W, 3]` uint8 sRGB.

    Raises:
        ValueError: its values have no known range.
    """
    image.load()  # Pillow turns a TIFF upright here
    upright = _upright(_to_eight_bits(image))
    return _to_array(_to_rgb(image.copy() if upright is image else upright, None))  # which changes `info`


def load_mask(path: str | os.PathLike, *, white: White) -> np.ndarray:
    """Reads a mask file; transparency and colour profiles are ignored.

    Args:
        path: an image file of any mode, 0 to white.
        white: what white means in the file. CUHK's own masks are `"blurred"`, DUT's `"focused"`.

    Returns:
        `[H, W]` uint8, 255 = in focus; grey values stay grey.

    Raises:
        UserError: as `load_photo`.
    """
    with _open_file(Path(path)) as file:
        return _decode_mask(file, path, white)


def decode_photo(data: bytes, *, name: object, max_pixels: int = MAX_PIXELS, note: Note | None = None) -> np.ndarray:
    """Decodes the bytes of an image file; `name` stands in the error. See `load_photo`."""
    return _decode_photo(io.BytesIO(data), name, max_pixels, note)


def decode_mask(data: bytes, *, name: object, white: White) -> np.ndarray:
    """Decodes the bytes of a mask file; `name` stands in the error. See `load_mask`."""
    return _decode_mask(io.BytesIO(data), name, white)


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


def _open_file(path: Path) -> BinaryIO:
    try:
        if path.is_file():  # reading a pipe would wait for ever
            return path.open("rb")
        found = "not a file" if path.exists() else "no such file"
    except OSError as error:
        raise UserError(f"{shown(path)}: cannot be read ({error.strerror or error})") from error
    raise UserError(f"{shown(path)}: {found}; name an image file")


def _decode_photo(file: BinaryIO, name: object, max_pixels: int, note: Note | None) -> np.ndarray:
    photo = _decode(file, shown(name), max_pixels, lambda image: _to_rgb(image, note))
    if note and (frames := _count_frames(file)) > 1:
        note(f"first of {frames} frames")
    return photo


def _decode_mask(file: BinaryIO, name: object, white: White) -> np.ndarray:
    mask = _decode(file, shown(name), MAX_PIXELS, _to_grey)
    return mask if white == "focused" else 255 - mask


def _decode(file: BinaryIO, name: str, max_pixels: int, convert: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Decodes, brings to 8 bits, sets upright and converts, whatever Pillow's decoders throw."""
    try:
        image: Image.Image = _open(file, name)
        if image.width * image.height > max_pixels:
            raise Image.DecompressionBombError(f"{image.width} x {image.height}, the limit is {max_pixels:,}")
        if isinstance(image, TiffImageFile):  # it would ask the global of `Image.open` to make room
            width, height = (image.tag_v2[tag] for tag in (ExifTags.Base.ImageWidth, ExifTags.Base.ImageLength))
            image.im = Image.new(image.mode, (width, height), None).im
        image.load()
        image = _upright(_to_eight_bits(image))  # rebound, so that no more than two versions are held at a time
        image = convert(image)
        return _to_array(image)
    except UserError:
        raise
    except Image.DecompressionBombError as error:  # WebP's reader knows a limit of its own, 179 million
        raise UserError(f"{name}: too many pixels ({error}); scale the photo down, or raise max_pixels") from error
    except ImportError as error:
        raise UserError(
            f"{name}: HEIC cannot be read ({error}); pip install pillow-heif, or save it as JPEG"
        ) from error
    except Exception as error:  # OSError, SyntaxError, ValueError, struct.error and more, by format
        reason = " ".join(str(error).split()) or type(error).__name__
        remedy = "if it is truncated or damaged copy it again, if not save it as JPEG or 8-bit PNG"
        raise UserError(f"{name}: cannot be decoded ({reason}); {remedy}") from error


def _open(file: BinaryIO, name: str) -> ImageFile:
    """Reads the header of an image."""
    file.seek(0)
    start = file.read(64)
    file.seek(0)
    if not start:
        raise UserError(f"{name}: empty file (0 bytes); copy it again or remove it")
    for pattern, reader in _READERS.items():
        if re.match(pattern, start, re.DOTALL):
            return reader(file)
    raise UserError(f"{name}: not an image in a format that can be read; save it as JPEG or PNG")


def _count_frames(file: BinaryIO) -> int:
    """How many frames a readable image has; 1 if what follows the first is damaged, which should not cost the photo."""
    try:
        return getattr(_open(file, ""), "n_frames", 1)
    except Exception:
        return 1


def _upright(image: Image.Image) -> Image.Image:
    """Applies the EXIF orientation. `ImageOps.exif_transpose` also rewrites the EXIF block, and fails on odd ones."""
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a malformed block should not cost the photo
        turn = None
    return image if turn is None else image.transpose(turn)


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scales deep grey to 8 bits; Pillow's own conversion would clip it to white."""
    if image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):
            raise ValueError("float samples outside [0, 1]")
        return Image.fromarray(np.rint(values * 255).astype(np.uint8))
    if image.mode.startswith("I"):  # 16 bits open as I;16 or, from some formats, as 32-bit I
        deep = image.convert("I")
        low, high = cast(tuple[int, int], deep.getextrema())
        if low < 0 or high > 65535:
            raise ValueError("samples deeper than 16 bits")
        tags = getattr(image, "tag_v2", {})  # of TIFF, where Pillow scales and inverts no more than 8 bits
        peak = 4095 if tags.get(ExifTags.Base.BitsPerSample) == (12,) else 65535
        levels = (np.minimum(np.arange(65536), peak) * 255 + peak // 2) // peak
        if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:  # white is zero
            levels = 255 - levels
        deep.info.pop("transparency", None)
        return deep.point(levels.tolist(), "L")
    return image


def _to_rgb(image: Image.Image, note: Note | None) -> Image.Image:
    if not image.has_transparency_data:
        return _to_srgb(image, note)
    alpha = (image if "A" in image.getbands() else image.convert("RGBA")).getchannel("A")
    image.info.pop("transparency", None)  # else Pillow warns that it gets lost
    opaque = _to_srgb(image, note)
    opaque.paste("white", mask=ImageChops.invert(alpha))
    return opaque


def _to_srgb(image: Image.Image, note: Note | None) -> Image.Image:
    """Colours without transparency as sRGB: by the colour profile in the file, or by Pillow's rules without one."""
    if image.mode == "LAB":  # there is no rule, and need not be a profile
        return _transform(ImageCms.createProfile("LAB"), "LAB").apply(image)
    colours = "L" if image.mode in {"1", "L", "LA"} else "CMYK" if image.mode == "CMYK" else "RGB"
    try:
        if profile := image.info.get("icc_profile"):
            described = _DESCRIBED.get(profile[16:20], "")
            if described != colours and (described, colours) != ("RGB", "L"):
                raise ImageCms.PyCMSError(f"it is not for images of mode {image.mode}")
            if transform := _profile_to_srgb(profile, described):
                return transform.apply(_in_mode(image, described))
    except (ImageCms.PyCMSError, ImportError, TypeError) as error:  # ImportError: a Pillow without LittleCMS
        if note:
            note(f"colour profile ignored ({error})")
    return _in_mode(image, "RGB")


@functools.lru_cache(maxsize=16)  # the photos of a camera share one, and to prepare it may take longer than to apply it
def _profile_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From pixels of a mode to sRGB; None where that changes next to nothing, as with the many profiles of sRGB."""
    transform = _transform(ImageCms.getOpenProfile(io.BytesIO(profile)), mode)
    if mode == "RGB":
        levels = np.linspace(0, 255, 9).astype(np.uint8)
        probe = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
        if np.abs(probe - np.asarray(transform.apply(Image.fromarray(probe)), np.int16)).max() <= 2:
            return None
    return transform


def _transform(profile: ImageCms.ImageCmsProfile | ImageCms.core.CmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    # Without compensation, the black of a printed page would be the dark grey that it is beside a screen's.
    srgb, flags = ImageCms.createProfile("sRGB"), ImageCms.Flags.BLACKPOINTCOMPENSATION
    return ImageCms.buildTransform(profile, srgb, mode, "RGB", flags=flags)


def _to_grey(image: Image.Image) -> Image.Image:
    # A palette's transparency may be a table, which Pillow drops without a warning only on the way through RGBA.
    return _in_mode(_in_mode(image, "RGBA") if image.mode == "P" else image, "L")


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)  # `convert` always copies


def _to_array(image: Image.Image) -> np.ndarray:
    """The pixels, of mode L or RGB; of a large image strip by strip, as `np.asarray` holds them twice meanwhile."""
    rows = max(1, 2**21 // image.width)
    if rows >= image.height:
        return np.asarray(image)
    array = np.empty((image.height, image.width, 3)[: 3 if image.mode == "RGB" else 2], np.uint8)
    for top in range(0, image.height, rows):
        array[top : top + rows] = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
    return array
