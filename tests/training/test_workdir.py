"""A work folder belongs to one run: what binds it, what may change, and what is refused."""

import dataclasses
import json

import pytest

from experiments.train import parse
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import replace
from sgdbd_jax.presets import DEMO
from sgdbd_jax.training.workdir import claim_workdir


def test_a_work_folder_remembers_its_config(tmp_path):
    claim_workdir(tmp_path / "run", DEMO)
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert written["config"]["game.batch"] == DEMO.game.batch
    assert written["config"]["generator.width"] == DEMO.generator.width
    claim_workdir(tmp_path / "run", DEMO)  # the same command again


def test_another_config_is_refused_with_every_field_that_differs(tmp_path):
    claim_workdir(tmp_path, DEMO)
    (tmp_path / "checkpoints" / "game" / "1").mkdir(parents=True)
    before = (tmp_path / "config.json").read_bytes()
    wider = dataclasses.replace(DEMO.generator, width=0.5, skips=("", "", "", ""))
    with pytest.raises(UserError) as error:
        claim_workdir(tmp_path, replace(DEMO, {"seed": 4, "generator": wider, "steps": 10_000}))
    assert str(error.value) == (
        f"{tmp_path}: holds a run of another config ("
        "generator.skips was ['conv4_3', 'conv3_3', 'conv2_2', 'conv1_2'], is ['', '', '', '']; "
        "generator.width was 0.25, is 0.5; seed was 0, is 4); choose another --workdir"
    )
    assert (tmp_path / "config.json").read_bytes() == before


def test_a_start_that_left_nothing_binds_nothing(tmp_path):
    """What was refused after the folder was claimed may be mended and started again."""
    claim_workdir(tmp_path, DEMO)
    changed = replace(DEMO, {"seed": 4})
    claim_workdir(tmp_path, changed)
    (tmp_path / "classifier.safetensors").touch()
    claim_workdir(tmp_path, changed)
    with pytest.raises(UserError, match="seed was 4, is 0"):
        claim_workdir(tmp_path, DEMO)


def test_other_photos_are_another_run(tmp_path):
    claim_workdir(tmp_path, DEMO, {"photos of clear": "6 (aaa)"})
    (tmp_path / "classifier.safetensors").touch()
    claim_workdir(tmp_path, DEMO, {"photos of clear": "6 (aaa)"})
    with pytest.raises(UserError, match=r"photos of clear was '6 \(aaa\)', is '4 \(bbb\)'"):
        claim_workdir(tmp_path, DEMO, {"photos of clear": "4 (bbb)"})


def test_fields_that_do_not_move_results_may_change(tmp_path):
    claim_workdir(tmp_path, DEMO)
    (tmp_path / "classifier.safetensors").touch()
    often = {"checkpoint_every": 3, "checkpoint_minutes": 1.0, "keep": 5, "log_every": 2, "grid_every": 7}
    moved = dict.fromkeys(("names", "source", "clear", "vgg16", "validation_images"), "moved")
    claim_workdir(tmp_path, replace(DEMO, {"steps": 9, "tensorboard": True, **moved, **often}))
    assert json.loads((tmp_path / "config.json").read_text())["config"]["keeping.keep"] == 5


def test_with_self_training_the_game_before_it_may_not_grow(tmp_path):
    taught = replace(DEMO, {"taught_steps": 4})
    claim_workdir(tmp_path, taught)
    (tmp_path / "classifier.safetensors").touch()
    with pytest.raises(UserError, match="game.steps was 600, is 601"):
        claim_workdir(tmp_path, replace(taught, {"steps": 601}))


MASKS = {"refine": True, "colours": False, "middle": 0.7, "gain": 4.0}


def test_how_masks_are_delivered_may_change_where_nothing_went_by_it(tmp_path):
    claim_workdir(tmp_path, DEMO)
    (tmp_path / "classifier.safetensors").touch()
    claim_workdir(tmp_path, replace(DEMO, {**MASKS, "reduced": True, "half": True}))


VALIDATED = {"photos of validation": "3 (a)"}


@pytest.mark.parametrize(
    ("field", "changes", "inputs"),
    [(field, {}, VALIDATED) for field in MASKS] + [(field, {"taught_steps": 4}, {}) for field in ("middle", "gain")],
)
def test_what_a_generator_learned_from_and_what_chose_the_best_stays(tmp_path, field, changes, inputs):
    config = replace(DEMO, changes)
    claim_workdir(tmp_path, config, inputs)
    (tmp_path / "classifier.safetensors").touch()
    claim_workdir(tmp_path, replace(config, {"reduced": True, "half": True}), inputs)
    with pytest.raises(UserError, match=rf"prediction\.{field} was .*; validation and taught_steps go by masks"):
        claim_workdir(tmp_path, replace(config, {field: MASKS[field]}), inputs)


@pytest.mark.parametrize(
    ("changes", "free"),
    [
        ({"taught_steps": 4}, {"refine": True, "colours": False}),  # its own masks are refined in one way always
        ({"taught_steps": 4, "supervised": True}, {**MASKS, "steps": 700}),  # it has no other stage
    ],
)
def test_what_no_stage_goes_by_may_change(tmp_path, changes, free):
    config = replace(DEMO, changes)
    claim_workdir(tmp_path, config)
    (tmp_path / "classifier.safetensors").touch()
    claim_workdir(tmp_path, replace(config, free))


def test_a_run_of_an_earlier_version_is_refused_in_one_line_that_says_what_made_it(tmp_path):
    (tmp_path / "config.json").write_text('{"batch": 4, "eta": 0.1}')
    claim_workdir(tmp_path, DEMO)  # it holds nothing yet
    (tmp_path / "classifier.safetensors").touch()
    for text, maker in (
        ('{"batch": 4, "eta": 0.1}', "a version of sgdbd_jax before 0.2"),
        ('{"made_by": "sgdbd_jax 0.2.0", "config": {}, "inputs": {}}', "sgdbd_jax 0.2.0"),
    ):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError) as error:
            claim_workdir(tmp_path, DEMO)
        assert str(error.value).startswith(f"{tmp_path}: holds a run of {maker}, this is sgdbd_jax ")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", '{"seed": 0', "[]"])
def test_a_damaged_config_file_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json: .*; choose another --workdir"):
        claim_workdir(tmp_path, DEMO)


def test_a_work_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/run/config\.json: cannot be written \(Not a directory\)"):
        claim_workdir(tmp_path / "file" / "run", DEMO)


@pytest.mark.parametrize("name", ["\udcff", "\udcff/run"])
def test_a_work_folder_that_is_no_unicode_is_refused_before_anything_is_made(tmp_path, name):
    """Orbax could save nothing there, which would show at the first checkpoint."""
    with pytest.raises(UserError, match=r"udcff.* is no Unicode text, under which checkpoints cannot be saved; name"):
        claim_workdir(tmp_path / name, DEMO)
    assert list(tmp_path.iterdir()) == []


def test_a_work_folder_that_is_no_unicode_is_refused_with_the_command_line(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="is no Unicode text"):
        parse(["--workdir", str(tmp_path / "\udcff" / "run")])
    (tmp_path / "\udcff").mkdir()
    monkeypatch.chdir(tmp_path / "\udcff")  # where the folder's own name is not to blame
    with pytest.raises(UserError, match=r"udcff/runs/demo': is no Unicode text"):
        parse([])
