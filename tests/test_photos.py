"""Reading image files of every kind, and refusing what is not one."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from sgdbd_jax.data.photos import list_photos, load_mask, load_photo, photo_stem, resize_mask, resize_photo
from sgdbd_jax.errors import UserError

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


@pytest.mark.parametrize("orientation", SHOWN)
def test_exif_orientation_is_applied(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", Image.fromarray(np.array(STORED, np.uint8)), exif=exif)
    np.testing.assert_array_equal(load_photo(path), grey(SHOWN[orientation]))
    np.testing.assert_array_equal(load_mask(path, white="focused"), SHOWN[orientation])


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


def test_a_decompression_bomb_is_refused_before_it_unpacks(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    with pytest.raises(UserError, match="bomb.png: too many pixels"):
        load_photo(path)


def test_what_is_no_image_file_is_refused(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("Dear photo,\n")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")
    for name, found in {
        "empty.jpg": r"empty file \(0 bytes\)",
        "text.jpg": "not an image",
        "folder.jpg": "not a file",
        "dangling.jpg": "no such file",
        "missing.jpg": "no such file",
    }.items():
        with pytest.raises(UserError, match=f"{name}: {found}"):
            load_photo(tmp_path / name)
        with pytest.raises(UserError, match=f"{name}: {found}"):
            load_mask(tmp_path / name, white="focused")


def test_photos_are_listed_by_extension_in_order(tmp_path):
    names = ["-dash.png", "B.JPG", "a.jpeg", "sp ace.TIF", "ünï😀.webp", "two.dots.png"]
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
    with pytest.raises(UserError, match=r"no photos; expected files ending in \.bmp, \.gif, \.jpeg"):
        list_photos(tmp_path)
    with pytest.raises(UserError, match="gone: no such folder"):
        list_photos(tmp_path / "gone")
    (tmp_path / "a.png").touch()
    with pytest.raises(UserError, match="a.png: not a folder"):
        list_photos(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["-dash.png", "sp ace.png", "ünï😀.png", "%d{x}.png"])
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
