"""Folders of photos and masks to arrays: their order, what stays in memory, and files that do not fit."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sgdbd_jax.data import sources
from sgdbd_jax.data.resizing import resize_photo
from sgdbd_jax.data.sources import load_folder, load_pairs
from sgdbd_jax.errors import UserError


def write(path, seed, size=(6, 8)):
    """A noise photo of (height, width) `size`; a grey one where the folder is for masks."""
    path.parent.mkdir(exist_ok=True)
    shape = size if path.parent.name == "masks" else (*size, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def folders(tmp_path):
    """Photos `a.png`, `b.JPG`, `c.png` and a mask for each."""
    for seed, name in enumerate(["a.png", "b.JPG", "c.png"]):
        write(tmp_path / "images" / name, seed)
        write(tmp_path / "masks" / f"{name[0]}.png", 10 + seed)
    return tmp_path / "images", tmp_path / "masks"


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    late, early = write(tmp_path / "b.png", 1, (4, 4)), write(tmp_path / "a.png", 2, (5, 9))
    photos = load_folder(tmp_path, size=None)
    assert photos.names == ("a.png", "b.png") and photos.skipped == () and photos.masks is None
    np.testing.assert_array_equal(photos.images[0], early)
    np.testing.assert_array_equal(photos.images[1], late)


def test_size_squashes_whatever_the_aspect(tmp_path):
    pixels = write(tmp_path / "a.png", 0, (5, 9))
    photos = load_folder(tmp_path, size=4)
    np.testing.assert_array_equal(photos.images[0], resize_photo(pixels, (4, 4)))


def test_unreadable_photos_are_skipped_named_and_counted(tmp_path):
    write(tmp_path / "good.png", 0)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no photo")
    with pytest.warns(UserWarning) as caught:
        photos = load_folder(tmp_path, size=4)
    assert photos.names == ("good.png",) and photos.skipped == ("empty.jpg", "text.jpg")
    assert len(caught) == 2
    assert "empty.jpg: empty file" in str(caught[0].message) and "text.jpg: not an image" in str(caught[1].message)


def test_a_folder_of_nothing_readable_is_refused(tmp_path):
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(UserError, match=r"none of its 1 photos can be read; .*empty.jpg: empty file"):
        load_folder(tmp_path, size=None)


def test_results_of_the_command_beside_photos_are_left_out_with_one_warning(folders):
    for kind in ("mask", "overlay", "cutout", "binary"):
        write(folders[0] / f"a.{kind}.png", 0)
    with pytest.warns(UserWarning, match=r"images: left out 4 files named as results of sgdbd are: a\.binary"):
        photos = load_folder(folders[0], size=None)
    assert photos.names == ("a.png", "b.JPG", "c.png") and photos.skipped == ()
    with pytest.warns(UserWarning, match="left out 4 files"):
        assert load_pairs(*folders, white="focused", size=None).names == photos.names


@pytest.mark.parametrize("keep", [0, 144, 1000])
def test_some_photos_of_a_set_are_a_set_wherever_they_are_held(folders, monkeypatch, keep):
    whole = load_pairs(*folders, white="focused", size=None)
    monkeypatch.setattr(sources, "KEEP", keep)
    some = load_pairs(*folders, white="focused", size=None).only([0, 2])
    assert some.names == ("a.png", "c.png") and some.shapes == [(6, 8, 3)] * 2
    assert some.identities == [whole.identities[at] for at in (0, 2)]
    for at, place in enumerate((0, 2)):
        np.testing.assert_array_equal(some.images[at], whole.images[place])
        np.testing.assert_array_equal(some.masks[at], whole.masks[place])


def test_masks_of_labels_are_counted_in_one_warning(folders):
    for name in "ab":
        Image.fromarray(np.eye(6, 8, dtype=np.uint8)).save(folders[1] / f"{name}.png")
    with pytest.warns(
        UserWarning, match=r"masks: 2 masks of 0 and 1 alone, read as 0 and 255: a\.png, b\.png$"
    ) as told:
        pairs = load_pairs(*folders, white="focused", size=None)
    assert len(told) == 1
    np.testing.assert_array_equal(pairs.masks[0], np.eye(6, 8) * 255)


def test_photos_given_as_masks_are_warned_about_by_name(folders):
    write(folders[0] / "b.png", 5)
    (folders[0] / "b.png").replace(folders[1] / "b.png")
    with pytest.warns(UserWarning, match=r"masks: 1 masks in colour, of which the brightness is read: b\.png$"):
        load_pairs(*folders, white="focused", size=None)


def test_label_maps_of_more_than_two_are_refused_by_name(folders):
    for name in "ac":
        Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8) % 3).save(folders[1] / f"{name}.png")
    with pytest.raises(
        UserError, match=r"2 pairs that cannot be used: .*a\.png: its brightest value is 2 of 255.*c\.png"
    ):
        load_pairs(*folders, white="focused", size=None)


def test_progress_counts_every_photo(folders):
    seen = []
    load_folder(folders[0], size=4, progress=lambda *counts: seen.append(counts))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_one_worker_or_many_give_the_same(folders):
    one, many = (load_folder(folders[0], size=None, workers=workers) for workers in (1, 3))
    for left, right in zip(one.images, many.images, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.fixture
def decoded(monkeypatch):
    """The names of the photos and masks that are decoded, as they are."""
    names = []

    def watch(load):
        def watched(path, **options):
            names.append(path.name)
            return load(path, **options)

        return watched

    monkeypatch.setattr(sources, "load_photo", watch(sources.load_photo))
    monkeypatch.setattr(sources, "load_mask", watch(sources.load_mask))
    return names


@pytest.mark.parametrize(("keep", "kept"), [(0, 0), (143, 0), (144, 1), (300, 2), (432, 3)])
def test_photos_beyond_the_memory_allowed_are_decoded_again_at_each_draw(folders, decoded, monkeypatch, keep, kept):
    """Three photos of 6 x 8 x 3 bytes."""
    whole = load_folder(folders[0], size=None)
    monkeypatch.setattr(sources, "KEEP", keep)
    photos = load_folder(folders[0], size=None)
    del decoded[:]
    for _ in range(2):
        for drawn, expected in zip(photos.images, whole.images, strict=True):
            np.testing.assert_array_equal(drawn, expected)
    assert decoded == 2 * ["a.png", "b.JPG", "c.png"][kept:]
    assert (photos.names, photos.shapes) == (whole.names, [(6, 8, 3)] * 3)
    assert len(decoded) == 2 * (3 - kept)  # shapes are known without decoding


def test_which_photos_a_set_has_does_not_depend_on_the_memory_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "KEEP", 0)
    pixels = {name: write(tmp_path / f"{name}.png", seed) for seed, name in enumerate("acd")}
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    with pytest.warns(UserWarning, match=r"left out: .*b\.png"):
        photos = load_folder(tmp_path, size=4)
    assert (photos.names, photos.skipped) == (("a.png", "c.png", "d.png"), ("b.png",))
    np.testing.assert_array_equal(photos.images[-1], resize_photo(pixels["d"], (4, 4)))


def test_pairs_beyond_the_memory_allowed_are_decoded_again(folders, decoded, monkeypatch):
    """Squashed to 4 x 4: 48 bytes a photo, 16 a mask. With one pair kept, four files are left."""
    whole = load_pairs(*folders, white="blurred", size=4)
    monkeypatch.setattr(sources, "KEEP", 48)
    pairs = load_pairs(*folders, white="blurred", size=4)
    del decoded[:]
    for drawn, expected in ((pairs.images, whole.images), (pairs.masks, whole.masks)):
        np.testing.assert_array_equal(drawn[:], expected[:])
        np.testing.assert_array_equal(drawn[1:], expected[1:])
    assert decoded == 2 * ["b.JPG", "c.png"] + 2 * ["b.png", "c.png"]


def test_a_photo_that_changes_or_goes_while_it_is_in_use_is_refused_by_its_name(folders, monkeypatch):
    monkeypatch.setattr(sources, "KEEP", 0)
    photos = load_folder(folders[0], size=None)
    write(folders[0] / "a.png", 0, (8, 6))
    with pytest.raises(UserError, match=r"a\.png: was changed while it is in use"):
        photos.images[0]
    (folders[0] / "b.JPG").unlink()
    with pytest.raises(UserError, match=r"b\.JPG: no such file"):
        photos.images[1]
    with pytest.raises(IndexError):
        photos.images[3]


def test_pairs_are_matched_by_name_whatever_the_extension(folders):
    pairs = load_pairs(*folders, white="focused", size=None)
    assert pairs.names == ("a.png", "b.JPG", "c.png") and pairs.skipped == ()
    for name, mask in zip("abc", pairs.masks, strict=True):
        np.testing.assert_array_equal(mask, np.asarray(Image.open(folders[1] / f"{name}.png")))


def test_white_blurred_masks_are_turned_to_white_in_focus(folders):
    focused = load_pairs(*folders, white="focused", size=None)
    blurred = load_pairs(*folders, white="blurred", size=None)
    np.testing.assert_array_equal(focused.masks[0].astype(int) + blurred.masks[0], 255)


def test_masks_written_by_predict_pair_too(folders):
    for path in list(folders[1].iterdir()):
        path.rename(path.with_suffix(".mask.png"))
    assert load_pairs(*folders, white="focused", size=4).names == ("a.png", "b.JPG", "c.png")


@pytest.mark.parametrize("names", [["c.png", "a.png"], ["a", "c"], {"a.jpg", "c.JPG"}])
def test_names_choose_photos_with_or_without_extension(folders, names):
    (folders[1] / "b.png").unlink()  # of no concern when b is not asked for
    assert load_pairs(*folders, white="focused", size=4, names=names).names == ("a.png", "c.png")


def test_a_name_without_a_photo_is_refused(folders):
    with pytest.raises(UserError, match="no photo for 2 of the names asked for: y, z"):
        load_pairs(*folders, white="focused", size=4, names=["a", "z", "y"])


def test_files_without_a_partner_are_named_and_counted(folders):
    (folders[1] / "b.png").rename(folders[1] / "x.png")
    write(folders[1] / "y.png", 0)
    with pytest.raises(UserError, match=r"1 photos without a mask: b.JPG; 2 masks without a photo: x.png, y.png"):
        load_pairs(*folders, white="focused", size=4)


def test_size_mismatches_and_damage_are_named_even_when_squashed(folders):
    write(folders[1] / "a.png", 0, (6, 7))
    (folders[0] / "c.png").write_bytes(b"")
    expected = r"2 pairs that cannot be used: .*a.png is 8x6 pixels, its mask 7x6.*c.png: empty file"
    with pytest.raises(UserError, match=expected):
        load_pairs(*folders, white="focused", size=4)


def test_two_files_of_one_name_are_refused(folders):
    write(folders[0] / "a.bmp", 0)
    with pytest.raises(UserError, match="a.bmp and a.png bear one name"):
        load_pairs(*folders, white="focused", size=4)


def test_folders_are_read_without_loading_tfds():
    imported = "import sys, sgdbd_jax.data.sources, sgdbd_jax.data.tfds_source"
    code = f"{imported}; sys.exit('tensorflow_datasets' in sys.modules or 'jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
