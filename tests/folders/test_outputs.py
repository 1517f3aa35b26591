"""What the files of a photo show."""

import io

import numpy as np
import pytest
from PIL import Image

from sgdbd_jax.folders.outputs import ENDINGS, Results, binary_mask, eight_bits, overlay, thumbnails

PHOTO = np.array([[[200, 100, 0], [200, 100, 0], [10, 20, 30]]], np.uint8)
MASK = np.array([[255, 0, 102]], np.uint8)


def opened(results, photo=PHOTO, mask=MASK):
    """The pictures by the end of their names, with their modes."""
    pictures = {}
    for ending, data in results.files(photo, mask):
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.format == "PNG"
            pictures[ending] = (picture.mode, np.asarray(picture).tolist())
    return pictures


def test_a_mask_is_rounded_to_8_bits():
    mask = np.array([[0.0, 0.0019, 0.002, 0.5, 0.75, 1.0]], np.float32)
    np.testing.assert_array_equal(eight_bits(mask), [[0, 0, 1, 128, 191, 255]])
    assert mask[0, 4] == np.float32(0.75)  # it is left as it was


def test_only_the_mask_is_made_unless_more_is_asked_for():
    assert opened(Results()) == {".mask.png": ("L", MASK.tolist())}
    assert Results().endings == [".mask.png"]
    assert tuple(Results(overlay=True, cutout=True, binary="fixed").endings) == ENDINGS


def test_a_cutout_has_the_photo_s_colours_and_the_mask_as_alpha():
    cutout = [[[200, 100, 0, 255], [200, 100, 0, 0], [10, 20, 30, 102]]]
    assert opened(Results(cutout=True))[".cutout.png"] == ("RGBA", cutout)


def test_an_overlay_shows_the_photo_where_in_focus_and_hides_it_elsewhere():
    shown = np.asarray(overlay(PHOTO, MASK), float)
    np.testing.assert_array_equal(shown[0, 0], PHOTO[0, 0])
    np.testing.assert_allclose(shown[0, 1], [0.35 * 200 + 0.65 * 90, 0.35 * 100, 0.65 * 160], atol=1)
    np.testing.assert_allclose(shown[0, 2], [0.61 * 10 + 0.39 * 90, 0.61 * 20, 0.61 * 30 + 0.39 * 160], atol=1)
    assert opened(Results(overlay=True))[".overlay.png"] == ("RGB", shown.astype(int).tolist())
    assert PHOTO[0, 1, 0] == 200  # it is left as it was


def test_polarity_turns_masks_and_only_them():
    focused, blurred = (opened(Results(polarity, True, True, "fixed")) for polarity in ("focused", "blurred"))
    assert focused[".mask.png"] == ("L", [[255, 0, 102]])
    assert blurred[".mask.png"] == ("L", [[0, 255, 153]])
    assert focused[".binary.png"] == ("L", [[255, 0, 0]])
    assert blurred[".binary.png"] == ("L", [[0, 255, 255]])
    for ending in (".overlay.png", ".cutout.png"):
        assert focused[ending] == blurred[ending]


def chosen(kind, *values):
    mask = np.array([values], np.uint8)
    made = binary_mask(mask, kind)
    assert made.dtype == np.uint8 and set(made.ravel().tolist()) <= {0, 255}
    return [value for value, is_chosen in zip(values, made[0]) if is_chosen]


def test_binary_masks_are_what_their_names_say():
    assert chosen("fixed", 0, 127, 128, 255) == [128, 255]  # 0.5 of 255 is 127.5
    assert chosen("conservative", 0, 229, 230, 255) == [230, 255]  # 0.9 of 255 is 229.5
    assert chosen("adaptive", 0, 20, 40, 60, 30) == [60]  # 1.5 * mean is 45
    assert chosen("adaptive", 0, 20, 40, 45, 45) == [45, 45]  # exactly: 1.5 * 30
    assert chosen("adaptive", 250, 255, 240) == [255]  # the threshold is 1 at most
    assert chosen("adaptive", 0, 0) == [0, 0]  # as in the protocol, which counts a black mask as all chosen


@pytest.mark.parametrize(("shape", "small"), [((600, 400), (256, 171)), ((40, 30), (40, 30)), ((1, 5000), (1, 256))])
def test_thumbnails_keep_the_photo_s_shape_and_are_small(shape, small):
    photo = np.full((*shape, 3), 200, np.uint8)
    for data, expected in zip(thumbnails(photo, np.zeros(shape, np.uint8)), ([200, 200, 200], [128, 70, 174])):
        with Image.open(io.BytesIO(data)) as picture:
            assert (picture.format, picture.size) == ("JPEG", small[::-1])
            np.testing.assert_allclose(np.asarray(picture).mean((0, 1)), expected, atol=3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (64, 48)])
def test_a_mask_s_file_has_each_of_its_levels(shape):
    for mask in (np.random.default_rng(0).integers(0, 256, shape, np.uint8), np.full(shape, 200, np.uint8)):
        assert opened(Results(), mask=mask) == {".mask.png": ("L", mask.tolist())}
