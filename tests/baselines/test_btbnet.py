"""BTBNet: its layers, what a tiny one makes of photos, its training step, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from masked_photos import masked_photos
from sharp_photos import sharp_photo

from sgdbd_jax.baselines import btbnet
from sgdbd_jax.config import InputNorm
from sgdbd_jax.errors import UserError
from sgdbd_jax.models.vgg16 import BLOCKS
from sgdbd_jax.porting import vgg16
from sgdbd_jax.training.run import Reporter, Stopped
from sgdbd_jax.weights import save_weights

TINY = btbnet.BTBNet(1 / 64, (1.0,))  # 1 to 8 features, one stream
PHOTOS, MASKS = masked_photos(2, side=20)


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(btbnet, "CROP", 8)
        yield


@pytest.fixture(scope="module")
def learned():
    """Of two streams, and with kernels at random that let something through."""
    network = btbnet.BTBNet(1 / 64, (1.0, 0.6))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: rng.normal(0, 0.4, leaf.shape).astype(np.float32), btbnet._shapes(network))
    return btbnet.Learned(network, variables)


@pytest.fixture(scope="module")
def trained():
    """After two steps, and what was told meanwhile."""
    told = []

    class Listening(Reporter):
        def stage(self, name, done, steps):
            told.append((name, done, steps))

        def step(self, metrics):
            told.append(metrics)

    return btbnet.train(PHOTOS, MASKS, 3, network=TINY, steps=2, reporter=Listening()), told


def test_layers_are_vgg16_s_and_those_of_the_table():
    shapes = jax.tree.map(np.shape, btbnet._shapes(btbnet.BTBNet()))["params"]
    assert set(shapes) == {"stream1", "stream2", "stream3", "fusion"}
    channels = 3
    for number, layers in enumerate(BLOCKS, start=1):
        for name, features in layers:
            assert shapes["stream2"][f"block{number}"][name]["kernel"] == (3, 3, channels, features)
            channels = features
    expected = {"top5": (512, 512), "top4": (512, 512), "side4": (512, 512), "top3": (512, 256), "side3": (256, 256)}
    expected |= {"top2": (256, 128), "side2": (128, 128), "top1": (128, 64), "side1": (64, 64)}
    for name, (before, after) in expected.items():
        assert shapes["stream3"][name]["kernel"] == (3, 3, before, after)
    assert shapes["stream1"]["map"]["kernel"] == (1, 1, 64, 1)
    fusion = {name: layer["kernel"] for name, layer in shapes["fusion"].items()}
    assert fusion["fuse1"] == (3, 3, 3, 64) and fusion["fuse3"] == (1, 1, 64, 1)
    assert fusion["refine1"] == (3, 3, 4, 64) and fusion["refine4"] == (1, 1, 64, 1) and len(fusion) == 7


def test_the_answer_is_the_last_map_of_the_network(learned):
    photo = sharp_photo(side=19)[:15]
    logits = learned.network.apply(learned.variables, photo[None] / np.float32(255))
    assert logits.shape == (1, 15, 19, 2 + 1 + 3)
    found = btbnet.detect(photo, learned)
    assert found.shape == (15, 19) and found.dtype == np.float32
    np.testing.assert_allclose(found, jax.nn.sigmoid(logits[0, ..., -1]), atol=1e-5)
    assert found.std() > 1e-4
    np.testing.assert_array_equal(btbnet.detect(photo, learned), found)


@pytest.mark.parametrize("length", (1, 39, 40, 41, 44, 100))
def test_tiles_share_out_a_side(monkeypatch, length):
    monkeypatch.setattr(btbnet, "TILE", 2 * btbnet.REACH + 4)
    decided = []
    for tile, decides, inside in btbnet._tiles(length):
        assert tile.start >= 0 and tile.stop <= length and tile.stop - tile.start == min(length, btbnet.TILE)
        decided += range(decides.start, decides.stop)
        assert decides.start == 0 or inside.start >= btbnet.REACH
        assert decides.stop == length or tile.stop - decides.stop >= btbnet.REACH
        assert inside.start + tile.start == decides.start
    assert {*decided} == {*range(length)}


def test_a_stream_sees_as_far_as_it_is_said_to():
    """What tiles rest on: one pixel changes the map up to there, and no farther."""
    network = btbnet.Stream(TINY.width, InputNorm())
    shapes = btbnet._shapes(TINY)["params"]["stream1"]
    same = {"params": jax.tree.map(lambda leaf: np.full(leaf.shape, 0.1, np.float32), shapes)}
    photo = np.full((1, 1, 2 * btbnet.REACH + 9, 3), 0.5, np.float32)
    changed = photo.copy()
    middle = btbnet.REACH + 4
    changed[0, 0, middle] = 1
    before, after = (np.asarray(network.apply(same, each))[0, 0, :, 0] for each in (photo, changed))
    (places,) = np.nonzero(before != after)
    assert places.min() >= middle - btbnet.REACH and places.max() <= middle + btbnet.REACH
    assert len(places) > btbnet.REACH


@pytest.mark.parametrize("shape", ((1, 1), (2, 5)), ids=str)
def test_small_photos_have_maps_too(learned, shape):
    photo = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    found = btbnet.detect(photo, learned)
    assert found.shape == shape and 0 <= found.min() <= found.max() <= 1


def test_a_photo_of_one_colour_gives_zeros(learned):
    found = btbnet.detect(np.full((9, 7, 3), (17, 130, 201), np.uint8), learned)
    np.testing.assert_array_equal(found, np.zeros((9, 7)))


def test_what_is_no_photo_is_refused(learned):
    with pytest.raises(ValueError, match=r"a photo must be uint8 \[H, W, 3\], here float64 \(8, 8, 3\); of values in"):
        btbnet.detect(np.zeros((8, 8, 3)), learned)
    with pytest.raises(ValueError, match="it has no pixels"):
        btbnet.detect(np.zeros((0, 8, 3), np.uint8), learned)


def test_without_weights_it_says_how_they_are_made():
    with pytest.raises(UserError) as refusal:
        btbnet.detect(PHOTOS[0])
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith("BTBNet: no weights of it are shipped; train it on photos with masks")


def test_the_loss_is_the_cross_entropy_of_all_maps():
    logits = np.random.default_rng(0).normal(size=(1, 2, 3, 7)).astype(np.float32)
    mask = np.uint8([[0, 255, 255], [0, 0, 255]])[None, ..., None]
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    entropy = -np.where(mask == 255, np.log(probability), np.log(1 - probability)).mean((0, 1, 2))
    value, metrics = btbnet.loss(jnp.asarray(logits), {"mask": jnp.asarray(mask)})
    assert value == pytest.approx(entropy.sum(), rel=1e-5)
    assert metrics["last_map"] == pytest.approx(entropy[-1], rel=1e-5)


def test_backbones_move_at_a_tenth_of_the_rate():
    """Adam's first step is its rate, whatever the gradient."""
    layer = {"kernel": np.zeros(2, np.float32)}
    params = {"stream2": {"block4": {"conv4_2": layer}, "side4": layer}, "fusion": {"refine1": layer}}
    optimiser = btbnet.optimiser()
    moved, _ = optimiser.update(jax.tree.map(np.ones_like, params), optimiser.init(params), params)
    np.testing.assert_allclose(moved["stream2"]["block4"]["conv4_2"]["kernel"], -1e-5, rtol=1e-3)
    for kernel in (moved["stream2"]["side4"]["kernel"], moved["fusion"]["refine1"]["kernel"]):
        np.testing.assert_allclose(kernel, -1e-4, rtol=1e-3)


def test_examples_are_crops_turned_with_their_masks():
    photo = np.arange(12 * 9, dtype=np.uint8).reshape(12, 9)[..., None].repeat(3, 2)
    seen = set()
    for seed in range(60):
        example = btbnet.example(photo, photo[..., 0], np.random.default_rng(seed))
        crop = example["photo"][0, ..., 0].astype(int)
        np.testing.assert_array_equal(example["mask"][0, ..., 0], crop)
        assert crop.shape == (8, 8)
        seen.add((crop[0, 1] - crop[0, 0], crop[1, 0] - crop[0, 0]))  # where right and down lead
    assert seen == {(a, b) for a in (1, -1) for b in (9, -9)} | {(b, a) for a in (1, -1) for b in (9, -9)}


def test_a_photo_that_is_smaller_than_a_crop_goes_on_as_its_border_is():
    photo = np.arange(12, dtype=np.uint8).reshape(3, 4)[..., None].repeat(3, 2)
    example = btbnet.example(photo, photo[..., 0], np.random.default_rng(0))
    assert example["photo"].shape == (1, 8, 8, 3) and {*example["mask"].ravel()} == set(range(12))
    assert (example["mask"] == 11).sum() == 6 * 5


def test_every_layer_learns():
    """With kernels above 0, of which no ReLU stops anything."""
    params = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.2, np.float32), btbnet._shapes(TINY)["params"])
    photo, mask = PHOTOS[0][None, :8, 6:14] / np.float32(255), MASKS[0][None, :8, 6:14, None]
    assert {*mask.ravel()} == {0, 255}
    loss = jax.jit(jax.grad(lambda params: btbnet.loss(TINY.apply({"params": params}, photo), {"mask": mask})[0]))
    gradient = loss(params)
    assert min(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient)) > 0


def test_a_training_moves_the_network_and_says_what_it_is(trained, tmp_path):
    (tree, metadata), told = trained
    begun = jax.device_get(btbnet.begin(TINY, 3)[1].net.params)
    moved = jax.tree.map(lambda before, after: np.abs(before - after).max(), begun, tree["params"])
    assert min(jax.tree.leaves(moved["fusion"])) > 0
    assert told == [("BTBNet", 0, 2), None, None]
    assert metadata["kind"] == "btbnet" and metadata["steps"] == 2 and metadata["width"] == 1 / 64
    read = btbnet.read(save_weights(tmp_path / "a.safetensors", tree, metadata))
    assert read.network == TINY
    jax.tree.map(np.testing.assert_array_equal, read.variables, tree)


def test_a_training_that_was_stopped_ends_where_it_would_have(trained, tmp_path):
    (whole, _), _ = trained
    with pytest.raises(Stopped):
        btbnet.train(PHOTOS, MASKS, 3, network=TINY, steps=2, folder=tmp_path, should_stop=lambda: True)
    begun = []

    class Listening(Reporter):
        def stage(self, name, done, steps):
            begun.append(done)

    again, _ = btbnet.train(PHOTOS, MASKS, 3, network=TINY, steps=2, folder=tmp_path, reporter=Listening())
    assert begun == [1]
    jax.tree.map(np.testing.assert_array_equal, again, whole)


def test_what_the_masks_call_in_focus_is_bright(monkeypatch):
    """After a training of seconds, at a quick rate, on what even so small a network learns: what is white."""
    monkeypatch.setattr(btbnet, "RATE", 3e-3)
    photos = [np.repeat(mask[..., None], 3, axis=-1) for mask in MASKS]
    network = btbnet.BTBNet(1 / 16, (1.0,))
    tree, _ = btbnet.train(photos, MASKS, 0, network=network, steps=40)
    found = btbnet.detect(photos[0], btbnet.Learned(network, tree))
    assert found[MASKS[0] == 255].mean() > found[MASKS[0] == 0].mean() + 0.1


def test_streams_begin_at_vgg16(learned, monkeypatch, tmp_path):
    """At a tiny one, read from a file by what reads the large."""
    stream = learned.variables["params"]["stream1"]
    layers = {name: stream[f"block{number}"][name] for number, block in enumerate(BLOCKS, 1) for name, _ in block}
    narrow = tuple(tuple((name, layers[name]["bias"].size) for name, _ in block) for block in BLOCKS)
    monkeypatch.setattr(vgg16, "BLOCKS", narrow)
    metadata = {"kind": "vgg16", "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    path = save_weights(tmp_path / "vgg16.safetensors", layers, metadata)
    network, state = btbnet.begin(learned.network, 0, path)
    assert network.input == InputNorm((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    for number in (1, 2):
        begun = state.net.params[f"stream{number}"]["block5"]["conv5_3"]["kernel"]
        np.testing.assert_array_equal(begun, layers["conv5_3"]["kernel"])
    with pytest.raises(UserError, match=r"vgg16\.safetensors, which needs width 1: weights of another architecture"):
        btbnet.begin(btbnet.BTBNet(1 / 32, (1.0,)), 0, path)


def test_no_photos_are_refused():
    with pytest.raises(UserError, match="BTBNet learns from photos with masks, and was given none"):
        btbnet.train([], [], 0)


def test_another_file_s_arrays_are_refused(learned, tmp_path):
    metadata = {"kind": "btbnet"} | btbnet._described(TINY.clone(width=1 / 32, scales=(1.0, 0.6)))
    path = save_weights(tmp_path / "a.safetensors", learned.variables, metadata)
    with pytest.raises(UserError, match=r"a\.safetensors: weights of another architecture \(of another shape: params"):
        btbnet.read(path)
    path = save_weights(tmp_path / "a.safetensors", learned.variables, {"kind": "btbnet", "scales": [1.0]})
    with pytest.raises(UserError, match=r"a\.safetensors: its metadata cannot be used \('width' is missing\)"):
        btbnet.read(path)
    path = save_weights(tmp_path / "a.safetensors", {"weights": np.zeros(44)}, {"kind": "ksfv"})
    with pytest.raises(UserError, match=r"a\.safetensors: holds weights of kind 'ksfv', 'btbnet' was asked for"):
        btbnet.read(path)
