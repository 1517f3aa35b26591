"""The EXIF orientation: how a photo has to be turned to stand upright."""

from PIL import ExifTags, Image

_TURNS = {  # EXIF orientation -> what sets the photo upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


_SIDEWAYS = {
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
}


def lies_sideways(image: Image.Image) -> bool:
    """Whether an image has to be turned by a quarter, so that its width becomes its height."""
    return _turn(image) in _SIDEWAYS


def upright(image: Image.Image) -> Image.Image:
    """An image turned as its EXIF block says; the same image where there is nothing to turn.

    `ImageOps.exif_transpose` would rewrite the block too, and fail on odd ones.
    """
    turn = _turn(image)
    if turn is None:
        return image
    turned = image.transpose(turn)
    if alpha := turned.info.get("alpha"):
        turned.info["alpha"] = alpha.transpose(turn)
    return turned


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a malformed block should not cost the photo
        return None
