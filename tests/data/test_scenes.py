"""Dead-leaves scenes: their statistics, their optics, and a mask that is true."""

import hashlib

import numpy as np
import pytest
from scipy import ndimage

from sgdbd_jax.data import scenes
from sgdbd_jax.data.blur import disk_kernel
from sgdbd_jax.data.scenes import Layers, Lens, SceneConfig, make_scenes, render_scene
from sgdbd_jax.errors import UserError

CONFIG = SceneConfig(size=64)


def digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def two_layers(front_colour: float, back_colour: float, size: int = 32, margin: int = 10) -> Layers:
    """A front layer over the left half of the canvas, and a back layer over all of it; one unit of nearness apart."""
    side = size + 2 * margin
    cover = np.ones((2, side, side), np.float32)
    cover[1, :, side // 2 :] = 0
    colour = np.stack([cover[0] * back_colour, cover[1] * front_colour])[..., None].repeat(3, axis=-1)
    return Layers(colour.astype(np.float32), cover, np.array([1.0, 2.0]), np.zeros((size, size, 3), np.float32), margin)


def test_radii_follow_the_inverse_cube():
    radii = scenes.leaf_radii(np.random.default_rng(0), 200_000, 2.0, 24.0)
    assert radii.min() >= 2
    assert radii.max() <= 24
    edges = np.geomspace(2, 16, 10)
    density = np.histogram(radii, edges)[0] / np.diff(edges)
    slope, _ = np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), np.log(density), 1)
    assert slope == pytest.approx(-3, abs=0.1)
    # Closed form: the share above 4 is (4^-2 - 24^-2) / (2^-2 - 24^-2).
    assert np.mean(radii > 4) == pytest.approx((1 / 16 - 1 / 576) / (1 / 4 - 1 / 576), rel=0.02)


def test_scenes_repeat_bit_for_bit_and_differ_by_seed():
    for focus in scenes.FOCUS_KINDS:
        first = digest(*make_scenes(4, CONFIG, seed=5, focus=focus))
        assert digest(*make_scenes(4, CONFIG, seed=5, focus=focus)) == first
        assert digest(*make_scenes(4, CONFIG, seed=6, focus=focus)) != first


def test_a_scene_does_not_depend_on_how_many_are_made():
    few, few_masks = make_scenes(2, CONFIG, seed=1, focus="part")
    many, many_masks = make_scenes(5, CONFIG, seed=1, focus="part")
    np.testing.assert_array_equal(few, many[:2])
    np.testing.assert_array_equal(few_masks, many_masks[:2])
    assert len({digest(image) for image in many}) == 5


def test_sets_of_different_focus_show_different_scenes():
    """Unpaired: coarse colours, which blur leaves alone, do not agree across the sets."""

    def coarse(focus: scenes.Focus) -> np.ndarray:
        images, _ = make_scenes(12, CONFIG, seed=2, focus=focus)
        return images.reshape(12, 2, 32, 2, 32, 3).mean(axis=(2, 4)).ravel()

    assert abs(np.corrcoef(coarse("all"), coarse("none"))[0, 1]) < 0.5
    same = [
        render_scene(3, CONFIG, focus).image.reshape(2, 32, 2, 32, 3).mean(axis=(1, 3)) for focus in ("all", "none")
    ]
    assert np.corrcoef(same[0].ravel(), same[1].ravel())[0, 1] > 0.9


def test_whole_masks_of_whole_focus():
    for focus, value in (("all", 255), ("none", 0)):
        images, masks = make_scenes(6, CONFIG, seed=3, focus=focus)
        assert images.shape == (6, 64, 64, 3)
        assert images.dtype == masks.dtype == np.uint8
        assert (masks == value).all()


def test_part_scenes_are_between_a_tenth_and_nine_tenths_in_focus_and_visibly_blurred_elsewhere():
    shares, radii = [], []
    for seed in range(40):
        scene = render_scene(seed, CONFIG, "part")
        np.testing.assert_array_equal(scene.mask == 255, scene.circle_of_confusion < 0.5)
        shares.append(np.mean(scene.mask == 255))
        radii.append(scene.circle_of_confusion[scene.mask == 0])
    assert 0.1 <= min(shares) < 0.25
    assert 0.6 < max(shares) <= 0.9
    assert 1.5 <= min(r.min() for r in radii) < 2
    assert 4.5 < max(r.max() for r in radii) <= 6


def test_nothing_is_in_focus_in_blurred_scenes_and_the_blur_varies_inside_them():
    spreads = []
    for seed in range(30):
        radii = render_scene(seed, CONFIG, "none").circle_of_confusion
        assert radii.min() >= 1.4999
        assert radii.max() <= 6.0001
        spreads.append(np.ptp(radii))
    assert np.median(spreads) > 0.5


def test_the_focused_layer_is_near_middle_and_far():
    chosen = set()
    for seed in range(40):
        layers = scenes.build_layers(seed, CONFIG)
        lens = scenes.choose_lens(seed, layers, CONFIG, focus="part")
        focused = int(np.argmin(lens.circle_of_confusion(layers.nearness)))
        last = len(layers.nearness) - 1
        chosen.add("far" if focused == 0 else "near" if focused == last else "middle")
    assert chosen == {"far", "near", "middle"}


def test_gradients_are_stronger_inside_the_mask():
    images, masks = make_scenes(24, CONFIG, seed=4, focus="part")
    ratios = []
    for image, mask in zip(images, masks, strict=True):
        grey = image.astype(np.float64).mean(axis=-1)
        energy = ndimage.sobel(grey, 0) ** 2 + ndimage.sobel(grey, 1) ** 2
        # Away from the border of the mask: there a sharp outline counts on both sides.
        inside = ndimage.binary_erosion(mask == 255, iterations=2)
        outside = ndimage.binary_erosion(mask == 0, iterations=2)
        ratios.append(energy[inside].mean() / energy[outside].mean())
    assert np.median(ratios) > 5
    assert np.mean(np.array(ratios) > 1.5) > 0.9


def test_pixels_well_inside_the_mask_are_those_of_the_all_in_focus_photo():
    compared = 0
    for seed in range(20):
        sharp, part = render_scene(seed, CONFIG, "all").image, render_scene(seed, CONFIG, "part")
        # Far enough that the widest disk of a nearer leaf, and the sensor, do not reach in.
        inside = ndimage.binary_erosion(part.mask == 255, np.ones((3, 3)), iterations=9)
        assert np.abs(sharp[inside].astype(int) - part.image[inside]).max(initial=0) <= 1
        assert (sharp != part.image).any()
        compared += inside.sum()
    assert compared > 500


def test_every_plain_leaf_shows_its_focus():
    """In an 8 x 8 window of a sharp photo something always varies; blurred photos have flat windows."""

    def least_detail(focus: scenes.Focus) -> float:
        images, _ = make_scenes(12, CONFIG, seed=7, focus=focus)
        detail = images - ndimage.uniform_filter(images.astype(np.float64), (0, 3, 3, 0))
        return float(np.min(np.abs(detail).reshape(12, 8, 8, 8, 8, 3).mean(axis=(2, 4, 5))))

    assert least_detail("all") > 3 * least_detail("none")


def test_a_blurred_edge_is_the_disk_seen_from_its_side():
    """White in front on the left, black behind on the right; the front is 4 pixels out of focus."""
    scene = scenes.photograph(two_layers(1.0, 0.0), Lens(focus=1.0, aperture=4.0), SceneConfig(size=32))
    # Column c sees the part of the disk that reaches left of the edge, between columns 15 and 16.
    profile = disk_kernel(4.0).sum(axis=0)
    expected = [255 * profile[np.arange(-4, 5) + column < 16].sum() for column in range(32)]
    # The sensor's Gaussian is far narrower than the edge.
    np.testing.assert_allclose(scene.image[16, :, 0], expected, atol=4)
    np.testing.assert_array_equal(scene.circle_of_confusion[:, :16], 4)
    np.testing.assert_array_equal(scene.mask[:, :16], 0)
    np.testing.assert_array_equal(scene.mask[:, 16:], 255)


def test_a_focused_layer_hides_what_is_blurred_behind_it():
    layers = two_layers(0.2, 0.8)
    layers.colour[0, :, :26] = 0  # black behind the front layer: blurred, it would leak light or dark
    layers.colour[0, :, 26:] = 1
    scene = scenes.photograph(layers, Lens(focus=2.0, aperture=5.0), SceneConfig(size=32))
    np.testing.assert_array_equal(scene.image[:, :14], 51)  # but for the sensor's reach of two pixels
    # Right of the edge the blurred back shows, dark light from behind the front layer included.
    assert 120 < scene.image[16, 18, 0] < 255


def test_blur_neither_darkens_nor_leaks_at_the_border():
    layers = two_layers(0.6, 0.6)
    scene = scenes.photograph(layers, Lens(focus=3.0, aperture=3.0), SceneConfig(size=32))
    # Where a blurred front thins out the back shows through, of the same colour.
    np.testing.assert_array_equal(scene.image, 153)


def test_the_canvas_reaches_as_far_as_the_widest_blur():
    """A photo of the middle of a scene is the middle of the photo of the scene: no border is felt."""
    config = SceneConfig(size=64)
    whole = scenes.build_layers(8, config)
    edge = slice(16, -16)
    middle = Layers(
        whole.colour[:, edge, edge], whole.cover[:, edge, edge], whole.nearness, whole.noise[edge, edge], whole.margin
    )
    lens = Lens(whole.nearness[0], config.blur_high / (whole.nearness[-1] - whole.nearness[0]))
    expected = scenes.photograph(whole, lens, config)
    scene = scenes.photograph(middle, lens, config)
    assert np.abs(scene.image.astype(int) - expected.image[edge, edge]).max() <= 1
    np.testing.assert_array_equal(scene.mask, expected.mask[edge, edge])


def test_one_scene_focused_near_and_far_is_sharp_in_complementary_places():
    config = SceneConfig(size=64, layers_high=2)
    layers = scenes.build_layers(11, config)
    far, near = layers.nearness
    aperture = 4.0 / (near - far)
    photos = [scenes.photograph(layers, Lens(focus, aperture), config) for focus in (far, near)]
    np.testing.assert_array_equal(photos[0].mask, 255 - photos[1].mask)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 4}, "size is at least 8, not 4"),
        ({"leaf_low": 0.1}, "leaf_low is at least 0.5, not 0.1"),
        ({"leaf_low": 9.0, "leaf_high": 8.0}, "leaf_high is above leaf_low 9.0, not 8.0"),
        ({"layers_low": 1}, "layers_low is at least 2, not 1"),
        ({"layers_high": 1}, "layers_high is at least 2, not 1"),
        ({"in_focus_below": 0.0}, "in_focus_below is above 0, not 0.0"),
        ({"blur_low": 0.4}, "blur_low is above 0.5, not 0.4"),
        ({"layers_high": 2, "blur_high": 1.5}, "blur_high is above blur_low 1.5, not 1.5"),
        ({"blur_high": 5.0}, "blur_high is at least 5.4 for 4 layers, not 5.0"),
        ({"share_low": 0.0}, "share_low is above 0, not 0.0"),
        ({"share_low": 0.5, "share_high": 0.6}, "share_high lies between 0.7 and 1, not at 0.6"),
    ],
)
def test_scenes_that_cannot_be_are_refused(fields, message):
    with pytest.raises(UserError, match=message):
        SceneConfig(**fields)


def test_an_unknown_focus_is_refused():
    with pytest.raises(UserError, match="all, none, part, not 'half'"):
        render_scene(0, CONFIG, "half")
