"""The numbers of a photo: values known in closed form, what blur and size do to them, and photos that say nothing."""

import dataclasses

import cv2
import numpy as np
import pytest
from PIL import Image

from sgdbd_jax.data.scenes import SceneConfig, render_scene
from sgdbd_jax.detection.focus import FLAGS, FLAT, SIDE, Focus, certainty, measure

TEXTURE = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
BLOCKS = np.kron(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), np.ones((8, 8, 1), np.uint8))


@pytest.fixture(scope="module", params=["all", "part"])
def scene(request):
    """A rendered scene and its true mask."""
    made = render_scene(3, SceneConfig(size=512), request.param)
    return made.image, (made.mask / 255).astype(np.float32)


def blurred(photo: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(photo, (0, 0), sigma) if sigma else photo


def full(photo: np.ndarray, level: float = 1.0) -> np.ndarray:
    return np.full(photo.shape[:2], level, np.float32)


def grey(pixels: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)[..., None].repeat(3, axis=-1)


def score(photo: np.ndarray, mask: np.ndarray | None = None) -> float:
    return measure(photo, full(photo) if mask is None else mask).score


def test_the_score_of_a_grating_is_known():
    """Of a wave of frequency w, a Gaussian leaves the share exp(-sigma^2 w^2 / 2), a central difference sin(w)."""
    frequency = 2 * np.pi / 32
    across = 128 + 100 * np.cos(frequency * (np.arange(SIDE) + 0.5))  # even at the borders, where photos are reflected
    fine, coarse = (100**2 / 2 * np.sin(frequency) ** 2 * np.exp(-(sigma**2) * frequency**2) for sigma in (2, 4))
    expected = (fine - coarse) / (fine + FLAT**2)
    assert score(grey(np.broadcast_to(across, (SIDE // 2, SIDE)))) == pytest.approx(expected, abs=2e-3)


def test_a_lone_edge_comes_to_a_half():
    photo = np.zeros((SIDE, SIDE, 3), np.uint8)
    photo[:, SIDE // 2 :] = 255
    near = np.zeros((SIDE, SIDE), np.float32)
    near[:, SIDE // 2 - 20 : SIDE // 2 + 20] = 1
    assert score(photo, near) == pytest.approx(0.5, abs=0.02)


def test_a_spectrum_of_natural_scenes_comes_to_three_quarters():
    rng = np.random.default_rng(0)
    rows, columns = np.meshgrid(*2 * [np.fft.fftfreq(SIDE)], indexing="ij")
    frequency = np.maximum(np.hypot(rows, columns), 1 / SIDE)
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((SIDE, SIDE))) / frequency).real
    assert score(grey(128 + 40 * noise / noise.std())) == pytest.approx(0.75, abs=0.03)


def test_blur_lowers_the_score(scene):
    photo, mask = scene
    scores = [score(blurred(photo, sigma), mask) for sigma in (0, 0.5, 1, 1.5, 2, 3, 4, 5, 6)]
    assert (np.diff(scores) < 0).all()
    assert scores[-1] < scores[0] / 2


@pytest.mark.parametrize("resampling", [Image.Resampling.LANCZOS, Image.Resampling.BILINEAR, Image.Resampling.BOX])
def test_half_the_size_leaves_the_score(scene, resampling):
    photo, mask = scene
    for sigma in (0, 1, 3, 6):
        large = blurred(photo, sigma)
        small, small_mask = (np.asarray(Image.fromarray(a).resize((256, 256), resampling)) for a in (large, mask))
        assert score(small, small_mask) == pytest.approx(score(large, mask), rel=0.07)


def test_a_photo_larger_than_the_measured_size_has_the_score_of_its_half(scene):
    photo, mask = (np.asarray(Image.fromarray(a).resize((1200, 900), Image.Resampling.BICUBIC)) for a in scene)
    half, half_mask = (np.asarray(Image.fromarray(a).reduce(2)) for a in (photo, mask))
    assert score(half, half_mask) == pytest.approx(score(photo, mask), rel=0.01)


def test_the_score_is_of_what_the_mask_holds():
    """Beside something blurred, the sharp part scores nearly as it does alone."""
    photo = BLOCKS.copy()
    photo[:, 256:] = blurred(BLOCKS, 8)[:, 256:]
    left = np.zeros((512, 512), np.float32)
    left[:, :256] = 1
    assert score(photo, left) == pytest.approx(score(BLOCKS), rel=0.05)
    assert score(photo, 1 - left) < score(photo) < score(photo, left)


def test_a_mask_that_shrinks_as_its_photo_is_blurred_does_not_raise_the_score():
    """Masks shrink to the sharpest part, here to 3% of the photo, which alone would score more than all of it did."""
    photo, sharpest = blurred(BLOCKS, 2), full(BLOCKS, 0)
    photo[256:, :30], sharpest[256:, :30] = BLOCKS[256:, :30], 1
    assert score(blurred(photo, 1), sharpest) < score(photo)


def test_the_sharpness_is_of_what_is_in_focus_alone_and_shows_a_blur_that_the_score_hardly_does():
    left = np.zeros((512, 512), np.float32)
    left[:, :256] = 1
    photo, soft = BLOCKS.copy(), blurred(BLOCKS, 0.5)
    photo[:, 256 + 8 :] = blurred(BLOCKS, 8)[:, 256 + 8 :]
    assert measure(photo, left).sharpness == pytest.approx(measure(BLOCKS, left).sharpness, rel=1e-3)
    sharp, less = measure(BLOCKS, left), measure(soft, left)
    assert less.sharpness < 0.93 * sharp.sharpness and less.score > 0.98 * sharp.score
    assert measure(BLOCKS, full(BLOCKS, 0)).sharpness == 0


def test_blur_lowers_the_sharpness_and_exposure_does_not(scene):
    photo, mask = scene
    values = [measure(blurred(photo, sigma), mask).sharpness for sigma in (0, 0.5, 1, 2, 4)]
    assert (np.diff(values) < 0).all()
    assert measure(photo // 2, mask).sharpness == pytest.approx(values[0], rel=0.02)


def test_a_photo_with_nothing_in_focus_has_the_score_of_all_of_it():
    assert score(TEXTURE, full(TEXTURE, 0)) == pytest.approx(score(TEXTURE))


@pytest.mark.parametrize("level", [0, 1])
def test_a_photo_of_one_colour_says_nothing(level):
    photo = np.full((100, 150, 3), 90, np.uint8)
    focus = measure(photo, full(photo, level))
    assert (focus.score, focus.unknown, focus.share) == (0, 1, level)
    assert focus.flags == ("nothing_sharp", "low_confidence")


def test_noise_of_a_sensor_is_no_detail():
    photo = grey(90 + 3 * np.random.default_rng(0).standard_normal((600, 800)))
    focus = measure(photo, full(photo))
    assert focus.score < 0.15
    assert focus.unknown == 1


def test_unknown_is_the_share_without_texture_whether_sharp_or_blurred():
    """Up to half a window that reaches over the border."""
    for texture in (TEXTURE, blurred(TEXTURE, 2)):
        photo = texture.copy()
        photo[:, 150:] = 128
        photo[:, :, 0] |= 1
        focus = measure(photo, full(photo))
        assert focus.unknown == pytest.approx(0.5, abs=0.07)
    assert measure(TEXTURE, full(TEXTURE)).unknown == 0


def test_a_slow_gradient_is_no_texture():
    photo = grey(np.linspace(60, 200, 400)[:, None] * np.ones(600))
    assert measure(photo, full(photo)).unknown == 1


def test_share_box_and_centre_of_a_rectangle():
    mask = full(TEXTURE, 0)
    mask[40:120, 60:210] = 1
    focus = measure(TEXTURE, mask)
    assert focus.share == pytest.approx(80 * 150 / 60_000, abs=2e-3)
    assert focus.box == (60, 40, 210, 120)
    assert focus.centre == pytest.approx((135, 80), abs=0.3)


@pytest.mark.parametrize("shape", [(5, 7), (37, 50), (301, 200), (512, 512), (90, 509)])
def test_the_box_of_a_photo_of_up_to_the_measured_size_is_exact(shape):
    rng = np.random.default_rng(1)
    for _ in range(10):
        (top, bottom), (left, right) = (np.sort(rng.choice(side + 1, 2, replace=False)) for side in shape)
        mask = np.zeros(shape, np.float32)
        mask[top:bottom, left:right] = 1
        assert measure(np.zeros((*shape, 3), np.uint8), mask).box == (left, top, right, bottom)


def test_the_box_of_a_large_photo_is_right_to_a_pixel_of_the_measured_copy():
    mask = np.zeros((1500, 2000), np.float32)
    mask[333:1101, 777:1555] = 1
    focus = measure(np.zeros((1500, 2000, 3), np.uint8), mask)
    assert focus.box == pytest.approx((777, 333, 1555, 1101), abs=2000 / SIDE)
    assert focus.centre == pytest.approx((1166, 717), abs=2000 / SIDE)


def test_all_of_a_photo_in_focus_is_a_box_around_it():
    focus = measure(TEXTURE, full(TEXTURE))
    assert (focus.share, focus.box) == (1, (0, 0, 300, 200))
    assert focus.centre == pytest.approx((150, 100))


def test_a_speck_does_not_stretch_the_box_and_a_second_part_does():
    mask = full(TEXTURE, 0)
    mask[40:120, 60:160] = 1
    mask[190:192, 290:292] = 1
    assert measure(TEXTURE, mask).box == (60, 40, 160, 120)
    mask[150:170, 200:220] = 1
    assert measure(TEXTURE, mask).box == (60, 40, 220, 170)


def test_in_focus_begins_at_a_half():
    assert measure(TEXTURE, full(TEXTURE, 0.49)).box is None
    assert measure(TEXTURE, full(TEXTURE, 0.49)).centre is None
    assert measure(TEXTURE, full(TEXTURE, 0.5)).share == 1


def test_all_sharp_does_not_ask_for_the_sky():
    photo, mask = TEXTURE.copy(), full(TEXTURE)
    photo[:80], mask[:75] = 200, 0
    focus = measure(photo, mask)
    assert focus.share < 0.65
    assert focus.flags == ("all_sharp",)
    mask[150:, :100] = 0
    assert measure(photo, mask).flags == ()


def test_nothing_sharp_is_said_by_the_mask_or_by_the_photo():
    mask = full(TEXTURE, 0)
    mask[:10, :30] = 1  # half a percent
    assert measure(TEXTURE, mask).flags == ("nothing_sharp",)
    mask[:20, :60] = 1
    assert measure(TEXTURE, mask).flags == ()
    assert measure(blurred(BLOCKS, 8), full(BLOCKS)).flags == ("nothing_sharp",)


def test_certainty_is_the_mean_over_the_part_in_focus_less_that_over_the_rest():
    focused = np.array([[True, True, False, False, False]])
    assert certainty(np.array([[1.0, 0.8, 0.3, 0.0, 0.0]]), focused) == pytest.approx(0.9 - 0.1)
    assert certainty(focused.astype(float), focused) == 1
    assert certainty(np.full((1, 5), 0.7), focused) == pytest.approx(0)
    assert certainty(1.0 - focused, focused) == -1


def test_where_all_or_nothing_is_in_focus_doubt_counts_for_both_parts():
    assert certainty(np.array([[0.9, 0.7]]), np.array([[True, True]])) == pytest.approx(1 - 2 * 0.2)
    assert certainty(np.array([[0.1, 0.3]]), np.array([[False, False]])) == pytest.approx(1 - 2 * 0.2)


def test_low_confidence_of_a_refined_mask_is_that_of_the_network_s_mask():
    """At whatever size; it changes no number."""
    mask = full(TEXTURE, 0)
    mask[:, :150] = 1
    sure, unsure = np.full((96, 128), 0.2), np.full((96, 128), 0.35)
    sure[:, :64], unsure[:, :64] = 0.9, 0.8
    assert measure(TEXTURE, mask, sure).flags == ()
    assert measure(TEXTURE, mask, unsure).flags == ("low_confidence",)
    assert dataclasses.replace(measure(TEXTURE, mask, unsure), flags=()) == measure(TEXTURE, mask)


def test_low_confidence_of_flat_photos_undecided_masks_and_tiny_photos():
    flat = TEXTURE.copy()
    flat[:, 130:] = 128
    mask = full(TEXTURE, 0)
    mask[:, :90] = 1
    assert measure(flat, mask).flags == ("low_confidence",)
    undecided = 0.4 + 0.3 * mask
    assert measure(TEXTURE, undecided).flags == ("low_confidence",)
    assert measure(TEXTURE, full(TEXTURE, 0.75)).flags == ("all_sharp", "low_confidence")
    assert measure(TEXTURE[:31], mask[:31]).flags == ("low_confidence",)
    assert measure(TEXTURE, mask).flags == measure(TEXTURE[:32], mask[:32]).flags == ()


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (2, 3), (40, 4000)])
@pytest.mark.parametrize("level", [0, 1, None])
def test_photos_of_any_shape_have_numbers(shape, level):
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (*shape, 3), np.uint8)
    mask = rng.random(shape, np.float32) if level is None else np.full(shape, level, np.float32)
    focus = measure(photo, mask)
    assert all(0 <= value <= 1 for value in (focus.share, focus.score, focus.unknown))
    assert set(focus.flags) <= FLAGS.keys()
    if focus.box is None or focus.centre is None:
        assert focus.share == 0
        return
    left, top, right, bottom = focus.box
    assert 0 <= left < right <= shape[1] and 0 <= top < bottom <= shape[0]
    assert 0 <= focus.centre[0] <= shape[1] and 0 <= focus.centre[1] <= shape[0]


def test_the_numbers_do_not_depend_on_how_arrays_lie_in_memory():
    mask = np.linspace(0, 1, 300, dtype=np.float32) * np.ones((200, 1), np.float32)
    turned = measure(TEXTURE[::-1].copy()[::-1], np.asfortranarray(mask))
    assert turned == measure(TEXTURE, mask)
    assert isinstance(turned, Focus)


def test_numbers_are_plain_and_can_be_written_as_json():
    focus = measure(TEXTURE, full(TEXTURE))
    assert focus.box is not None and focus.centre is not None
    assert {type(value) for value in (focus.share, focus.score, focus.unknown, *focus.centre)} == {float}
    assert {type(value) for value in focus.box} == {int}


@pytest.mark.parametrize(
    ("photo", "masks", "message"),
    [
        (TEXTURE.astype(np.float32), [full(TEXTURE)], r"uint8 \[H, W, 3\], here float32"),
        (TEXTURE[..., 0], [full(TEXTURE)], r"here uint8 \(200, 300\)"),
        (TEXTURE[:0], [full(TEXTURE)[:0]], r"here uint8 \(0, 300, 3\)"),
        (TEXTURE, [full(TEXTURE)[:100]], r"size \(200, 300\), here \(100, 300\)"),
        (TEXTURE, [full(TEXTURE), TEXTURE], r"\[h, w\], here \(200, 300, 3\)"),
    ],
)
def test_what_is_no_photo_with_its_mask_is_refused(photo, masks, message):
    with pytest.raises(ValueError, match=message):
        measure(photo, *masks)


def test_a_photo_at_a_part_of_its_size_has_nearly_the_numbers_of_the_whole():
    """As JPEGs are read: a half of the sides, rounded up."""
    rng = np.random.default_rng(0)
    whole = cv2.GaussianBlur(rng.integers(0, 256, (1401, 2003, 3), np.uint8), (0, 0), 5)
    mask = np.zeros((1401, 2003), np.float32)
    mask[200:700, 300:1300] = 1
    half = cv2.resize(whole, (1002, 701), interpolation=cv2.INTER_AREA)
    expected, found = measure(whole, mask), measure(half, mask)
    assert (found.share, found.box, found.centre) == (expected.share, expected.box, expected.centre)
    assert found.score == pytest.approx(expected.score, abs=0.02)
    with pytest.raises(ValueError, match="of its photo's size"):
        measure(half[:, :900], mask)
