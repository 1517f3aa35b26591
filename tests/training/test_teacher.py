"""Teachers: what the mean of several looks at a photo is, and how far they disagree; by detectors of known masks."""

import numpy as np
import pytest

from sgdbd_jax.detection.detector import Seen
from sgdbd_jax.errors import UserError
from sgdbd_jax.training.teacher import Teacher

PHOTO = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


class Known:
    """Stands for a detector: its mask is a function of the photo it sees, and refining notes what it gets."""

    def __init__(self, mask_of, shrink=1):
        self.mask_of, self.shrink, self.shown, self.finished = mask_of, shrink, [], []

    def see(self, photo):
        photo = photo[:: self.shrink, :: self.shrink]
        self.shown.append(photo)
        return Seen(photo, self.mask_of(photo).astype(np.float32))

    def finish(self, photo, seen):
        self.finished.append(seen)
        return np.full(photo.shape[:2], seen.mask.mean(), np.float32)


def level(value):
    return lambda photo: np.full(photo.shape[:2], value)


def brightness(photo):
    return photo.mean(axis=-1) / 255


def test_one_look_is_the_detector_s_own_mask_without_doubt():
    own, native = Known(brightness), Known(brightness)
    mask, doubt = Teacher([(own, native)])(PHOTO)
    np.testing.assert_array_equal(own.finished[0].mask, brightness(PHOTO).astype(np.float32))
    assert not native.shown and not doubt.any() and mask.shape == doubt.shape == (20, 30)


def test_each_size_is_looked_at_twice_the_second_time_mirrored():
    own, native = Known(level(0.5)), Known(level(0.5))
    teacher = Teacher([(own, native)], (1.0, 0.5, 16.0))
    teacher(PHOTO)
    assert teacher.looks == 6
    assert [photo.shape[:2] for photo in native.shown] == [(20, 30), (10, 15), (10, 15), (16, 16), (16, 16)]
    np.testing.assert_array_equal(native.shown[0], PHOTO[:, ::-1])
    np.testing.assert_array_equal(native.shown[2], native.shown[1][:, ::-1])


def test_mirrored_masks_are_turned_back():
    """A mask that goes by the photo's brightness is the same in both views, one that goes by places is not."""
    for mask_of, agrees in ((brightness, True), (lambda photo: np.indices(photo.shape[:2])[1] / 30, False)):
        _, doubt = Teacher([(Known(mask_of), Known(mask_of))], (1.0,))(PHOTO)
        assert (doubt.max() < 1e-6) == agrees


def test_the_mean_is_refined_once_and_the_doubt_is_the_deviation_before_that():
    """Levels 0.2 in the own view and 0.6 in three others: mean 0.5, deviation sqrt(3) / 10."""
    own, native = Known(level(0.2)), Known(level(0.6))
    mask, doubt = Teacher([(own, native)], (1.0, 0.5))(PHOTO)
    assert len(own.finished) == 1 and not native.finished
    np.testing.assert_allclose(mask, 0.5, atol=1e-6)
    np.testing.assert_allclose(doubt, np.sqrt(3) / 10, atol=1e-6)


def test_of_several_teachers_the_first_one_refines_the_mean_at_its_own_size():
    first, second = (Known(level(1.0), shrink=2), Known(level(1.0))), (Known(level(0.0)), Known(level(0.0)))
    teacher = Teacher([first, second])
    mask, doubt = teacher(PHOTO)
    assert teacher.looks == 2
    assert first[0].finished[0].mask.shape == (10, 15) and not second[0].finished
    np.testing.assert_array_equal(first[0].finished[0].photo, PHOTO[::2, ::2])
    np.testing.assert_allclose(mask, 0.5)
    np.testing.assert_allclose(doubt, 0.5)
    assert doubt.shape == (20, 30)


@pytest.mark.parametrize("size", [0.001, 1.0])
def test_a_part_of_a_small_photo_is_at_least_a_pixel(size):
    native = Known(level(0.5))
    Teacher([(Known(level(0.5)), native)], (size,))(PHOTO)
    assert min(min(photo.shape[:2]) for photo in native.shown) >= 1


def test_a_mask_that_is_not_finite_is_refused_whoever_refines():
    with pytest.raises(UserError, match="a mask is not finite"):
        Teacher([(Known(level(np.nan)), Known(level(0.5)))])(PHOTO)
