"""Scoring sets of masks, and a detector: averages, floors, sizes."""

import numpy as np
import pytest

from sgdbd_jax.data.sources import PhotoSet
from sgdbd_jax.evaluation.protocols import PAPER, paper_measures
from sgdbd_jax.evaluation.scoring import score, score_detector
from sgdbd_jax.evaluation.sod import SOD

TRUTH = np.array([[1, 1, 0, 0]], np.float32)
MASK = np.array([[1, 0.6, 0.4, 0]], np.float32)


def test_a_set_is_the_mean_of_its_images_beside_constant_masks():
    dark = np.zeros((1, 4), np.float32)
    scores = score([(MASK, TRUTH), (dark, TRUTH)])
    first, second = (paper_measures(mask, TRUTH) for mask in (MASK, dark))
    assert scores.per_image == [first.values, second.values]
    for name in ("f_measure", "mae", "precision", "recall"):
        assert scores.result[name] == pytest.approx((first.values[name] + second.values[name]) / 2)
    np.testing.assert_allclose(scores.curves["recall"], (first.curves["recall"] + second.curves["recall"]) / 2)
    assert (scores.result["protocol"], scores.result["images"]) == ("paper", 2)
    chance = 1.3 * 0.5 / (0.3 * 0.5 + 1)  # half of the pixels are true, and a constant mask chooses all
    for floor in scores.result["floors"].values():
        assert floor == pytest.approx({"f_measure": chance, "mae": 0.5, "precision": 0.5, "recall": 1})
    assert scores.result["floors"].keys() == {"zeros", "ones"}


def test_an_empty_set_is_refused():
    with pytest.raises(ValueError, match="no images"):
        score([])


def photo_and_truth(height, width, share):
    """A grey photo whose left `share` is in focus."""
    truth = np.zeros((height, width), np.uint8)
    truth[:, : round(share * width)] = 255
    return np.full((height, width, 3), 100, np.uint8), truth


def photo_set(*cases):
    photos, truths = zip(*(photo_and_truth(*case) for case in cases))
    return PhotoSet(tuple(f"{i}.png" for i in range(len(cases))), photos, truths)


def left(share):
    """A detector that says so, at whatever size it is asked for."""

    def detect(photo, *, size):
        mask = np.zeros(size, np.float32)
        mask[:, : round(share * size[1])] = 1
        return mask

    return detect


def test_a_perfect_detector_scores_one_beside_the_floors():
    """A quarter in focus: a constant mask has precision 0.25 and recall 1, so F = 1.3 * 0.25 / (0.3 * 0.25 + 1)."""
    result = score_detector(left(0.25), photo_set((320, 320, 0.25), (160, 80, 0.25))).result
    assert (result["protocol"], result["images"]) == ("paper", 2)
    assert [result[name] for name in ("precision", "recall")] == pytest.approx([1, 1], abs=0.02)
    assert [result["f_measure"], result["mae"]] == pytest.approx([1, 0], abs=0.02)
    floor = pytest.approx(0.3023, abs=0.01)  # the small photo's border is blurred when it is enlarged
    assert [result["floors"][name]["f_measure"] for name in ("zeros", "ones")] == [floor, floor]
    assert result["floors"]["zeros"]["mae"] == pytest.approx(0.25, abs=0.01)
    assert result["floors"]["ones"]["mae"] == pytest.approx(0.75, abs=0.01)


def test_scores_are_averaged_over_images_not_over_pixels():
    """Half found of one image (precision 1, recall 1/2), all of the other; the larger one weighs no more."""
    scores = score_detector(left(0.25), photo_set((320, 640, 0.5), (320, 320, 0.25)))
    assert [image["recall"] for image in scores.per_image] == pytest.approx([0.5, 1], abs=0.01)
    assert scores.result["recall"] == pytest.approx(0.75, abs=0.01)
    assert scores.result["mae"] == pytest.approx(0.125, abs=0.01)


@pytest.mark.parametrize(("protocol", "sizes"), [(PAPER, [(320, 320)] * 2), (SOD, [(48, 64), (96, 32)])])
def test_masks_are_asked_for_at_the_size_that_the_protocol_scores_at(protocol, sizes):
    sizes_seen = []

    def detect(photo, *, size):
        sizes_seen.append(size)
        return left(0.5)(photo, size=size)

    result = score_detector(detect, photo_set((48, 64, 0.5), (96, 32, 0.5)), protocol).result
    assert sizes_seen == sizes
    assert result["protocol"] == protocol.name
    assert result["mae"] == pytest.approx(0, abs=0.01)


def test_the_mask_of_a_detector_is_scored_as_its_8_bit_file_would_be():
    """Of a photo half in focus, 0.999 everywhere is above the threshold only where it is stored as 255, which is 1."""
    almost = score_detector(lambda photo, size: np.full(size, 0.999, np.float32), photo_set((320, 320, 0.5))).result
    assert (almost["recall"], almost["mae"]) == (1, 0.5)


def test_photos_without_masks_cannot_be_scored():
    photo, _ = photo_and_truth(16, 16, 0.5)
    with pytest.raises(ValueError, match="without masks"):
        score_detector(left(0.5), PhotoSet(("a.png",), (photo,)))
