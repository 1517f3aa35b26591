"""What networks start from: which file is needed, and what tells one file from another."""

import shlex
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from tiny_generators import CONFIG, random_variables, save_generator

from experiments.train import parse
from sgdbd_jax.detection.shipped import weight_file
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import replace, to_dict
from sgdbd_jax.files import file_sha256
from sgdbd_jax.models.networks import Networks
from sgdbd_jax.presets import DEMO, GAME, LITE, PAPER, SELF_TRAINED
from sgdbd_jax.training.samples import predicting
from sgdbd_jax.training.start import digests, given_generator, load_start, needs_vgg16
from sgdbd_jax.training.workdir import claim_workdir
from sgdbd_jax.weights import save_weights


@pytest.mark.parametrize(
    ("preset", "changes", "needs"),
    [
        (PAPER, {}, True),
        (DEMO, {}, False),  # random
        (GAME, {}, False),
        (SELF_TRAINED, {}, True),
        (SELF_TRAINED, {"generator_weights": "g", "warm_steps": 0}, False),
        (SELF_TRAINED, {"generator_weights": "g", "steps": 75}, True),  # its discriminators
        (PAPER, {"generator_weights": "g", "bilateral_weight": 0.0}, False),
        (PAPER, {"generator_weights": "g"}, True),  # its classifier
        (PAPER, {"generator_weights": "g", "supervised": True}, False),
    ],
)
def test_a_vgg16_is_needed_by_whatever_starts_there(preset, changes, needs):
    assert needs_vgg16(replace(preset, changes)) == needs


def test_another_vgg16_between_two_legs_is_noticed_and_one_that_moved_is_not(tmp_path):
    """By what the file holds: the input normalisation, which the config has, may be the same."""
    path, moved, workdir = tmp_path / "vgg16", tmp_path / "moved", tmp_path / "run"

    def claim(vgg16):
        config = replace(PAPER, {"vgg16": str(vgg16)})
        claim_workdir(workdir, config, digests(config))

    path.write_bytes(b"one")
    claim(path)
    (workdir / "classifier.safetensors").touch()
    path.rename(moved)
    claim(moved)
    path.write_bytes(b"other")
    for other in (path, "random"):
        with pytest.raises(UserError, match="given vgg16 was '"):
            claim(other)


def test_weights_bring_their_input_normalisation_unless_another_is_asked_for(tmp_path, monkeypatch):
    mean, std, path = (0.5,) * 3, (0.25,) * 3, tmp_path / "vgg16"
    path.touch()
    monkeypatch.setattr("sgdbd_jax.training.start.load_vgg16", lambda path: ({"conv1_1": {}}, mean, std))
    config, vgg16 = load_start(replace(PAPER, {"vgg16": str(path)}))
    assert vgg16 == {"conv1_1": {}}
    assert (config.generator.input.mean, config.generator.input.std) == (mean, std)
    assert config.classifier.input == config.generator.input != config.discriminator.input  # which begins at random
    with pytest.raises(UserError, match=r"generator\.input\.std: .*vgg16 asks for"):
        load_start(replace(PAPER, {"vgg16": str(path), "generator.input.std": (1.0, 1.0, 1.0)}))


@pytest.mark.parametrize("told", [{"gain": 4.0, "middle": 0.65}, {}])
def test_training_goes_on_from_what_was_learned_not_from_what_was_delivered(told, tmp_path):
    """Or the gain would be in the last layer once more each time; files that do not tell have none."""
    learned, path = random_variables(), tmp_path / "g.safetensors"
    changes = {"generator": CONFIG, "generator_weights": str(path), "crop": 16}
    config = replace(DEMO, {**changes, **told})
    delivered = predicting(config.prediction, learned)
    save_weights(path, delivered, {"kind": "generator", "config": to_dict(CONFIG), "prediction": told})
    found = given_generator(SimpleNamespace(config=load_start(config)[0], networks=Networks.of(config)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, rtol=1e-5), learned, found)
    assert not told or np.abs(delivered["params"]["head"]["kernel"]).max() > 3 * found["params"]["head"]["kernel"].max()


def test_a_generator_to_start_from_may_be_named():
    config = replace(LITE, {"generator_weights": "lite"})
    assert load_start(config) == (config, None)
    assert digests(config) == {
        f"given {role}": file_sha256(weight_file(name))[:12]
        for role, name in (("generator", "lite"), ("teacher", "accurate"))
    }


def broken(path, fault):
    """A weight file that is a generator's by its kind, of which something is wrong."""
    variables, config = random_variables(), to_dict(CONFIG)
    if fault == "not finite":
        variables["params"]["head"]["bias"][:] = np.nan
    if fault == "depth":
        config["depth"] = 3
    if fault == "another architecture":
        del variables["params"]["head"]
    return save_weights(path, variables, {"kind": "generator", "config": config})


@pytest.mark.parametrize("fault", ["not finite", "depth", "another architecture"])
def test_a_teacher_that_could_make_no_masks_is_refused_at_once(fault, tmp_path):
    path = broken(tmp_path / "g.safetensors", fault)
    with pytest.raises(UserError, match=rf"g\.safetensors: .*{fault}"):
        load_start(replace(LITE, {"teacher": str(path)}))
    load_start(replace(LITE, {"teacher": str(save_generator(tmp_path / "good.safetensors", random_variables()))}))


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"gain": 0.0}, "gain: 0.0 must be"),
        ({"middle": "half"}, "middle: 'half' is not"),
        (3, "not iterable"),
    ],
)
def test_a_start_that_tells_nonsense_of_its_last_layer_is_refused(told, message, tmp_path):
    path = tmp_path / "g.safetensors"
    save_weights(path, random_variables(), {"kind": "generator", "config": to_dict(CONFIG), "prediction": told})
    with pytest.raises(UserError, match=rf"g\.safetensors: its metadata cannot be used .*{message}"):
        load_start(replace(DEMO, {"generator": CONFIG, "generator_weights": str(path)}))


def test_a_start_that_is_not_finite_is_refused_at_once(tmp_path):
    path = broken(tmp_path / "g.safetensors", "not finite")
    with pytest.raises(UserError, match=r"g\.safetensors: .*not finite"):
        load_start(replace(DEMO, {"generator": CONFIG, "generator_weights": str(path)}))
    with pytest.raises(UserError, match=r"g\.safetensors: holds weights of kind 'generator', 'classifier' was asked"):
        load_start(replace(DEMO, {"classifier_weights": str(path)}))


def test_the_commands_that_carry_the_shipped_weights_on_start_and_need_no_vgg16():
    text = (Path(__file__).parents[2] / "experiments" / "README.md").read_text().replace("\\\n", " ")
    commands = [shlex.split(line) for line in text.splitlines() if line.startswith("python -m experiments.train ")]
    configs = [parse(words[3:])[1] for words in commands if "--generator_weights" in words]
    assert {config.start.generator_weights for config in configs} == {"accurate", "lite"}
    for config in configs:
        assert load_start(config)[1] is None
