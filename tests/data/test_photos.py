"""Reading image files, and refusing what is not one, is damaged or is too large."""

import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from handmade_images import png, tiff
from PIL import Image, ImageFile

from sgdbd_jax.data.listing import list_photos
from sgdbd_jax.data.photos import decode_photo, load_mask, load_photo, load_smaller, photo_from_image
from sgdbd_jax.errors import UserError


def save(path, image, **options):
    image.save(path, **options)
    return path


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_what_white_means_in_a_mask_is_for_the_caller_to_say(tmp_path):
    path = save(tmp_path / "m.png", Image.fromarray(np.array([[0, 100, 255]], np.uint8)))
    np.testing.assert_array_equal(load_mask(path, white="focused"), [[0, 100, 255]])
    np.testing.assert_array_equal(load_mask(path, white="blurred"), [[255, 155, 0]])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif", ".gif", ".ppm"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_a_truncated_file_is_refused_by_name(tmp_path, suffix, kept):
    path = save(tmp_path / f"cut{suffix}", Image.fromarray(noise(64, 48)))
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


@pytest.mark.parametrize("suffix", [".bmp", ".ppm"])
def test_rows_that_are_cut_off_are_counted_and_the_others_are_read(tmp_path, suffix):
    """A bitmap's last row comes first."""
    path = save(tmp_path / f"a{suffix}", Image.fromarray(noise(64, 48)))
    data = path.read_bytes()
    path.write_bytes(data[: -24 * 48 * 3 - 1])
    notes: list[str] = []
    photo = load_photo(path, note=notes.append)
    where = "first" if suffix == ".bmp" else "last"
    assert notes == [f"damaged: the {where} 25 of 64 rows are missing"]
    (tmp_path / f"b{suffix}").write_bytes(data[:-1])
    with pytest.raises(UserError, match=rf"damaged: the {where} of 64 rows is missing\)"):
        load_photo(tmp_path / f"b{suffix}")
    there, lost = (slice(25, None), slice(25)) if suffix == ".bmp" else (slice(39), slice(39, None))
    np.testing.assert_array_equal(photo[there], noise(64, 48)[there])
    np.testing.assert_array_equal(photo[lost], 128)
    with pytest.raises(UserError, match="25 of 64 rows are missing"):
        load_photo(path)
    with pytest.raises(UserError, match="25 of 64 rows are missing"):
        load_mask(path, white="focused")
    path.write_bytes(data[: len(data) // 12])
    with pytest.raises(UserError, match="cannot be decoded"):
        load_photo(path, note=notes.append)


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
@pytest.mark.parametrize("mode", ["RGB", "L", "F", "I;16", "P"])
def test_an_image_without_pixels_is_refused(size, mode):
    with pytest.raises(ValueError, match=f"an image must have pixels, here {size[0]} x {size[1]}"):
        photo_from_image(Image.new(mode, size))


@pytest.mark.parametrize(
    "data", [b"P6 0 5 255\n", png(0, 0, 8, 2, b""), struct.pack("<2sI4xIIiiHHI24x", b"BM", 54, 54, 40, 0, 0, 1, 24, 0)]
)
def test_a_file_without_pixels_is_refused(data):
    with pytest.raises(UserError, match=r"a: cannot be decoded|a: not an image"):
        decode_photo(data, name="a")


def test_a_large_size_that_a_small_file_cannot_have_is_refused_at_once(tmp_path):
    gif = struct.pack("<6sHHBBBBHHHHB", b"GIF89a", 16000, 16000, 0, 0, 0, 0x2C, 0, 0, 16000, 16000, 0) + b"\x08\0;"
    with pytest.raises(UserError, match="damaged: its size cannot be 16000 x 16000"):
        decode_photo(gif, name="a")


@pytest.mark.parametrize("name", ["-dash.png", "sp ace.png", "ünï😀.png", "%d{x}.png", "new\nline.png", "\udcff.png"])
def test_odd_names_are_read(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / name)
    np.testing.assert_array_equal(load_photo(name), [[[1, 2, 3]]])


def enough(height, width):
    """A quarter of the sides, and a little more."""
    return height // 4 + 1, width // 4 + 1


def smooth(height, width):
    ramp = np.linspace(20, 230, height)[:, None] + np.linspace(-20, 20, width)
    return np.repeat(ramp[..., None], 3, axis=-1).astype(np.uint8)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_jpeg_is_read_at_a_part_of_its_size_that_is_enough(tmp_path, options):
    path = save(tmp_path / "a.jpg", Image.fromarray(smooth(201, 304)), quality=95, **options)
    photo, size = load_smaller(path, enough)
    assert (photo.shape, size) == ((101, 152, 3), (201, 304))
    np.testing.assert_allclose(photo, np.asarray(Image.open(path).resize((152, 101))), atol=4)
    for least in ((201, 304), (150, 20), (3000, 3000)):
        np.testing.assert_array_equal(load_smaller(path, lambda *_, least=least: least)[0], load_photo(path))


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_other_formats_are_read_in_full(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(smooth(40, 60)))
    photo, size = load_smaller(path, enough)
    np.testing.assert_array_equal(photo, load_photo(path))
    assert size == (40, 60)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_whole_size_is_that_at_which_a_photo_is_displayed(tmp_path, orientation):
    """Whose sides may become equal when they are halved."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.jpg", Image.fromarray(smooth(201, 202)), exif=exif)
    photo, size = load_smaller(path, lambda *_: (90, 90))
    assert size == load_photo(path).shape[:2] and photo.shape == (101, 101, 3)


def test_a_damaged_photo_is_read_as_far_as_it_goes_at_whatever_size(tmp_path):
    data = save(tmp_path / "a.jpg", Image.fromarray(noise(240, 320))).read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])
    notes = []
    photo, size = load_smaller(tmp_path / "a.jpg", enough, note=notes.append)
    assert "rows are missing" in notes[0] and size == (240, 320)
    with pytest.raises(UserError, match="damaged"):
        load_smaller(tmp_path / "a.jpg", enough)


def test_colours_of_a_part_are_brought_to_srgb_too(tmp_path):
    cmyk = Image.fromarray(smooth(200, 304)).convert("CMYK")
    path = save(tmp_path / "a.jpg", cmyk, quality=95)
    photo, size = load_smaller(path, enough)
    whole = np.asarray(Image.fromarray(load_photo(path)).resize(photo.shape[1::-1]))
    np.testing.assert_allclose(photo, whole, atol=4)
    assert size == (200, 304)
