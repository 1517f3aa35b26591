"""Protocol `sod`: golden values, hand-computed measures, limits."""

import json
from pathlib import Path

import numpy as np
import pytest

from sgdbd_jax.evaluation.scoring import score
from sgdbd_jax.evaluation.sod import SOD, e_measure, s_measure, sod_measures, stretch, weighted_f

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "metrics.json").read_text())
NAMES = {  # ours -> the golden file's
    "mae": "mae",
    "f_measure": "f_adaptive",
    "max_f": "f_max",
    "mean_f": "f_mean",
    "s_measure": "s_measure",
    "e_measure": "e_measure_mean",
    "e_measure_max": "e_measure_max",
    "e_measure_adaptive": "e_measure_adaptive",
    "weighted_f": "weighted_f",
}


@pytest.mark.parametrize("case", GOLDEN, ids=[case["name"] for case in GOLDEN])
def test_golden_values_are_reproduced(case):
    pair = np.array(case["prediction"]) / 255, np.array(case["ground_truth"]) / 255
    result = score([pair], SOD).result
    assert {golden: result[ours] for ours, golden in NAMES.items()} == pytest.approx(case["sod"], abs=1e-4)


def test_masks_are_stretched_unless_constant():
    np.testing.assert_allclose(stretch(np.array([[0.2, 0.3, 0.4]])), [[0, 0.5, 1]])
    np.testing.assert_array_equal(stretch(np.full((2, 2), 0.3)), np.full((2, 2), 0.3))


def test_e_measure_agrees_with_its_formula_pixel_by_pixel():
    rng = np.random.default_rng(1)
    chosen, truth = rng.random((6, 5)) > 0.6, rng.random((6, 5)) > 0.5
    a, b = chosen - chosen.mean(), truth - truth.mean()
    expected = ((2 * a * b / (a**2 + b**2) + 1) ** 2 / 4).sum() / 29
    counts = (chosen & truth).sum(), (chosen & ~truth).sum()
    assert e_measure(*counts, positives=truth.sum(), size=30) == pytest.approx(expected)


def test_e_measure_of_a_truth_without_edges_is_the_share_of_right_pixels():
    assert e_measure(0, 3, positives=0, size=11) == pytest.approx((11 - 3) / 10)
    assert e_measure(4, 0, positives=11, size=11) == pytest.approx(4 / 10)


def test_s_measure_of_an_inverted_mask_is_not_negative():
    truth = np.arange(64).reshape(8, 8) % 2 == 0  # so fine that every region is anticorrelated: -1 before the cut
    assert s_measure(1.0 - truth, truth) == 0
    assert s_measure(truth.astype(float), truth) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 2)])
def test_tiny_images_have_finite_measures(shape):
    """A single true pixel has no deviation, and its block no neighbour: nothing may divide by their absence."""
    mask, truth = np.full(shape, 0.5), np.zeros(shape)
    truth[0, -1] = 1
    scores = sod_measures(mask, truth)
    assert all(np.isfinite(value) for value in scores.values.values())


def test_weighted_f_forgives_an_error_near_the_truth_more_than_one_afar():
    truth = np.zeros((30, 30), bool)
    truth[10:20, 2:6] = True
    near, far = truth.astype(float), truth.astype(float)
    near[10:20, 6], far[10:20, 25] = 1, 1
    assert weighted_f(far, truth) < weighted_f(near, truth) < weighted_f(truth.astype(float), truth) == 1


def test_max_f_takes_one_threshold_for_the_whole_set():
    """Each mask is perfect at a threshold of its own, and no threshold suits both."""
    truth = np.array([[1.0, 1, 0, 0]])
    low, high = np.array([[1, 0.3, 0, 0]]), np.array([[1, 1, 0.6, 0]])
    alone = [score([(mask, truth)], SOD).result["max_f"] for mask in (low, high)]
    assert alone == [1, 1]
    either = 1.3 * 0.5 / (0.3 + 0.5), 1.3 * (2 / 3) / (0.3 * 2 / 3 + 1)  # F of `low` above 0.3, of `high` below 0.6
    assert score([(low, truth), (high, truth)], SOD).result["max_f"] == pytest.approx((1 + max(either)) / 2)
