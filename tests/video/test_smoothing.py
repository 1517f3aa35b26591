"""Masks over time: still where the clip is, and of the moment where it changes."""

import numpy as np

from sgdbd_jax.video.smoothing import Smoothing

SCENE = np.random.default_rng(0).integers(40, 216, (120, 160, 1)).repeat(3, axis=2).astype(float)


def still(count, sigma):
    """Frames of a scene in which nothing moves, each with the noise of a sensor, in grey levels."""
    rng = np.random.default_rng(1)
    return [np.clip(SCENE + rng.normal(0, sigma, SCENE.shape), 0, 255).astype(np.uint8) for _ in range(count)]


def change(frames):
    """Mean absolute change between consecutive ones, of their range, after the first few."""
    frames = [frame / (255 if frame.dtype == np.uint8 else 1) for frame in frames][3:]
    return float(np.mean([np.abs(after - before).mean() for before, after in zip(frames, frames[1:])]))


def smoothed(frames, masks):
    smooth = Smoothing()
    return [smooth(frame, mask) for frame, mask in zip(frames, masks, strict=True)]


def test_on_a_still_with_noise_masks_flicker_less_than_the_photo_which_by_themselves_they_do_not():
    frames, rng = still(16, sigma=8), np.random.default_rng(2)
    masks = [rng.random(SCENE.shape[:2]).astype(np.float32) for _ in frames]
    assert change(masks) > 5 * change(frames)
    assert change(smoothed(frames, masks)) < change(frames)


def test_on_a_still_without_noise_masks_come_to_rest():
    """A network that wavers is averaged: of steps of 0.2, a tenth is seen."""
    frames = still(30, sigma=0)
    masks = [np.full(SCENE.shape[:2], 0.7 + 0.1 * (-1) ** at, np.float32) for at in range(30)]
    steady = smoothed(frames, masks)
    assert change(masks) > 0.19 and change(steady) < 0.021
    assert abs(steady[-1].mean() - 0.7) < 0.02


def test_another_scene_has_its_own_mask_at_once():
    frames = [*still(5, sigma=4), *(255 - frame for frame in still(1, sigma=4))]
    masks = [np.zeros(SCENE.shape[:2], np.float32)] * 5 + [np.ones(SCENE.shape[:2], np.float32)]
    np.testing.assert_allclose(smoothed(frames, masks)[-1], 1, atol=1e-6)


def test_where_something_moves_masks_follow_and_elsewhere_they_do_not():
    frames = still(6, sigma=0)
    frames[5] = frames[5].copy()
    frames[5][50:70, 70:90] = 255
    masks = [np.zeros(SCENE.shape[:2], np.float32)] * 5 + [np.ones(SCENE.shape[:2], np.float32)]
    last = smoothed(frames, masks)[-1]
    assert last[55:65, 75:85].min() > 0.95
    assert last[:30].max() < 0.35


def test_a_focus_that_is_pulled_slowly_is_followed():
    """No frame differs from the one before by more than its noise would; together they do."""
    frames = [(128 + (SCENE - 128) * (1 - at / 40)).astype(np.uint8) for at in range(31)]
    masks = [np.zeros(SCENE.shape[:2], np.float32)] * 10 + [np.ones(SCENE.shape[:2], np.float32)] * 21
    assert change(frames) < 0.007
    assert smoothed(frames, masks)[24].mean() > 0.9


def test_tiny_frames_are_smoothed_too():
    frames = [np.zeros((1, 1, 3), np.uint8)] * 2
    steady = smoothed(frames, [np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32)])
    np.testing.assert_allclose(steady[1], 0.1, atol=1e-6)
