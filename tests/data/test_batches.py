"""Batches: pure functions of seed, step and place; crops that stay inside; classes that no seam gives away."""

import functools
import threading
import time

import numpy as np
import pytest

from sgdbd_jax.data.batches import (
    BLURRED,
    CLEAR,
    HELD_OUT,
    MIXED,
    Draw,
    ExampleMakers,
    TrainingSets,
    crop,
    make_batch,
    prefetch,
)
from sgdbd_jax.data.blur import disk_kernel, fcsb, varying_blur
from sgdbd_jax.data.masks import random_mask
from sgdbd_jax.data.resizing import resize_photo
from sgdbd_jax.data.sources import PhotoSet
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import replace
from sgdbd_jax.presets import DEMO

SIDE = 16
WHOLE = replace(DEMO, {"crop": SIDE, "batch": 4, "flip": False, "second_draw": False})  # a crop is the whole photo


class Watched(list):
    """Photos that remember which of them were looked at."""

    def __init__(self, photos):
        super().__init__(photos)
        self.seen = []

    def __getitem__(self, index):
        self.seen.append(index)
        return super().__getitem__(index)


def photo_set(colours, side=SIDE):
    """Photos of one colour each."""
    images = Watched(np.full((side, side, 3), colour, np.uint8) for colour in colours)
    return PhotoSet(tuple(f"{colour}.png" for colour in colours), images)


def noise_set(count, seed=0):
    photos = np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
    return PhotoSet(tuple(map(str, range(count))), photos)


def coordinates(height=40, width=56):
    """A photo whose red is the column and whose green is the row."""
    photo = np.zeros((height, width, 3), np.uint8)
    photo[..., 0], photo[..., 1] = np.arange(width), np.arange(height)[:, None]
    return photo


def makers(source=range(40), clear=range(100, 140), blur=range(200, 240), **changes):
    sets = TrainingSets(photo_set(source), photo_set(clear), None if blur is None else photo_set(blur))
    return ExampleMakers(sets, replace(WHOLE, changes))


def batch_of(example, *, seed=0, step=0, batch=4, places=None):
    places = range(batch) if places is None else places
    return make_batch(example, seed=seed, stream=13, step=step, batch=batch, places=places)


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def differ(one, other):
    return any((one[name] != other[name]).any() for name in one)


@pytest.mark.parametrize("stage", ["game", "supervised", "warm", "classifier", "discriminators"])
def test_a_batch_is_a_function_of_seed_step_and_place_alone(stage):
    config = {"scale": (0.7, 1.3), "flip": True, "crop": 16}
    photos, masks = noise_set(8).images.repeat(2, 1).repeat(2, 2), [np.eye(32, dtype=np.uint8) * 255] * 8
    names = tuple("abcdefgh")
    sets = TrainingSets(PhotoSet(names, photos, masks), PhotoSet(names, photos), None)

    def example():  # of a maker of its own: nothing is remembered from batch to batch
        return getattr(ExampleMakers(sets, replace(WHOLE, config)), stage)

    first = batch_of(example(), step=5)
    batch_of(example(), step=6)
    assert_same(first, batch_of(example(), step=5))
    assert differ(first, batch_of(example(), step=6))
    assert differ(first, batch_of(example(), step=5, seed=1))
    halves = [batch_of(example(), step=5, places=places) for places in (range(2), range(2, 4))]
    assert_same(first, {name: np.concatenate([half[name] for half in halves]) for name in first})


def test_a_game_with_pastes_plays_the_same_examples_and_has_pastes_beside_them():
    without, with_pastes = (batch_of(makers(paste_weight=weight).game) for weight in (0.0, 1.0))
    assert with_pastes["paste_mask"].shape == (4, SIDE, SIDE, 1) and with_pastes["paste"].shape == (4, SIDE, SIDE, 3)
    assert_same(without, {name: with_pastes[name] for name in without})


def test_a_batch_stacks_uint8_photos():
    batch = batch_of(makers(second_draw=True).game)
    assert set(batch) == {"source", "clear", "blur", "clear_real", "blur_real"}
    assert {(value.shape, value.dtype) for value in batch.values()} == {((4, SIDE, SIDE, 3), np.dtype(np.uint8))}


TEXTURES = noise_set(8).images.repeat(4, 1).repeat(4, 2)  # 64 pixels a side
LEVERS = {
    "warm_steps": 1,
    "shapes": 0.4,
    "uniform": 0.2,
    "grey": 0.3,
    "degrade": True,
    "noise": 20.0,
    "crop": 32,
    "scale": (0.7, 1.3),
}


def textured(**changes):
    photos = PhotoSet(tuple("abcdefgh"), list(TEXTURES), [photo[..., 0] for photo in TEXTURES])
    return ExampleMakers(TrainingSets(photos, photos, None), replace(WHOLE, changes))


def weighed(maker):
    """Examples of self-training with weights, of every other photo: targets of its red, weights of its green."""
    photos = maker.sets.source.images[1::2]
    targets, weights = ([photo[..., i] for photo in photos] for i in range(2))
    return functools.partial(maker.taught, targets=targets, weights=weights, places=range(1, 8, 2))


@pytest.mark.parametrize("stage", ["game", "warm", "taught", "classifier", "discriminators"])
def test_with_every_lever_a_batch_is_a_function_of_seed_step_and_place_alone(stage):
    def example():
        maker = textured(**LEVERS)
        return weighed(maker) if stage == "taught" else getattr(maker, stage)

    first = batch_of(example(), step=5, batch=8)
    assert_same(first, batch_of(example(), step=5, batch=8))
    assert differ(first, batch_of(example(), step=6, batch=8))
    halves = [batch_of(example(), step=5, batch=8, places=places) for places in (range(3), range(3, 8))]
    assert_same(first, {name: np.concatenate([half[name] for half in halves]) for name in first})


def test_without_levers_a_paste_draws_what_it_always_drew():
    """First the mask, then the crops of either photo; nothing before, between or after."""
    maker = makers(degrade=False)
    rng, again = np.random.default_rng(3), np.random.default_rng(3)
    example = maker.warm(rng, Draw(0, 5))
    mask = random_mask(again, (SIDE, SIDE))
    inside, outside = maker._clear(again, Draw(0, 5), 1), maker._blur(again, Draw(0, 5), 2)
    np.testing.assert_array_equal(example["mask"][..., 0], np.rint(255 * mask))
    np.testing.assert_allclose(
        example["photo"], outside + mask[..., None] * (inside - outside.astype(float)), atol=0.51
    )
    assert rng.random() == again.random()


def test_some_pastes_are_photos_of_one_kind_alone():
    batch = batch_of(makers(clear=[255] * 5, blur=[10] * 5, uniform=0.4, warm_steps=1).warm, batch=300)
    whole = dict.fromkeys((0, 255), 0)
    for photo, mask in zip(batch["photo"], batch["mask"]):
        if len(np.unique(mask)) == 1:
            whole[int(mask.flat[0])] += 1
            assert (photo == (255 if mask.flat[0] else 10)).all()
    assert all(40 < count < 80 for count in whole.values())


def halves(count=4):
    """Photos with texture, each half of its own brightness."""
    texture = np.random.default_rng(0).integers(-4, 5, (count, 64, 64, 1))
    return list((np.where(np.arange(64) < 32, 60, 180)[:, None] + texture).astype(np.uint8).repeat(3, -1))


def is_half(mask):
    """Whether an outline is where such a photo changes, but for some eighth of a half, as few random ones are."""
    left, right = np.sort([(mask[:, :32] > 0).mean(), (mask[:, 32:] > 0).mean()])
    return left < 0.12 and right > 0.88


def test_some_pastes_have_the_outlines_of_what_is_in_the_photo():
    photos = PhotoSet(tuple("abcd"), halves())
    maker = ExampleMakers(
        TrainingSets(photos, photos, None), replace(WHOLE, {"warm_steps": 1, "shapes": 0.5, "crop": 64})
    )
    masks = batch_of(maker.warm, batch=120)["mask"][..., 0]
    assert 45 < sum(map(is_half, masks)) < 75


@pytest.mark.parametrize("changes", [{}, {"blur_kernel": "fcsb:2"}])
def test_of_a_paste_with_such_an_outline_both_sides_are_of_one_photo_and_one_is_blurred(changes):
    photos = PhotoSet(tuple("abcd"), halves())
    config = replace(WHOLE, {"warm_steps": 1, "shapes": 1.0, "crop": 64, **changes})
    batch = batch_of(ExampleMakers(TrainingSets(photos, photos, None), config).warm, batch=20)
    sides = set()
    for photo, mask in zip(batch["photo"], batch["mask"][..., 0] == 255):
        assert is_half(mask)
        far = np.abs(np.arange(64) - 31.5) > 18  # from the outline
        (sharp,) = (one for one in photos.images if np.array_equal(one[mask & far], photo[mask & far]))
        blurred = ~mask & far
        assert photo[blurred].std() < 0.8 * sharp[blurred].std()
        assert abs(photo[blurred].mean() - sharp[blurred].mean()) < 1
        sides.add(bool(mask[0, 0]))
    assert sides == {True, False}


def test_a_flat_photo_has_pastes_of_random_shapes():
    batch = batch_of(makers(blur=None, shapes=1.0, warm_steps=1, batch=1).warm, batch=20)
    shares = batch["mask"].mean(axis=(1, 2, 3)) / 255
    assert shares.min() > 0 and shares.max() < 1 and len(np.unique(shares)) > 10


@pytest.mark.parametrize("stage", ["game", "supervised", "warm", "taught", "classifier", "discriminators"])
def test_a_share_of_the_examples_of_every_stage_is_grey_in_all_photos(stage):
    def batch_at(share):
        maker = textured(grey=share)
        return batch_of(weighed(maker) if stage == "taught" else getattr(maker, stage), batch=150)

    def grey(photos):
        return [bool((photo == photo[..., :1]).all()) for photo in photos]

    batch = batch_at(0.4)
    kinds = [grey(photos) for photos in batch.values() if photos.shape[3:] == (3,)]
    assert all(kind == kinds[0] for kind in kinds) and 0.28 < np.mean(kinds[0]) < 0.52
    assert all(all(grey(photos)) for photos in batch_at(1.0).values() if photos.shape[3:] == (3,))
    assert not any(any(grey(photos)) for photos in batch_at(0.0).values() if photos.shape[3:] == (3,))


def test_grey_comes_after_the_colours_of_the_noise():
    maker = textured(grey=1.0, degrade=True, noise=20.0)
    photos = batch_of(maker.warm, batch=20)["photo"]
    assert (photos == photos[..., :1]).all()


def test_weights_are_cut_like_their_photo_and_its_target_and_pastes_count_in_full():
    maker = textured(flip=True, scale=(0.6, 1.7), whole=0.2, crop=32)
    batch = batch_of(weighed(maker), batch=200)
    taught = [(mask == photo[..., :1]).all() for photo, mask in zip(batch["photo"], batch["mask"])]
    assert 0.6 < np.mean(taught) < 0.8
    for photo, weight, own in zip(batch["photo"], batch["weight"], taught):
        np.testing.assert_array_equal(weight, photo[..., 1:2] if own else np.full_like(weight, 255))


def test_without_weights_there_are_none():
    maker = textured()
    plain = functools.partial(maker.taught, targets=[photo[..., 0] for photo in TEXTURES])
    assert set(batch_of(plain, batch=20)) == {"photo", "mask"}


def test_photos_without_a_target_are_left_out_and_the_others_come_equally_often():
    maker = makers(source=range(10), clear=[255] * 5, blur=[254] * 5)
    targets, places = [np.full((SIDE, SIDE), level, np.uint8) for level in (2, 3, 7)], [2, 3, 7]
    example = functools.partial(maker.taught, targets=targets, places=places)
    seen = []
    for step in range(60):
        batch = batch_of(example, step=step, batch=3)
        for photo, mask in zip(batch["photo"], batch["mask"]):
            if photo.max() < 100:
                assert photo.min() == photo.max() == mask.min() == mask.max()
                seen.append(int(mask.flat[0]))
    assert set(seen) == set(places) and np.bincount(seen)[places].min() > 25


def colours(batch, name):
    """The colour of each photo of a batch, each of one colour."""
    values = batch[name].reshape(len(batch[name]), -1)
    assert (values == values[:, :1]).all()
    return values[:, 0].tolist()


def test_every_photo_of_a_set_comes_once_before_any_comes_twice():
    """Whatever the sets' sizes, and across the border of batches: 10 photos in batches of 4."""
    row = makers(source=range(10), clear=range(100, 115), blur=range(200, 206)).game
    seen = {name: [] for name in ("source", "clear", "blur")}
    for step in range(15):
        batch = batch_of(row, step=step)
        for name, values in seen.items():
            values += colours(batch, name)
    for name, first, count in (("source", 0, 10), ("clear", 100, 15), ("blur", 200, 6)):
        epochs = np.reshape(seen[name], (-1, count))
        np.testing.assert_array_equal(np.sort(epochs), [range(first, first + count)] * len(epochs))
        assert len({tuple(epoch) for epoch in epochs}) == len(epochs)  # and in another order each time


def test_sets_are_drawn_independently_and_so_is_the_second_draw():
    """Photos are unpaired: two draws of 40 agree about once in 40 rows."""
    row = makers(source=range(40), clear=range(40), blur=range(40), second_draw=True).game
    batch = batch_of(row, batch=400)
    names = list(batch)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            assert np.mean(np.equal(colours(batch, one), colours(batch, other))) < 0.1


def crops(config, photo, mask=None, count=300):
    return [crop(np.random.default_rng(i), config.crops, photo, mask) for i in range(count)]


def test_crops_at_their_own_size_are_windows_of_the_photo_and_reach_every_border():
    corners = set()
    for (cut,) in crops(WHOLE, coordinates(20, 18)):
        left, top = int(cut[0, 0, 0]), int(cut[0, 0, 1])
        np.testing.assert_array_equal(cut, coordinates(20, 18)[top : top + SIDE, left : left + SIDE])
        corners.add((left, top))
    assert corners == {(left, top) for left in range(3) for top in range(5)}


def test_half_of_the_crops_are_mirrored():
    cuts = crops(replace(WHOLE, {"flip": True}), coordinates())
    steps = [np.diff(cut[..., 0].astype(int), axis=1) for (cut,) in cuts]
    assert all((step == step[0, 0]).all() for step in steps)
    mirrored = np.mean([step[0, 0] == -1 for step in steps])
    assert {step[0, 0] for step in steps} == {-1, 1} and 0.4 < mirrored < 0.6
    assert all((np.diff(cut[..., 1].astype(int), axis=0) == 1).all() for (cut,) in cuts)  # never upside down


def test_the_zoom_covers_its_range_and_scales_both_sides_alike():
    config = replace(WHOLE, {"scale": (0.5, 2.0)})
    zooms = []
    for (cut,) in crops(config, coordinates()):
        assert cut.shape == (SIDE, SIDE, 3)
        # Columns and rows of the photo under 8 pixels in the middle of the crop, free of the resampling's borders.
        across, down = (float(cut[12, 12, axis]) - float(cut[4, 4, axis]) for axis in (0, 1))
        assert abs(across - down) <= 1
        zooms.append(8 / across)
    assert 0.45 < min(zooms) < 0.6 and 1.6 < max(zooms) < 2.8  # to the rounding of whole columns


def test_a_zoom_is_held_to_what_the_photo_can_give():
    """A zoom of a quarter needs 64 pixels; the photo has 40, all of which are then taken."""
    (cut,) = crop(np.random.default_rng(0), replace(WHOLE, {"scale": (0.25, 0.25)}).crops, coordinates(40, 40))
    assert cut.shape == (SIDE, SIDE, 3)
    np.testing.assert_allclose(cut[8, :, 0], (np.arange(SIDE) + 0.5) * 40 / SIDE - 0.5, atol=1)


def test_a_mask_is_cut_like_its_photo():
    config = replace(WHOLE, {"scale": (0.6, 1.7), "flip": True})
    for cut, mask in crops(config, coordinates(), coordinates()[..., 0], count=50):
        np.testing.assert_array_equal(mask, cut[..., 0])


def test_some_crops_are_whole_photos():
    config = replace(WHOLE, {"whole": 0.3, "flip": True})
    photo = coordinates()
    squashed = resize_photo(photo, (SIDE, SIDE))
    whole = [
        any(
            np.array_equal(cut, turned) and np.array_equal(mask, turned[..., 0])
            for turned in (squashed, squashed[:, ::-1])
        )
        for cut, mask in crops(config, photo, photo[..., 0])
    ]
    assert 0.2 < np.mean(whole) < 0.4


def test_discriminators_learn_first_from_two_photos_of_their_kind_and_one_of_each():
    """Every photo of another colour, clear ones from 100, blurred ones from 200."""
    batch = batch_of(makers().discriminators, batch=32)
    assert set(batch) == {"clear_real", "clear_fake", "blur_real", "blur_fake"}
    for name, photos in batch.items():
        for photo in photos:
            ends = {int(photo.min()) // 100, int(photo.max()) // 100}
            assert ends <= ({1} if name == "clear_real" else {2} if name == "blur_real" else {1, 2}), name
            assert name.endswith("real") or ends == {1, 2} or len(np.unique(photo)) == 1
    assert np.mean([len(np.unique(photo)) > 1 for photo in batch["clear_real"]]) > 0.9  # a seam tells nothing


def test_a_row_of_supervision_is_a_photo_and_its_own_mask():
    photos = [coordinates() + np.uint8(i) for i in range(6)]
    source = PhotoSet(tuple("abcdef"), photos, [photo[..., 0] for photo in photos])
    maker = ExampleMakers(TrainingSets(source, source, None), replace(WHOLE, {"flip": True, "scale": (0.5, 1.5)}))
    batch = batch_of(maker.supervised, batch=12)
    np.testing.assert_array_equal(batch["mask"][..., 0], batch["photo"][..., 0])
    assert batch["mask"].shape == (12, SIDE, SIDE, 1)


def test_a_warm_example_is_the_paste_that_its_mask_says():
    """White photos pasted on black ones look as their mask does."""
    batch = batch_of(makers(clear=[255] * 5, blur=[0] * 5).warm, batch=30)
    np.testing.assert_array_equal(batch["photo"], np.repeat(batch["mask"], 3, axis=-1))
    shares = batch["mask"].mean(axis=(1, 2, 3)) / 255
    assert shares.min() < 0.3 and shares.max() > 0.7
    assert len(np.unique(batch["mask"])) > 10  # smooth ones among them


def test_half_of_the_warm_examples_blur_the_clear_photo_itself():
    """A photo of one colour is its own blurred version: such a paste is flat."""
    batch = batch_of(makers(clear=range(0, 250, 5), blur=None, batch=1).warm, batch=200)
    flat = sum(len(np.unique(photo)) == 1 for photo in batch["photo"])
    assert 70 < flat < 130


def test_a_taught_example_is_a_source_photo_with_its_target_or_a_warm_example():
    maker = makers(source=[10, 20, 30, 40], clear=[255] * 5, blur=[0] * 5)
    targets = [np.full((SIDE, SIDE), level, np.uint8) for level in (11, 21, 31, 41)]
    batch = batch_of(functools.partial(maker.taught, targets=targets), batch=300)
    own = [photo.flat[0] in (10, 20, 30, 40) and photo.std() == 0 for photo in batch["photo"]]
    for photo, mask, is_source in zip(batch["photo"], batch["mask"], own):
        np.testing.assert_array_equal(mask, photo[..., :1] + is_source)
    assert 0.6 < np.mean(own) < 0.8


def test_degraded_rows_are_no_longer_the_photos():
    plain, changed = (batch_of(makers(source=[10] * 4, degrade=degrade).game) for degrade in (False, True))
    assert plain["source"].std() == 0
    assert all(changed[name].std() > 0 for name in ("source", "clear", "blur"))


def classified(maker, count=600, **options):
    return batch_of(functools.partial(maker.classifier, **options), batch=count)


def origins(photo):
    """Which of the sets of `makers` a photo of the classifier shows, were each set of one colour."""
    values = set(np.unique(photo))
    return frozenset(
        name for name, colour in (("source", 10), ("clear", 250), ("blur", 130)) if colour in values
    ) | frozenset(["blend"] if values - {10, 130, 250} else [])


def test_the_classes_hold_what_they_are_called_and_pasting_tells_nothing():
    maker = makers(source=[10] * 9, clear=[250] * 9, blur=[130] * 9)
    batch = classified(maker)
    found = {label: [origins(photo) for photo in batch["photo"][batch["label"] == label]] for label in range(3)}
    assert batch["label"].dtype == np.int32
    assert all(len(kinds) > 160 for kinds in found.values())  # a third each
    assert set(found[BLURRED]) == {frozenset(["blur"])}
    assert set(found[CLEAR]) == {frozenset(["clear"])}
    assert {"clear", "blur"} <= set().union(*found[MIXED])
    whole = np.mean([kinds == {"source"} for kinds in found[MIXED]])
    assert 0.4 < whole < 0.6 and not any("source" in kinds and len(kinds) > 1 for kinds in found[MIXED])


def test_half_of_each_class_is_pasted_from_two_photos():
    """Every photo of another colour: a whole one has one, a paste two or more."""
    batch = classified(makers(), count=900)
    for label in (BLURRED, MIXED, CLEAR):
        photos = batch["photo"][batch["label"] == label]
        assert 0.42 < np.mean([len(np.unique(photo)) > 1 for photo in photos]) < 0.58


def test_held_out_photos_are_never_trained_on_and_only_they_measure():
    """Every tenth of every set; of 25 that is 0, 10 and 20."""
    kept = set(range(0, 25, HELD_OUT))
    for held_out in (False, True):
        maker = makers(source=range(25), clear=range(25), blur=range(25))
        classified(maker, held_out=held_out)
        for name in ("source", "clear", "blur"):
            seen = set(getattr(maker.sets, name).images.seen)
            assert seen == (kept if held_out else set(range(25)) - kept)


def test_photos_held_out_stay_so_when_blurred_ones_are_made_of_them():
    for held_out in (False, True):
        maker = makers(source=range(11), clear=range(11), blur=None)
        classified(maker, count=200, held_out=held_out)
        assert set(maker.sets.clear.images.seen) == ({0, 10} if held_out else set(range(1, 10)))


def test_the_game_itself_sees_every_photo():
    maker = makers(source=range(25), clear=range(25), blur=range(25))
    batch_of(maker.game, batch=25)
    assert set(maker.sets.source.images.seen) == set(range(25))


@pytest.mark.parametrize("count", range(1, 45))
def test_however_small_a_set_training_photos_come_equally_often(count):
    maker = makers(source=range(count), clear=range(count), blur=None, batch=1)
    for position in range(2 * count):
        maker._source(np.random.default_rng(0), Draw(0, position), held_out=False)
    times = np.bincount(maker.sets.source.images.seen, minlength=count)
    trained = times[times > 0]
    assert trained.max() - trained.min() <= 1
    assert len(trained) == (count - len(range(0, count, HELD_OUT)) if count > 1 else 1)


def test_blurred_photos_made_by_fcsb_are_the_clear_ones_blurred_so():
    clear = noise_set(6)
    maker = ExampleMakers(TrainingSets(clear, clear, None), replace(WHOLE, {"blur_kernel": "fcsb:3"}))
    made = {fcsb(photo, times).tobytes(): times for photo in clear.images for times in (1, 2, 3)}
    times = [made[photo.tobytes()] for photo in batch_of(maker.game, batch=60)["blur"]]
    assert np.bincount(times)[1:].min() > 10  # 1, 2 and 3 times, about equally often


def test_blurred_photos_made_by_disks_take_their_radii_from_the_config():
    """With one radius, the disks among them (the rest are Gaussians) are known exactly."""
    clear = noise_set(6)
    maker = ExampleMakers(
        TrainingSets(clear, clear, None), replace(WHOLE, {"blur_kernel": "disk", "blur_radii": (2.5, 2.5)})
    )
    disks = {varying_blur(photo, np.full((SIDE, SIDE), 2.5), disk_kernel).tobytes() for photo in clear.images}
    blurred = batch_of(maker.game, batch=60)["blur"]
    assert 0.3 < np.mean([photo.tobytes() in disks for photo in blurred]) < 0.7
    assert max(photo.astype(float).std() for photo in blurred) < 40 < clear.images.astype(float).std()


@pytest.mark.parametrize("name", ["source", "clear", "blur"])
def test_a_batch_larger_than_a_set_is_refused(name):
    with pytest.raises(UserError, match=rf"{name}: 3 photos are fewer than a batch of 4; lower batch or add photos"):
        makers(**{name: range(3)})


@pytest.mark.parametrize("name", ["source", "clear", "blur"])
def test_a_crop_larger_than_a_photo_is_refused_by_the_photos_name(name):
    sets = {each: photo_set(range(4)) for each in ("source", "clear", "blur")}
    narrow = np.zeros((20, 15, 3), np.uint8)
    sets[name] = PhotoSet(("a.png", "b.png", "narrow.png", "c.png"), [narrow.repeat(2, 1)] * 2 + [narrow] * 2)
    with pytest.raises(UserError, match=rf"{name}: narrow\.png is 15x20, smaller than a crop of 16; lower crop"):
        ExampleMakers(TrainingSets(**sets), WHOLE)


def test_prefetching_keeps_the_order():
    def make(step):
        time.sleep(0.004 * (step % 3 == 0))  # some are ready before earlier ones
        return {"step": np.array(step)}

    assert [int(batch["step"]) for batch in prefetch(make, range(3, 25), workers=4)] == list(range(3, 25))
    assert list(prefetch(make, range(0))) == []


def test_prefetching_works_ahead_of_whoever_waits():
    made = threading.Semaphore(0)

    def make(step):
        made.release()
        return {}

    batches = prefetch(make, range(100), ahead=3)
    next(batches)
    for _ in range(4):  # the one given, and three ahead
        assert made.acquire(timeout=10)
    batches.close()


def test_what_goes_wrong_in_a_thread_is_raised_at_its_batch():
    def make(step):
        if step == 3:
            raise UserError("photo 3 is gone")
        return {"step": np.array(step)}

    batches = prefetch(make, range(10))
    assert [int(next(batches)["step"]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match="photo 3 is gone"):
        next(batches)


def test_prefetching_that_is_given_up_ends_its_threads_and_starts_no_more():
    made, before = [], threading.active_count()
    batches = prefetch(made.append, range(1000), ahead=4)
    next(batches)
    batches.close()
    assert threading.active_count() == before
    assert len(made) <= 6
