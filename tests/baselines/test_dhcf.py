"""DHCF: its features by their formulas, its network, which maps come of it, what it refuses, and its training."""

import flax.linen as nn
import jax
import numpy as np
import pytest
import scipy.fft
from sharp_photos import blurred, left_blurred, sharp_photo

from sgdbd_jax.baselines import dhcf, dhcf_patches
from sgdbd_jax.baselines.dhcf_patches import LEARNED, SEEN, STRONG, WEAK, cut, describe, value
from sgdbd_jax.baselines.joint_filters import rolling_guidance, weighted_median
from sgdbd_jax.baselines.matting import laplacian
from sgdbd_jax.detection.shipped import shipped
from sgdbd_jax.errors import UserError
from sgdbd_jax.training.run import Reporter, Stopped
from sgdbd_jax.weights import load_weights, save_weights

PHOTOS = [sharp_photo(seed, side=48, cell=8) for seed in range(20)]  # ten are enough to learn from


@pytest.fixture(scope="module", autouse=True)
def small():
    """Of few patches a photo, a step and a pass."""
    with pytest.MonkeyPatch.context() as patch:
        for name, number in {"EACH": 2, "BATCH": 32}.items():
            patch.setattr(dhcf, name, number)
        for module in (dhcf, dhcf_patches):
            patch.setattr(module, "AT_ONCE", 32)
        yield


@pytest.fixture(scope="module")
def trained():
    return dhcf.train(PHOTOS[:10], 3, steps=6)


@pytest.mark.parametrize("scale", (WEAK, STRONG))
def test_features_are_their_formulas(scale):
    photo = blurred(sharp_photo(3, side=60), 0.8)
    cuts = cut(photo, np.array([30, 2]), np.array([25, 58]), scale)
    found = describe(cuts, scale)
    for patch, image, features in zip(cuts, found.images, found.features):
        grey = patch.max(-1) / 255
        padded = np.zeros((scale.padded, scale.padded))
        padded[: scale.side, : scale.side] = grey
        spectrum = np.abs(scipy.fft.dctn(padded, norm="ortho"))
        ring = (scale.padded - 1) / scale.bins
        transform = []
        for place in range(scale.bins):
            low, high = (place - 0.1) * ring, (place + 1.1) * ring
            inside = [spectrum[u, v] for u, v in np.ndindex(*spectrum.shape) if low <= np.hypot(u, v) <= high]
            transform.append(np.mean(inside))
        steps = np.zeros((2, scale.side, scale.side))
        steps[0, :-1], steps[1, :, :-1] = np.diff(grey, axis=0), np.diff(grey, axis=1)
        gradients, _ = np.histogram(np.hypot(*steps) / np.sqrt(2), scale.bins, (0, 1))
        singular = np.linalg.svd(grey)[1][: scale.bins]
        for row, feature in zip(features, (transform, gradients, singular)):
            logs = np.log1p(feature)
            expected = np.zeros(40)
            expected[scale.first : scale.first + scale.bins + 1] = [*logs / logs.sum(), 1]
            np.testing.assert_allclose(row, 255 * expected, atol=0.51)
        border = (27 - scale.side) // 2
        np.testing.assert_array_equal(image, np.pad(patch, ((border,) * 2, (border,) * 2, (0, 0)), mode="edge"))


def test_the_scales_share_a_row_of_forty_numbers():
    assert [scale.bins + 1 for scale in (WEAK, STRONG)] == [26, 14] and STRONG.first == 26


def test_patches_prolong_the_photo_s_borders():
    photo = sharp_photo(side=20)
    (corner,) = cut(photo, np.array([0]), np.array([19]), STRONG)
    np.testing.assert_array_equal(corner[:8, 7:], np.broadcast_to(photo[0, 19], (8, 8, 3)))
    np.testing.assert_array_equal(corner[7:, :8], photo[:8, 12:])


def test_a_steep_edge_is_strong_and_a_weaker_one_weak():
    """Steps of 200, 60 and 10 levels: 0.3 of the largest gradient is between the weak and the strong threshold."""
    levels = np.repeat(np.uint8([0, 200, 140, 150]), 20)
    weak, strong = SEEN.of(np.tile(levels[None, :, None], (30, 1, 3)))
    assert set(np.nonzero(strong)[1]) <= {19, 20} and strong.sum() >= 28
    assert set(np.nonzero(weak)[1]) <= {39, 40} and weak.sum() >= 28


def test_what_is_weak_in_training_is_stronger_than_what_is_weak_in_use():
    photo = blurred(sharp_photo(), 1)
    use, training = (np.logical_or(*edges.of(photo)) for edges in (SEEN, LEARNED))
    assert use.sum() > training.sum() > 0


def test_a_black_patch_has_features_of_zeros_and_ones():
    found = describe(np.zeros((1, 15, 15, 3), np.uint8), STRONG)
    np.testing.assert_array_equal(found.features[0, [0, 2]], np.tile([0] * 39 + [255], (2, 1)))


def test_grey_is_the_largest_of_the_colours():
    np.testing.assert_allclose(value(np.uint8([[[51, 102, 0]]])), [[0.4]])


def test_the_network_has_the_authors_parameters():
    shapes = jax.tree.map(np.shape, jax.eval_shape(dhcf._initial, np.uint32(0)))["params"]
    assert shapes["conv3"]["kernel"] == (3, 3, 50, 50) and shapes["conv4"]["kernel"] == (1, 1, 50, 25)
    assert shapes["fc1"]["kernel"] == (145, 300) and shapes["fc3"]["kernel"] == (150, 11)
    assert sum(np.prod(shape) for layer in shapes.values() for shape in layer.values()) == 126_436
    np.testing.assert_allclose(dhcf.SIGMAS, [0.5, 0.65, 0.8, 0.95, 1.1, 1.25, 1.4, 1.55, 1.7, 1.85, 2.0])


@pytest.mark.parametrize(("side", "blocks"), ((25, 9), (7, 3), (6, 2)))
def test_pools_count_what_is_left_at_the_end(side, blocks):
    x = np.random.default_rng(0).normal(size=(2, side, side, 3)).astype(np.float32) - 9
    left = 3 * blocks - side
    expected = nn.max_pool(x, (3, 3), (3, 3), padding=((0, left), (0, left)))
    np.testing.assert_array_equal(dhcf._pool(x), expected)
    assert expected.shape == (2, blocks, blocks, 3)


def test_more_blur_has_larger_sigmas():
    """Close to those of the blurs, of a kind of photo that the network has not seen."""
    photo = sharp_photo(100, side=64, cell=8)
    for sigma in (0.5, 1.1, 2.0):
        blur, confidence = dhcf.blur_at_edges(blurred(photo, sigma))
        at_edges = blur > 0
        assert np.isin(blur[at_edges], np.float32(dhcf.SIGMAS)).all()
        assert (confidence[at_edges] > 1 / 11).all() and (confidence[~at_edges] == 0).all()
        assert blur[at_edges].mean() == pytest.approx(sigma, abs=0.2)


def test_what_is_sharp_is_bright():
    photo = left_blurred(sharp_photo(100, side=72, cell=8)[:48])
    found = dhcf.detect(photo)
    assert found[:, :30].mean() < found[:, -30:].mean() - 0.3
    assert found.shape == (48, 72) and found.dtype == np.float32
    assert found.min() == 0 and found.max() == 1
    np.testing.assert_array_equal(dhcf.detect(photo), found)


def test_the_map_is_what_the_steps_of_the_paper_make_of_the_edges(monkeypatch):
    """The steps after the network, the mean in loops and the spread by a dense solver; the network is left out."""
    photo = sharp_photo(7, side=26, cell=6)[:22]
    rng = np.random.default_rng(0)
    known = rng.random((22, 26)) < 0.15
    blur = known * rng.choice(np.float32(dhcf.SIGMAS), known.shape)
    confidence = known * rng.uniform(0.2, 1, known.shape).astype(np.float32)
    monkeypatch.setattr(dhcf, "blur_at_edges", lambda photo, learned: (blur, confidence))
    smooth = rolling_guidance(photo / np.float32(255), spatial=1.5, range_=1.5, rounds=3)

    mean = np.zeros(known.shape)
    for i, j in np.argwhere(known):
        weighted = total = 0.0
        for k, m in np.argwhere(known):
            if max(abs(k - i), abs(m - j)) <= 13:
                squares = (k - i) ** 2 + (m - j) ** 2, ((smooth[k, m] - smooth[i, j]) ** 2).sum()
                weight = np.exp(-sum(squares) / (2 * 100**2) - (1 - confidence[k, m]) ** 2 / 2)
                weighted, total = weighted + weight * blur[k, m], total + weight
        mean[i, j] = weighted / total
    matrix = laplacian(smooth, 9 * 1e-5).toarray() + 0.005 * np.diag(known.ravel())
    spread = np.linalg.solve(matrix, 0.005 * known.ravel() * mean.ravel()).reshape(known.shape)
    sharpness = np.clip((2 - spread) / 1.5, 0, 1)
    expected = weighted_median(sharpness, smooth, radius=5, range_=0.25, rounds=3)
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    found = dhcf.detect(photo, {})
    levels = 1.5 / 255 / (sharpness.max() - sharpness.min())  # of the median, whose scale the last step stretches
    np.testing.assert_allclose(found, expected, atol=levels)
    assert expected.std() > 10 * levels / 255


@pytest.mark.parametrize("shape", ((1, 1), (12, 2), (5, 7)))
def test_a_photo_that_is_smaller_than_a_window_has_a_map(shape):
    found = dhcf.detect(sharp_photo(cell=3)[: shape[0], : shape[1]])
    assert found.shape == shape and np.isfinite(found).all() and 0 <= found.min() <= found.max() <= 1


@pytest.mark.parametrize("level", (0, 77, 255))
def test_a_constant_photo_gives_zeros(level):
    np.testing.assert_array_equal(dhcf.detect(np.full((20, 24, 3), level, np.uint8)), np.zeros((20, 24)))


def test_what_is_no_photo_is_refused():
    with pytest.raises(ValueError, match=r"a photo must be uint8 \[H, W, 3\], here float64 \(8, 8, 3\); of values in"):
        dhcf.detect(np.zeros((8, 8, 3)))
    with pytest.raises(ValueError, match="it has no pixels"):
        dhcf.detect(np.zeros((0, 8, 3), np.uint8))


def test_a_training_says_how_well_it_knows_photos_held_out(trained, tmp_path):
    """One of the ten, with two weak and two strong edges, each blurred by eleven amounts."""
    tree, metadata = trained
    assert metadata["patches"] == 9 * 4 * 11 and metadata["held_out_patches"] == 4 * 11
    assert metadata["kind"] == "dhcf" and metadata["steps"] == 6 and metadata["seed"] == 3
    assert 0 <= metadata["held_out_accuracy"] <= metadata["held_out_within_one_level"] <= 1
    assert (tree["params"]["fc1"]["bias"] == 0).all() and (tree["params"]["fc2"]["bias"] != 0.1).any()
    read = dhcf.read(save_weights(tmp_path / "a.safetensors", tree, metadata))
    jax.tree.map(np.testing.assert_array_equal, read, tree)


class Until:
    """Asks to stop after so many steps."""

    def __init__(self, steps):
        self.left = steps

    def __call__(self):
        self.left -= 1
        return self.left == 0


def test_a_training_that_was_stopped_ends_where_it_would_have(trained, tmp_path):
    whole, metadata = trained
    with pytest.raises(Stopped):
        dhcf.train(PHOTOS[:10], 3, steps=6, folder=tmp_path, should_stop=Until(4))
    told = []

    class Listening(Reporter):
        def stage(self, name, done, steps):
            told.append((name, done, steps))

    again, same = dhcf.train(PHOTOS[:10], 3, steps=6, folder=tmp_path, reporter=Listening())
    assert told == [("DHCF's patches", 0, 10), ("DHCF's network", 4, 6)]
    jax.tree.map(np.testing.assert_array_equal, again, whole)
    assert same == metadata


def test_another_seed_or_other_photos_begin_anew(tmp_path):
    begun = []

    class Listening(Reporter):
        def stage(self, name, done, steps):
            begun.append(done)

    for photos, seed in ((PHOTOS[:10], 0), (PHOTOS[:10], 1), (PHOTOS[10:], 0), (PHOTOS[:10], 0)):
        dhcf.train(photos, seed, steps=6, folder=tmp_path, reporter=Listening())
    assert begun[1::2] == [0, 0, 0, 6]


@pytest.mark.parametrize("photos", ([], PHOTOS[:9], [np.full((40, 40, 3), 9, np.uint8)] * 20))
def test_photos_that_teach_nothing_are_refused(photos):
    with pytest.raises(UserError, match=rf"10 at the least, .* these {len(photos)} have \d+ edges to learn from and 0"):
        dhcf.train(photos, 0, steps=1)


def test_the_shipped_network_knew_half_of_the_patches_held_out():
    _, metadata = load_weights(shipped("baselines/dhcf.safetensors"))
    assert metadata["held_out_accuracy"] > 0.45 and metadata["held_out_within_one_level"] > 0.85


def test_another_file_s_arrays_are_refused(tmp_path):
    path = save_weights(tmp_path / "a.safetensors", {"dictionary": np.zeros((64, 128))}, {"kind": "srid"})
    with pytest.raises(UserError, match=r"a\.safetensors: holds weights of kind 'srid', 'dhcf' was asked for"):
        dhcf.read(path)
