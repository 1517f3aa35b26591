"""Formats are known by their content; of several frames the first is read; a folder's photos are told by both."""

import os
import socket
import sys

import numpy as np
import pytest
from handmade_images import P3
from PIL import Image, features

from sgdbd_jax.data.formats import is_photo
from sgdbd_jax.data.photos import load_photo, photo_from_image
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


@pytest.mark.parametrize("suffix", ["jfif", "JFIF", "jpe", "Jpg", "MPO", "apng", "pnm", "PBM", "HIF", "heics", "dib"])
def test_an_extension_of_a_format_that_is_read_is_enough_in_any_case(tmp_path, suffix):
    assert is_photo(tmp_path / f"a.{suffix}")  # which is not there, so it was not opened


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_a_bitmap_without_the_header_of_a_file_is_read(tmp_path, mode):
    image = Image.fromarray(noise(6, 9)).convert(mode)
    image.save(tmp_path / "a.bmp")
    image.save(tmp_path / "a", format="DIB")
    assert not (tmp_path / "a").read_bytes().startswith(b"BM")
    assert is_photo(tmp_path / "a")
    np.testing.assert_array_equal(load_photo(tmp_path / "a"), load_photo(tmp_path / "a.bmp"))
    with Image.open(tmp_path / "a") as opened:
        np.testing.assert_array_equal(photo_from_image(opened), load_photo(tmp_path / "a.bmp"))


KINDS = ["JPEG", "PNG", "TIFF", "BMP", "GIF", "PPM", "WEBP"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["scan", "IMG.1", "a.jpg_large", "b.bin", "c.txt", "d."])
def test_other_files_are_photos_by_their_first_bytes(tmp_path, kind, name):
    assert is_photo(save(tmp_path / name, Image.new("RGB", (3, 2)), format=kind))


NO_PHOTOS = {
    "mp4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41\0\0\0\x08free",
    "mov": b"\0\0\0\x14ftypqt  \0\0\2\0qt  \0\0\0\x08wide",
    # Media that reads as a brand where brands no longer are.
    "chance": b"\0\0\0\x14ftypqt  \0\0\2\0qt  \0\0\1\0mdatavifheicmif1",
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj",
    "xmp": b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>",
    "json": b'{"P3": 1}',
    "npy": b"\x93NUMPY\x01\0v\0{'descr': '|u1'}",
    "wav": b"RIFF\x24\x08\0\0WAVEfmt ",
    "csv": b"P1 ,P2\n1,2\n",
    "bmw": b"BMW 3, photographed in the rain; bright sun later that day, at noon.",
    "size": b"P3 is the wide one, P6 the small one",
    "mark": b"MM** two stars for the red millimetre, II** for the blue",
    "game": b"MMORPG and IIRO are no camera's",
    "brackets": b"(\0\0\0, a list of numbers in 32 bits each that begins with 40",
    "zip": b"PK\3\4\x14\0\0\0",
    "empty": b"",
}


@pytest.mark.parametrize("kind", NO_PHOTOS)
def test_what_lies_beside_photos_does_not_become_one(tmp_path, kind):
    (tmp_path / f"a.{kind}").write_bytes(NO_PHOTOS[kind])
    assert not is_photo(tmp_path / f"a.{kind}")


@pytest.mark.parametrize(
    "name", [".hidden", "._scan", "a.jpg~", "a.jpg.bak", "a.jpg_original", "MVI_1.THM", "a.jpg.part"]
)
def test_hidden_files_and_what_programs_leave_behind_are_no_photos(tmp_path, name):
    assert not is_photo(save(tmp_path / name, Image.new("RGB", (3, 2)), format="JPEG"))


def test_pipes_sockets_and_devices_are_no_photos_and_keep_nobody_waiting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        os.symlink("/dev/zero", "device")
        os.symlink("nowhere", "link")
        assert not any(map(is_photo, ("pipe", "socket", "device", "link", "gone")))
    save(tmp_path / "there", Image.new("RGB", (3, 2)), format="PNG")
    os.symlink("there", "good")
    assert is_photo("good")


def test_no_more_than_the_beginning_is_read(tmp_path):
    with open(tmp_path / "large", "wb") as file:
        file.truncate(1 << 40)  # a hole; read, it would fill the memory
    assert not is_photo(tmp_path / "large")
