"""Kernels have the sums and moments of the shapes they stand for; blurs keep what a blur must keep."""

import numpy as np
import pytest
from scipy import ndimage

from sgdbd_jax.data import blur
from sgdbd_jax.errors import UserError


def random_photo(seed: int, height: int = 40, width: int = 56) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def second_moment(kernel: np.ndarray, axis: int) -> float:
    offsets = np.arange(len(kernel)) - len(kernel) // 2
    return float((kernel.sum(axis=1 - axis) * offsets**2).sum())


def test_gaussian_kernel_has_the_analytic_centre():
    # One profile: 1, and twice exp(-1/8), exp(-4/8), exp(-9/8).
    profile = 1 + 2 * (0.8824969 + 0.6065307 + 0.3246525)
    kernel = blur.gaussian_kernel(7, 2.0)
    assert kernel.shape == (7, 7)
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    assert kernel[3, 3] == pytest.approx(profile**-2, rel=1e-6)
    assert kernel[3, 4] / kernel[3, 3] == pytest.approx(0.8824969, rel=1e-6)


def test_gaussian_kernel_without_spread_is_the_identity():
    np.testing.assert_array_equal(blur.gaussian_kernel(3, 0.0), [[0, 0, 0], [0, 1, 0], [0, 0, 0]])


def test_even_kernels_are_refused():
    with pytest.raises(ValueError, match="odd size, not 6"):
        blur.gaussian_kernel(6, 2.0)


@pytest.mark.parametrize("radius", [0.0, 0.3, 0.5, 0.51, 1.0, 1.5, 2.7, 6.0])
def test_disk_kernel_is_a_symmetric_disk_of_sum_one(radius):
    kernel = blur.disk_kernel(radius)
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    assert kernel.min() >= 0
    np.testing.assert_allclose(kernel, kernel.T, atol=1e-15)
    np.testing.assert_allclose(kernel, kernel[::-1], atol=1e-15)
    # Just large enough: the outermost row has weight, and the next pixel out would not be reached.
    assert kernel[0].sum() > 0
    assert len(kernel) // 2 + 0.5 >= radius


@pytest.mark.parametrize("radius", [3.0, 4.4, 6.0, 9.5])
def test_disk_kernel_has_the_second_moment_of_a_disk(radius):
    """r^2 / 4 along each axis, and 1/12 for the square pixels that the disk is measured in."""
    for axis in (0, 1):
        assert second_moment(blur.disk_kernel(radius), axis) == pytest.approx(radius**2 / 4 + 1 / 12, rel=0.015)


def test_disk_kernel_covers_pixels_in_proportion():
    # Radius 1.5: the centre lies inside; the corner (1, 1) reaches from 0.5 to 1.5 along both axes, so its cover is the
    # integral of sqrt(2.25 - x^2) - 0.5 from x = 0.5 to sqrt(2), where the circle leaves the corner's lower side.
    x = np.linspace(0.5, np.sqrt(2), 100_001)
    corner = np.mean(np.sqrt(2.25 - x**2) - 0.5) * (np.sqrt(2) - 0.5)
    kernel = blur.disk_kernel(1.5)
    assert kernel[1, 1] == pytest.approx(1 / (np.pi * 1.5**2), rel=1e-2)
    assert kernel[0, 0] / kernel[1, 1] == pytest.approx(corner, rel=1e-2)


def test_negative_radii_are_refused():
    with pytest.raises(ValueError, match="not -1"):
        blur.disk_kernel(-1)


def test_fcsb_once_is_the_seven_by_seven_gaussian_with_reflection():
    photo = random_photo(0)
    offsets = np.arange(-3, 4)
    kernel = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / 8.0)
    expected = ndimage.convolve(photo.astype(np.float64), (kernel / kernel.sum())[..., None], mode="reflect")
    np.testing.assert_array_equal(blur.fcsb(photo, 1), np.rint(expected))


def test_fcsb_rounds_once_however_often_it_blurs():
    photo = random_photo(1)
    kernel = blur.gaussian_kernel(7, 2.0)[..., None]
    expected = photo.astype(np.float64)
    for _ in range(3):
        expected = ndimage.convolve(expected, kernel, mode="reflect")
    np.testing.assert_array_equal(blur.fcsb(photo, 3), np.rint(expected))


def test_fcsb_blurs_at_least_once():
    with pytest.raises(UserError, match="0 times"):
        blur.fcsb(random_photo(0), 0)


def test_disk_blur_is_convolution_with_the_disk_and_reflection():
    image = random_photo(2).astype(np.float32)
    expected = ndimage.convolve(image.astype(np.float64), blur.disk_kernel(3.3)[..., None], mode="reflect")
    np.testing.assert_allclose(blur.disk_blur(image, 3.3), expected, atol=1e-3)


def test_disk_blur_reaches_further_than_a_tiny_image():
    image = random_photo(3, height=3, width=4).astype(np.float32)
    expected = ndimage.convolve(image.astype(np.float64), blur.disk_kernel(7.0)[..., None], mode="reflect")
    np.testing.assert_allclose(blur.disk_blur(image, 7.0), expected, atol=1e-3)


def test_blurs_keep_constants():
    flat = np.full((30, 33, 3), (0, 77, 255), np.uint8)
    rng = np.random.default_rng(4)
    radius_map = blur.random_radius_map(rng, (30, 33), 0.0, 8.0)
    assert (blur.fcsb(flat, 5) == flat).all()
    assert (blur.varying_blur(flat, radius_map, blur.disk_kernel) == flat).all()
    np.testing.assert_allclose(blur.disk_blur(flat.astype(np.float32), 5.5), flat, atol=1e-3)
    for _ in range(8):
        assert (blur.random_blur(flat, rng, low=1.0, high=6.0) == flat).all()


def test_varying_blur_of_a_constant_map_is_the_fixed_blur():
    photo = random_photo(5)
    fixed = np.rint(blur.disk_blur(photo.astype(np.float32), 3.25))
    varying = blur.varying_blur(photo, np.full((40, 56), 3.25, np.float32), blur.disk_kernel)
    np.testing.assert_array_equal(varying, fixed)


def test_varying_blur_spreads_a_point_by_the_radius_where_it_lies():
    """Two points of light, one in each half of a map of two radii."""
    photo = np.zeros((41, 82, 3), np.uint8)
    photo[20, [20, 61]] = 255
    radius_map = np.repeat(np.float32([[2.0, 5.0]]), 41, axis=0).repeat(41, axis=1)
    blurred = blur.varying_blur(photo, radius_map, blur.disk_kernel)[..., 0]
    assert blurred[20, 20] == round(255 * blur.disk_kernel(2.0)[2, 2])
    assert blurred[20, 61] == round(255 * blur.disk_kernel(5.0)[5, 5])
    assert blurred[20, 20 + 4] == 0
    assert blurred[20, 61 - 4] > 0


def test_varying_blur_has_the_variance_of_the_radius_between_two_rungs():
    """Of an edge, whose profile has levels enough to measure a spread through the rounding to bytes."""
    photo = np.zeros((41, 41, 3), np.uint8)
    photo[:, 20:] = 250
    radius_map = np.full((41, 41), 4.4, np.float32)
    radius_map[0, :2] = 4.0, 4.7  # the ladder's two rungs
    spread = np.diff(blur.varying_blur(photo, radius_map, blur.disk_kernel)[20, :, 0].astype(np.float64) / 250)
    from_edge = np.arange(40) - 19
    assert (spread * from_edge**2).sum() == pytest.approx(4.4**2 / 4 + 1 / 12, rel=0.02)


def test_radius_maps_are_smooth_and_inside_their_range():
    for seed in range(20):
        radius_map = blur.random_radius_map(np.random.default_rng(seed), (64, 96), 1.0, 6.0)
        assert radius_map.shape == (64, 96)
        assert radius_map.dtype == np.float32
        assert 1.0 <= radius_map.min() <= 3.5 <= radius_map.max() <= 6.0
        assert max(np.abs(np.diff(radius_map, axis=axis)).max() for axis in (0, 1)) < 0.6


def test_random_blur_removes_fine_detail_and_repeats():
    photo = random_photo(6)
    for seed in range(8):
        blurred = blur.random_blur(photo, np.random.default_rng(seed), low=1.5, high=6.0)
        again = blur.random_blur(photo, np.random.default_rng(seed), low=1.5, high=6.0)
        np.testing.assert_array_equal(blurred, again)
        # White noise keeps of its variance the sum of the squared weights, at most about 1 / (pi * 1.5^2).
        assert blurred.astype(np.float64).var() < 0.2 * photo.astype(np.float64).var()


def test_random_blur_refuses_a_range_upside_down():
    with pytest.raises(UserError, match="low 3, high 2"):
        blur.random_blur(random_photo(0), np.random.default_rng(0), low=3, high=2)


SQUARE = np.zeros((40, 48), bool)
SQUARE[12:30, 14:36] = True
RED, BLUE = np.array((200, 40, 30), np.uint8), np.array((20, 60, 180), np.uint8)
FLAT = np.where(SQUARE[..., None], RED, BLUE)


def test_a_sharp_thing_leaves_no_colour_of_its_own_on_the_blurred_ground():
    """Each of one colour: nothing changes, where a blur of the whole would bleed."""
    photo, mask = blur.blur_apart(FLAT, SQUARE, blur.disk_kernel(4.0), thing_in_focus=True)
    np.testing.assert_array_equal(photo, FLAT)
    np.testing.assert_array_equal(mask, SQUARE)


def test_a_sharp_thing_stays_as_it_is_and_the_ground_loses_its_texture():
    texture = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    photo, mask = blur.blur_apart(texture, SQUARE, blur.disk_kernel(4.0), thing_in_focus=True)
    np.testing.assert_array_equal(photo[SQUARE], texture[SQUARE])
    assert photo[~mask].std() < 0.3 * texture[~mask].std()
    far = ~ndimage.binary_dilation(SQUARE, np.ones((11, 11)))  # beyond the kernel's reach: the ground's plain blur
    plain = blur.disk_blur(texture.astype(np.float32), 4.0)
    np.testing.assert_allclose(photo[far], plain[far], atol=0.51)


def test_a_blurred_thing_has_a_soft_rim_over_the_sharp_ground():
    """Its cover is its outline, blurred by the same disk; it, and where that is more than a half, is out of focus."""
    cover = blur.disk_blur(SQUARE[..., None].astype(np.float32), 4.0)
    photo, mask = blur.blur_apart(FLAT, SQUARE, blur.disk_kernel(4.0), thing_in_focus=False)
    np.testing.assert_allclose(photo, cover * RED + (1 - cover) * BLUE, atol=0.51)
    np.testing.assert_array_equal(mask, ~SQUARE & (cover[..., 0] < 0.5))


def test_no_part_of_a_blurred_thing_is_in_focus_however_thin():
    """A bar of 6 pixels covers nowhere half of what a disk of 20 gathers."""
    bar = np.zeros((40, 48), bool)
    bar[17:23] = True
    _, mask = blur.blur_apart(FLAT, bar, blur.disk_kernel(10.0), thing_in_focus=False)
    np.testing.assert_array_equal(mask, ~bar)


def test_of_a_blurred_thing_nothing_sharp_is_left_and_of_the_ground_everything():
    texture = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    photo, mask = blur.blur_apart(texture, SQUARE, blur.disk_kernel(4.0), thing_in_focus=False)
    far = ~ndimage.binary_dilation(SQUARE, np.ones((11, 11)))
    np.testing.assert_array_equal(photo[far], texture[far])
    assert photo[~mask].std() < 0.35 * texture[~mask].std()


def test_a_kernel_of_one_pixel_leaves_a_photo():
    texture = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    for thing_in_focus in (True, False):
        photo, _ = blur.blur_apart(texture, SQUARE, np.ones((1, 1)), thing_in_focus=thing_in_focus)
        np.testing.assert_array_equal(photo, texture)


def test_the_kernel_of_fcsb_is_what_it_convolves_with():
    photo = np.random.default_rng(0).integers(0, 256, (30, 34, 3), np.uint8)
    for times in (1, 3):
        kernel = blur.fcsb_kernel(times)
        assert kernel.shape == (6 * times + 1,) * 2 and kernel.sum() == pytest.approx(1)
        blurred = ndimage.correlate(photo.astype(float), kernel[..., None], mode="constant")
        inner = slice(3 * times, -3 * times)
        np.testing.assert_allclose(blurred[inner, inner], blur.fcsb(photo, times)[inner, inner], atol=0.51)


def test_random_kernels_are_disks_and_gaussians_of_radii_in_the_range():
    """By their spread: a quarter of the squared radius along each axis."""
    radii, rims = [], []
    for seed in range(60):
        kernel = blur.random_kernel(np.random.default_rng(seed), low=2.0, high=6.0)
        offsets = np.arange(len(kernel)) - len(kernel) // 2
        radii.append(2 * np.sqrt((kernel.sum(axis=0) * offsets**2).sum()))
        rims.append(kernel[len(kernel) // 2, 1] / kernel.max())
    assert 1.9 < min(radii) < 2.6 and 5.4 < max(radii) < 6.2
    assert 15 < np.sum(np.array(rims) > 0.5) < 45  # a disk is as bright near its rim
