"""The photos of a folder, by extension and in order; names without their extensions."""

import tracemalloc

import pytest

from sgdbd_jax.data.listing import list_photos, photo_stem
from sgdbd_jax.errors import UserError


def test_a_link_that_leads_back_to_itself_is_refused(tmp_path):
    (tmp_path / "self").symlink_to(tmp_path / "self")
    with pytest.raises(UserError, match="self: no such folder"):
        list_photos(tmp_path / "self")


def test_photos_are_listed_by_extension_in_order(tmp_path):
    names = ["-dash.png", "B.JPG", "a.jpeg", "sp ace.TIF", "ünï😀.webp", "two.dots.png", "IMG_1.HEIC", "new\nline.heif"]
    for name in [*names, "notes.txt", ".hidden.jpg", "._B.JPG", "jpg", "a.jpg.part"]:
        (tmp_path / name).touch()
    (tmp_path / "x.jpg").mkdir()
    (tmp_path / "x.jpg" / "inner.png").touch()
    assert [path.name for path in list_photos(tmp_path)] == sorted(names)


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


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.jpg", "a"), ("a.b.JPG", "a.b"), ("a.b", "a.b"), ("a", "a"), (".jpg", ".jpg"), ("a.png.jpg", "a.png")],
)
def test_only_an_image_extension_is_no_part_of_the_name(name, stem):
    assert photo_stem(name) == stem
