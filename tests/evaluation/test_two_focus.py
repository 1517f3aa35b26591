"""Scenes photographed twice: how they are read, by hand-made scenes, and how masks of them are scored."""

import types

import numpy as np
import pytest
from PIL import Image

from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.errors import UserError
from sgdbd_jax.evaluation.two_focus import load_two_focus, score_two_focus, share_right, summary

VOTE = np.array([[255, 255, 128, 0], [255, 128, 0, 0]], np.uint8)


@pytest.fixture
def scene(tmp_path):
    """Writes a scene, whose photos are as large as its vote and as bright as 40 and 200."""

    def write(name="cup", vote=VOTE, letters="AB", size=None):
        photos = tmp_path / "input" / name
        photos.mkdir(parents=True)
        for level, letter in zip((40, 200), letters):
            Image.new("RGB", size or vote.shape[::-1], (level,) * 3).save(photos / f"{name}_{letter}.png")
        (tmp_path / "vote").mkdir(exist_ok=True)
        Image.fromarray(vote).save(tmp_path / "vote" / f"{name}.png")
        return tmp_path

    return write


def test_a_vote_is_a_mask_of_a_and_its_opposite_one_of_b(scene):
    scene("cup")
    photos = load_two_focus(scene("apple", vote=255 - np.where(VOTE == 128, 127, VOTE)))
    assert photos.names == ("apple_A.png", "apple_B.png", "cup_A.png", "cup_B.png")
    assert [int(photo[0, 0, 0]) for photo in photos.images] == [40, 200, 40, 200]
    np.testing.assert_array_equal(photos.masks[2], VOTE)
    np.testing.assert_array_equal(photos.masks[3], [[0, 0, 128, 255], [0, 128, 255, 255]])
    np.testing.assert_array_equal(photos.masks[0], photos.masks[3])
    assert all(mask.dtype == np.uint8 for mask in photos.masks)


def test_only_known_pixels_count():
    """Of six, two are wrong: one in focus below a half, one out of focus at a half."""
    mask = np.array([[0.9, 0.4, 0.9, 0.5], [0.5, 0.0, 0.1, 0.0]], np.float32)
    assert share_right(mask, VOTE) == pytest.approx(4 / 6)


def test_a_summary_is_a_mean_its_lowest_tenth_and_the_scenes_that_are_lost():
    """Ten scenes: both photos of one below 0.6, one photo of another, and one just at 0.6."""
    shares = [0.5, 0.59, 0.1, 0.9, 0.6, 0.3] + [1.0] * 14
    found = summary(shares)
    assert found == {
        "right": pytest.approx(sum(shares) / 20),
        "lowest_tenth": pytest.approx((0.1 + 0.3) / 2),
        "lost": 1.0,
    }


def test_weights_are_scored_at_own_size_by_each_refinement(scene, tmp_path, monkeypatch):
    """A detector that calls dark photos sharp is right about A where A is in focus, and about B where B is not."""
    sizes = []

    def load(weights, *, work_size=None, refine=True):
        if refine:
            return types.SimpleNamespace(refinement=None)
        sizes.append(work_size)
        return lambda photo: (photo[..., 0] < 100).astype(np.float32)

    monkeypatch.setattr(Detector, "load", load)
    monkeypatch.setattr("sgdbd_jax.detection.refine.chosen", lambda asked, how: lambda mask, photo: 1 - mask)
    done = []
    photos = load_two_focus(scene(vote=np.array([[255, 255, 255, 0]], np.uint8)))
    scores = score_two_focus(tmp_path, photos, progress=lambda *counts: done.append(counts))
    assert list(scores) == [("own", "none"), ("own", "edges"), ("own", "cut")] and sizes == ["max:1024"]
    assert scores["own", "none"] == {"right": 0.75, "lowest_tenth": 0.75, "lost": 0.0}
    assert scores["own", "cut"] == scores["own", "edges"] == {"right": 0.25, "lowest_tenth": 0.25, "lost": 1.0}
    assert done == [(1, 2), (2, 2)]


def test_what_is_no_such_folder_is_refused(scene, tmp_path):
    with pytest.raises(UserError, match=r"input: cannot be read .*pairs lie in input/NAME and vote/"):
        load_two_focus(tmp_path)
    (tmp_path / "input").mkdir()
    with pytest.raises(UserError, match="input: holds no folders"):
        load_two_focus(tmp_path)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"letters": "AC"}, r"cup: 0 photos are called cup_B; there must be one"),
        ({"size": (5, 2)}, r"cup_A.png: is 5x2, and .*cup.png is 4x2; make them equal"),
        ({"vote": np.full((2, 4), 128, np.uint8)}, r"cup.png: no pixel is known"),
        ({"vote": np.full((2, 4), 127, np.uint8)}, r"cup.png: has level 127; votes are 255"),
    ],
)
def test_a_scene_that_cannot_be_scored_is_refused(scene, given, says):
    with pytest.raises(UserError, match=says):
        load_two_focus(scene(**given))


def test_a_scene_without_votes_or_with_two_photos_of_a_letter_is_refused(scene):
    folder = scene()
    Image.new("RGB", (4, 2)).save(folder / "input" / "cup" / "cup_A.bmp")
    with pytest.raises(UserError, match="2 photos are called cup_A"):
        load_two_focus(folder)
    (folder / "vote" / "cup.png").rename(folder / "vote" / "mug.png")
    with pytest.raises(UserError, match="vote: mug has no photos"):
        load_two_focus(folder)
    (folder / "vote" / "mug.png").unlink()
    Image.new("L", (4, 2)).save(folder / "vote" / "other.png")
    (folder / "input" / "other").mkdir()
    with pytest.raises(UserError, match=r"input/cup: has no votes in .*vote; add them"):
        load_two_focus(folder)


def test_accents_may_be_written_in_either_way(scene):
    """The folder and its photos decomposed, as some systems write them, and the votes composed."""
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    folder = scene(decomposed)
    (folder / "vote" / f"{decomposed}.png").rename(folder / "vote" / f"{composed}.PNG")
    assert len(load_two_focus(folder).names) == 2
