"""The photos of a folder, and its masks, in order; names without their extensions, however they are written."""

import tracemalloc
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from sgdbd_jax.data.listing import by_stem, choose_photos, list_masks, list_photos, photo_stem
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


def test_a_folder_of_photos_without_extensions_is_one(tmp_path):
    for name in ("IMG.1", "IMG.2", "scan"):
        Image.new("RGB", (3, 2)).save(tmp_path / name, "JPEG")
    (tmp_path / "a.xmp").write_text("<x:xmpmeta/>")
    assert [path.name for path in list_photos(tmp_path)] == ["IMG.1", "IMG.2", "scan"]


RESULTS = ["a.binary.png", "a.cutout.png", "a.mask.png", "a.overlay.png"]


def touch(folder, *names):
    for name in names:
        (folder / name).touch()


def test_results_of_the_command_are_no_photos_and_are_counted_in_one_line(tmp_path):
    touch(tmp_path, "a.jpg", "B.MASK.PNG", "b.mask.jpg", *RESULTS)
    told = []
    assert [path.name for path in list_photos(tmp_path, warn=told.append)] == ["a.jpg", "b.mask.jpg"]
    left = ", ".join(["B.MASK.PNG", *RESULTS])
    assert told == [f"{tmp_path}: left out 5 files named as results of sgdbd are: {left}"]
    with pytest.warns(UserWarning, match="left out 5 files"):
        list_photos(tmp_path)


def test_a_folder_of_nothing_but_results_is_refused_by_what_it_holds(tmp_path):
    touch(tmp_path, *RESULTS)
    with pytest.raises(UserError, match=r"no photos; all that is there is named as results of sgdbd are: a\.binary"):
        list_photos(tmp_path)


def test_of_results_the_masks_are_masks(tmp_path):
    """What is called so without a mask beside it may be anything, as `x.binary.png` of a photo `x.binary.jpg`."""
    touch(tmp_path, "b.png", "x.binary.png", *RESULTS)
    told = []
    assert [path.name for path in list_masks(tmp_path, warn=told.append)] == ["a.mask.png", "b.png", "x.binary.png"]
    assert len(told) == 1 and "left out 3 files" in told[0]


def test_beside_photos_only_files_called_masks_are_masks(tmp_path):
    touch(tmp_path, "a.jpg", "b.png")
    with pytest.raises(UserError, match="no masks; beside photos, expected files called NAME.mask.png"):
        list_masks(tmp_path, photos=tmp_path / ".." / tmp_path.name)
    touch(tmp_path, "a.mask.png", "b.mask.png")
    assert [path.name for path in list_masks(tmp_path, photos=tmp_path)] == ["a.mask.png", "b.mask.png"]


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


NAMES = ["café.jpg", "ガ.jpg", "Å.b.jpg", "한글.jpg"]  # the Ångström sign among them


@pytest.mark.parametrize("name", NAMES)
def test_names_are_the_same_however_their_accents_are_written(name):
    composed, decomposed = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert photo_stem(composed) == photo_stem(decomposed)
    for one, other in ((composed, decomposed), (decomposed, composed)):
        assert list(choose_photos([Path(one)], [other]).values()) == [Path(one)]
        assert list(choose_photos([Path(one)], [other.removesuffix(".jpg")]).values()) == [Path(one)]


def test_two_files_whose_names_differ_only_so_are_refused():
    paths = [Path("d") / unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD")]
    with pytest.raises(UserError, match="d: .* bear one name, its accents written in two ways; rename"):
        by_stem(paths)
