"""What detectors do alike: with blur, with photos without any detail, of any size, and with what is no photo."""

import cv2
import numpy as np
import pytest

from sgdbd_jax.baselines import dbdf, dhcf, hifst, ksfv, lbp, srid, ss, svd

DETECTORS = {
    "svd": svd.detect,
    "ss": ss.detect,
    "hifst": hifst.detect,
    "lbp": lbp.detect,
    "dbdf": dbdf.detect,
    "ksfv": ksfv.detect,
    "srid": srid.detect,
    "dhcf": dhcf.detect,
}


@pytest.fixture(params=DETECTORS)
def detect(request):
    if request.param in ("hifst", "ss"):
        pytest.importorskip("skimage")
    return DETECTORS[request.param]


@pytest.fixture
def half_blurred():
    """Rectangles of any colour, one over the other; the left half of the photo is out of focus."""
    rng = np.random.default_rng(0)
    photo = np.full((72, 120, 3), 128, np.uint8)
    for row, column in zip(rng.integers(0, 72, 400), rng.integers(0, 120, 400)):
        photo[row : row + rng.integers(2, 9), column : column + rng.integers(2, 9)] = rng.integers(0, 256, 3)
    photo[:, :60] = cv2.GaussianBlur(photo, (0, 0), 4)[:, :60]
    return photo


def test_the_half_in_focus_is_brighter(detect, half_blurred):
    found = detect(half_blurred)
    assert found.shape == (72, 120) and found.dtype == np.float32
    assert found.min() >= 0 and found.max() <= 1
    least = 0.1 if detect is srid.detect else 0.2  # its filters carry values far across so small a photo
    assert found[:, 70:].mean() > found[:, :50].mean() + least


def test_the_same_photo_has_the_same_map(detect, half_blurred):
    part = half_blurred[:40, 30:90]
    np.testing.assert_array_equal(detect(part), detect(part.copy()))


@pytest.mark.parametrize("colour", ((0, 0, 0), (255, 255, 255), (17, 130, 201)), ids=str)
def test_a_photo_of_one_colour_gives_zeros(detect, colour):
    np.testing.assert_array_equal(detect(np.full((23, 35, 3), colour, np.uint8)), np.zeros((23, 35)))


@pytest.mark.parametrize("size", ((1, 1), (1, 9), (2, 2), (5, 1), (3, 40), (31, 17)), ids=str)
def test_small_and_odd_photos_have_maps_too(detect, size):
    photo = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    found = detect(photo)
    assert found.shape == size and np.isfinite(found).all()
    assert found.min() >= 0 and found.max() <= 1


@pytest.mark.parametrize(
    "photo",
    (
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((2, 8, 8, 3), np.uint8),
    ),
    ids=lambda photo: f"{photo.dtype}{photo.shape}",
)
def test_an_array_that_is_no_photo_is_refused_as_a_detector_does(detect, photo):
    with pytest.raises(ValueError, match="a photo must be uint8"):
        detect(photo)
