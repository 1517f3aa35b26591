"""The shipped weights: found, whole, and good for something."""

import configparser
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from flax import traverse_util

from sgdbd_jax.config import GeneratorConfig
from sgdbd_jax.data.scenes import Lens, SceneConfig, build_layers, photograph
from sgdbd_jax.data.sources import PhotoSet
from sgdbd_jax.detection import detector as detector_module
from sgdbd_jax.detection import shipped as module
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.errors import UserError
from sgdbd_jax.evaluation.scoring import score_detector
from sgdbd_jax.fields import from_dict
from sgdbd_jax.presets import LITE
from sgdbd_jax.weights import load_weights, merge, save_weights


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "a.safetensors").write_bytes(b"weights")
    (tmp_path / "manifest.json").write_text(json.dumps({"a.safetensors": hashlib.sha256(b"weights").hexdigest()}))
    monkeypatch.setattr(module, "_folder", lambda: tmp_path)
    module.shipped.cache_clear()
    yield tmp_path
    module.shipped.cache_clear()


def test_a_whole_file_is_found(folder):
    assert module.shipped("a.safetensors") == folder / "a.safetensors"


def test_a_file_that_is_not_the_shipped_one_is_refused(folder):
    (folder / "a.safetensors").write_bytes(b"weight")
    with pytest.raises(
        UserError, match=r"a\.safetensors: is not the file that was shipped \(SHA-256 \w{12}\.\.\., not"
    ):
        module.shipped("a.safetensors")


def test_an_installation_gets_every_file_of_the_manifest():
    root = Path(__file__).parents[2]
    setup = configparser.ConfigParser()
    setup.read(root / "setup.cfg")
    lines = {line for lines in setup["options.data_files"].values() for line in lines.split()}
    manifest = json.loads((root / "weights" / "manifest.json").read_text())
    assert {f"weights/{name}" for name in (*manifest, "manifest.json")} <= lines


@pytest.mark.parametrize("manifest", ("{}", "{", "[]", None))
def test_a_manifest_that_does_not_tell_is_refused(folder, manifest):
    (folder / "manifest.json").unlink()
    if manifest is not None:
        (folder / "manifest.json").write_text(manifest)
    with pytest.raises(UserError, match=r"manifest\.json: does not tell a\.safetensors's SHA-256; install again"):
        module.shipped("a.safetensors")


def test_an_installation_without_weights_says_so(folder):
    with pytest.raises(
        UserError, match=r"b\.safetensors: no such file, this installation has no weights; pass a weight"
    ):
        module.shipped("b.safetensors")


@pytest.fixture(scope="module")
def near_and_far():
    """Photos of 6 scenes of two layers, each focused near and far: `[6, 2, S, S, 3]`, and their masks."""
    config = SceneConfig(size=256, leaf_low=12.0, leaf_high=60.0, layers_low=2, layers_high=2)
    photos, masks = [], []
    for seed in range(6):
        layers = build_layers(seed, config)
        far, near = layers.nearness
        for focus in (near, far):
            scene = photograph(layers, Lens(focus, 5.0 / (near - far)), config)
            photos.append(scene.image)
            masks.append(scene.mask)
    return np.stack(photos).reshape(6, 2, 256, 256, 3), np.stack(masks).reshape(6, 2, 256, 256)


@pytest.mark.parametrize("name", module.SHIPPED)
def test_a_shipped_generator_knows_focus_when_it_sees_it(near_and_far, name):
    """On scenes unlike its training photos, where `accurate` has 0.960 and 0.041."""
    f_measure, mae = score(Detector.load(name), near_and_far)
    assert f_measure > 0.93 and mae < 0.08


@pytest.mark.parametrize(
    ("name", "layer"),
    [("accurate", "conv1_2"), ("accurate", "block2_conv1"), ("lite", "stage1_down"), ("lite", "join1")],
)
def test_noise_in_an_early_or_late_layer_would_be_noticed(name, layer, near_and_far, tmp_path):
    """Of the layer's own scale; in conv5_1, of which these scenes have no need, it would not: that is the SHA-256's."""
    variables, metadata = load_weights(module.weight_file(name))
    flat = traverse_util.flatten_dict(variables, sep="/")
    (name,) = (name for name in flat if name.startswith("params/") and name.endswith(f"{layer}/kernel"))
    rng = np.random.default_rng(0)
    flat[name] = rng.normal(0, flat[name].astype(np.float32).std(), flat[name].shape).astype(np.float16)
    path = save_weights(tmp_path / "broken.safetensors", traverse_util.unflatten_dict(flat, sep="/"), metadata)
    f_measure, mae = score(Detector.load(path), near_and_far)
    assert f_measure < 0.93 and mae > 0.08


def score(detector, near_and_far):
    photos, masks = near_and_far
    scenes = PhotoSet(tuple("abcdefghijkl"), photos.reshape(-1, 256, 256, 3), masks.reshape(-1, 256, 256))
    result = score_detector(detector, scenes).result
    return result["f_measure"], result["mae"]


@pytest.mark.parametrize(
    ("name", "shared", "correlation"), [("accurate", 0.1, -0.85), ("lite", 0.1, -0.85), ("game", 0.2, -0.75)]
)
def test_one_scene_focused_near_and_far_has_complementary_masks(near_and_far, name, shared, correlation):
    """What one mask takes the other leaves, but for a part of any scene; masks that follow things share them."""
    detect = Detector.load(name)
    near, far = np.array([[detect(photo) for photo in pair] for pair in near_and_far[0]]).swapaxes(0, 1)
    assert np.abs(near + far - 1).mean(axis=(1, 2)).max() < shared
    assert np.corrcoef(near.ravel(), far.ravel())[0, 1] < correlation


@pytest.mark.parametrize("name", module.SHIPPED)
def test_a_shipped_file_holds_its_network_s_variables_which_loading_need_not_ask(name, tmp_path, monkeypatch):
    path = module.weight_file(name)
    variables, metadata = load_weights(path)
    expected = detector_module._variables(from_dict(GeneratorConfig, metadata["config"]))
    merge(expected, variables, where=name)

    asked = []
    monkeypatch.setattr(detector_module, "_variables", lambda config: asked.append(config) or expected)
    for shipped in (name, path, str(path)):
        Detector.load(shipped)
    assert not asked
    Detector.load(shutil.copy(path, tmp_path))  # anyone's
    assert len(asked) == 1


def test_a_file_is_shipped_once_it_was_found_whole(folder):
    assert not module.is_shipped(folder / "a.safetensors")
    module.shipped("a.safetensors")
    assert module.is_shipped(folder / "a.safetensors") and not module.is_shipped(folder / "b.safetensors")


def test_a_name_is_that_of_a_shipped_file_and_anything_else_a_path(folder):
    with pytest.raises(UserError, match=r"lite\.safetensors: no such file, this installation has no weights"):
        module.weight_file("lite")
    assert module.weight_file("a.safetensors") == Path("a.safetensors")


def test_a_file_that_is_called_as_a_shipped_one_is_itself(tmp_path, monkeypatch):
    """However often its path is resolved, and though a `Path` forgets the `./` that told it from a name."""
    monkeypatch.chdir(tmp_path)
    for path in ("./lite", Path("./lite"), Path("lite"), tmp_path / "lite", module.weight_file("./lite")):
        assert module.weight_file(path).resolve() == tmp_path / "lite"
        with pytest.raises(UserError, match="^(.*/)?lite: no such weight file"):
            Detector.load(path)


def test_a_word_that_is_neither_a_name_nor_a_file_is_told_the_names(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="acurate: no such weight file, nor .* these are accurate, lite, game"):
        Detector.load("acurate")
    monkeypatch.chdir(tmp_path)
    Path("acurate").touch()
    assert module.weight_file("acurate") == Path("acurate")


def test_the_light_weights_tell_what_is_in_their_last_layer():
    prediction = load_weights(module.weight_file("lite"))[1]["prediction"]
    assert (prediction["gain"], prediction["middle"]) == (LITE.prediction.gain, LITE.prediction.middle)
