"""The guided filter on masks whose filtered form is known, and the segmentation on photos of two colours."""

import numpy as np
import pytest

from sgdbd_jax.detection.refine import Refinement, chosen, guided_filter, segment
from sgdbd_jax.errors import UserError

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


@pytest.fixture
def disk():
    """A reddish disk on a greenish ground, both grainy: `[60, 90, 3]` uint8, and where the disk is."""
    rows, columns = np.mgrid[:60, :90]
    inside = (rows - 30) ** 2 + (columns - 50) ** 2 < 20**2
    grain = np.random.default_rng(0).integers(-15, 16, (60, 90, 3))
    photo = np.where(inside[..., None], (180, 60, 40), (60, 140, 80)) + grain
    return photo.astype(np.uint8), inside


def test_a_constant_mask_stays():
    mask = np.full((40, 50), 0.3, np.float32)
    filtered = guided_filter(mask, PHOTO, radius=4, epsilon=1e-4)
    assert filtered.dtype == np.float32
    np.testing.assert_allclose(filtered, mask, atol=1e-6)


def test_a_mask_that_is_linear_in_the_colours_stays():
    """Which is what the filter fits in every window."""
    mask = (PHOTO / 255) @ np.array([0.5, 0.2, -0.3]) + 0.3
    np.testing.assert_allclose(guided_filter(mask, PHOTO, radius=4, epsilon=1e-9), mask, atol=1e-4)


def test_a_blurred_mask_becomes_as_sharp_as_the_photo_s_edge():
    photo = np.zeros((40, 40, 3), np.uint8)
    photo[:, 20:] = (200, 120, 40)
    soft = np.broadcast_to(np.clip((np.arange(40) - 10) / 20, 0, 1), (40, 40))
    filtered = guided_filter(soft, photo, radius=16, epsilon=1e-4)[20]
    assert filtered[20] - filtered[19] > 0.4  # from one pixel to the next; before, a twentieth


def test_in_a_flat_photo_it_is_two_means():
    mask = np.zeros((41, 41))
    mask[20, 20] = 1
    filtered = guided_filter(mask, np.full((41, 41, 3), 90, np.uint8), radius=1, epsilon=1e-4)
    hat = np.array([1, 2, 3, 2, 1]) / 9
    np.testing.assert_allclose(filtered[18:23, 18:23], np.outer(hat, hat), atol=1e-6)
    assert filtered.sum() == pytest.approx(1)


def test_a_segmentation_finds_the_disk_from_a_few_sure_pixels(disk):
    photo, inside = disk
    guess, sure = np.zeros_like(inside), np.zeros_like(inside)
    guess[25:35, 45:55] = sure[25:35, 45:55] = True  # in the disk's middle
    sure[:, :10] = True  # and at the left border
    assert (segment(photo, guess, sure=sure, iterations=3) != inside).mean() < 0.01


def test_what_is_sure_stays_whatever_its_colour(disk):
    photo, inside = disk
    wrong = np.zeros_like(inside)
    wrong[28:33, 48:53] = True  # on the disk, but sure to be outside
    cut = segment(photo, inside & ~wrong, sure=wrong | (inside & ~wrong), iterations=3)
    assert not cut[wrong].any() and cut[inside & ~wrong].all()


def test_a_segmentation_is_the_same_each_time(disk):
    (photo, inside), rng = disk, np.random.default_rng(1)
    guess = inside ^ (rng.random(inside.shape) < 0.2)
    sure = rng.random(inside.shape) < 0.05
    first, second = (segment(photo, guess, sure=sure, iterations=2) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("sure_inside", (0, 4))
def test_without_two_sides_to_learn_from_the_guess_stays(disk, sure_inside):
    photo, guess = disk
    sure = ~guess
    sure[30, 50 : 50 + sure_inside] = True
    np.testing.assert_array_equal(segment(photo, guess, sure=sure, iterations=1), guess)


def test_a_refinement_carries_a_decision_over_what_has_the_same_colours(disk):
    """The network is sure of the disk's rim alone, where there is an edge, as of a plain thing in focus."""
    photo, inside = disk
    rows, columns = np.mgrid[:60, :90]
    rim = inside & (np.hypot(rows - 30, columns - 50) > 14)
    level = np.where(rim, 0.97, np.where(inside, 0.45, 0.05))
    refined = Refinement(radius=0.02)(level, photo)
    assert refined.dtype == np.float32 and refined.shape == (60, 90)
    assert np.abs(refined - inside).mean() < 0.02
    assert np.abs(Refinement(radius=0.02, iterations=0)(level, photo) - inside).mean() > 0.05


@pytest.mark.parametrize("level", (0.0, 0.55, 0.65, 1.0))
def test_a_mask_of_one_level_is_all_on_one_side_of_the_middle(level):
    refined = Refinement(middle=0.6)(np.full((40, 50), level, np.float32), PHOTO)
    np.testing.assert_array_equal(refined, float(level > 0.6))


def test_a_mask_that_is_not_finite_is_refused():
    mask = np.full((40, 50), 0.5, np.float32)
    mask[3, 4] = np.nan
    with pytest.raises(UserError, match="not finite"):
        Refinement()(mask, PHOTO)


@pytest.mark.parametrize(
    "changes",
    (
        {"side": 0},
        {"filter_side": -1},
        {"filter_side": 0.5},
        {"iterations": 1.5},
        {"share": 2.0},
        {"radius": 0.0},
        {"middle": -0.1},
    ),
)
def test_values_without_meaning_are_refused(changes):
    with pytest.raises(UserError, match="refinement: "):
        Refinement(**changes)


@pytest.mark.parametrize("shape", ((1, 1), (1, 300), (7, 3)))
def test_small_and_thin_photos_are_refined(shape):
    mask = np.linspace(0, 1, shape[0] * shape[1], dtype=np.float32).reshape(shape)
    refined = Refinement(side=100)(mask, np.full((*shape, 3), 90, np.uint8))
    assert refined.shape == shape and refined.min() >= 0 and refined.max() <= 1


def test_a_large_photo_is_cut_at_the_side_that_was_asked_for(disk, monkeypatch):
    photo, inside = disk
    seen = []
    monkeypatch.setattr(
        "sgdbd_jax.detection.refine.segment", lambda photo, guess, **_: seen.append(photo.shape) or guess
    )
    Refinement(side=45)(inside.astype(np.float32), photo)
    assert seen == [(30, 45, 3)]


def test_a_mask_is_filtered_at_the_side_that_was_asked_for(disk, monkeypatch):
    photo, inside = disk
    seen = []

    def watch(mask, photo, *, radius, epsilon):
        seen.append((mask.shape, photo.shape, radius))
        return mask

    monkeypatch.setattr("sgdbd_jax.detection.refine.guided_filter", watch)
    for filter_side in (0, 45, 1000):
        Refinement(radius=0.1, filter_side=filter_side, iterations=0)(inside.astype(np.float32), photo)
    whole = ((60, 90), (60, 90, 3), 9)
    assert seen == [whole, ((30, 45), (30, 45, 3), 4), whole]


def test_edges_leave_the_segmentation_out_and_colours_bring_it_in():
    quick, slow = Refinement(middle=0.4, iterations=0), Refinement(middle=0.4, iterations=5)
    assert chosen(slow, "edges") == quick and chosen(quick, "edges") == quick
    assert chosen(slow, "colours") == slow
    assert chosen(quick, "colours") == Refinement(middle=0.4) == chosen(Refinement(middle=0.4), "colours")
    assert chosen(None, "colours") == Refinement()
    with pytest.raises(ValueError, match="not 'cut'"):
        chosen(None, "cut")
