"""Pixels of any mode to 8 bits: colours as sRGB, on white where they are transparent; masks as grey."""

import functools
import io

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageCms

from sgdbd_jax.data.opened import Note
from sgdbd_jax.data.samples import to_levels

# Colour space that a profile is made for -> mode of the pixels that it describes.
_DESCRIBED = {b"GRAY": "L", b"RGB ": "RGB", b"CMYK": "CMYK"}
_STRAIGHT = {"La": "LA", "RGBa": "RGBA"}  # colours multiplied by their opacity -> colours


def to_eight_bits(image: Image.Image, *, dark: Note | None = None) -> Image.Image:
    """Scales deep grey to 8 bits, where Pillow's own conversion would clip it to white; other modes stay as they are.

    Args:
        image: of any mode. Its `info` may name the grey that is transparent.
        dark: as in `samples.to_levels`.

    Returns:
        The image; in `info` of deep grey, `alpha` instead of `transparency`, as `to_rgb` takes it.

    Raises:
        ValueError: samples whose white is not known.
    """
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    tags = getattr(image, "tag_v2", {})  # of TIFF, where Pillow scales and inverts no more than 8 bits
    peak = 4095 if tags.get(ExifTags.Base.BitsPerSample) == (12,) else None
    samples = np.asarray(image)  # 16 bits open as I;16, or as 32-bit I
    levels = Image.fromarray(to_levels(samples, peak=peak, dark=dark))
    levels.info = {name: value for name, value in image.info.items() if name != "transparency"}
    if (key := image.info.get("transparency")) is not None:
        levels.info["alpha"] = Image.fromarray(np.where(samples == key, 0, 255).astype(np.uint8))
    white_is_zero = tags.get(ExifTags.Base.PhotometricInterpretation) == 0
    return ImageChops.invert(levels) if white_is_zero else levels


def to_rgb(image: Image.Image, note: Note | None) -> Image.Image:
    """Colours as sRGB, by the colour profile of the file; transparent parts on white.

    Args:
        image: of any mode of 8 bits; its `info` may lose its transparency. What `info` calls `alpha`, of mode L, says
            how opaque each pixel is.
        note: called if the profile cannot be used.

    Returns:
        The image in mode RGB.
    """
    alpha = image.info.pop("alpha", None)
    if alpha is None:
        if not image.has_transparency_data:
            return _to_srgb(image, note)
        image = image.convert(_STRAIGHT[image.mode]) if image.mode in _STRAIGHT else image
        alpha = (image if "A" in image.getbands() else image.convert("RGBA")).getchannel("A")
    image.info.pop("transparency", None)  # else Pillow warns that it gets lost
    opaque = _to_srgb(image, note)
    opaque.paste("white", mask=ImageChops.invert(alpha))
    return opaque


def to_grey(image: Image.Image) -> Image.Image:
    """Any mode of 8 bits as mode L; transparency and colour profiles are ignored."""
    if image.mode in _STRAIGHT:
        image = image.convert(_STRAIGHT[image.mode])
    # A palette's transparency may be a table, which Pillow drops without a warning only on the way through RGBA.
    return _in_mode(_in_mode(image, "RGBA") if image.mode == "P" else image, "L")


def without_unused_alpha(image: Image.Image) -> Image.Image:
    """An image of a format in which opacity that is 0 all over means that it was left out: BMP."""
    unused = image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0)
    return image.convert("RGB") if unused else image


def _to_srgb(image: Image.Image, note: Note | None) -> Image.Image:
    """Colours without transparency as sRGB: by the colour profile in the file, or by Pillow's rules without one."""
    if image.mode == "LAB":  # which Pillow cannot convert, and which may come without a profile
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


@functools.lru_cache(maxsize=16)  # a camera's photos share a profile, which may take longer to prepare than to apply
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


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)  # `convert` always copies
