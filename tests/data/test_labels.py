"""Masks whose numbers are labels, or 8 bits in deeper files, or colours: what is read, said and refused."""

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from sgdbd_jax.data.labels import COLOURED, SHALLOW, ZEROS_AND_ONES
from sgdbd_jax.data.photos import load_mask

LABELS = np.array([[0, 1, 0], [1, 1, 0]], np.uint8)


def save(path, pixels, mode=None):
    """Writes a file; 16-bit colours by OpenCV, for Pillow writes none."""
    if pixels.ndim == 3 and pixels.dtype == np.uint16:
        cv2.imwrite(str(path), pixels)
    else:
        image = Image.fromarray(pixels)
        (image if mode is None else image.convert(mode)).save(path)
    return path


def read(path, **options):
    """The mask, and what is said of it."""
    said: list[str] = []
    return load_mask(path, white="focused", note=said.append, **options), said


KINDS = {
    "8 bits": (LABELS, None, ".png"),
    "bitmap": (LABELS, None, ".bmp"),
    "16 bits": (LABELS.astype(np.uint16), None, ".png"),
    "16 bits, TIFF": (LABELS.astype(np.uint16), None, ".tif"),
    "32 bits": (LABELS.astype(np.int32), None, ".tif"),
    "1 scaled to 16 bits": (LABELS.astype(np.uint16) * 257, None, ".png"),
    "colours": (LABELS, "RGB", ".png"),
    "with alpha": (LABELS, "RGBA", ".png"),
    "palette": (LABELS, "P", ".png"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_of_0_and_1_is_read_as_one_of_0_and_255_and_said_so(tmp_path, kind):
    pixels, mode, suffix = KINDS[kind]
    path = save(tmp_path / f"m{suffix}", pixels, mode)
    mask, said = read(path)
    np.testing.assert_array_equal(mask, LABELS * 255)
    assert said == [ZEROS_AND_ONES]
    np.testing.assert_array_equal(load_mask(path, white="blurred"), 255 - LABELS * 255)


def test_a_palette_of_labels_is_read_by_its_numbers(tmp_path):
    """As label programs write it: 1 is dark red."""
    image = Image.new("P", (3, 2))
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    image.putdata(LABELS.ravel().tolist())
    image.save(tmp_path / "m.png")
    mask, said = read(tmp_path / "m.png")
    np.testing.assert_array_equal(mask, LABELS * 255)
    assert said == [ZEROS_AND_ONES]


def test_a_mask_of_nothing_but_1_is_white_and_one_of_0_is_black(tmp_path):
    for level, expected, words in ((1, 255, [ZEROS_AND_ONES]), (0, 0, [])):
        mask, said = read(save(tmp_path / "m.png", np.full((2, 3), level, np.uint8)))
        assert (mask == expected).all() and said == words


@pytest.mark.parametrize(
    ("pixels", "scale"),
    [
        (np.array([[0, 255]], np.uint8), 1),
        (np.array([[0, 1, 2]], np.uint8), 1),
        (np.array([[0, 1, 254]], np.uint8), 1),
        (np.array([[False, True]]), 255),
        (np.array([[0, 1]], np.float32), 255),
        (np.array([[0, 65535]], np.uint16), 1 / 257),
    ],
)
def test_other_masks_stay_as_they_are(tmp_path, pixels, scale):
    mask, said = read(save(tmp_path / ("m.tif" if pixels.dtype == np.float32 else "m.png"), pixels))
    np.testing.assert_array_equal(mask, pixels * scale)
    assert said == []


def test_8_bits_in_a_file_of_16_are_read_as_8(tmp_path):
    levels = np.array([[0, 7, 255]], np.uint16)
    mask, said = read(save(tmp_path / "m.png", levels))
    np.testing.assert_array_equal(mask, levels)
    assert said == [SHALLOW]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_masks_of_a_program_may_be_nearly_black(tmp_path, dtype):
    mask, said = read(save(tmp_path / "m.png", LABELS.astype(dtype)), labels=False)
    np.testing.assert_array_equal(mask, LABELS if dtype == np.uint8 else 0 * LABELS)
    assert said == []


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("brightest", "white", "words"), [(1, 255, ZEROS_AND_ONES), (200, 200, SHALLOW)])
def test_so_are_16_bit_colours_whose_upper_bits_are_0(tmp_path, suffix, brightest, white, words):
    levels = (LABELS[..., None] * np.full(3, brightest)).astype(np.uint16)
    path = save(tmp_path / f"m{suffix}", levels)
    mask, said = read(path)
    np.testing.assert_array_equal(mask, LABELS * white)
    assert said == [words]
    black, said = read(save(path, np.zeros_like(levels)))
    assert not black.any() and said == []
    assert load_mask(save(path, levels * np.uint16(65535 // brightest)), white="focused").max() == 255


def test_colours_are_noted_and_greys_in_colours_are_not(tmp_path):
    grey = np.tile(np.linspace(0, 255, 64).astype(np.uint8)[:, None, None], (1, 64, 3))
    photo = grey.copy()
    photo[:16, :16, 2] = 255
    for suffix in (".png", ".jpg"):
        assert read(save(tmp_path / f"grey{suffix}", grey))[1] == []
        assert read(save(tmp_path / f"photo{suffix}", photo))[1] == [COLOURED]
    for mode, suffix in (("P", ".png"), ("RGBA", ".png"), ("CMYK", ".tif")):
        assert read(save(tmp_path / f"photo{suffix}", photo, mode))[1] == [COLOURED]


@pytest.mark.parametrize("kind", ["i1", "u2", "i2", "u4", "i4", ">u2", ">i2"])
@pytest.mark.parametrize("packing", [None, "deflate"])
def test_labels_in_a_tiff_of_integers_are_read_as_white(kind, packing, tmp_path):
    order = ">" if kind[0] == ">" else "<"
    tifffile.imwrite(tmp_path / "m.tif", LABELS.astype(kind), compression=packing, byteorder=order)

    mask, said = read(tmp_path / "m.tif")

    np.testing.assert_array_equal(mask, 255 * LABELS)
    assert said == [ZEROS_AND_ONES]
