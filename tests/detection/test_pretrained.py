"""A detector as a folder for a hub of models, and back."""

import json

import numpy as np
import pytest
from safetensors import safe_open
from tiny_generators import CONFIG, random_variables

from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.detection.refine import Refinement
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import to_dict
from sgdbd_jax.weights import halve, load_weights, save_weights

ASKED = {"work_size": "max:64", "gain": 2.0, "middle": 0.6, "reduced": True, "refinement": {"radius": 0.1}}


@pytest.fixture
def weights(tmp_path):
    metadata = {"kind": "generator", "config": to_dict(CONFIG), "step": 7, "prediction": ASKED}
    return save_weights(tmp_path / "tiny.safetensors", halve(random_variables()), metadata)


def test_a_folder_gives_back_the_detector(weights, tmp_path):
    detector = Detector.load(weights)
    assert detector.save_pretrained(tmp_path / "new" / "hub") == tmp_path / "new" / "hub"
    again = Detector.from_pretrained(str(tmp_path / "new" / "hub"))
    assert (again.work_size, again.refinement) == ("max:64", Refinement(radius=0.1))
    assert again.working_size(640, 320) == detector.working_size(640, 320) == (64, 32)
    photo = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    np.testing.assert_array_equal(again(photo), detector(photo))


def test_its_weight_file_is_the_one_that_it_came_from(weights, tmp_path):
    """Tensors in their own type, norms unfolded; what the metadata say of a training stays in them."""
    Detector.load(weights).save_pretrained(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"tiny.safetensors", "model.safetensors", "config.json"}
    written, metadata = load_weights(tmp_path / "model.safetensors", kind="generator")
    expected = load_weights(weights)
    assert json.loads((tmp_path / "config.json").read_text()) == metadata
    assert metadata["step"] == 7 and metadata["config"] == expected[1]["config"]
    assert {name: metadata["prediction"][name] for name in ("work_size", "gain", "middle", "reduced")} == {
        name: ASKED[name] for name in ("work_size", "gain", "middle", "reduced")
    }
    with safe_open(weights, "numpy") as one, safe_open(tmp_path / "model.safetensors", "numpy") as other:
        assert sorted(one.keys()) == sorted(other.keys())
        for name in one.keys():  # noqa: SIM118  (it is no dict)
            assert one.get_tensor(name).dtype == other.get_tensor(name).dtype
            np.testing.assert_array_equal(one.get_tensor(name), other.get_tensor(name))
    Detector.load(tmp_path / "model.safetensors")


def test_a_folder_keeps_what_the_detector_does_not_what_the_file_asked_for(weights, tmp_path):
    Detector.load(weights, work_size=32, refine=False).save_pretrained(tmp_path)
    again = Detector.from_pretrained(tmp_path)
    assert (again.work_size, again.refinement) == (32, None)


def test_config_json_counts(weights, tmp_path):
    Detector.load(weights).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["prediction"]["work_size"] = 48
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert Detector.from_pretrained(tmp_path).work_size == 48
    assert Detector.from_pretrained(tmp_path, work_size=32).work_size == 32


@pytest.mark.parametrize("text", ["{", "[]", "\x00", "[" * 100_000])
def test_a_config_that_cannot_be_read_is_refused(text, weights, tmp_path):
    Detector.load(weights).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json: cannot be read \("):
        Detector.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"config": to_dict(CONFIG) | {"width": 0.05}}, r"model\.safetensors: weights of another architecture"),
        ({"config": {"depth": 3}}, r"config\.json: its metadata cannot be used"),
        ({"config": {"width": 1e300}}, r"config\.json: its metadata cannot be used"),
        ({"prediction": {"refinement": {"radius": 7}}}, r"config\.json: its metadata cannot be used"),
        ({"prediction": []}, r"config\.json: its metadata cannot be used"),
        ({"prediction": {"work_size": "huge"}}, r"config\.json: its metadata cannot be used \(work_size: 'huge' must"),
        ({"prediction": {"work_size": None}}, r"config\.json: its metadata cannot be used \(work_size: None must"),
        ({"kind": "discriminator"}, r"config\.json: is of kind 'discriminator', 'generator' was asked for"),
    ],
)
def test_a_fault_of_the_config_is_said_to_be_its_own(changed, words, weights, tmp_path):
    Detector.load(weights).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changed))
    with pytest.raises(UserError, match=words):
        Detector.from_pretrained(tmp_path)


def test_a_folder_that_is_none_is_refused(weights, tmp_path):
    with pytest.raises(UserError, match=r"config\.json: no such file; name a folder that save_pretrained wrote"):
        Detector.from_pretrained(tmp_path / "none")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"model\.safetensors: no such weight file"):
        Detector.from_pretrained(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/model\.safetensors: cannot be written"):
        Detector.load(weights).save_pretrained(tmp_path / "file")
