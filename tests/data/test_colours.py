"""Every mode, depth and colour profile comes to 8 bits: photos in sRGB, masks as their grey values."""

import io
import struct
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from handmade_images import (
    LINEAR_CURVE,
    LINEAR_GREY,
    NEARLY_SRGB,
    P3,
    cyan_is_red,
    png,
    profile,
    rgb_profile,
    samples,
    tiff,
)
from PIL import Image, ImageCms

from sgdbd_jax.data.photos import decode_photo, load_mask, load_photo, photo_from_image
from sgdbd_jax.errors import UserError

WHITE = [255, 255, 255]


def save(path, image, **options):
    image.save(path, **options)
    return path


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def sixteen(values):
    return Image.fromarray(np.array(values, np.uint16))


def palette(transparency=None):
    """Two pixels, orange and blue, as a palette image."""
    image = Image.new("P", (2, 1))
    image.putpalette([255, 128, 0, 0, 0, 255])
    image.putdata([0, 1])
    if transparency is not None:
        image.info["transparency"] = transparency
    return image


@pytest.mark.parametrize(
    ("image", "suffix", "expected"),
    [
        (Image.fromarray(np.array([[False, True]])), ".png", [[0, 0, 0], WHITE]),
        (Image.fromarray(np.array([[7, 250]], np.uint8)), ".png", [[7, 7, 7], [250, 250, 250]]),
        (Image.fromarray(np.array([[[9, 255], [9, 0]]], np.uint8), "LA"), ".png", [[9, 9, 9], WHITE]),
        (palette(), ".png", [[255, 128, 0], [0, 0, 255]]),
        (palette(), ".gif", [[255, 128, 0], [0, 0, 255]]),
        (palette(transparency=1), ".png", [[255, 128, 0], WHITE]),
        (palette(transparency=bytes([0, 255])), ".png", [WHITE, [0, 0, 255]]),
        (Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)), ".bmp", [[1, 2, 3], [4, 5, 6]]),
        (Image.fromarray(np.array([[[1, 2, 3, 255], [4, 5, 6, 0]]], np.uint8)), ".png", [[1, 2, 3], WHITE]),
        (Image.fromarray(np.array([[[0, 0, 0, 51], [200, 0, 0, 255]]], np.uint8)), ".png", [[204] * 3, [200, 0, 0]]),
        (
            Image.fromarray(np.array([[[255, 0, 0, 0], [0, 0, 0, 255]]], np.uint8), "CMYK"),
            ".tif",
            [[0, 255, 255], [0] * 3],
        ),
        (sixteen([[0, 65535]]), ".png", [[0, 0, 0], WHITE]),
        (sixteen([[257 * 100 + 128, 257 * 100 + 129]]), ".png", [[100] * 3, [101] * 3]),  # nearest of 256 levels
        (sixteen([[257, 257 * 200]]), ".tif", [[1] * 3, [200] * 3]),
        (Image.fromarray(np.array([[257 * 3, 65535]], np.int32)), ".tif", [[3] * 3, WHITE]),
        (Image.fromarray(np.array([[0.2, 1.0]], np.float32)), ".tif", [[51] * 3, WHITE]),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else None,
)
def test_every_mode_becomes_eight_bit_rgb(tmp_path, image, suffix, expected):
    photo = load_photo(save(tmp_path / f"a{suffix}", image))
    assert photo.dtype == np.uint8
    np.testing.assert_array_equal(photo, [expected])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(2, 1, 16, 0, struct.pack(">2H", 257 * 100 + 128, 65535)), [[100] * 3, WHITE]),
        (png(2, 1, 16, 2, struct.pack(">6H", 0x64FF, 0x8000, 0xFFFF, 0, 1, 256)), [[100, 128, 255], [0, 0, 1]]),
        (png(2, 1, 16, 4, struct.pack(">4H", 0x64FF, 65535, 0, 0)), [[100] * 3, WHITE]),
        (png(2, 1, 16, 6, struct.pack(">8H", 0x64FF, 0x8000, 0, 65535, 9, 9, 9, 0)), [[100, 128, 0], WHITE]),
        (png(2, 1, 16, 0, struct.pack(">2H", 257, 514), (b"tRNS", struct.pack(">H", 257))), [WHITE, [2] * 3]),
        (tiff(2, 1, 16, 1, samples(257, 65535)), [[1] * 3, WHITE]),
        (tiff(2, 1, 16, 0, samples(257, 65535)), [[254] * 3, [0] * 3]),  # white is zero
        (tiff(2, 1, 8, 0, bytes([1, 255])), [[254] * 3, [0] * 3]),
        (tiff(2, 1, 12, 1, b"\xff\xf0\x10"), [WHITE, [1] * 3]),  # 4095 and 16
        (tiff(2, 1, 16, 2, samples(0x64FF, 0x8000, 0xFFFF, 0, 1, 256), 3), [[100, 128, 255], [0, 0, 1]]),
        (tiff(2, 1, 8, 8, bytes([138, 81, 70, 255, 0, 0]), 3), [[255, 0, 0], WHITE]),  # Lab; red is (54, 81, 70)
    ],
    ids=["g", "rgb", "ga", "rgba", "g+key", "tiff g", "tiff inverted", "tiff inverted 8", "tiff 12", "tiff rgb", "lab"],
)
def test_deep_and_odd_samples_become_eight_bit_rgb(data, expected):
    np.testing.assert_allclose(decode_photo(data, name="a"), [expected], atol=5 * (expected[0] == [255, 0, 0]))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_deep_colour_as_another_program_writes_it(tmp_path, suffix):
    values = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), np.uint16)
    assert cv2.imwrite(str(tmp_path / f"a{suffix}"), values[..., ::-1])
    np.testing.assert_array_equal(load_photo(tmp_path / f"a{suffix}"), values >> 8)


def bitmap(*pixels):
    """A BMP of one row, 32 bits a pixel (blue, green, red, opacity), whose header names the opacity's bits."""
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, len(pixels), 1, 1, 32, 3, 4 * len(pixels), 2835, 2835, 0, 0) + masks
    rows = b"".join(map(bytes, pixels))
    start = struct.pack("<2sI4xI", b"BM", 14 + 108 + len(rows), 14 + 108)
    return start + header.ljust(108, b"\0") + rows


def test_opacity_that_a_bitmap_leaves_out_is_full_and_one_that_it_gives_counts():
    unused, used = bitmap((30, 20, 10, 0), (6, 5, 4, 0)), bitmap((30, 20, 10, 255), (6, 5, 4, 0))
    np.testing.assert_array_equal(decode_photo(unused, name="a"), [[[10, 20, 30], [4, 5, 6]]])
    np.testing.assert_array_equal(decode_photo(used, name="a"), [[[10, 20, 30], WHITE]])
    for data in (unused, used):
        with Image.open(io.BytesIO(data)) as image:
            np.testing.assert_array_equal(photo_from_image(image), decode_photo(data, name="a"))


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_opacity_of_0_all_over_is_meant_elsewhere(tmp_path, suffix):
    image = Image.new("RGBA", (2, 2), (10, 20, 30, 0))
    np.testing.assert_array_equal(load_photo(save(tmp_path / f"a{suffix}", image)), 255)


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_colours_multiplied_by_their_opacity_are_laid_on_white(mode):
    image = Image.new("LA" if mode == "La" else "RGBA", (2, 2), (200, 128) if mode == "La" else (200, 200, 200, 128))
    np.testing.assert_allclose(photo_from_image(image.convert(mode)), 227, atol=2)


def test_deep_grey_beyond_its_range_is_refused(tmp_path):
    for values in (
        np.full((2, 2), 70000, np.int32),
        np.full((2, 2), 2.5, np.float32),
        np.full((2, 2), np.nan, np.float32),
    ):
        path = save(tmp_path / "deep.tif", Image.fromarray(values))
        with pytest.raises(UserError, match="deep.tif: cannot be decoded.*(deeper than 16 bits|outside)"):
            load_photo(path)


def test_a_wide_gamut_profile_is_applied(tmp_path):
    """Display P3 writes the red of sRGB as (234, 51, 35), and its greys as sRGB does."""
    photo = np.array([[[234, 51, 35], [100, 100, 100]]], np.uint8)
    path = save(tmp_path / "a.png", Image.fromarray(photo), icc_profile=P3)
    notes: list[str] = []
    np.testing.assert_allclose(load_photo(path, note=notes.append), [[[255, 0, 0], [100] * 3]], atol=1)
    assert not notes


@pytest.mark.parametrize("mode", ["P", "RGBA", "L"])
def test_a_profile_of_colours_counts_in_every_mode_that_holds_them(tmp_path, mode):
    """Here with linear levels: half the light is level 188."""
    icc = rgb_profile((0.436, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7139), LINEAR_CURVE)
    image = Image.new("RGB", (4, 4), (128, 128, 128)).convert(mode, palette=Image.Palette.ADAPTIVE)
    np.testing.assert_allclose(load_photo(save(tmp_path / "a.png", image, icc_profile=icc)), 188, atol=1)


def test_transparency_is_laid_on_white_after_the_profile(tmp_path):
    """Half of level 188 and half of white."""
    image = Image.fromarray(np.array([[[128, 255], [128, 128]]], np.uint8), "LA")
    path = save(tmp_path / "a.png", image, icc_profile=LINEAR_GREY)
    np.testing.assert_allclose(load_photo(path), [[[188] * 3, [221] * 3]], atol=1)


@pytest.mark.parametrize("image", [Image.new("L", (2, 1), 128), Image.new("I;16", (2, 1), 128 * 257)])
def test_a_grey_profile_is_applied(tmp_path, image):
    path = save(tmp_path / "a.png", image, icc_profile=LINEAR_GREY)
    np.testing.assert_allclose(load_photo(path), 188, atol=1)
    np.testing.assert_array_equal(load_mask(path, white="focused"), 128)  # values, not colours


def inks(*colours):
    """Fields of 16 x 16 pixels side by side, whose values JPEG keeps."""
    return Image.fromarray(np.kron(np.array([colours], np.uint8), np.ones((16, 16, 1), np.uint8)), "CMYK")


@pytest.mark.parametrize(("suffix", "options"), [(".jpg", {"quality": 100}), (".tif", {})])
def test_cmyk_follows_its_profile_or_without_one_the_plain_rule(tmp_path, suffix, options):
    """JPEGs of Adobe's, and Pillow's, hold inverted values."""
    image = inks((0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 0, 255))
    plain = save(tmp_path / f"plain{suffix}", image, **options)
    assert (b"Adobe" in plain.read_bytes()) == (suffix == ".jpg")
    np.testing.assert_allclose(load_photo(plain)[8, 8::16], [WHITE, [0, 255, 255], [0, 0, 0]], atol=2)
    printed = save(tmp_path / f"printed{suffix}", image, icc_profile=cyan_is_red(), **options)
    np.testing.assert_allclose(load_photo(printed)[8, 8::16], [WHITE, [255, 0, 0], [0, 0, 0]], atol=4)


def test_an_adobe_jpeg_is_read_as_by_another_program(tmp_path):
    path = save(tmp_path / "a.jpg", inks((200, 30, 90, 20), (10, 120, 60, 100)), quality=100)
    np.testing.assert_allclose(load_photo(path)[:, :, ::-1], cv2.imread(str(path)), atol=3)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_profiles_of_srgb_leave_each_value_as_it_is(tmp_path, suffix):
    options = {"lossless": True} if suffix == ".webp" else {}
    plain = load_photo(save(tmp_path / f"plain{suffix}", Image.fromarray(noise(64, 48)), **options))
    for icc in (NEARLY_SRGB, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()):
        path = save(tmp_path / f"a{suffix}", Image.fromarray(noise(64, 48)), icc_profile=icc, **options)
        assert icc in path.read_bytes() or suffix == ".png"  # PNG packs it
        np.testing.assert_array_equal(load_photo(path), plain)


@pytest.mark.parametrize(
    ("mode", "icc"),
    [
        ("RGB", b"nonsense"),
        ("RGB", P3[:100]),
        ("RGB", P3[:300]),
        ("RGB", P3[:128] + b"\xff" * 400),
        ("RGB", profile(b"mntr", b"RGB ", b"XYZ ", {})),
        ("RGB", cyan_is_red()),
        ("RGB", LINEAR_GREY),
        ("CMYK", P3),
        ("L", cyan_is_red()),
        ("P", LINEAR_GREY),
    ],
    ids=["text", "header", "cut", "wild", "empty", "press", "grey", "screen", "grey-press", "palette-grey"],
)
def test_a_profile_that_cannot_be_used_is_ignored_and_reported(tmp_path, mode, icc):
    image = Image.new("RGB", (16, 16), (90, 90, 90)).convert(mode)
    plain = load_photo(save(tmp_path / "plain.tif", image))
    notes: list[str] = []
    path = save(tmp_path / "a.tif", image, icc_profile=icc)
    np.testing.assert_array_equal(load_photo(path, note=notes.append), plain)
    assert len(notes) == 1 and notes[0].startswith("colour profile ignored (")
    np.testing.assert_array_equal(load_photo(path), plain)


def test_masks_do_not_go_through_profiles(tmp_path):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for icc in (LINEAR_GREY, P3, b"nonsense"):
        path = save(tmp_path / "m.png", Image.fromarray(levels), icc_profile=icc)
        np.testing.assert_array_equal(load_mask(path, white="focused"), levels)


def test_threads_share_a_profile(tmp_path):
    paths = [save(tmp_path / f"{seed}.png", Image.fromarray(noise(64, 64, seed)), icc_profile=P3) for seed in range(8)]
    alone = [load_photo(path) for path in paths]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(pool.map(load_photo, 4 * paths), 4 * alone, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_mask_means_the_same_in_every_mode(tmp_path, mode):
    black_white = Image.fromarray(np.array([[0, 255]], np.uint8))
    image = sixteen([[0, 65535]]) if mode == "I;16" else black_white.convert(mode)
    np.testing.assert_array_equal(load_mask(save(tmp_path / "m.png", image), white="focused"), [[0, 255]])


def test_transparency_of_a_mask_is_ignored(tmp_path):
    path = save(tmp_path / "m.png", Image.fromarray(np.array([[[0, 0, 0, 0], [255, 255, 255, 0]]], np.uint8)))
    np.testing.assert_array_equal(load_mask(path, white="focused"), [[0, 255]])
