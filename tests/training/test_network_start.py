"""What networks start from: which file is needed, and what tells one file from another."""

import pytest

from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import replace
from sgdbd_jax.presets import DEMO, PAPER, SELF_TRAINED
from sgdbd_jax.training.start import digests, load_start, needs_vgg16
from sgdbd_jax.training.workdir import claim_workdir


@pytest.mark.parametrize(
    ("preset", "changes", "needs"),
    [
        (PAPER, {}, True),
        (DEMO, {}, False),  # random
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
