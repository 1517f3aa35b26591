"""Self-training, by the whole command: a run that ends with it, its targets, and what it delivers."""

import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest
from PIL import Image
from tiny_runs import SIZE, arguments

from experiments.train import main, parse
from sgdbd_jax.data.training_sets import load_photos
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.detection.refine import QUICK, Refinement
from sgdbd_jax.errors import UserError
from sgdbd_jax.evaluation.scoring import score_detector
from sgdbd_jax.training import targets as targets_module
from sgdbd_jax.training.log import read_log
from sgdbd_jax.training.run import Run
from sgdbd_jax.weights import load_weights

SCENES = 8


def command(workdir, **changes):
    return main(given(workdir, **changes))


def given(workdir, **changes):
    fields = {"steps": 0, "taught_steps": 2, "refine": True, "half": True, "ema_decay": 0.9, "validate_every": 1000}
    return arguments(workdir, **(fields | changes))


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("taught")
    assert command(workdir) == 0
    return workdir


def targets(workdir):
    return {path.name: np.array(Image.open(path)) for path in sorted((workdir / "targets").glob("*.png"))}


def test_it_follows_the_warm_start_where_there_is_no_game(taught):
    assert [row["stage"] for row in read_log(taught)] == ["warm"] * 4 + ["taught"] * 2
    assert {path.name for path in (taught / "checkpoints").iterdir()} == {"warm", "taught"}


def test_it_follows_given_weights_where_nothing_else_comes_before(taught, tmp_path):
    """Nothing then begins at a VGG16, and none is asked for."""
    start = {"generator_weights": taught / "generator.safetensors", "warm_steps": 0, "vgg16": tmp_path / "none"}
    assert command(tmp_path, **start) == 0
    assert {row["stage"] for row in read_log(tmp_path)} == {"taught"}
    assert targets(tmp_path)


def test_there_is_a_target_for_every_source_photo(taught):
    made = targets(taught)
    assert list(made) == [f"{number:05d}.png" for number in range(SCENES)]
    assert {target.shape for target in made.values()} == {(SIZE, SIZE)}


def test_the_delivered_weights_are_halves_that_say_how_they_want_to_be_used(taught):
    variables, metadata = load_weights(taught / "generator.safetensors", kind="generator")
    assert metadata["prediction"]["work_size"] == SIZE
    assert Refinement(**metadata["prediction"]["refinement"]) == Refinement()
    assert (metadata["stage"], metadata["step"]) == ("taught", 2)
    assert variables["params"]["head"]["kernel"].dtype == np.float16
    photo = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    assert set(np.unique(Detector.load(taught / "generator.safetensors")(photo))) <= {0.0, 1.0}  # a decision: refined


def test_the_score_is_that_of_refined_masks(taught):
    """Whose error is a share of pixels; as the float32 network saw them, before it was halved."""
    result = json.loads((taught / "result.json").read_text())
    held_out = load_photos(parse(given(taught))[1]).held_out
    refined, raw = (
        score_detector(Detector.load(taught / "generator.safetensors", refine=refine), held_out).result
        for refine in (True, False)
    )
    assert result["mae"] == pytest.approx(refined["mae"], abs=0.01)
    assert abs(raw["mae"] - refined["mae"]) > 0.02


def test_lost_and_damaged_targets_are_made_again_and_the_others_kept(taught, tmp_path, monkeypatch):
    """All, before any process goes on: with several hosts, one writes what the others may read."""
    before = targets(taught)
    workdir = shutil.copytree(taught, tmp_path / "copy")
    shutil.rmtree(workdir / "checkpoints" / "taught")
    (workdir / "targets" / "00001.png").unlink()
    (workdir / "targets" / "00002.png").write_bytes(b"\x89PNG\r\n")
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(workdir / "targets" / "00003.png")  # of another photo
    kept = os.stat(workdir / "targets" / "00000.png").st_mtime_ns
    waited = []
    monkeypatch.setattr(targets_module, "wait_for_all", lambda name: waited.append((name, len(targets(workdir)))))
    assert command(workdir) == 0
    assert waited == [("targets", SCENES)]
    assert os.stat(workdir / "targets" / "00000.png").st_mtime_ns == kept
    after = targets(workdir)
    assert list(after) == list(before)
    for name, target in before.items():
        np.testing.assert_array_equal(after[name], target)
    assert (workdir / "generator.safetensors").read_bytes() == (taught / "generator.safetensors").read_bytes()


def test_a_process_that_does_not_write_them_has_the_targets_too(taught, tmp_path):
    """With several hosts, each but the first."""
    config = parse(given(tmp_path))[1]
    run = Run(config, tmp_path, load_photos(config))
    run.main = False
    teacher, _ = load_weights(taught / "generator.safetensors")
    made = targets_module.own_targets(run, jax.tree.map(np.float32, teacher))
    assert [target.shape for target in made.masks] == [(SIZE, SIZE)] * SCENES
    assert not (tmp_path / "targets").exists()


@pytest.fixture(scope="module")
def light(taught, tmp_path_factory):
    """A light generator that learns from another's masks, then from its own."""
    workdir = tmp_path_factory.mktemp("light")
    assert main(given(workdir, **LIGHT, teacher=taught / "generator.safetensors")) == 0
    return workdir


LIGHT = {
    "generator__network": "lite",
    "generator__width": 0.1,
    "photo_size": 32,
    "crop": 32,
    "warm_steps": 0,
    "teacher_steps": 2,
}


def test_a_light_generator_learns_from_a_teacher_and_then_from_itself(light):
    assert [row["stage"] for row in read_log(light)] == ["teacher"] * 2 + ["taught"] * 2
    teacher, own = ([path.read_bytes() for path in sorted((light / name).glob("*.png"))] for name in FOLDERS)
    assert len(teacher) == len(own) == SCENES and teacher != own


FOLDERS = ("teacher_targets", "targets")


def test_the_teacher_s_targets_are_the_masks_that_its_file_gives(light, taught, tmp_path):
    detect = Detector.load(taught / "generator.safetensors")
    config = parse(given(tmp_path, **LIGHT, teacher=taught / "generator.safetensors"))[1]
    for number, photo in enumerate(load_photos(config).training.source.images):
        target = np.array(Image.open(light / "teacher_targets" / f"{number:05d}.png"))
        np.testing.assert_array_equal(target, np.rint(255 * detect(photo)))


def test_a_teacher_may_move_but_not_change(light, taught, tmp_path):
    workdir = shutil.copytree(light, tmp_path / "copy")
    moved = shutil.copy(taught / "generator.safetensors", tmp_path / "moved.safetensors")
    assert main(given(workdir, **LIGHT, teacher=moved)) == 0
    with pytest.raises(UserError, match="given teacher was"):
        main(given(workdir, **LIGHT, teacher=light / "generator.safetensors"))


def test_a_teacher_and_its_steps_need_each_other(tmp_path):
    with pytest.raises(UserError, match="teacher: needs teacher_steps"):
        parse(given(tmp_path, teacher="accurate"))
    with pytest.raises(UserError, match="teacher: needs teacher_steps"):
        parse(given(tmp_path, teacher_steps=3))


def test_a_teacher_that_is_not_there_is_refused_before_photos_are_read(tmp_path):
    with pytest.raises(UserError, match="none.safetensors"):
        main(given(tmp_path, **LIGHT, teacher=tmp_path / "none.safetensors"))
    assert not (tmp_path / "config.json").exists()


def test_targets_of_another_teacher_are_made_again(taught, tmp_path):
    workdir = shutil.copytree(taught, tmp_path / "copy")
    shutil.rmtree(workdir / "checkpoints" / "taught")
    for path in (workdir / "targets").glob("*.png"):
        Image.fromarray(np.full((SIZE, SIZE), 77, np.uint8)).save(path)
    made_by = json.loads((workdir / "targets" / "made_by.json").read_text())
    (workdir / "targets" / "made_by.json").write_text(json.dumps(made_by | {"teacher": "0"}))
    assert command(workdir) == 0
    assert (workdir / "generator.safetensors").read_bytes() == (taught / "generator.safetensors").read_bytes()


def test_a_finished_run_needs_its_targets_no_more(taught, tmp_path):
    workdir = shutil.copytree(taught, tmp_path / "copy")
    shutil.rmtree(workdir / "targets")
    assert command(workdir) == 0
    assert not (workdir / "targets").exists()


def test_a_game_cannot_come_before_what_has_been_taught_already(taught, tmp_path):
    workdir = shutil.copytree(taught, tmp_path / "copy")
    with pytest.raises(UserError, match="another config .game.steps was 0, is 3.; choose another --workdir"):
        command(workdir, steps=3)


def test_stopped_between_targets_it_keeps_them(taught, tmp_path, monkeypatch, capsys):
    workdir = shutil.copytree(taught, tmp_path / "copy")
    shutil.rmtree(workdir / "checkpoints" / "taught")
    shutil.rmtree(workdir / "targets")
    write = targets_module.write_atomically

    def write_and_stop(path, data):
        write(path, data)
        if path.name == "00002.png":
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(targets_module, "write_atomically", write_and_stop)
    monkeypatch.setattr(targets_module, "ASK_EVERY", 1)
    assert command(workdir) == 128 + signal.SIGTERM
    assert "are kept; the same command goes on" in capsys.readouterr().err
    assert 3 <= len(targets(workdir)) < SCENES
    assert not list((workdir / "checkpoints" / "taught").glob("[0-9]*"))
    monkeypatch.undo()
    assert command(workdir) == 0
    assert (workdir / "generator.safetensors").read_bytes() == (taught / "generator.safetensors").read_bytes()


def test_a_gain_is_delivered_in_the_last_layer_and_told(light, taught, tmp_path):
    """What is learned is the same; the mask's logits are as many times as large."""
    workdir = shutil.copytree(light, tmp_path / "copy")
    (workdir / "config.json").unlink()  # which refuses it, as the masks that it learned from would be others
    plain, _ = load_weights(workdir / "generator.safetensors")
    given_again = given(workdir, **LIGHT, teacher=taught / "generator.safetensors", gain=4, colours=False, reduced=True)
    assert main(given_again) == 0
    sharper, metadata = load_weights(workdir / "generator.safetensors")
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(sharper["params"]["head"][name], 4 * plain["params"]["head"][name])
    assert metadata["prediction"]["reduced"] is True
    assert (metadata["prediction"]["gain"], metadata["prediction"]["middle"]) == (4.0, 0.5)
    assert Refinement(**metadata["prediction"]["refinement"]) == QUICK


AGREEING = LIGHT | {
    "views": "1,0.5,16",
    "agreement": 2.0,
    "leave_out": 0.5,
    "refinement": "edges",
    "shapes": 0.3,
    "uniform": 0.1,
    "grey": 0.2,
    "degrade": True,
    "noise": 20.0,
}


@pytest.fixture(scope="module")
def agreeing(light, taught, tmp_path_factory):
    """As `light`, by two teachers that look at photos of several sizes, and with pastes of every kind."""
    workdir = tmp_path_factory.mktemp("agreeing")
    assert main(given(workdir, **AGREEING, teacher=two_teachers(light, taught))) == 0
    return workdir


def two_teachers(light, taught):
    return f"{taught / 'generator.safetensors'},{light / 'generator.safetensors'}"


def test_targets_of_several_views_are_kept_with_their_doubt_and_made_again_without_it(
    agreeing, light, taught, tmp_path
):
    for folder in FOLDERS:
        names = {f"{number:05d}{kind}.png" for number in range(SCENES) for kind in ("", ".doubt")}
        assert {path.name for path in (agreeing / folder).glob("*.png")} == names
    workdir = shutil.copytree(agreeing, tmp_path / "copy")
    for stage in ("teacher", "taught"):
        shutil.rmtree(workdir / "checkpoints" / stage)
    shutil.rmtree(workdir / "targets")
    lost = workdir / "teacher_targets" / "00001.doubt.png"
    lost.unlink()
    kept = os.stat(workdir / "teacher_targets" / "00000.png").st_mtime_ns
    assert main(given(workdir, **AGREEING, teacher=two_teachers(light, taught))) == 0
    assert os.stat(workdir / "teacher_targets" / "00000.png").st_mtime_ns == kept
    assert lost.read_bytes() == (agreeing / "teacher_targets" / lost.name).read_bytes()
    assert (workdir / "generator.safetensors").read_bytes() == (agreeing / "generator.safetensors").read_bytes()


def test_a_second_teacher_may_not_change_either(agreeing, light, taught, tmp_path):
    workdir = shutil.copytree(agreeing, tmp_path / "copy")
    shutil.copy(taught / "generator.safetensors", tmp_path / "second.safetensors")
    teachers = f"{taught / 'generator.safetensors'},{tmp_path / 'second.safetensors'}"
    with pytest.raises(UserError, match="given teacher 2 was"):
        main(given(workdir, **AGREEING, teacher=teachers))


def test_every_teacher_is_looked_for_before_photos_are_read(taught, tmp_path):
    with pytest.raises(UserError, match="none.safetensors"):
        main(given(tmp_path, **LIGHT, teacher=f"{taught / 'generator.safetensors'}, {tmp_path / 'none.safetensors'}"))
    assert not (tmp_path / "config.json").exists()


LEVELS = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.25, 0.05], np.float32)  # deviations of the scenes' views


def made_by_levels(tmp_path, monkeypatch, **changes):
    """Targets by a teacher whose views disagree by as much as `LEVELS` says."""
    config = parse(given(tmp_path, **LIGHT, teacher="accurate", views="1", **changes))[1]
    run = Run(config, tmp_path, load_photos(config))
    photos = list(run.photos.training.source.images)

    class Known:
        looks = 2

        def __call__(self, photo):
            at = next(number for number, each in enumerate(photos) if each is photo)
            return np.full(photo.shape[:2], at / 255, np.float32), np.full(photo.shape[:2], LEVELS[at])

    monkeypatch.setattr(targets_module, "Teacher", lambda detectors, sizes: Known())
    return targets_module._make_targets(run, [], {}, tmp_path / "targets")


def test_a_pixel_weighs_the_less_the_more_the_views_disagree(tmp_path, monkeypatch):
    """1 less twice the deviation, to the rounding of 8 bits; whether just made or read again."""
    for _ in range(2):
        made = made_by_levels(tmp_path, monkeypatch, agreement=2.0)
        assert made.places is None and len(made.masks) == len(made.weights) == SCENES
        for at, (mask, weight) in enumerate(zip(made.masks, made.weights)):
            assert (mask == at).all() and mask.shape == weight.shape
            np.testing.assert_allclose(weight / 255, 1 - 2 * LEVELS[at], atol=0.005)


def test_weights_are_never_below_nothing(tmp_path, monkeypatch):
    made = made_by_levels(tmp_path, monkeypatch, agreement=4.0)
    wanted = np.maximum(1 - 4 * LEVELS, 0)
    np.testing.assert_allclose([weight.mean() / 255 for weight in made.weights], wanted, atol=0.01)


def test_the_photos_on_which_views_agree_least_are_left_out(tmp_path, monkeypatch):
    made = made_by_levels(tmp_path, monkeypatch, leave_out=0.4)
    assert made.places == [0, 1, 2, 6, 7] and made.weights is None
    assert [int(mask.flat[0]) for mask in made.masks] == made.places


def test_one_photo_is_always_left(tmp_path, monkeypatch):
    assert made_by_levels(tmp_path, monkeypatch, leave_out=0.99).places == [0]
