"""Bursts: which shots belong together, by time and by likeness, and which of them is the sharpest."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from sgdbd_jax.detection.focus import Focus
from sgdbd_jax.files import Identity
from sgdbd_jax.folders import bursts
from sgdbd_jax.folders.bursts import LEAST_LIKENESS, likeness, look_of, mark_bursts, thumbnail_looks
from sgdbd_jax.folders.record import Record
from sgdbd_jax.folders.thumbnails import write_thumbnails

RNG = np.random.default_rng(0)
SCENES = {letter: RNG.integers(0, 256, (16, 16)) for letter in "abc"}  # by a photo's first letter


def look(path):
    return look_of(SCENES[path[-6]]) if path[-6] in SCENES else None


def record(path, seconds, sharpness=0.5, score=0.6, *, flags=(), content=None):
    """A photo taken so many seconds after noon; `None`: it does not say when."""
    taken = "" if seconds is None else f"2026-05-04T12:00:{seconds:09.6f}"
    focus = Focus(0.3, score, None, None, 0.0, flags, sharpness)
    photo = None if content is None else Identity(1, 2, 3, content)
    return Record(path, path, 6, 4, "done", "", 0.1, focus, taken=taken, photo=photo)


def marks(*records, seconds=2.0, **options):
    return mark_bursts(records, look, seconds=seconds, **options)


def test_shots_that_follow_soon_and_are_alike_are_a_burst_and_the_sharpest_is_its_best():
    photos = record("a1.jpg", 0), record("a2.jpg", 1.5, 0.7), record("a3.jpg", 3.5), record("a4.jpg", 5.6, 0.9)
    assert marks(*photos) == {"a1.jpg": (1, False), "a2.jpg": (1, True), "a3.jpg": (1, False)}
    assert marks(*photos, seconds=3)["a4.jpg"] == (1, True)
    assert marks(*photos, seconds=0.1) == {}


def test_other_scenes_are_other_bursts_numbered_by_time():
    photos = [record(f"{name}.jpg", at) for name, at in (("b1", 3), ("b2", 3.2), ("a1", 1), ("a2", 2), ("c1", 4))]
    found = marks(*photos)
    assert {path: number for path, (number, _) in found.items()} == {"a1.jpg": 1, "a2.jpg": 1, "b1.jpg": 2, "b2.jpg": 2}


def test_bursts_of_two_cameras_may_overlap():
    names = ("a1", "b1", "a2", "b2", "b3", "a3")
    found = marks(*(record(f"{name}.jpg", at / 2) for at, name in enumerate(names)))
    assert {path[0]: number for path, (number, _) in found.items()} == {"a": 1, "b": 2} and len(found) == 6


def test_photos_without_a_time_a_picture_or_a_result_are_in_no_burst():
    failed = Record("a3.jpg", "a3", 0, 0, "failed", "damaged", 0.0, None, taken="2026-05-04T12:00:00")
    unmeasured = record("a4.jpg", 0, None)
    odd = dataclasses.replace(record("a5.jpg", 0), taken="noon")
    gone = record("x1.jpg", 0), record("x2.jpg", 0)
    assert marks(record("a1.jpg", 0), record("a2.jpg", None), failed, unmeasured, odd, *gone) == {}


def test_of_equals_the_first_is_best_and_where_nothing_is_in_focus_the_score_tells():
    equal = [record("a2.jpg", 1), record("a1.jpg", 0)]
    assert marks(*equal)["a1.jpg"] == (1, True)
    assert marks(record("a1.jpg", 0, 0.0, 0.3), record("a2.jpg", 0, 0.0, 0.35))["a2.jpg"] == (1, True)


def test_a_shot_in_which_nothing_is_sharp_is_best_only_where_all_are_so():
    """The network may hold a speck of noise to be in focus, and the rest of the photo to be none."""
    noise = record("a1.jpg", 0, 0.9, flags=("nothing_sharp",))
    assert marks(noise, record("a2.jpg", 1, 0.5))["a2.jpg"] == (1, True)
    assert marks(noise, record("a2.jpg", 1, 0.5, flags=("nothing_sharp",)))["a1.jpg"] == (1, True)


def test_copies_of_a_photo_and_photos_of_other_folders_are_no_burst():
    copies = [record(path, 0, content="x") for path in ("a1.jpg", "a2.jpg")]
    assert marks(*copies) == marks(record("/s/a1.jpg", 0), record("/t/a2.jpg", 0)) == {}
    assert marks(*copies, record("a3.jpg", 1, 0.1)) == {"a1.jpg": (1, True), "a2.jpg": (1, True), "a3.jpg": (1, False)}


def test_a_zone_beside_the_time_costs_nothing():
    zoned = dataclasses.replace(record("a1.jpg", 0), taken="2026-05-04T12:00:00+02:00")
    assert len(marks(zoned, record("a2.jpg", 1))) == 2


def test_where_a_clock_stands_still_each_shot_is_compared_with_a_few_and_a_stop_ends_it(monkeypatch):
    calls = []
    monkeypatch.setattr(bursts, "likeness", lambda *looks: calls.append(looks) or 0.0)
    photos = [record(f"{at:03}a1.jpg", 0) for at in range(100)]
    assert marks(*photos) == {} and len(calls) < 100 * bursts.OPEN
    asked, before = iter(range(100)), len(calls)
    marks(*photos, should_stop=lambda: next(asked) > 4)
    assert len(calls) - before == 4 + 3 + 2 + 1


def test_a_raw_file_and_the_jpeg_beside_it_are_one_shot():
    pair = record("/t/a1.CR2", 0, 0.61), record("/t/a1.jpg", 0.2, 0.6)
    assert marks(*pair) == {}
    best = marks(*pair, record("/t/a2.CR2", 1, 0.605))
    assert best == {"/t/a1.CR2": (1, True), "/t/a1.jpg": (1, True), "/t/a2.CR2": (1, False)}


def test_photos_of_one_name_are_several_shots_where_none_is_raw_or_their_times_are_not_one():
    assert len(marks(record("a1.jpg", 0), record("a1.png", 0.5))) == 2
    assert len(marks(record("a1.jpg", 0), record("a1.nef", 1.5))) == 2


def test_of_a_raw_file_and_its_jpeg_the_finer_time_counts():
    pair = record("a1.nef", 2), record("a1.jpg", 2.9)
    assert len(marks(*pair, record("a2.jpg", 4.8))) == 3


# Likeness.


def smooth(size):
    """A scene of large shapes, as thumbnails show them."""
    small = np.random.default_rng(1).integers(0, 256, (6, 6), np.uint8)
    return np.asarray(Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC))


def thumbnail(folder, path, pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(file, "JPEG")
    write_thumbnails(folder, path, [file.getvalue()] * 2)


@pytest.mark.parametrize(
    ("other", "alike"),
    [
        (smooth(256), True),
        (smooth(256) // 2 + 60, True),  # exposed otherwise
        (np.roll(smooth(256), 8, axis=1), True),  # the camera moved
        (np.rot90(smooth(256)), False),
        (np.full((256, 256), 120, np.uint8), False),
    ],
)
def test_the_same_scene_is_alike_however_it_is_exposed(tmp_path, other, alike):
    thumbnail(tmp_path, "/a.jpg", smooth(256))
    thumbnail(tmp_path, "/b.jpg", np.ascontiguousarray(other))
    see = thumbnail_looks(tmp_path)
    assert (likeness(see("/a.jpg"), see("/b.jpg")) >= LEAST_LIKENESS) == alike


def test_likeness_is_the_correlation_and_photos_of_one_grey_are_alike():
    a, b = SCENES["a"].astype(float), SCENES["b"].astype(float)
    assert likeness(look_of(a), look_of(b)) == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], abs=1e-5)
    assert likeness(look_of(a), look_of(255 - a)) == pytest.approx(-1, abs=1e-5)
    assert likeness(look_of(np.full((16, 16), 90)), look_of(np.full((16, 16), 200))) == 1


def test_a_photo_without_a_thumbnail_has_no_look(tmp_path):
    thumbnail(tmp_path, "/a.jpg", smooth(64))
    (path,) = tmp_path.rglob("*.photo.jpg")
    see = thumbnail_looks(tmp_path)
    assert see("/b.jpg") is None
    for data in (b"", b"no picture", path.read_bytes()[:300]):
        path.write_bytes(data)
        assert see("/a.jpg") is None
