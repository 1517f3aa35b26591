"""Photos and masks are paired by name."""

import csv
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sgdbd_jax.data.labels import DIM, ZEROS_AND_ONES
from sgdbd_jax.data.pairs import Notes, load_pair, pair_files
from sgdbd_jax.data.photos import load_mask
from sgdbd_jax.errors import UserError

SHARED_DATA = os.environ.get("SGDBD_SHARED_DATA")


def test_long_lists_are_cut():
    paths = [Path(f"{number:02d}.png") for number in range(20)]
    with pytest.raises(UserError, match="names asked for: 20, 21, 22, 23, 24, 25 and 4 more"):
        pair_files(paths, paths, names=[str(number) for number in range(20, 30)])


def paired(photos, masks, **options):
    """The names of the pairs, and those of the files without partner."""
    pairs, left = pair_files([Path("i", name) for name in photos], [Path("m", name) for name in masks], **options)
    return [(photo.name, mask.name) for photo, mask in pairs], [*left.values()]


@pytest.mark.parametrize(("one", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize("mask", ["é.png", "é.mask.png"])
def test_names_pair_however_their_accents_are_written(one, other, mask):
    photo, mask = unicodedata.normalize(one, "é.jpg"), unicodedata.normalize(other, mask)
    assert photo[0] != mask[0]
    assert paired([photo], [mask]) == ([(photo, mask)], [[], []])
    assert paired([photo], [mask], names=[unicodedata.normalize(other, "é")]) == ([(photo, mask)], [[], []])


def test_two_masks_whose_names_differ_only_in_form_are_refused():
    masks = [unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD")]
    with pytest.raises(UserError, match="bear one name, its accents written in two ways"):
        paired(["é.jpg"], masks)


@pytest.mark.parametrize(
    ("photos", "masks", "pairs"),
    [
        (["a.jfif", "b.JPE"], ["a.png", "b.mask.png"], [("a.jfif", "a.png"), ("b.JPE", "b.mask.png")]),
        (["IMG.1", "IMG.2"], ["IMG.1.mask.png", "IMG.2.png"], [("IMG.1", "IMG.1.mask.png"), ("IMG.2", "IMG.2.png")]),
        (["scan"], ["scan.png"], [("scan", "scan.png")]),
        (["scan.png"], ["scan"], [("scan.png", "scan")]),
        (["a.dat", "b.dat"], ["a.png", "b.png"], [("a.dat", "a.png"), ("b.dat", "b.png")]),
        (["a.png"], ["a.dat"], [("a.png", "a.dat")]),
        (["IMG.1", "IMG.2"], ["IMG.png"], []),  # whose?
        (["IMG.1"], ["IMG.2"], []),
        (["a.dat", "a.jpg"], ["a.png"], [("a.jpg", "a.png")]),
    ],
)
def test_an_extension_is_no_part_of_the_name_where_it_is_one(photos, masks, pairs):
    found, left = paired(photos, masks)
    assert found == pairs
    assert left == [sorted(set(names) - {pair[at] for pair in pairs}) for at, names in enumerate((photos, masks))]


def saved_pair(folder, truth):
    Image.fromarray(np.zeros((*truth.shape, 3), np.uint8)).save(folder / "photo.png")
    Image.fromarray(truth).save(folder / "truth.png")
    return folder / "photo.png", folder / "truth.png"


@pytest.mark.parametrize("white", ["focused", "blurred"])
@pytest.mark.parametrize(
    ("top", "dtype", "level"), [(2, np.uint8, 2), (3, np.uint16, 3), (25, np.uint8, 25), (4095, np.uint16, 16)]
)
def test_a_truth_of_which_nothing_is_white_is_refused_by_name(tmp_path, white, top, dtype, level):
    truth = np.linspace(0, top, 6).astype(dtype).reshape(2, 3)
    with pytest.raises(UserError, match=rf"truth\.png: its brightest value is {level} of 255, so nothing is white"):
        load_pair(*saved_pair(tmp_path, truth), white=white)


def test_what_is_odd_about_truths_is_noted(tmp_path):
    notes = Notes()
    for top, name in ((1, "b"), (100, "c"), (1, "a"), (255, "d"), (0, "e")):
        pair = saved_pair(tmp_path, np.array([[0, top]], np.uint8))
        load_pair(*pair, white="blurred", note=notes.of(Path(name)))
    assert notes.text() == f"2 {ZEROS_AND_ONES}: a, b; 1 {DIM}: c"


def mode_of(path):
    with Image.open(path) as image:
        return image.mode


@pytest.mark.skipif(not SHARED_DATA, reason="SGDBD_SHARED_DATA does not name the folder of the CUHK photos")
def test_cuhk_on_disk_pairs_and_its_colour_masks_decode():
    cuhk = Path(SHARED_DATA) / "cuhk"
    with (cuhk / "split.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 704
    listed = {row["image"] for row in rows if row["split"] != "test"}
    pairs, unpaired = pair_files(sorted((cuhk / "image").iterdir()), sorted((cuhk / "gt").iterdir()))
    assert {image.name for image, _ in pairs} == listed and not any(unpaired.values())
    colour = [mask for _, mask in pairs if mode_of(mask) == "RGBA"]
    assert colour
    for path in colour[:3]:
        mask = load_mask(path, white="blurred")
        red = np.asarray(Image.open(path))[..., 0]
        np.testing.assert_array_equal(mask, 255 - red)  # white in the file is blurred
        assert set(np.unique(mask)) == {0, 255}
