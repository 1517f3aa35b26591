"""Configs: what is refused and how, changes by dotted name, the trip through JSON, and what the presets mean."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from sgdbd_jax.config import (
    FREE_FIELDS,
    ClassifierConfig,
    Config,
    GeneratorConfig,
    OptimiserConfig,
    flatten,
    from_dict,
    replace,
    to_dict,
)
from sgdbd_jax.errors import UserError
from sgdbd_jax.presets import DEMO, PAPER, PRESETS, RELEASE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"discriminators": "none"}, "discriminators: 'none' is none of 'both', 'clear', 'blur'"),
        ({"adversarial_form": "hinge"}, "adversarial_form: 'hinge' is none of 'saturating', 'non_saturating'"),
        ({"masks_white": "white"}, "masks_white: 'white' is none of '', 'focused', 'blurred'"),
        ({"generator.merge": "sum"}, "generator.merge: 'sum' is none of 'add', 'concat'"),
        ({"classifier.head": "mean"}, "classifier.head: 'mean' is none of 'pool', 'flatten'"),
        ({"disc_optimiser.name": "lion"}, "disc_optimiser.name: 'lion' is none of 'adam', 'sgd'"),
        ({"batch": 0}, "batch: 0 must be at least 1"),
        ({"keep": 0}, "keep: 0 must be at least 1"),
        ({"steps": -1}, "steps: -1 must not be negative"),
        ({"seed": -1}, "seed: -1 must not be negative"),
        ({"generator.width": 0.0}, "generator.width: 0.0 must be finite and positive"),
        ({"disc_optimiser.learning_rate": -1e-4}, "disc_optimiser.learning_rate: -0.0001 must be finite and positive"),
        ({"eta": -0.1}, "eta: -0.1 must be finite and not negative"),
        ({"eta": float("nan")}, "eta: nan must be finite and not negative"),
        ({"bilateral_weight": float("inf")}, "bilateral_weight: inf must be finite and not negative"),
        ({"crop": 24}, "crop: 24 must be a positive multiple of 16"),
        ({"crop": 0}, "crop: 0 must be a positive multiple of 16"),
        ({"crop": 336}, "crop: 336 is larger than the photos (320); lower crop or raise photo_size"),
        ({"classifier.head": "flatten", "crop": 128}, "classifier.input_size: 256 must equal crop (128)"),
        ({"scale": (1.5, 0.5)}, "scale: (1.5, 0.5) must be two positive numbers, the smaller first"),
        ({"scale": (1.0,)}, "scale: (1.0,) must be two positive numbers"),
        ({"scale": ("a", "b")}, "scale: ('a', 'b') must be two positive numbers"),
        ({"blur": (0.0, 3.0)}, "blur: (0.0, 3.0) must be two positive numbers"),
        ({"paste_real": True}, "paste_real: pasting two real photos needs two draws of them; add second_draw"),
        ({"generator.skips": ("conv4_3",)}, "generator: the decoder needs 4 blocks and 4 skips"),
        (
            {"generator.skips": ("", "conv4_3", "", "")},
            "generator.skips: 'conv4_3' cannot join block 2; conv3_1, conv3_2, conv3_3 can",
        ),
        ({"discriminator.strides": (1, 2)}, "discriminator: channels and strides must be equally many"),
        (
            {"discriminator.pool": True, "discriminator.channels": (1, 1), "discriminator.strides": (1, 3)},
            "discriminator.strides: (1, 3) must be 1 or 2 where they are pools",
        ),
        (
            {"discriminator.pool": True, "discriminator.channels": (1,) * 9, "discriminator.strides": (2,) * 9},
            "discriminator.strides: (2, 2, 2, 2, 2, 2, 2, 2, 2) pool a crop of 320 to nothing",
        ),
        ({"disc_optimiser.trunk": 0.1}, "disc_optimiser.trunk: discriminators have no trunk apart; lower"),
        ({"blurred": "fcsb:6"}, "blurred: 'fcsb:6' must be 'fcsb:1' to 'fcsb:5', 'disc', or a"),
        ({"speed": 3}, "speed: no such config field"),
        ({"generator.depth": 3}, "depth: no such config field"),
        ({"batch.size": 3}, "batch.size: no such config field"),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_field_its_value_and_the_remedy(changes, message):
    with pytest.raises(UserError) as refusal:
        replace(Config(), changes)
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize(
    "changes",
    [
        {"crop": 320},  # as large as the photos
        {"crop": 512, "photo_size": 0},  # photos keep their own size, which is seen when they are read
        {"steps": 0, "warm_steps": 1, "classifier_steps": 0, "checkpoint_minutes": 0.0},
        {"eta": 0.0, "bilateral_weight": 0.0},
        {"paste_real": True, "second_draw": True},
        {"blurred": "fcsb:5"},
        {"scale": (1.0, 1.0)},
        {"generator.skips": ("", "conv3_1", "", "conv1_1")},
    ],
)
def test_limits_are_allowed(changes):
    values = flatten(replace(Config(), changes))
    assert {name: values[name] for name in changes} == changes


def test_a_replacement_changes_what_it_names_and_nothing_else():
    changed = replace(PAPER, {"generator.input.mean": [0.1, 0.2, 0.3], "batch": 8})
    before, after = flatten(PAPER), flatten(changed)
    assert after["generator.input.mean"] == (0.1, 0.2, 0.3)  # a tuple: configs are hashable
    assert {name for name in before if before[name] != after[name]} == {"generator.input.mean", "batch"}
    assert PAPER.batch == 4


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PAPER.batch = 8
    assert len({PAPER, RELEASE, replace(PAPER, {})}) == 2


def test_fields_have_dotted_names():
    names = flatten(Config())
    assert names["generator.input.std"] == (0.5, 0.5, 0.5)
    assert names["disc_optimiser.learning_rate"] == 2e-4
    assert "generator" not in names


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_survives_json(preset):
    config = PRESETS[preset]
    assert from_dict(Config, json.loads(json.dumps(to_dict(config)))) == config
    assert from_dict(GeneratorConfig, json.loads(json.dumps(to_dict(config.generator)))) == config.generator


def test_a_stored_config_of_another_version_is_refused_by_the_field():
    with pytest.raises(UserError, match="dropout: no such config field"):
        from_dict(ClassifierConfig, {**to_dict(ClassifierConfig()), "dropout": 0.5})


def test_the_fields_that_may_change_between_two_legs_are_fields():
    assert flatten(Config()).keys() >= FREE_FIELDS


def test_the_release_preset_is_the_release_s_program():
    sgd = OptimiserConfig("sgd", learning_rate=2e-4, momentum=0.5)
    assert (RELEASE.generator_optimiser, RELEASE.disc_optimiser) == (sgd, sgd)
    assert (RELEASE.batch, RELEASE.crop, RELEASE.photo_size, RELEASE.vgg16) == (4, 256, 256, "random")
    assert (RELEASE.adversarial_form, RELEASE.disc_weight, RELEASE.second_draw) == ("non_saturating", 0.5, True)
    assert (RELEASE.coverage_weight, RELEASE.coverage_minimum, RELEASE.binarisation_weight) == (1.0, 0.1, 1.0)
    assert RELEASE.generator.input.mean == RELEASE.generator.input.std == (0.5, 0.5, 0.5)  # to [-1, 1]
    assert (RELEASE.generator.init_std, RELEASE.generator.align_corners) == (0.01, True)
    assert not RELEASE.paste_real


def test_the_paper_preset_is_the_paper_s_text():
    adam = OptimiserConfig("adam", learning_rate=2e-4, momentum=0.9)
    assert (PAPER.generator_optimiser, PAPER.disc_optimiser) == (adam, adam)
    assert (PAPER.batch, PAPER.eta, PAPER.bilateral_weight, PAPER.photo_size) == (4, 0.01, 1.0, 320)
    assert (PAPER.coverage_weight, PAPER.binarisation_weight, PAPER.disc_weight) == (0.0, 0.0, 1.0)
    assert PAPER.vgg16 != "random"
    assert len(PAPER.discriminator.channels) == 9 and PAPER.discriminator.channels[-1] == 512


def test_the_demo_needs_no_file():
    assert (DEMO.data, DEMO.vgg16, DEMO.classifier_weights) == ("scenes", "random", "")


def test_no_preset_reads_masks():
    assert not any(config.supervised for config in PRESETS.values())


def test_a_command_line_can_be_parsed_before_an_array_library_loads():
    code = "import sgdbd_jax.config, sys; print({'numpy', 'jax'} & sys.modules.keys())"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    "changes", [{"steps": 0}, {"steps": 0, "taught_steps": 9}, {"steps": 0, "supervised": True, "warm_steps": 9}]
)
def test_a_run_without_anything_to_train_is_refused(changes):
    with pytest.raises(UserError, match="steps: 0 leaves nothing to train"):
        replace(DEMO, changes)
