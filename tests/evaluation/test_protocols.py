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
    threshold_counts,
)
from sgdbd_jax.evaluation.sod import SOD

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "metrics.json").read_text())
TRUTH = np.array([[1, 1, 0, 0]], np.float32)
MASK = np.array([[1, 0.6, 0.4, 0]], np.float32)


@pytest.mark.parametrize("case", GOLDEN, ids=[case["name"] for case in GOLDEN])
def test_golden_values_are_reproduced(case):
    mask, truth = np.array(case["prediction"]) / 255, np.array(case["ground_truth"]) / 255
    values = paper_measures(mask, truth).values | {"threshold": adaptive_threshold(mask, 1.5)}
    assert values == pytest.approx(case["paper"], abs=1e-4)


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


def test_masks_and_truths_are_measured_at_320x320_as_in_the_paper_or_at_their_own_size():
    truth = np.zeros((10, 20), np.uint8)
    mask = np.zeros((5, 5), np.float32)
    assert [image.shape for image in PAPER.prepare(mask, truth)] == [(320, 320)] * 2
    assert [image.shape for image in SOD.prepare(mask, truth)] == [(10, 20)] * 2


def test_a_mask_of_a_network_is_measured_as_its_8_bit_file_would_be():
    """0.999 is stored as 255: where the threshold is 1, it counts."""
    mask, truth = SOD.prepare(np.float32([[0.999, 0.5, 0.001]]), np.uint8([[255, 51, 0]]))
    np.testing.assert_array_equal(mask, np.float32([[1, 128 / 255, 0]]))
    np.testing.assert_array_equal(truth, np.float32([[1, 51 / 255, 0]]))
    assert (mask.dtype, truth.dtype) == (np.float32, np.float32)


def test_a_mask_of_a_file_keeps_the_values_between_levels_that_resizing_gives_it():
    """Two pixels made four: bilinear weights of 3/4 and 1/4."""
    mask, _ = SOD.prepare(np.uint8([[0, 1]]), np.zeros((1, 4), np.uint8))
    np.testing.assert_allclose(255 * mask, [[0, 0.25, 0.75, 1]], atol=1e-5)
    unchanged, _ = SOD.prepare(np.arange(256, dtype=np.uint8)[None], np.zeros((1, 256), np.uint8))
    np.testing.assert_array_equal(unchanged, (np.arange(256, dtype=np.float32) / 255)[None])


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
