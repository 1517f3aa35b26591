"""Reading image files of every kind, and refusing what is not one."""

import os
import struct
import sys
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, features

from sgdbd_jax.data.photos import (
    decode_photo,
    list_photos,
    load_mask,
    load_photo,
    photo_stem,
    resize_mask,
    resize_photo,
)
from sgdbd_jax.errors import UserError

HEIC_START = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"

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


def grey(rows):
    """`[H, W, 3]` of equal channels."""
    return np.repeat(np.array(rows, np.uint8)[..., None], 3, axis=-1)


def save(path, image, **options):
    image.save(path, **options)
    return path


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def png(width, height, bits, colours, row, *chunks):
    """A PNG of one row of samples, written by hand: Pillow writes no more than 8 bits of colour."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    rest = [*chunks, (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunk(*each) for each in rest)


def tiff(width, height, bits, photometric, row, bands=1):
    """A TIFF of one row of samples, uncompressed, in Intel's order; 1 or 3 bands."""
    start = struct.pack("<2sHI3H2x", b"II", 42, 16 + len(row), bits, bits, bits) + row
    depth = (258, 3, bands, bits if bands == 1 else 8)
    others = {256: width, 257: height, 259: 1, 262: photometric, 273: 16, 277: bands, 278: height, 279: len(row)}
    entries = sorted([depth, *((tag, 4, 1, value) for tag, value in others.items())])
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return start + struct.pack("<H", len(entries)) + packed + struct.pack("<I", 0)


def samples(*values):
    return struct.pack(f"<{len(values)}H", *values)


def profile(kind, colours, connection, tags):
    """An ICC profile (version 4), by its specification."""
    header = struct.pack(">8xI4s4s4s", 0x04300000, kind, colours, connection).ljust(36, b"\0") + b"acsp"
    header = header.ljust(68, b"\0") + fixed(0.9642, 1, 0.8249)  # D50
    offset = 128 + 4 + 12 * len(tags)
    table, data = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += struct.pack(">4sII", name, offset + len(data), len(content))
        data += content
    header = header.ljust(128, b"\0")
    return struct.pack(">I", len(header + table + data)) + header[4:] + table + data


def fixed(*values):
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


SRGB_CURVE = struct.pack(">4s4xHxx", b"para", 3) + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
LINEAR_CURVE = struct.pack(">4s4xI", b"curv", 0)


def rgb_profile(red, green, blue, curve=SRGB_CURVE):
    """A screen whose primaries have these XYZ, seen by D50."""
    xyz = {
        name + b"XYZ": b"XYZ \0\0\0\0" + fixed(*value) for name, value in zip((b"r", b"g", b"b"), (red, green, blue))
    }
    white = b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249)
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return profile(b"mntr", b"RGB ", b"XYZ ", {**xyz, b"wtpt": white, **curves})


def cyan_is_red():
    """A press whose cyan ink prints red, whose other colours print nothing; of 2 x 2 x 2 x 2 nodes, C the slowest."""
    white, black, red = (255, 128, 128), (0, 128, 128), (138, 209, 198)  # 8-bit Lab; the last is (54, 81, 70)
    nodes = [black if k else red if c else white for c in (0, 1) for _ in range(4) for k in (0, 1)]
    identity = bytes(range(256))
    table = struct.pack(">4s4xBBBx", b"mft1", 4, 3, 2) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += 4 * identity + bytes(np.array(nodes, np.uint8)) + 3 * identity
    return profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table})


P3 = rgb_profile((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))
NEARLY_SRGB = rgb_profile((0.436, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7139))
LINEAR_GREY = profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": LINEAR_CURVE})


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


@pytest.mark.parametrize("block", [b"Exif\0\0MM\0*\0\0", b"Exif\0\0nonsense", b"Exif\0\0"])
def test_malformed_exif_does_not_cost_the_photo(tmp_path, block):
    path = save(tmp_path / "a.png", Image.fromarray(np.array(STORED, np.uint8)), exif=block)
    np.testing.assert_array_equal(load_photo(path), grey(STORED))


def test_orientation_counts_even_if_another_tag_is_odd(tmp_path):
    tags = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack(">HHII", 0x9003, 9, 1, 7)  # a date as a number
    block = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 2) + tags + struct.pack(">I", 0)
    path = save(tmp_path / "a.png", Image.fromarray(np.array(STORED, np.uint8)), exif=block)
    np.testing.assert_array_equal(load_photo(path), grey(SHOWN[6]))


def palette(transparency=None):
    """Two pixels, orange and blue, as a palette image."""
    image = Image.new("P", (2, 1))
    image.putpalette([255, 128, 0, 0, 0, 255])
    image.putdata([0, 1])
    if transparency is not None:
        image.info["transparency"] = transparency
    return image


def sixteen(values):
    return Image.fromarray(np.array(values, np.uint16))


WHITE = [255, 255, 255]


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
        (png(2, 1, 16, 0, struct.pack(">2H", 257, 514), (b"tRNS", struct.pack(">H", 257))), [[1] * 3, [2] * 3]),
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
def test_a_profile_that_cannot_be_used_is_ignored_and_told(tmp_path, mode, icc):
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


def test_deep_grey_beyond_its_range_is_refused(tmp_path):
    for values in (
        np.full((2, 2), 70000, np.int32),
        np.full((2, 2), 2.5, np.float32),
        np.full((2, 2), np.nan, np.float32),
    ):
        path = save(tmp_path / "deep.tif", Image.fromarray(values))
        with pytest.raises(UserError, match="deep.tif: cannot be decoded.*(deeper than 16 bits|outside)"):
            load_photo(path)


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("L", (3, 2), level) for level in (10, 200)]
    path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(load_photo(path), np.full((2, 3, 3), 10))


@pytest.mark.parametrize("suffix", [".gif", ".png", ".tif", ".webp"])
def test_of_several_frames_the_first_is_taken_and_that_is_told(tmp_path, suffix):
    options = {"lossless": True} if suffix == ".webp" else {}
    frames = [Image.new("RGB", (3, 2), (level, level, level)) for level in (10, 200, 90)]
    notes: list[str] = []
    one = save(tmp_path / f"one{suffix}", frames[0], **options)
    np.testing.assert_array_equal(load_photo(one, note=notes.append), np.full((2, 3, 3), 10))
    assert not notes
    path = save(tmp_path / f"a{suffix}", frames[0], save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(load_photo(path, note=notes.append), np.full((2, 3, 3), 10))
    assert notes == ["first of 3 frames"]


def test_a_later_frame_that_is_damaged_does_not_cost_the_photo(tmp_path):
    frames = [Image.fromarray(noise(24, 24, seed)) for seed in range(3)]
    path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    whole = load_photo(path)
    path.write_bytes(path.read_bytes()[:-100])
    np.testing.assert_array_equal(load_photo(path, note=lambda text: None), whole)


def test_the_second_image_of_a_phone_is_no_frame(tmp_path):
    """Depth, a preview, or more light for bright screens, behind a JPEG."""
    image, depth = Image.new("RGB", (16, 16), (90, 90, 90)), Image.new("RGB", (16, 16))
    path = save(tmp_path / "a.jpg", image, format="MPO", save_all=True, append_images=[depth])
    with Image.open(path) as opened:
        assert opened.n_frames == 2
    notes: list[str] = []
    np.testing.assert_allclose(load_photo(path, note=notes.append), 90, atol=1)
    assert not notes


def test_mask_polarity_is_told_by_the_caller(tmp_path):
    path = save(tmp_path / "m.png", Image.fromarray(np.array([[0, 100, 255]], np.uint8)))
    np.testing.assert_array_equal(load_mask(path, white="focused"), [[0, 100, 255]])
    np.testing.assert_array_equal(load_mask(path, white="blurred"), [[255, 155, 0]])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_mask_means_the_same_in_every_mode(tmp_path, mode):
    black_white = Image.fromarray(np.array([[0, 255]], np.uint8))
    image = sixteen([[0, 65535]]) if mode == "I;16" else black_white.convert(mode)
    np.testing.assert_array_equal(load_mask(save(tmp_path / "m.png", image), white="focused"), [[0, 255]])


def test_transparency_of_a_mask_is_ignored(tmp_path):
    path = save(tmp_path / "m.png", Image.fromarray(np.array([[[0, 0, 0, 0], [255, 255, 255, 0]]], np.uint8)))
    np.testing.assert_array_equal(load_mask(path, white="focused"), [[0, 255]])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif", ".gif", ".ppm"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_a_truncated_file_is_refused_by_name(tmp_path, suffix, kept):
    noise = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    path = save(tmp_path / f"cut{suffix}", Image.fromarray(noise))
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(UserError, match=f"cut{suffix}: "):
        load_photo(path)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


BOMBS = {
    "png": png(100_000, 100_000, 8, 2, b""),
    "jpg": b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 17, 8, 60000, 60000, 3) + 9 * b"\1" + b"\xff\xda\0\2",
    "bmp": struct.pack("<2sI4xIIiiHHI24x", b"BM", 54, 54, 40, 100_000, 100_000, 1, 24, 0),
    "gif": struct.pack("<6sHHBBBBHHHHB", b"GIF89a", 65535, 65535, 0, 0, 0, 0x2C, 0, 0, 65535, 65535, 0) + b"\x08\0",
    "ppm": b"P6 100000 100000 255\n",
    "tif": tiff(100_000, 100_000, 8, 1, b""),
    "webp": struct.pack("<4sI8sIB3x", b"RIFF", 22, b"WEBPVP8X", 10, 0) + 6 * b"\xff",
}


@pytest.mark.parametrize("suffix", BOMBS)
def test_a_decompression_bomb_is_refused_before_it_unpacks(tmp_path, suffix):
    path = tmp_path / f"bomb.{suffix}"
    path.write_bytes(BOMBS[suffix])
    with pytest.raises(UserError, match=rf"bomb.{suffix}: too many pixels \(.*; scale the photo down"):
        load_photo(path)
    with pytest.raises(UserError, match=rf"bomb.{suffix}: too many pixels"):
        load_mask(path, white="focused")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".gif", ".ppm", ".tif"])
def test_the_limit_is_the_callers_whatever_pillow_says(tmp_path, monkeypatch, suffix):
    """By itself, Pillow would warn beyond 89 million pixels and refuse beyond 179 million; here beyond 10 and 20."""
    path = save(tmp_path / f"a{suffix}", Image.new("RGB", (10, 11)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path).load()
    assert load_photo(path, max_pixels=110).shape == (11, 10, 3)
    with pytest.raises(UserError, match=rf"a{suffix}: too many pixels \(10 x 11, the limit is 109\)"):
        load_photo(path, max_pixels=109)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_a_compressed_tiff_follows_the_callers_limit_too(tmp_path, monkeypatch):
    path = save(tmp_path / "a.tif", Image.fromarray(noise(10, 11)), compression="tiff_lzw")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    np.testing.assert_array_equal(load_photo(path), noise(10, 11))


def test_a_large_image_is_held_once_as_an_array(tmp_path):
    levels = np.resize(np.arange(251, dtype=np.uint8), (3000, 2000))
    path = save(tmp_path / "a.bmp", Image.fromarray(levels))
    tracemalloc.start()
    mask = load_mask(path, white="focused")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(mask, levels)
    assert peak < 2 * levels.size
    photo = load_photo(path)
    assert photo.shape == (3000, 2000, 3) and all(np.array_equal(photo[..., band], levels) for band in range(3))


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_extreme_sizes_are_read(tmp_path, size, suffix):
    path = save(tmp_path / f"a{suffix}", Image.new("RGB", size, (255, 255, 255)))
    np.testing.assert_array_equal(load_photo(path), np.full((*size[::-1], 3), 255))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF", "PPM", "WEBP"])
def test_the_content_tells_what_a_file_is(tmp_path, kind):
    path = save(tmp_path / "a.jpg", Image.new("RGB", (3, 2), (9, 9, 9)), format=kind, lossless=True)
    np.testing.assert_array_equal(load_photo(path), np.full((2, 3, 3), 9))


@pytest.mark.skipif(not features.check("avif"), reason="a Pillow without AVIF")
def test_avif_is_read(tmp_path):
    frames = [Image.new("RGB", (32, 24), colour) for colour in ((200, 30, 60), (0, 0, 0))]
    path = save(tmp_path / "a.avif", frames[0], save_all=True, append_images=frames[1:], quality=100)
    notes: list[str] = []
    photo = load_photo(path, note=notes.append)
    np.testing.assert_allclose(photo, np.broadcast_to((200, 30, 60), (24, 32, 3)), atol=4)
    assert notes == ["first of 2 frames"]


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (6, (0, -1)), (8, (-1, 0))])
def test_heic_is_read_upright_and_in_srgb(tmp_path, orientation, corner):
    """One light corner; the red of sRGB, in the numbers of Display P3."""
    heif = pytest.importorskip("pillow_heif")
    stored = np.zeros((128, 192, 3), np.uint8)
    stored[:64, :64] = 234, 51, 35
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(stored)
    image.info["icc_profile"] = P3
    path = tmp_path / "a.heic"
    heif.from_pillow(image).save(path, quality=100, chroma=444, exif=exif.tobytes())
    photo = load_photo(path)
    assert photo.shape == ((128, 192, 3) if orientation == 1 else (192, 128, 3))
    np.testing.assert_allclose(photo[corner][None], [[255, 0, 0]], atol=8)
    with pytest.raises(UserError, match="a.heic: too many pixels"):
        load_photo(path, max_pixels=128 * 192 - 1)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="a.heic: cannot be decoded"):
        load_photo(path)


def test_heic_without_its_reader_is_refused_with_the_name_of_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(HEIC_START)
    with pytest.raises(UserError, match="a.heic: HEIC cannot be read .*pip install pillow-heif"):
        load_photo(tmp_path / "a.heic")


def test_what_is_no_image_file_is_refused(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("Dear photo,\n")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "film.jpg").write_bytes(b"\0\0\0\x18ftypisom\0\0\2\0isommp41")
    for name, found in {
        "empty.jpg": r"empty file \(0 bytes\)",
        "text.jpg": "not an image",
        "folder.jpg": "not a file",
        "dangling.jpg": "no such file",
        "loop.jpg": "no such file",
        "pipe.jpg": "not a file",
        "film.jpg": "not an image",
        "a" * 300 + ".jpg": "(cannot be read|no such file)",
        "missing.jpg": "no such file",
    }.items():
        with pytest.raises(UserError, match=f"{name}: {found}"):
            load_photo(tmp_path / name)
        with pytest.raises(UserError, match=f"{name}: {found}"):
            load_mask(tmp_path / name, white="focused")


def test_a_file_without_permission_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", Image.new("L", (1, 1)))
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything

        def refuse(*args):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"a.png: cannot be read \(Permission denied\)"):
        load_photo(path)


def test_a_refusal_is_one_line_whatever_the_name(tmp_path):
    path = tmp_path / "two\nlines.jpg"
    path.touch()
    for refused in (lambda: load_photo(path), lambda: decode_photo(b"", name=path), lambda: list_photos(path)):
        with pytest.raises(UserError) as caught:
            refused()
        assert r"two\nlines.jpg" in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_links_that_lead_in_circles_are_not_followed(tmp_path):
    save(tmp_path / "a.png", Image.new("L", (1, 1)))
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert list_photos(tmp_path, recursive=True) == [tmp_path / "a.png"]
    with pytest.raises(UserError, match="self: no such folder"):
        list_photos(tmp_path / "self")


def test_photos_are_listed_by_extension_in_order(tmp_path):
    names = ["-dash.png", "B.JPG", "a.jpeg", "sp ace.TIF", "ünï😀.webp", "two.dots.png", "IMG_1.HEIC", "new\nline.heif"]
    for name in [*names, "notes.txt", ".hidden.jpg", "._B.JPG", "jpg", "a.jpg.part"]:
        (tmp_path / name).touch()
    (tmp_path / "x.jpg").mkdir()
    (tmp_path / "x.jpg" / "inner.png").touch()
    (tmp_path / ".thumbnails").mkdir()
    (tmp_path / ".thumbnails" / "t.png").touch()
    assert [path.name for path in list_photos(tmp_path)] == sorted(names)
    assert {path.name for path in list_photos(tmp_path, recursive=True)} == {*names, "inner.png"}


def test_listing_opens_no_file_and_takes_memory_by_the_name_alone(tmp_path):
    """Empty files, which no decoder takes; 400 bytes a name are 40 MB for 100,000."""
    for number in range(2000):
        (tmp_path / f"IMG_{number:06d}.jpg").touch()
    list_photos(tmp_path)  # what is loaded once is not counted
    tracemalloc.start()
    photos = list_photos(tmp_path)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(photos) == 2000
    assert held < 400 * 2000 and peak < 600 * 2000


def test_a_folder_without_photos_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no photos; expected files ending in \.avif, \.bmp, \.gif, \.heic"):
        list_photos(tmp_path)
    with pytest.raises(UserError, match="gone: no such folder"):
        list_photos(tmp_path / "gone")
    (tmp_path / "a.png").touch()
    with pytest.raises(UserError, match="a.png: not a folder"):
        list_photos(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["-dash.png", "sp ace.png", "ünï😀.png", "%d{x}.png", "new\nline.png", "\udcff.png"])
def test_odd_names_are_read(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / name)
    np.testing.assert_array_equal(load_photo(name), [[[1, 2, 3]]])


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.jpg", "a"), ("a.b.JPG", "a.b"), ("a.b", "a.b"), ("a", "a"), (".jpg", ".jpg"), ("a.png.jpg", "a.png")],
)
def test_only_an_image_extension_is_no_part_of_the_name(name, stem):
    assert photo_stem(name) == stem


def test_shrinking_averages_over_all_source_pixels():
    stripes = np.tile(np.array([0, 200], np.uint8), (8, 32))  # [8, 64]; a sample in four would see but one colour
    small = resize_photo(np.stack([stripes] * 3, axis=-1), (2, 8))
    assert small.shape == (2, 8, 3) and small.dtype == np.uint8
    np.testing.assert_allclose(small[:, 1:-1], 100, atol=5)


def test_resizing_takes_height_first_and_either_rank():
    assert resize_photo(np.zeros((4, 6), np.uint8), (3, 5)).shape == (3, 5)
    photo = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    np.testing.assert_array_equal(resize_photo(photo, (4, 6)), photo)
    np.testing.assert_array_equal(resize_photo(np.array([[0, 100]], np.uint8), (1, 4)), [[0, 25, 75, 100]])


def test_a_float_mask_is_resized_without_rounding():
    mask = resize_mask(np.array([[0.0, 0.001]], np.float32), (1, 4))
    assert mask.dtype == np.float32
    np.testing.assert_allclose(mask, [[0, 0.00025, 0.00075, 0.001]], atol=1e-8)
    ones = resize_mask(np.ones((17, 31), np.float32), (64, 5))
    assert ones.min() > 1 - 1e-6 and ones.max() <= 1
