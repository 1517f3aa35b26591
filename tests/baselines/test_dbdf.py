"""DBDF: its features by their formulas, which maps come of it, what it refuses, and its training."""

import jax
import numpy as np
import pytest
import scipy.stats
from masked_photos import masked_photos
from sharp_photos import left_blurred, sharp_photo

from sgdbd_jax.baselines import dbdf
from sgdbd_jax.errors import UserError
from sgdbd_jax.training.run import Reporter
from sgdbd_jax.weights import save_weights

pytest.importorskip("sklearn")

PHOTOS, MASKS = masked_photos(2)


@pytest.fixture(scope="module", autouse=True)
def small():
    """Of few windows a pass and a photo."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dbdf, "AT_ONCE", 256)
        patch.setattr(dbdf, "EACH", 40)
        yield


@pytest.fixture(scope="module")
def trained():
    return dbdf.train(PHOTOS, MASKS, 3)


def described(windows):
    windows = np.float32(windows)
    return dbdf.describe(lambda places: windows[places], lambda at: dbdf.squared_gradient(windows[at]), len(windows))


def test_the_kurtosis_of_gaussian_differences_is_near_three():
    """Levels are sums of them, across; down, they are all the same, and have none."""
    steps = np.random.default_rng(0).normal(0, 0.01, (200, 22))
    found = described(0.5 + np.cumsum(steps, axis=1)[:, None].repeat(22, 1))
    assert found.shape == (200, 4) and np.isnan(found[:, 1]).all()
    mean = np.exp(found[:, 0]).mean()
    assert mean == pytest.approx(scipy.stats.kurtosis(steps[:, 1:], axis=1, fisher=False).mean(), rel=1e-3)
    assert mean == pytest.approx(3 * 20 / 22, abs=0.1)  # of 21 values each, which are expected to have that


@pytest.mark.parametrize("side", dbdf.SCALES)
def test_features_are_their_formulas(side):
    windows = np.float32(np.random.default_rng(side).uniform(0.2, 0.9, (3, side + 1, side + 1)))
    found = described(windows)
    half = (side - 1) // 2
    for window, (across, down, power, _) in zip(windows.astype(np.float64), found):
        differences = window[:-1, 1:] - window[:-1, :-1], window[1:, :-1] - window[:-1, :-1]
        for kurtosis, values in zip((across, down), differences):
            assert kurtosis == pytest.approx(np.log(scipy.stats.kurtosis(values, axis=None, fisher=False)), abs=1e-4)
        inner = window[:-1, :-1]
        spectrum = np.abs(np.fft.fft2(inner / inner.sum())[:half, :half]) ** 2 / half**2
        by_radius = {}
        for (u, v), value in np.ndenumerate(spectrum):
            by_radius.setdefault(round(np.hypot(u + 1, v + 1)), []).append(value)
        logs = sum(np.log(sum(np.mean(by_radius[radius]) for radius in group)) for group in dbdf.GROUPS_OF[side])
        assert power == pytest.approx(logs, abs=1e-3)
        assert {*by_radius} - {radius for group in dbdf.GROUPS_OF[side] for radius in group} <= {14}


def test_a_flat_window_has_no_kurtosis_and_the_least_power_and_width():
    flat, black, lively = np.full((12, 12), 0.6), np.zeros((12, 12)), np.random.default_rng(0).random((12, 12))
    found = described([flat, black, lively])
    assert np.isnan(found[:2, :2]).all() and np.isnan(found[1, 2]) and np.isfinite(found[2]).all()
    assert found[0, 2] < found[2, 2] - 50
    np.testing.assert_allclose(found[:2, 3], 1e-6)


def test_of_two_known_gaussians_the_wider_is_found():
    rng = np.random.default_rng(0)
    narrow, wide = rng.normal(0, 0.004, (30, 300)), rng.normal(0, 0.2, (30, 141))
    squares = np.float32(np.hstack([narrow, wide]) ** 2)
    found = dbdf.tail_widths(lambda places: squares[places], len(squares))
    np.testing.assert_allclose(found, 0.2, rtol=0.25)
    assert found.mean() == pytest.approx(0.2, rel=0.05)


def test_rounds_in_passes_are_those_in_one(monkeypatch):
    """One round after the other, in double precision, of windows that settle early and late."""
    values = np.random.default_rng(0).standard_t(2, (40, 121)) * np.geomspace(1e-3, 0.1, 40)[:, None]
    squares = np.float32(values**2)
    expected = []
    for row in squares.astype(np.float64):
        wide, narrow, weight = 0.5, 1e-4, 0.5
        for _ in range(100):
            densities = [
                share / np.sqrt(v) * np.exp(-row / 2 / v) for share, v in ((1 - weight, wide), (weight, narrow))
            ]
            second = densities[1] / sum(densities)
            wide, narrow = ((1 - second) @ row / (1 - second).sum()), second @ row / second.sum()
            before, weight = weight, second.mean()
            if abs(weight - before) <= 1e-3 * before:
                break
        expected.append(np.sqrt(max(wide, narrow)))
    monkeypatch.setattr(dbdf, "AT_ONCE", 16)
    np.testing.assert_allclose(dbdf.tail_widths(lambda places: squares[places], 40), expected, rtol=2e-3)


def test_posteriors_are_those_of_bayes_rule():
    learned = {"means": [[0.0] * 5, [2.0] * 5], "variances": [[1.0] * 5, [4.0] * 5], "priors": [0.25, 0.75]}
    features = np.array([[0.0, 1, 2, 3, 4], [9] * 5])
    likelihoods = [scipy.stats.norm(mean, sd).pdf(features).prod(1) for mean, sd in ((0, 1), (2, 2))]
    expected = 0.75 * likelihoods[1] / (0.25 * likelihoods[0] + 0.75 * likelihoods[1])
    np.testing.assert_allclose(dbdf.posterior(features, learned), expected)


def test_what_is_sharp_is_bright(trained):
    photo = left_blurred(sharp_photo(7, cell=7), 3)[:36, 10:86]
    found = dbdf.detect(photo, trained[0])
    assert found.shape == (36, 76) and found.dtype == np.float32
    assert 0 <= found.min() <= found.max() <= 1
    assert found[:, :30].mean() < found[:, -30:].mean() - 0.2


def test_flat_parts_have_numbers(trained):
    """Black beside white: of most windows nothing can be told."""
    photo = np.repeat(np.uint8([0, 255]), 24)[None, :, None].repeat(40, 0).repeat(3, 2)
    assert np.isfinite(dbdf.detect(photo, trained[0])).all()


def test_what_was_learned_is_written_and_read(trained, tmp_path):
    tree, metadata = trained
    assert metadata == {"kind": "dbdf", "seed": 3, "windows": 160, "photos": 2}
    read = dbdf.read(save_weights(tmp_path / "a.safetensors", tree, metadata))
    jax.tree.map(np.testing.assert_array_equal, read, tree)
    for side in ("11", "15", "21"):
        np.testing.assert_allclose(np.linalg.norm(tree[side]["filters"].reshape(2, -1), axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(tree[side]["filters"].sum((1, 2)), 0, atol=1e-4)
        np.testing.assert_array_equal(tree[side]["priors"], [0.5, 0.5])
        wide = tree[side]["means"][:, 2]
        assert wide[1] > wide[0]  # what is sharp has more power


def test_a_training_tells_how_far_it_is_and_leaves_out_photos_without_two_sides(monkeypatch):
    monkeypatch.setattr(dbdf, "SCALES", (11,))
    told = []

    class Listening(Reporter):
        def stage(self, name, done, steps):
            told.append((name, done, steps))

        def step(self, metrics):
            told.append(metrics)

    photos, masks = [*PHOTOS, PHOTOS[0], PHOTOS[0][:20]], [*MASKS, MASKS[0] | 255, MASKS[0][:20]]
    first, metadata = dbdf.train(photos, masks, 3, reporter=Listening())
    assert metadata["photos"] == 2 and metadata["windows"] == 160
    expected = [("DBDF's windows", 0, 4), *[None] * 4, ("DBDF's filters and classifiers", 0, 1), None]
    assert told == expected
    again, other = (dbdf.train(PHOTOS, MASKS, seed)[0]["11"]["filters"] for seed in (3, 4))
    np.testing.assert_array_equal(again, first["11"]["filters"])
    assert np.abs(other - again).max() > 1e-3


@pytest.mark.parametrize("count", (0, 1))
def test_masks_of_one_side_teach_nothing(count):
    with pytest.raises(
        UserError, match=rf"DBDF learns from 50 windows .* of these {count} photos have 0 of both; give"
    ):
        dbdf.train(PHOTOS[:count], [np.zeros((96, 96), np.uint8)] * count, 0)


def test_another_file_s_arrays_are_refused(tmp_path, trained):
    tree, metadata = trained
    path = save_weights(tmp_path / "a.safetensors", tree | {"15": {}}, metadata)
    with pytest.raises(
        UserError, match=r"a\.safetensors: weights of another architecture \(missing: 15/filters, 15/me"
    ):
        dbdf.read(path)
    path = save_weights(tmp_path / "a.safetensors", tree, metadata | {"kind": "ksfv"})
    with pytest.raises(UserError, match=r"a\.safetensors: holds weights of kind 'ksfv', 'dbdf' was asked for"):
        dbdf.read(path)
