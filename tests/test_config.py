"""Configs: what is refused and how, changes by dotted name, the trip through JSON, and what the presets mean."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from sgdbd_jax.cli.options import value_of
from sgdbd_jax.config import FREE_FIELDS, ClassifierConfig, Config, DiscriminatorConfig, GeneratorConfig
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import Section, flatten, from_dict, replace, spellings, to_dict
from sgdbd_jax.presets import DEMO, PAPER, PRESETS, RELEASE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"discriminators": "none"}, "game.discriminators: 'none' is none of 'both', 'clear', 'blur'"),
        ({"adversarial_form": "hinge"}, "game.adversarial_form: 'hinge' is none of 'saturating', 'non_saturating'"),
        ({"masks_white": "white"}, "sets.masks_white: 'white' is none of '', 'focused', 'blurred'"),
        ({"generator.merge": "sum"}, "generator.merge: 'sum' is none of 'add', 'concat'"),
        ({"classifier.head": "mean"}, "classifier.head: 'mean' is none of 'pool', 'flatten'"),
        ({"disc_optimiser.name": "lion"}, "game.disc_optimiser.name: 'lion' is none of 'adam', 'sgd'"),
        ({"classifier.layers": ("conv5_4",)}, "classifier.layers: 'conv5_4' is none of conv1_1, conv1_2, conv2_1"),
        ({"classifier.layers": ("conv5_3", "")}, "classifier.layers: '' is none of conv1_1"),
        ({"classifier.layers": ()}, "classifier.layers: () must be one or several different layers"),
        ({"classifier.layers": ("conv5_3",) * 2}, "classifier.layers: ('conv5_3', 'conv5_3') must be one or several"),
        (
            {"classifier.layers": ("conv4_3", "conv5_3"), "head": "flatten", "input_size": 320},
            "classifier.layers: ('conv4_3', 'conv5_3') are for head 'pool'; leave layers out",
        ),
        (
            {"classifier.layers": ("conv4_3",), "head": "flatten", "input_size": 320},
            "classifier.layers: ('conv4_3',) are for head 'pool'; leave layers out",
        ),
        ({"patches": (10,)}, "discriminator.patches: (10,) must be 0, or different numbers from 1 to 9"),
        ({"patches": (0, 3)}, "discriminator.patches: (0, 3) must be 0, or different numbers from 1 to 9"),
        ({"patches": (3, 3)}, "discriminator.patches: (3, 3) must be 0, or different numbers from 1 to 9"),
        ({"patches": (-1,)}, "discriminator.patches: (-1,) must be 0, or different numbers from 1 to 9"),
        ({"in_blocks": True, "init": "vgg16"}, "discriminator.in_blocks: VGG16's first convolution takes pixels"),
        (
            {"in_blocks": True, "pool": True, "channels": (4,) * 4, "strides": (2,) * 4, "crop": 16},
            "discriminator.strides: (2, 2, 2, 2) pool a crop of 16 to nothing",
        ),
        ({"discriminator.norm": "group"}, "discriminator.norm: 'group' is none of 'batch', 'layer', 'none'"),
        ({"temperature": 0.0}, "game.temperature: 0.0 must be finite and positive"),
        ({"temperature": float("inf")}, "game.temperature: inf must be finite and positive"),
        ({"r1_weight": -1.0}, "game.r1_weight: -1.0 must be finite and not negative"),
        ({"binarisation_ramp": -1}, "game.binarisation_ramp: -1 must not be negative"),
        ({"batch": 0}, "game.batch: 0 must be at least 1"),
        ({"keep": 0}, "keeping.keep: 0 must be at least 1"),
        ({"steps": -1}, "game.steps: -1 must not be negative"),
        ({"seed": -1}, "seed: -1 must be from 0 to 2**32 - 1"),
        ({"generator.input.mean": (0.5, float("nan"), 0.5)}, "generator.input.mean: (0.5, nan, 0.5) must be finite"),
        ({"generator.width": 0.0}, "generator.width: 0.0 must be finite and positive"),
        (
            {"disc_optimiser.learning_rate": -1e-4},
            "game.disc_optimiser.learning_rate: -0.0001 must",
        ),
        ({"eta": -0.1}, "game.eta: -0.1 must be finite and not negative"),
        ({"eta": float("nan")}, "game.eta: nan must be finite and not negative"),
        ({"bilateral_weight": float("inf")}, "game.bilateral_weight: inf must be finite and not negative"),
        ({"crop": 24}, "crops.crop: 24 must be a positive multiple of 16"),
        ({"crop": 0}, "crops.crop: 0 must be a positive multiple of 16"),
        (
            {"generator.network": "lite", "crop": 48, "photo_size": 48},
            "crops.crop: 48 must be a multiple of 32 for generator.network 'lite'",
        ),
        ({"whole": 1.1}, "crops.whole: 1.1 must be from 0 to 1"),
        ({"generator_optimiser.warm_up": 5}, "game.generator_optimiser.warm_up: its rate stays as it is; leave"),
        ({"disc_optimiser.warm_up": 5}, "game.disc_optimiser.warm_up: its rate stays as it is; leave"),
        ({"classifier_optimiser.warm_up": 5}, "pretraining.classifier_optimiser.warm_up: its rate stays as it is;"),
        (
            {"warm_optimiser.warm_up": 20, "warm_steps": 20},
            "pastes.warm_optimiser.warm_up: 20 leaves none of pastes.warm_steps (20); lower it",
        ),
        (
            {"warm_optimiser.warm_up": 20, "teacher": "accurate", "teacher_steps": 9},
            "pastes.warm_optimiser.warm_up: 20 leaves none of self_training.teacher_steps (9); lower it",
        ),
        (
            {"warm_optimiser.warm_up": 20, "taught_steps": 9},
            "pastes.warm_optimiser.warm_up: 20 leaves none of self_training.taught_steps (9); lower it",
        ),
        ({"crop": 336}, "crops.crop: 336 is larger than the photos (320); lower crop or raise photo_size"),
        ({"classifier.head": "flatten", "crop": 128}, "classifier.input_size: 256 must equal crop (128)"),
        ({"scale": (1.5, 0.5)}, "crops.scale: (1.5, 0.5) must be two positive numbers, the smaller first"),
        ({"scale": (1.0,)}, "scale: (1.0,) is not of the kind that (1.0, 1.0) is"),
        ({"scale": ("a", "b")}, "scale: ('a', 'b') is not of the kind"),
        ({"blur_radii": (0.0, 3.0)}, "blurring.blur_radii: (0.0, 3.0) must be two positive numbers"),
        ({"paste_real": True}, "game.paste_real: pasting two real photos needs two draws of them; add second_draw"),
        ({"generator.skips": ("conv4_3",)}, "generator.blocks, skips: the decoder needs 4 of each"),
        (
            {"generator.skips": ("", "conv4_3", "", "")},
            "generator.skips: 'conv4_3' cannot join block 2; conv3_1, conv3_2, conv3_3 can",
        ),
        ({"discriminator.strides": (1, 2)}, "discriminator.strides: 2 of them, and 9 channels; make them equal"),
        (
            {"discriminator.pool": True, "discriminator.channels": (1, 1), "discriminator.strides": (1, 3)},
            "discriminator.strides: (1, 3) must be 1 or 2 where they are pools",
        ),
        (
            {"discriminator.pool": True, "discriminator.channels": (1,) * 9, "discriminator.strides": (2,) * 9},
            "discriminator.strides: (2, 2, 2, 2, 2, 2, 2, 2, 2) pool a crop of 320 to nothing",
        ),
        (
            {"disc_optimiser.trunk_factor": 0.1},
            "game.disc_optimiser.trunk_factor: discriminators have no trunk",
        ),
        ({"blur_kernel": "fcsb:6"}, "blurring.blur_kernel: 'fcsb:6' is none of 'disk', 'fcsb:1', "),
        ({"shapes": 1.5}, "pastes.shapes: 1.5 must be from 0 to 1"),
        ({"shapes": 0.8, "uniform": 0.3}, "pastes.shapes, uniform: 0.8 and 0.3 are more than all pastes"),
        ({"grey": -0.1}, "sets.grey: -0.1 must be from 0 to 1"),
        ({"noise": 0.5, "degrade": True}, "sets.noise: 0.5 must be finite and at least 1"),
        ({"noise": float("inf"), "degrade": True}, "sets.noise: inf must be finite"),
        ({"noise": 20.0}, "sets.noise: is that of degraded photos; add degrade"),
        ({"views": "1,half"}, "self_training.views: '1,half' must be parts, above 0 and at most 1, and sides, from 16"),
        ({"views": "1,0"}, "self_training.views: '1,0' must be parts"),
        ({"views": "nan"}, "self_training.views: 'nan' must be parts"),
        ({"views": "320.5"}, "self_training.views: '320.5' must be parts"),
        ({"views": "1,,320"}, "self_training.views: '1,,320' must be parts"),
        ({"views": "8"}, "self_training.views: '8' must be parts"),
        ({"agreement": 2.0}, "self_training.views: agreement and leave_out compare views; add some"),
        ({"leave_out": 0.3}, "self_training.views: agreement and leave_out compare views; add some"),
        (
            {"teacher": "accurate,lite", "teacher_steps": 3, "taught_steps": 3, "agreement": 2.0},
            "self_training.views: agreement and leave_out compare views; add some",  # of the network itself, too
        ),
        ({"views": "1,0.5"}, "self_training.views: is of self-training; add teacher_steps or taught_steps"),
        ({"refinement": "edges"}, "self_training.refinement: is of self-training; add teacher_steps"),
        ({"views": "1,0.5,1.0", "taught_steps": 3}, "self_training.views: '1,0.5,1.0' names one twice"),
        ({"teacher": "lite,lite", "teacher_steps": 3}, "self_training.teacher: 'lite,lite' names one twice"),
        ({"shapes": 0.4}, "pastes.shapes, pastes.uniform: nothing learns from pastes; add warm_steps or paste_weight"),
        ({"binarisation_ramp": 100}, "game.binarisation_ramp: is that of binarisation_weight, which is 0"),
        ({"leave_out": 1.0, "views": "1"}, "self_training.leave_out: 1.0 must be at least 0 and below 1"),
        ({"agreement": -1.0, "views": "1"}, "self_training.agreement: -1.0 must be finite and not negative"),
        ({"refinement": "none"}, "self_training.refinement: 'none' is none of 'own', 'edges', 'colours'"),
        ({"teacher": ",", "teacher_steps": 3}, "self_training.teacher: ',' names none"),
        ({"width": 0.5}, "width: which config field, generator.width or discriminator.width or classifier.width?"),
        ({"steps": "many"}, "steps: 'many' is not of the kind that 20000 is"),
        ({"steps": 1.5}, "steps: 1.5 is not of the kind"),
        ({"batch": True}, "batch: True is not of the kind"),
        ({"flip": "no"}, "flip: 'no' is not of the kind"),
        ({"source": 3}, "source: 3 is not of the kind"),
        ({"blocks": 5}, "blocks: 5 is not of the kind"),
        ({"generator.input.mean": (0.5,)}, "generator.input.mean: (0.5,) is not of the kind"),
        ({"generator": DiscriminatorConfig()}, "generator: no such config field"),
        ({"speed": 3}, "speed: no such config field"),
        ({"generator.depth": 3}, "generator.depth: no such config field"),
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
        {"blur_kernel": "fcsb:5"},
        {"scale": (1.0, 1.0)},
        {"shapes": 0.4, "uniform": 0.6, "grey": 1.0, "warm_steps": 1},
        {"uniform": 1.0, "paste_weight": 0.5},
        {"classifier.layers": ("conv1_2", "conv5_3")},
        {"patches": (9, 1), "in_blocks": True, "discriminator.norm": "none"},
        {"in_blocks": True, "pool": True, "channels": (4,) * 4, "strides": (2,) * 4, "crop": 32},
        {"hard": True, "temperature": 0.1, "r1_weight": 10.0, "binarisation_ramp": 100, "binarisation_weight": 1.0},
        {"noise": 25.0, "degrade": True},
        {"views": "1, 0.7,0.5,320", "agreement": 2.0, "leave_out": 0.5, "taught_steps": 3},
        {"refinement": "edges", "teacher": "lite", "teacher_steps": 3},
        {"teacher": "accurate,lite", "teacher_steps": 3, "agreement": 2.0},
        {"whole": 1.0},
        {"generator.network": "lite", "crop": 32},
        {"warm_optimiser.warm_up": 20, "warm_steps": 21},
        {"warm_optimiser.warm_up": 20, "warm_steps": 5, "supervised": True},
        {"generator.skips": ("", "conv3_1", "", "conv1_1")},
    ],
)
def test_limits_are_allowed(changes):
    values = flatten(replace(Config(), changes))
    named = {spelling: values[name] for name, spelled in spellings(values).items() for spelling in spelled}
    assert {name: named[name] for name in changes} == changes


def test_a_replacement_changes_what_it_names_and_nothing_else():
    changed = replace(PAPER, {"generator.input.mean": [0.1, 0.2, 0.3], "batch": 8})
    before, after = flatten(PAPER), flatten(changed)
    assert after["generator.input.mean"] == (0.1, 0.2, 0.3)  # a tuple: configs are hashable
    assert {name for name in before if before[name] != after[name]} == {"generator.input.mean", "game.batch"}
    assert PAPER.game.batch == 4


def test_a_field_answers_to_every_ending_of_its_name_that_is_its_alone():
    names = spellings(flatten(Config()))
    assert names["crops.crop"] == ["crop", "crops.crop"]
    assert names["generator.width"] == ["generator.width"]  # the discriminator has one too
    assert names["game.disc_optimiser.name"] == ["disc_optimiser.name", "game.disc_optimiser.name"]
    changes = {"crop": 32, "game.eta": 0.5, "disc_optimiser.momentum": 0.25}
    config = replace(Config(), changes)
    assert (config.crops.crop, config.game.eta, config.game.disc_optimiser.momentum) == (32, 0.5, 0.25)


def test_a_whole_section_may_be_replaced_and_then_changed():
    narrow = GeneratorConfig(width=0.5, merge="concat")
    config = replace(Config(), {"generator": narrow, "skip_norm": True})
    assert config.generator == dataclasses.replace(narrow, skip_norm=True)
    with pytest.raises(UserError, match="generator: no such config field"):
        replace(Config(), {"generator": 3})


def test_every_field_says_what_it_means():
    def sections(section):
        parts = [getattr(section, item.name) for item in dataclasses.fields(section)]
        return [section] + [each for part in parts if isinstance(part, Section) for each in sections(part)]

    for section in sections(Config()):
        for item in dataclasses.fields(section):
            assert isinstance(getattr(section, item.name), Section) or item.metadata["meaning"], item.name


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PAPER.game.batch = 8
    assert len({PAPER, RELEASE, replace(PAPER, {})}) == 2


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_survives_json(preset):
    config = PRESETS[preset]
    assert from_dict(Config, json.loads(json.dumps(to_dict(config)))) == config
    assert from_dict(GeneratorConfig, json.loads(json.dumps(to_dict(config.generator)))) == config.generator


def test_a_stored_config_of_another_version_is_refused_by_the_field():
    with pytest.raises(UserError, match="dropout: no such config field"):
        from_dict(ClassifierConfig, {**to_dict(ClassifierConfig()), "dropout": 0.5})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("patches", "3", (3,)),
        ("patches", "3,5,6", (3, 5, 6)),
        ("patches", "(0,)", (0,)),
        ("layers", "conv4_3", ("conv4_3",)),
        ("layers", "conv3_3, conv4_3", ("conv3_3", "conv4_3")),
        ("layers", "('conv3_3', 'conv4_3')", ("conv3_3", "conv4_3")),
        ("scale", "0.5,1", (0.5, 1.0)),
    ],
)
def test_lists_on_a_command_line_need_no_brackets_and_no_quotes(name, text, value):
    values = flatten(Config())
    (field,) = (field for field, spelled in spellings(values).items() if name in spelled)
    assert value_of(field, text, values[field]) == value


def test_the_fields_that_may_change_between_two_legs_are_fields():
    assert flatten(Config()).keys() >= FREE_FIELDS


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
    with pytest.raises(UserError, match="game.steps: 0 leaves nothing to train"):
        replace(DEMO, changes)
