"""Formats are known by their content; of several frames the first is read."""

import sys

import numpy as np
import pytest
from handmade_images import P3
from PIL import Image, features

from sgdbd_jax.data.photos import load_photo
from sgdbd_jax.errors import UserError

HEIC_START = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def save(path, image, **options):
    image.save(path, **options)
    return path


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


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


@pytest.mark.parametrize("suffix", [".gif", ".png", ".tif", ".webp"])
def test_of_several_frames_the_first_is_taken_and_the_others_are_noted(tmp_path, suffix):
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
