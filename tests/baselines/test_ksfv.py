"""KSFV: its pool and features, which maps come of it, what it refuses, and its training."""

import numpy as np
import pytest
import scipy.ndimage
from masked_photos import masked_photos
from sharp_photos import left_blurred, sharp_photo

from sgdbd_jax.baselines import ksfv
from sgdbd_jax.errors import UserError
from sgdbd_jax.training.run import Reporter
from sgdbd_jax.weights import save_weights

pytest.importorskip("sklearn")

PHOTOS, MASKS = masked_photos(4, side=64)


@pytest.fixture(scope="module")
def trained():
    return ksfv.train(PHOTOS, MASKS, 3)


def test_the_pool_has_twenty_two_kernels_of_sum_one():
    pool = ksfv.pool()
    assert len(pool) == 22 and pool[0].shape == (1, 1)
    np.testing.assert_allclose([kernel.sum() for kernel in pool], 1)
    assert all(length % 2 for kernel in pool for length in kernel.shape)
    assert len({(kernel.shape, kernel.round(9).tobytes()) for kernel in pool}) == 22


def test_kernels_are_the_same_turned_by_half_so_that_correlation_is_convolution():
    for kernel in ksfv.pool():
        np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-12)


def test_lines_go_in_four_directions():
    across, rising, down, falling = ksfv.pool()[6:10]
    assert across.shape == (1, 5) and down.shape == (5, 1)
    assert (falling[range(5), range(5)] == 0.2).all() and (rising[range(5), range(4, -1, -1)] == 0.2).all()


def test_features_are_their_formulas():
    levels = np.random.default_rng(0).random((50, 48)).astype(np.float32)
    found = list(ksfv.features(levels))
    assert len(found) == ksfv.FEATURES and found[0].shape == (50, 48)
    down, across = (np.gradient(levels.astype(np.float64), axis=axis) for axis in (0, 1))
    for number, kernel in enumerate(ksfv.pool()):
        for feature, gradient in zip(found[2 * number : 2 * number + 2], (across, down)):
            blurred = scipy.ndimage.convolve(gradient, kernel, mode="nearest")
            window = blurred[25 - 8 : 25 + 9, 24 - 8 : 24 + 9]  # away from borders, where gradients are halved
            assert feature[25, 24] == pytest.approx(np.log(1e-8 + window.var()), abs=1e-4)


def test_a_flat_part_has_the_least_of_all_features():
    levels = np.zeros((60, 40), np.float32)
    levels[:10] = np.random.default_rng(0).random((10, 40))
    assert all(each[-1].max() == pytest.approx(np.log(1e-8)) and each[5].min() > -12 for each in ksfv.features(levels))


def test_what_is_sharp_is_bright(trained):
    photo = left_blurred(sharp_photo(7, cell=7), 3)[:60]
    found = ksfv.detect(photo, trained[0])
    assert found.shape == (60, 96) and found.dtype == np.float32
    assert 0 <= found.min() <= found.max() <= 1
    assert found[:, :40].mean() < 0.2 and found[:, -40:].mean() > 0.8


def test_what_was_learned_is_written_and_read(trained, tmp_path):
    tree, metadata = trained
    assert metadata == {"kind": "ksfv", "seed": 3, "windows": 800, "photos": 4}
    read = ksfv.read(save_weights(tmp_path / "a.safetensors", tree, metadata))
    np.testing.assert_array_equal(read["weights"], tree["weights"])
    assert read["bias"] == tree["bias"] and read["weights"].dtype == np.float32


def test_the_linear_layer_is_the_regression_of_standardised_features(trained):
    """Of the windows that it learned from, nearly all are on the right side."""
    right = []
    for photo, mask in zip(*masked_photos(6, side=64)):
        probability = ksfv.detect(photo, trained[0])[:, [*range(8, 20), *range(44, 56)]]
        right.append((probability > 0.5) == (mask[:, [*range(8, 20), *range(44, 56)]] == 255))
    assert np.mean(right) > 0.97


def test_a_training_tells_how_far_it_is_and_leaves_out_photos_without_two_sides():
    told = []

    class Listening(Reporter):
        def stage(self, name, done, steps):
            told.append((name, done, steps))

        def step(self, metrics):
            told.append(metrics)

    photos, masks = [*PHOTOS, PHOTOS[0]], [*MASKS, MASKS[0] | 255]
    first, metadata = ksfv.train(photos, masks, 3, reporter=Listening())
    assert metadata["photos"] == 4 and told == [("KSFV's features", 0, 5), *[None] * 5]
    again, other = (ksfv.train(PHOTOS, MASKS, seed)[0]["weights"] for seed in (3, 4))
    np.testing.assert_array_equal(again, first["weights"])
    assert np.abs(other - again).max() > 1e-6


@pytest.mark.parametrize("count", (0, 1))
def test_masks_of_one_side_teach_nothing(count):
    with pytest.raises(
        UserError, match=rf"KSFV learns from 50 windows .* of these {count} photos have 0 of both; give"
    ):
        ksfv.train(PHOTOS[:count], [np.zeros((64, 64), np.uint8)] * count, 0)


def test_another_file_s_arrays_are_refused(tmp_path, trained):
    tree, metadata = trained
    path = save_weights(tmp_path / "a.safetensors", tree | {"weights": np.zeros(3)}, metadata)
    with pytest.raises(UserError, match=r"a\.safetensors: weights of another architecture \(of another shape: weights"):
        ksfv.read(path)
    path = save_weights(tmp_path / "a.safetensors", tree, metadata | {"kind": "dbdf"})
    with pytest.raises(UserError, match=r"a\.safetensors: holds weights of kind 'dbdf', 'ksfv' was asked for"):
        ksfv.read(path)
