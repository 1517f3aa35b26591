"""What a config trains and validates on; and that no unsupervised run gets to see a mask."""

import numpy as np
import pytest
from PIL import Image

from sgdbd_jax.data import sources, training_sets
from sgdbd_jax.data.batches import ExampleMakers, TrainingSets, make_batch
from sgdbd_jax.data.sources import PhotoSet
from sgdbd_jax.data.training_sets import Photos, check_sets, fingerprints, load_photos
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import replace
from sgdbd_jax.presets import DEMO, PAPER

SIZE = 16


def write_photos(folder, names, *, seed=0, size=(SIZE, SIZE)):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for name in names:
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(folder / name)
    return str(folder)


def write_masks(folder, names, *, size=(SIZE, SIZE)):
    """White upper half."""
    folder.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, np.uint8)
    mask[: size[0] // 2] = 255
    for name in names:
        Image.fromarray(mask).save(folder / name)
    return str(folder)


@pytest.fixture
def folders(tmp_path):
    """A config of folders, its fields changed as a test likes."""
    source = write_photos(tmp_path / "source", ["a.png", "b.png", "c.png"], seed=1)
    clear = write_photos(tmp_path / "clear", ["x.png", "y.png"], seed=2)
    base = replace(PAPER, {"source": source, "clear": clear, "photo_size": SIZE, "crop": SIZE})
    return lambda **changes: replace(base, changes)


def test_folders_are_read_squashed_to_the_photo_size(folders, tmp_path):
    wide = write_photos(tmp_path / "wide", ["w.png"], size=(SIZE, 3 * SIZE))
    photos = load_photos(folders(source=wide))
    assert photos.training.source.names == ("w.png",)
    assert photos.training.source.images[0].shape == (SIZE, SIZE, 3)
    assert photos.training.clear.names == ("x.png", "y.png")
    assert (photos.validation, photos.held_out) == (None, None)
    own = load_photos(folders(source=wide, photo_size=0))
    assert own.training.source.images[0].shape == (SIZE, 3 * SIZE, 3)


def test_blurred_photos_may_be_made(folders):
    assert load_photos(folders(blur_kernel="fcsb:5")).training.blur is None


def test_blurred_photos_may_be_a_folder(folders, tmp_path):
    blur = write_photos(tmp_path / "blur", ["m.png"])
    assert load_photos(folders(blur=blur)).training.blur.names == ("m.png",)


def test_a_names_file_chooses_the_source_photos(folders, tmp_path):
    (tmp_path / "names.txt").write_text("c.png\na\n")
    assert load_photos(folders(names=str(tmp_path / "names.txt"))).training.source.names == ("a.png", "c.png")


def test_an_unsupervised_run_sees_no_masks(folders, tmp_path):
    masks = write_masks(tmp_path / "masks", ["a.png", "b.png", "c.png"])
    photos = load_photos(folders(masks=masks, masks_white="focused"))
    assert photos.training.source.masks is None
    scenes = load_photos(replace(DEMO, {"scenes": 2, "photo_size": SIZE, "crop": SIZE}))
    assert scenes.training.source.masks is None


@pytest.mark.filterwarnings("ignore:.*is it right")  # noise is as sharp everywhere
@pytest.mark.parametrize(("white", "upper"), [("focused", 255), ("blurred", 0)])
def test_a_supervised_run_sees_them_white_in_focus(folders, tmp_path, white, upper):
    masks = write_masks(tmp_path / "masks", ["a.png", "b.png", "c.png"])
    source = load_photos(folders(supervised=True, masks=masks, masks_white=white)).training.source
    assert source.names == ("a.png", "b.png", "c.png")
    assert {(int(mask[0, 0]), int(mask[-1, 0])) for mask in source.masks} == {(upper, 255 - upper)}
    assert {mask.shape for mask in source.masks} == {(SIZE, SIZE)}


@pytest.mark.filterwarnings("ignore:.*is it right")  # noise is as sharp everywhere
def test_supervision_by_names_needs_masks_of_those_alone(folders, tmp_path):
    masks = write_masks(tmp_path / "masks", ["b.png"])
    (tmp_path / "names").write_text("b")
    config = folders(supervised=True, masks=masks, masks_white="focused", names=str(tmp_path / "names"))
    assert load_photos(config).training.source.names == ("b.png",)


def test_masks_that_contradict_the_photos_sharpness_are_warned_about(folders, tmp_path):
    """Sharp above, flat below; the masks of `write_masks` are white above."""
    images, noise = tmp_path / "images", np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    noise[10:] = 128
    images.mkdir()
    for name in ("v.png", "w.png"):
        Image.fromarray(noise).save(images / name)
    masks = write_masks(tmp_path / "masks", ["v.png", "w.png"], size=(20, 30))
    fields = {"validation_images": str(images), "validation_masks": masks}
    load_photos(folders(**fields, validation_white="focused"))
    with pytest.warns(UserWarning, match="validation_white: the masks are inverted .* is it right"):
        load_photos(folders(**fields, validation_white="blurred"))


def test_a_folder_that_moved_has_the_same_fingerprint_and_validation_has_one_too(folders, tmp_path):
    images = write_photos(tmp_path / "images", ["v.png"])
    fields = {"validation_images": images, "validation_masks": write_masks(tmp_path / "masks", ["v.png"])}
    with pytest.warns(UserWarning, match="is it right"):  # noise is as sharp everywhere
        one = fingerprints(load_photos(folders(**fields, validation_white="focused")))
    moved = (tmp_path / "source").rename(tmp_path / "moved")
    other = fingerprints(load_photos(folders(source=str(moved))))
    assert one.pop("photos of validation").startswith("1 (")
    assert one == other


def test_fingerprints_tell_sets_by_names_and_sizes_and_skip_made_photos(folders):
    def of(**changes):
        return fingerprints(load_photos(folders(**changes)))

    one = of()
    assert one == of()
    assert set(one) == {"photos of source", "photos of clear"}
    assert one["photos of source"].startswith("3 (")
    other = of(photo_size=2 * SIZE)
    assert all(one[name] != other[name] for name in one)


def test_another_photo_of_the_same_name_and_size_has_another_fingerprint(folders, tmp_path):
    one = fingerprints(load_photos(folders()))
    with Image.open(tmp_path / "source" / "b.png") as photo:
        photo.transpose(Image.Transpose.ROTATE_180).save(tmp_path / "source" / "b.png")
    other = fingerprints(load_photos(folders()))
    assert one["photos of source"] != other["photos of source"]
    assert one["photos of clear"] == other["photos of clear"]


@pytest.mark.filterwarnings("ignore:.*is it right")  # noise is as sharp everywhere
def test_other_masks_have_another_fingerprint(folders, tmp_path):
    names = ["a.png", "b.png", "c.png"]
    fields = {"supervised": True, "masks": write_masks(tmp_path / "masks", names), "masks_white": "focused"}
    one = fingerprints(load_photos(folders(**fields)))
    Image.new("L", (SIZE, SIZE), 255).save(tmp_path / "masks" / "b.png")
    assert fingerprints(load_photos(folders(**fields)))["photos of source"] != one["photos of source"]


def test_fingerprints_do_not_change_between_versions():
    """A digest of [('a.png', (2, 3, 3), CRC), ...], by CRC-32 of the pixels: work folders hold it."""
    images = [np.zeros(shape, np.uint8) for shape in ((2, 3, 3), (4, 5, 3))]
    photos = PhotoSet(("a.png", "b.png"), images)
    assert fingerprints(Photos(TrainingSets(photos, photos, None), None, None)) == dict.fromkeys(
        ("photos of source", "photos of clear"), "2 (39e9ac8eae66)"
    )


def test_draws_do_not_depend_on_how_many_photos_memory_holds(folders, tmp_path, monkeypatch):
    """A game of photos of their own sizes, half of them decoded again at each draw."""
    sizes = {"a.png": (20, 24), "b.png": (16, 30), "c.png": (31, 17)}
    for name, size in sizes.items():
        write_photos(tmp_path / "sizes", [name], size=size, seed=len(name))
    place = str(tmp_path / "sizes")
    config = folders(source=place, clear=place, photo_size=0, batch=2, scale=(0.8, 1.2), second_draw=True)

    def drawn():
        photos = load_photos(config)
        example = ExampleMakers(photos.training, config).game
        batches = [make_batch(example, seed=1, stream=13, step=step, batch=2, places=range(2)) for step in range(4)]
        return fingerprints(photos), batches

    expected, whole = drawn()
    monkeypatch.setattr(sources, "KEEP", 3000)
    found, batches = drawn()
    assert found == expected
    for one, other in zip(batches, whole, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_validation_photos_keep_their_sizes_and_have_masks(folders, tmp_path):
    images = write_photos(tmp_path / "images", ["v.png", "w.png"], size=(20, 30))
    masks = write_masks(tmp_path / "masks", ["v.png", "w.png"], size=(20, 30))
    fields = {"validation_images": images, "validation_masks": masks, "validation_white": "focused"}
    validation = load_photos(folders(**fields)).validation
    assert [image.shape for image in validation.images] == [(20, 30, 3)] * 2
    assert [mask.shape for mask in validation.masks] == [(20, 30)] * 2
    (tmp_path / "names").write_text("w.png")
    assert load_photos(folders(**fields, validation_names=str(tmp_path / "names"))).validation.names == ("w.png",)


@pytest.mark.parametrize("name", ["source", "clear", "blur"])
def test_photos_smaller_than_a_crop_are_left_out_named_and_counted(folders, tmp_path, name):
    """Enlarged, they would be blurred all over."""
    place = tmp_path / "some"
    large = [f"{number}.png" for number in range(4)]
    write_photos(place, large, size=(SIZE, 2 * SIZE))
    config = folders(**{name: str(place)}, photo_size=0, batch=2)
    before = load_photos(config)
    write_photos(place, ["1a.png", "z.png"], size=(SIZE - 1, 40))
    with pytest.warns(UserWarning, match=rf"{name}: left out 2 photos smaller than a crop of 16: 1a\.png is 40x15, z"):
        photos = load_photos(config)
    assert getattr(photos.training, name).names == tuple(large)
    assert fingerprints(photos) == fingerprints(before)  # so a run goes on
    make_batch(ExampleMakers(photos.training, config).game, seed=0, stream=0, step=0, batch=2, places=range(2))


@pytest.mark.filterwarnings("ignore:.*is it right")  # noise is as sharp everywhere
def test_masks_of_small_photos_are_left_out_with_them(folders, tmp_path):
    source, masks = tmp_path / "sized", tmp_path / "masks"
    for name, side in (("a.png", 20), ("b.png", 12), ("c.png", 16)):
        write_photos(source, [name], size=(side, side))
        write_masks(masks, [name], size=(side, side))
    fields = {"source": str(source), "supervised": True, "masks": str(masks), "masks_white": "focused"}
    with pytest.warns(UserWarning, match="source: left out 1 photos smaller than a crop of 16: b.png is 12x12"):
        found = load_photos(folders(**fields, photo_size=0, batch=2)).training.source
    assert [mask.shape for mask in found.masks] == [(20, 20), (16, 16)]


def test_small_photos_of_a_tfds_set_are_left_out_too(folders, tfds):
    small = folders(data="tfds:dut", crop=2 * SIZE, photo_size=0, batch=1)
    with pytest.raises(UserError, match=r"source: 1\.jpg is 16x16, smaller than a crop of 32, as 2 of 2 photos are; "):
        load_photos(small)


def test_too_few_photos_as_large_as_a_crop_are_refused_without_a_warning_before(folders, tmp_path):
    write_photos(tmp_path / "source", ["d.png"], size=(SIZE, SIZE - 1))
    with pytest.raises(UserError) as error:
        load_photos(folders(photo_size=0, batch=4))
    assert str(error.value) == (
        "source: d.png is 15x16, smaller than a crop of 16, as 1 of 4 photos are; the others are fewer than a batch of"
        " 4: lower crop, set photo_size, or add larger photos"
    )


def test_photos_squashed_to_one_size_are_never_too_small(folders, tmp_path):
    write_photos(tmp_path / "source", ["d.png"], size=(3, 5))
    assert len(load_photos(folders()).training.source.names) == 4


def test_every_folder_is_looked_for_before_any_photo_is_read(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "load_photo", None)
    check_sets(folders(data="scenes", source="gone"))
    for name in ("source", "clear", "blur", "validation_images", "validation_masks"):
        with pytest.raises(UserError, match="gone: no such folder"):
            check_sets(folders(**{name: str(tmp_path / "gone")}))
    check_sets(folders(masks="gone"))  # which only supervised training reads
    with pytest.raises(UserError, match="gone: no such folder"):
        check_sets(folders(masks="gone", supervised=True))
    check_sets(folders(clear="tfds:fcfb:clear", blur="tfds:fcfb:blurred"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": ""}, "source: needs a folder of photos: --source DIR"),
        ({"clear": ""}, "clear: needs a folder of photos: --clear DIR"),
        ({"supervised": True}, "supervised: needs masks of the source photos: --masks DIR"),
        ({"supervised": True, "masks": "m"}, "masks_white: say what white means"),
        ({"validation_images": "v"}, "validation_images: needs --validation_masks DIR and --validation_white"),
        ({"validation_images": "v", "validation_masks": "m"}, "validation_images: needs"),
        ({"data": "tfds:cuhk", "clear": ""}, "clear: needs photos all in focus: --clear DIR"),
        ({"data": "tfds:coco"}, "data: 'tfds:coco' is none of 'scenes', 'folders', 'tfds:cuhk', 'tfds:dut'"),
        ({"data": "tfds:fcfb"}, "data: 'tfds:fcfb' is none of"),
        (
            {"data": "scenes", "source": "", "clear": "", "blur_kernel": "fcsb:2"},
            "blur_kernel: scenes out of focus are as their lens makes them; add --blur made",
        ),
        ({"data": "scenes", "source": "", "clear": "", "blur": "dics"}, "blur: is not read with data 'scenes'"),
        ({"data": "scenes"}, "source: is not read with data 'scenes'; add --data folders, or leave it out"),
        ({"data": "folder"}, "data: 'folder' is none of 'scenes', 'folders'"),
        ({"data": "scenes", "source": "", "clear": "", "scenes": 0}, "photo_size, scenes: must both be at least 1"),
        (
            {"data": "scenes", "source": "", "clear": "", "scenes": 4, "photo_size": 0},
            "photo_size, scenes: must both be at least 1",
        ),
        ({"source": "no/such/place"}, "no/such/place"),
        ({"clear": "no/such/place"}, "no/such/place"),
        ({"blur": "dics"}, "dics"),
        ({"names": "no/names"}, "no/names: not a readable list of names"),
    ],
)
def test_what_is_missing_is_refused_with_the_remedy(folders, changes, words):
    with pytest.raises(UserError) as error:
        load_photos(folders(**changes))
    assert str(error.value).startswith(words)


class FakeTfds:
    """In the place of `load_tfds`: remembers what was asked for, gives two photos with masks."""

    def __init__(self):
        self.calls = []

    def __call__(self, name, split, *, size, data_dir, manual_dir, progress):
        self.calls.append((name, split, size, data_dir, manual_dir))
        photos = np.zeros((2, SIZE, SIZE, 3), np.uint8)
        return PhotoSet(("1.jpg", "2.jpg"), photos, photos[..., 0])


@pytest.fixture
def tfds(monkeypatch):
    fake = FakeTfds()
    monkeypatch.setattr(training_sets, "load_tfds", fake)
    return fake


def test_a_tfds_set_is_read_by_its_splits(folders, tfds):
    photos = load_photos(folders(data="tfds:cuhk", data_dir="prepared", manual_dir="manual"))
    assert tfds.calls == [
        ("cuhk", "train", SIZE, "prepared", "manual"),
        ("cuhk", "validation", None, "prepared", "manual"),
    ]
    assert photos.training.source.names == ("1.jpg", "2.jpg") and photos.training.source.masks is None
    assert photos.training.clear.names == ("x.png", "y.png")
    assert photos.validation.masks is not None


def test_a_supervised_run_reads_masks_of_a_tfds_set(folders, tfds):
    assert load_photos(folders(data="tfds:dut", supervised=True)).training.source.masks is not None
    assert tfds.calls == [("dut", "train", SIZE, None, None)]  # DUT has no split for choosing


def test_clear_and_blurred_photos_may_be_splits_of_tfds_sets(folders, tfds):
    load_photos(folders(clear="tfds:fcfb:clear", blur="tfds:fcsb/3D:blurred"))
    assert [call[:2] for call in tfds.calls] == [("fcfb", "clear"), ("fcsb/3D", "blurred")]


def pixels(*sets):
    return [image.tobytes() for photos in sets for image in photos.images]


def test_scenes_of_training_validation_and_the_final_score_never_coincide():
    def scenes(**changes):
        photos = load_photos(replace(DEMO, {"scenes": 40, "photo_size": SIZE, "crop": SIZE, **changes}))
        training = photos.training
        return [training.source, training.clear, training.blur, photos.validation, photos.held_out]

    first = scenes()
    assert [len(photos.names) for photos in first] == [40, 40, 40, 32, 64]
    assert [photos.masks is not None for photos in first] == [False, False, False, True, True]
    images = pixels(*first, *scenes(seed=1), *scenes(seed=2))
    assert len(set(images)) == len(images)  # nor do those of other seeds
    assert pixels(*scenes()) == pixels(*first)
    assert scenes(supervised=True)[0].masks is not None


def test_blurred_photos_of_scenes_may_be_made_of_the_clear_ones():
    config = {"scenes": 4, "batch": 4, "photo_size": SIZE, "crop": SIZE, "blur": "made", "blur_kernel": "fcsb:3"}
    config = replace(DEMO, config)
    training = load_photos(config).training
    assert training.blur is None
    batch = make_batch(ExampleMakers(training, config).game, seed=0, stream=0, step=0, batch=4, places=range(4))
    roughness = {name: np.abs(np.diff(batch[name].astype(float), axis=1)).mean() for name in ("clear", "blur")}
    assert roughness["blur"] < 0.6 * roughness["clear"]


def test_made_is_a_set_of_scenes_alone():
    with pytest.raises(UserError, match="blur_kernel: for blurred photos that are made; leave it, or blur, out"):
        replace(PAPER, {"data": "folders", "blur": "made", "blur_kernel": "fcsb:3"})


def test_a_larger_set_of_scenes_begins_with_the_smaller_one():
    few, more = (load_photos(replace(DEMO, {"scenes": n, "photo_size": SIZE, "crop": SIZE})).training for n in (3, 5))
    assert pixels(more.source)[:3] == pixels(few.source)


def test_progress_is_told_by_the_name_of_the_set(folders, tmp_path):
    told = []

    def progress(name):
        return lambda done, count: told.append((name, done, count))

    load_photos(folders(), progress=progress)
    assert told == [("source", i, 3) for i in (1, 2, 3)] + [("clear", i, 2) for i in (1, 2)]


def test_unreadable_photos_are_counted_not_fatal(folders, tmp_path):
    (tmp_path / "source" / "bad.jpg").write_bytes(b"no photo")
    with pytest.warns(UserWarning, match=r"bad\.jpg"):
        photos = load_photos(folders())
    assert photos.training.source.skipped == ("bad.jpg",)
    assert photos.training.source.names == ("a.png", "b.png", "c.png")
