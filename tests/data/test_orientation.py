"""The EXIF orientation sets photos and masks upright, once, whatever the format."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from sgdbd_jax.data.photos import decode_photo, load_mask, load_photo, photo_from_image

STORED = [[1, 2, 3], [4, 5, 6]]
# What the EXIF standard says is shown: orientation 6, for one, has the first stored row on the right, its start on top.
SHOWN = {
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[4, 1], [5, 2], [6, 3]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[3, 6], [2, 5], [1, 4]],
}


def grey(levels):
    """`[H, W, 3]` of equal channels."""
    return np.repeat(np.array(levels, np.uint8)[..., None], 3, axis=-1)


def save(path, image, **options):
    image.save(path, **options)
    return path


def sixteen(values):
    return Image.fromarray(np.array(values, np.uint16))


@pytest.mark.parametrize("orientation", SHOWN)
def test_exif_orientation_is_applied(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", Image.fromarray(np.array(STORED, np.uint8)), exif=exif)
    np.testing.assert_array_equal(load_photo(path), grey(SHOWN[orientation]))
    np.testing.assert_array_equal(load_mask(path, white="focused"), SHOWN[orientation])


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".webp"])
def test_exif_orientation_is_applied_once_in_every_format(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.kron(np.array(STORED, np.uint8) * 40, np.ones((16, 16), np.uint8))
    path = save(tmp_path / f"a{suffix}", Image.fromarray(stored).convert("RGB"), exif=exif)
    centres = load_photo(path)[8::16, 8::16]
    np.testing.assert_allclose(centres, grey(SHOWN[orientation]) * 40, atol=2)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_deep_grey_is_set_upright_too(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / f"a{suffix}", sixteen(np.array(STORED) * 257), exif=exif)
    np.testing.assert_array_equal(load_photo(path), grey(SHOWN[6]))


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "I;16B", "F"])
def test_an_image_of_any_mode_is_set_upright(mode, orientation):
    black_and_white = np.array([[0, 0, 255], [255, 0, 0]], np.uint8)
    stored = Image.fromarray(black_and_white)
    if mode.startswith("I"):
        kind = {"I": "<i4", "I;16": "<u2", "I;16B": ">u2"}[mode]
        image = Image.frombytes(mode, (3, 2), (black_and_white.astype(kind) * 257).astype(kind).tobytes())
    elif mode == "F":
        image = Image.fromarray(black_and_white.astype(np.float32) / 255)
    else:
        image = (stored if mode == "1" else stored.convert("RGB")).convert(mode)
    image.getexif()[0x0112] = orientation
    flat = np.array([[1, 2, 3], [4, 5, 6]])
    expected = np.zeros(np.shape(SHOWN[orientation]))
    for position, level in zip(flat.ravel(), black_and_white.ravel()):
        expected[np.array(SHOWN[orientation]) == position] = level
    np.testing.assert_array_equal(photo_from_image(image), grey(expected))


@pytest.mark.parametrize("orientation", SHOWN)
def test_what_is_transparent_by_its_deep_value_turns_with_its_image(orientation):
    """The third pixel stored."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = np.array(SHOWN[orientation], np.uint8)
    data = io.BytesIO()
    sixteen(np.array(STORED) * 257).save(data, "PNG", transparency=3 * 257, exif=exif)
    np.testing.assert_array_equal(decode_photo(data.getvalue(), name="a"), grey(np.where(shown == 3, 255, shown)))


@pytest.mark.parametrize("block", [b"Exif\0\0MM\0*\0\0", b"Exif\0\0nonsense", b"Exif\0\0"])
def test_malformed_exif_does_not_cost_the_photo(tmp_path, block):
    path = save(tmp_path / "a.png", Image.fromarray(np.array(STORED, np.uint8)), exif=block)
    np.testing.assert_array_equal(load_photo(path), grey(STORED))


def test_orientation_counts_even_if_another_tag_is_odd(tmp_path):
    tags = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack(">HHII", 0x9003, 9, 1, 7)  # a date as a number
    block = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 2) + tags + struct.pack(">I", 0)
    path = save(tmp_path / "a.png", Image.fromarray(np.array(STORED, np.uint8)), exif=block)
    np.testing.assert_array_equal(load_photo(path), grey(SHOWN[6]))
