"""Protocol `paper`: golden values, hand-computed pictures, limits and refusals."""

import json
from pathlib import Path

import numpy as np
import pytest

from sgdbd_jax.evaluation.protocols import (
    PAPER,
    adaptive_threshold,
    f_measure,
    paper_measures,
    precision_recall_curves,
    score,
    threshold_counts,
)

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "metrics.json").read_text())
TRUTH = np.array([[1, 1, 0, 0]], np.float32)
MASK = np.array([[1, 0.6, 0.4, 0]], np.float32)


@pytest.mark.parametrize("case", GOLDEN, ids=[case["name"] for case in GOLDEN])
def test_golden_values_are_reproduced(case):
    mask, truth = np.array(case["prediction"]) / 255, np.array(case["ground_truth"]) / 255
    found = paper_measures(mask, truth).values | {"threshold": adaptive_threshold(mask, 1.5)}
    assert found == pytest.approx(case["paper"], abs=1e-4)


def test_a_small_mask_scores_as_computed_by_hand():
    """Threshold 1.5 * 0.5 = 0.75: one of the two true pixels is chosen, and nothing else."""
    assert paper_measures(MASK, TRUTH).values == pytest.approx(
        {"precision": 1, "recall": 0.5, "f_measure": 1.3 * 0.5 / (0.3 + 0.5), "mae": (0.4 + 0.4) / 4}
    )


def test_f_measure_is_zero_where_precision_and_recall_are():
    assert f_measure(0.0, 0.0) == 0
    np.testing.assert_allclose(f_measure(np.array([0, 1]), np.array([0, 1])), [0, 1])


def test_truth_above_a_tenth_is_in_focus():
    truth = np.array([[0.1, 0.11]], np.float64)
    assert paper_measures(np.array([[0.0, 1.0]]), truth).values["mae"] == 0


def test_a_pixel_on_the_threshold_is_chosen():
    """All zeros reach the threshold 0, all ones the threshold capped at 1: both masks choose every pixel."""
    for constant in (np.zeros_like(TRUTH), np.ones_like(TRUTH)):
        values = paper_measures(constant, TRUTH).values
        assert (values["precision"], values["recall"]) == (0.5, 1)


def test_curves_agree_with_thresholding_at_every_level():
    rng = np.random.default_rng(0)
    levels, truth = rng.integers(0, 256, (9, 7)), rng.random((9, 7)) > 0.4
    curves = precision_recall_curves(*threshold_counts((levels / 255).astype(np.float32), truth))
    for threshold in range(256):
        chosen = levels >= threshold
        precision = (chosen & truth).sum() / chosen.sum() if chosen.any() else 0
        recall = (chosen & truth).sum() / truth.sum()
        assert curves["precision"][threshold] == pytest.approx(precision)
        assert curves["recall"][threshold] == pytest.approx(recall)
        assert curves["f_measure"][threshold] == pytest.approx(f_measure(precision, recall))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_eight_bit_level_reaches_its_own_threshold(dtype):
    """Whatever the rounding of k / 255: pixel k of 256 is one of the 256 - k pixels that reach threshold k."""
    mask = (np.arange(256).reshape(16, 16) / 255).astype(dtype)
    inside, outside = threshold_counts(mask, np.ones((16, 16), bool))
    np.testing.assert_array_equal(inside, 256 - np.arange(256))
    assert not outside.any()


def test_a_set_is_the_mean_of_its_images_beside_constant_masks():
    dark = np.zeros((1, 4), np.float32)
    scores = score([(MASK, TRUTH), (dark, TRUTH)])
    first, second = (paper_measures(mask, TRUTH) for mask in (MASK, dark))
    assert scores.rows == [first.values, second.values]
    for name in ("f_measure", "mae", "precision", "recall"):
        assert scores.result[name] == pytest.approx((first.values[name] + second.values[name]) / 2)
    np.testing.assert_allclose(scores.curves["recall"], (first.curves["recall"] + second.curves["recall"]) / 2)
    assert (scores.result["protocol"], scores.result["images"]) == ("paper", 2)
    chance = 1.3 * 0.5 / (0.3 * 0.5 + 1)  # half of the pixels are true, and a constant mask chooses all
    for floor in scores.result["floors"].values():
        assert floor == pytest.approx({"f_measure": chance, "mae": 0.5, "precision": 0.5, "recall": 1})
    assert scores.result["floors"].keys() == {"zeros", "ones"}


def test_the_size_of_the_protocol_is_the_papers():
    assert PAPER.size == 320


@pytest.mark.parametrize(
    ("mask", "truth", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), r"\(2, 3\).*\(3, 2\)"),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 2)), "mask must be floats in"),
        (np.zeros((2, 2)), np.full((2, 2), 255.0), "ground truth must be floats in"),
        (np.full((2, 2), np.nan), np.zeros((2, 2)), "mask must be floats in"),
    ],
)
def test_what_cannot_be_scored_is_refused(mask, truth, message):
    with pytest.raises(ValueError, match=message):
        paper_measures(mask, truth)


def test_an_empty_set_is_refused():
    with pytest.raises(ValueError, match="no images"):
        score([])
