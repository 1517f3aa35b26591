"""The tfds data sets: what they hold, how they are read, and what they refuse to be made of."""

import shutil
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from sgdbd_jax.data import tfds_sets
from sgdbd_jax.data.blur import fcsb
from sgdbd_jax.data.listing import photo_stem
from sgdbd_jax.data.names import cuhk_split
from sgdbd_jax.data.photos import load_mask, load_photo
from sgdbd_jax.data.resizing import resize_photo
from sgdbd_jax.data.tfds_sets import Cuhk, Dut, Fcfb, Fcsb
from sgdbd_jax.data.tfds_source import load_tfds
from sgdbd_jax.errors import UserError


def half_sharp(seed, size=(8, 12)):
    """A photo whose left half is noise and right half grey, and its mask, white on the left."""
    photo = np.full((*size, 3), 128, np.uint8)
    photo[:, : size[1] // 2] = np.random.default_rng(seed).integers(0, 256, (size[0], size[1] // 2, 3))
    mask = np.zeros(size, np.uint8)
    mask[:, : size[1] // 2] = 255
    return photo, mask


def write_pairs(images, masks, names, *, white):
    """Writes small PNGs, whatever the extension of the name says, for PIL looks at the content."""
    images.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        photo, mask = half_sharp(seed)
        Image.fromarray(photo).save(images / name, "PNG")
        Image.fromarray(mask if white == "focused" else 255 - mask).save(masks / f"{photo_stem(name)}.png")


def benchmark_names(*splits):
    return [f"{stem}.jpg" for stem, split in cuhk_split().items() if split in splits]


@pytest.fixture
def manual(tmp_path):
    return tmp_path / "manual"


@pytest.fixture
def load(tmp_path, manual):
    """`load_tfds` on this test's own folders."""

    def load(name, split, *, size=None, manual_dir=manual):
        return load_tfds(name, split, size=size, data_dir=tmp_path / "prepared", manual_dir=manual_dir)

    return load


@pytest.fixture
def small_dut(manual, monkeypatch):
    """DUT of 3 + 2 photos."""
    monkeypatch.setattr(Dut, "COUNTS", {"train": 3, "test": 2})
    folder = manual / "dut"
    names = ["-b c.png", "ä.png", "a.png"]
    write_pairs(folder / "train_image", folder / "train_gt", names, white="focused")
    write_pairs(folder / "test_image", folder / "test_gt", ["x.png", "y.png"], white="focused")
    return folder


def test_cuhk_without_test_photos_has_the_benchmarks_train_and_validation(load, manual):
    names = benchmark_names("train", "validation")
    write_pairs(manual / "cuhk" / "image", manual / "cuhk" / "gt", names, white="blurred")
    (manual / "cuhk" / "image" / "motion0001.jpg").write_bytes(b"of the other half of the archive, never opened")

    with pytest.warns(UserWarning, match="cuhk: split 'test' is left empty"):
        train = load("cuhk", "train")
    validation = load("cuhk", "validation")
    assert train.names == tuple(sorted(benchmark_names("train")))
    assert validation.names == tuple(sorted(benchmark_names("validation")))
    photo, mask = half_sharp(names.index("out_of_focus0001.jpg"))
    np.testing.assert_array_equal(validation.images[0], photo)
    np.testing.assert_array_equal(validation.masks[0], mask)  # stored white = in focus, though the files say blurred
    with pytest.raises(UserError, match="split 'test' is empty.*remove the prepared folder"):
        load("cuhk", "test")


def test_cuhk_of_all_704_photos_has_the_test_split(manual, tmp_path):
    names = benchmark_names("train", "validation", "test")
    write_pairs(manual / "cuhk" / "image", manual / "cuhk" / "gt", names, white="blurred")
    splits = Cuhk(data_dir=tmp_path, file_format="array_record").find(manual / "cuhk")
    for split in ("train", "validation", "test"):
        assert sorted(image.name for image, _ in splits[split]) == sorted(benchmark_names(split))


@pytest.mark.parametrize(
    ("left_out", "added", "message"),
    [
        (["out_of_focus0002.jpg"], [], r"603 photos, expected 604 .* or 704 .*: 1 missing: out_of_focus0002$"),
        ([], ["holiday.jpg"], r"605 photos, .*: 1 not of the benchmark: holiday$"),
        ([], ["out_of_focus0026.JPG"], r"605 photos, .*: 99 missing: out_of_focus0027, .* and 93 more$"),
    ],
)
def test_cuhk_of_any_other_count_is_refused(load, manual, left_out, added, message):
    names = [name for name in benchmark_names("train", "validation") if name not in left_out] + added
    for folder in ("image", "gt"):
        (manual / "cuhk" / folder).mkdir(parents=True)
    for name in names:
        (manual / "cuhk" / "image" / name).touch()
    with pytest.raises(UserError, match=message):
        load("cuhk", "train")


def test_photos_and_masks_come_back_pixel_for_pixel_sorted_by_name(load, small_dut):
    train = load("dut", "train")
    assert train.names == ("-b c.png", "a.png", "ä.png")
    for name, image, mask in zip(train.names, train.images, train.masks, strict=True):
        np.testing.assert_array_equal(image, load_photo(small_dut / "train_image" / name))
        np.testing.assert_array_equal(mask, load_mask(small_dut / "train_gt" / name, white="focused"))
    assert load("dut", "test").names == ("x.png", "y.png")


def test_a_jpeg_is_stored_as_it_is_and_its_orientation_applied(load, small_dut):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = small_dut / "train_image" / "a.png"
    noise = np.random.default_rng(0).integers(0, 256, (12, 8, 3), np.uint8)
    Image.fromarray(noise).save(path, "JPEG", exif=exif)
    index = load("dut", "train").names.index("a.png")
    image = load("dut", "train").images[index]
    assert image.shape == (8, 12, 3)
    np.testing.assert_array_equal(image, load_photo(path))


def test_size_squashes_photos_and_masks(load, small_dut):
    whole, small = load("dut", "test"), load("dut", "test", size=4)
    np.testing.assert_array_equal(small.images[0], resize_photo(whole.images[0], (4, 4)))
    np.testing.assert_array_equal(small.masks[0], resize_photo(whole.masks[0], (4, 4)))


def test_no_tensorflow_is_needed(load, small_dut):
    loaded_by_others = "tensorflow" in sys.modules
    load("dut", "train")
    assert ("tensorflow" in sys.modules) == loaded_by_others


def test_once_prepared_the_files_are_not_needed(load, small_dut, capsys):
    first = load("dut", "train")
    shutil.rmtree(small_dut)
    again = load("dut", "train", manual_dir=None)
    np.testing.assert_array_equal(first.images[0], again.images[0])
    assert capsys.readouterr().out == ""  # standard output is the command's own


def test_inverted_masks_are_refused_with_the_remedy_and_nothing_is_written(load, small_dut, tmp_path):
    for path in small_dut.glob("*_gt/*"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    with pytest.raises(UserError, match=r"masks are inverted .*only 0 of 5 photos.*white = focused: .*or invert these"):
        load("dut", "train")
    assert not (tmp_path / "prepared" / "dut" / "1.0.0").exists()


def test_pairing_counts_and_damage_are_checked(load, small_dut):
    mask = small_dut / "train_gt" / "a.png"
    mask.rename(small_dut / "train_gt" / "b.png")
    with pytest.raises(UserError, match="1 photos without a mask: a.png; 1 masks without a photo: b.png"):
        load("dut", "train")
    (small_dut / "train_gt" / "b.png").rename(mask)

    Image.fromarray(half_sharp(0, (8, 14))[1]).save(mask)
    (small_dut / "test_image" / "x.png").write_bytes(b"")
    with pytest.raises(UserError, match="2 photos cannot be used: .*a.png is 12x8 pixels, its mask 14x8.*x.png: empty"):
        load("dut", "train")

    (small_dut / "test_image" / "x.png").unlink()
    with pytest.raises(UserError, match="test_image: 1 photos, the benchmark has 2"):
        load("dut", "train")


def write_plain(folder, names):
    folder.mkdir(parents=True)
    for seed, name in enumerate(names):
        Image.fromarray(half_sharp(seed)[0]).save(folder / name)


def test_fcfb_has_clear_and_blurred_photos_and_no_masks(load, manual, monkeypatch):
    monkeypatch.setattr(Fcfb, "COUNT", 2)
    write_plain(manual / "fcfb" / "clear", ["a.png", "b.png"])
    write_plain(manual / "fcfb" / "blurred", ["a.png", "c.png"])
    clear, blurred = load("fcfb", "clear"), load("fcfb", "blurred")
    assert clear.names == ("a.png", "b.png") and blurred.names == ("a.png", "c.png")
    assert clear.masks is None and blurred.masks is None


def test_fcsb_nd_blurs_each_clear_photo_once_to_n_times(load, manual, monkeypatch):
    monkeypatch.setattr(Fcsb, "COUNT", 2)
    write_plain(manual / "fcsb" / "clear", ["a.png", "b.png"])
    clear, blurred = load("fcsb/3D", "clear"), load("fcsb/3D", "blurred")
    assert clear.names == ("a.png", "b.png")
    assert blurred.names == tuple(f"{name} blurred {times}x" for name in clear.names for times in (1, 2, 3))
    np.testing.assert_array_equal(clear.images[1], half_sharp(1)[0])
    for times in (1, 2, 3):
        np.testing.assert_array_equal(blurred.images[2 + times], fcsb(half_sharp(1)[0], times))
    assert len(load("fcsb", "blurred").names) == 2 * 5  # 5D unless another is asked for


def test_unknown_names_are_refused_with_those_there_are(load):
    with pytest.raises(UserError, match="coco: no such data set; there are cuhk, dut, fcfb, fcsb"):
        load("coco", "train")
    with pytest.raises(UserError, match="dut: no split 'validation'; there are train, test"):
        load("dut", "validation")
    with pytest.raises(UserError, match="fcsb/6D: no such config; there are 1D, 2D, 3D, 4D, 5D"):
        load("fcsb/6D", "clear")
    with pytest.raises(UserError, match="dut/5D: no such config; there are none"):
        load("dut/5D", "train")


def test_missing_files_are_refused_with_what_to_put_where(load, manual):
    with pytest.raises(UserError, match="fcfb: not prepared in .*MANUAL_DIR/fcfb/clear .*as manual_dir"):
        load("fcfb", "clear", manual_dir=None)
    with pytest.raises(UserError, match="manual/fcfb: no such folder; put the 500 clear photos"):
        load("fcfb", "clear")
    (manual / "fcfb" / "clear").mkdir(parents=True)
    with pytest.raises(UserError, match="fcfb/blurred: no such folder; put the 500 clear photos"):
        load("fcfb", "clear")
    (manual / "fcfb" / "blurred").mkdir()
    with pytest.raises(UserError, match="fcfb/clear: no photos"):
        load("fcfb", "clear")


def test_damaged_records_are_refused_with_the_remedy(load, small_dut, tmp_path):
    load("dut", "train")
    (records,) = (tmp_path / "prepared").rglob("dut-train.array_record*")
    records.write_bytes(records.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"dut/1.0.0: damaged .*remove this folder and run again"):
        load("dut", "train")


def test_a_folder_that_cannot_be_written_is_refused(small_dut, manual, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        load_tfds("dut", "train", size=None, data_dir=tmp_path / "file", manual_dir=manual)


def test_each_data_set_is_registered_and_says_what_to_put_where(tmp_path):
    for name, kind in tfds_sets.BUILDERS.items():
        builder = tfds.builder(name, data_dir=tmp_path)
        assert isinstance(builder, kind)
        assert f"MANUAL_DIR/{name}/" in builder.MANUAL_DOWNLOAD_INSTRUCTIONS
        assert builder.info.citation.startswith("@inproceedings{")
