"""The training command: what it takes, what it refuses and how, and what it leaves behind."""

import importlib.util
import io
import json
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from tiny_runs import SIZE, STEPS, arguments

from experiments.train import main, parse
from sgdbd_jax.cli import command
from sgdbd_jax.data import training_sets
from sgdbd_jax.data.training_sets import load_photos
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.errors import UserError
from sgdbd_jax.evaluation.scoring import score_detector
from sgdbd_jax.fields import flatten, spellings
from sgdbd_jax.files import file_sha256
from sgdbd_jax.models.networks import Networks
from sgdbd_jax.presets import DEMO, PAPER, PRESETS
from sgdbd_jax.training.log import read_log
from sgdbd_jax.training.loop import run_stage
from sgdbd_jax.training.state import init_net, make_optimiser
from sgdbd_jax.weights import load_weights, save_weights

ROOT = Path(__file__).parents[2]


def parsed(*argv):
    return parse([str(argument) for argument in argv])


# The command line.


@pytest.mark.parametrize("base", PRESETS)
@pytest.mark.parametrize("wanted", PRESETS)
def test_every_field_can_be_given_by_its_name(base, wanted):
    """All fields of one preset, as text, over another preset: the one is the outcome."""
    given = [text for name, value in flatten(PRESETS[wanted]).items() for text in (f"--{name}", str(value))]
    _, config = parsed("--preset", base, *given)
    assert config == PRESETS[wanted]
    for name, value in flatten(config).items():
        assert type(value) is type(flatten(PRESETS[wanted])[name]), name


def test_without_arguments_it_is_the_demo():
    options, config = parsed()
    assert (config, options.workdir) == (DEMO, Path("runs/demo"))


def test_a_preset_is_where_fields_start_from():
    options, config = parsed("--preset", "paper", "--eta", "0.05", "--generator.width", "0.5")
    assert options.workdir == Path("runs/paper")
    changed = {name for name, value in flatten(config).items() if value != flatten(PAPER)[name]}
    assert changed == {"game.eta", "generator.width"}
    assert parsed("--workdir", "w")[0].workdir == Path("w")


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        (["--steps", "1e3"], "steps", 1000),
        (["--eta", "1"], "eta", 1.0),
        (["--supervised"], "supervised", True),
        (["--supervised", "true"], "supervised", True),
        (["--flip", "False"], "flip", False),
        (["--scale", "(0.5, 2)"], "scale", (0.5, 2.0)),
        (["--scale", "0.5, 2"], "scale", (0.5, 2.0)),
        (["--generator.skips", "['', '', '', '']"], "generator.skips", ("", "", "", "")),
        (["--masks", "7"], "masks", "7"),
    ],
)
def test_values_take_the_type_of_their_field(argv, name, value):
    values = flatten(parsed(*argv)[1])
    found = values[next(field for field, names in spellings(values).items() if name in names)]
    assert (found, type(found)) == (value, type(value))


def test_a_field_is_given_by_its_short_or_its_dotted_name():
    for name in ("--learning_rate", "--optimiser.learning_rate", "--width"):
        with pytest.raises(SystemExit):  # several fields end so
            parsed(name, "0.5")
    for name in ("--disc_optimiser.learning_rate", "--game.disc_optimiser.learning_rate"):
        assert parsed(name, "0.5")[1].game.disc_optimiser.learning_rate == 0.5
    assert parsed("--crop", "32")[1] == parsed("--crops.crop", "32")[1]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--steps", "2.5"], "game.steps: '2.5' is not of the kind that"),
        (["--steps", "many"], "game.steps: 'many' is not of the kind"),
        (["--steps", "True"], "game.steps: 'True' is not of the kind"),
        (["--steps", "1e999"], "game.steps: '1e999' is not of the kind"),
        (["--channels", "(1e999,)"], "discriminator.channels: '(1e999,)' is not of the kind"),
        (["--steps", "-1"], "game.steps: -1 must not be negative"),
        (["--eta", "nan"], "game.eta: 'nan' is not of the kind"),
        (["--eta", "1e999"], "game.eta: inf must be finite"),
        (["--flip", "maybe"], "crops.flip: 'maybe' is neither true nor false"),
        (["--scale", "2"], "crops.scale: '2' is not of the kind"),
        (["--scale", "(1,)"], "crops.scale: '(1,)' is not of the kind"),
        (["--scale", "('a', 'b')"], "crops.scale: \"('a', 'b')\" is not of the kind"),
        (["--blur_radii", "'ab'"], "blurring.blur_radii: \"'ab'\" is not of the kind"),
        (["--generator.input.mean", "(0.5, 0.5)"], "generator.input.mean: '(0.5, 0.5)' is not of the kind"),
        (["--generator.blocks", "(1, 2, 3, 4)"], "generator.blocks: '(1, 2, 3, 4)' is not of the kind"),
        (["--generator.blocks", "(((8, 3),),) * 4"], "generator.blocks: "),
        (["--generator.blocks", "(((8,),), ((8,),), ((8,),), ((8,),))"], "generator.blocks: ((8,),) is not made of"),
        (["--generator.blocks", "(((8, 2),), ((8, 3),), ((8, 3),), ((8, 3),))"], "generator.blocks: ((8, 2),) is not"),
        (
            ["--preset", "release", "--generator.merge", "add"],
            "generator.blocks: block 1 ends with 256 features, and 'conv4_3' has 512",
        ),
        (["--generator.skips", "('a', 'b', 'c', 3)"], "generator.skips: "),
        (["--discriminator.channels", "('a',)"], "discriminator.channels: \"('a',)\" is not of the kind"),
        (
            ["--discriminator.channels", "()", "--discriminator.strides", "()"],
            "discriminator.channels, strides: there must be some",
        ),
        (["--discriminators", "none"], "game.discriminators: 'none' is none of 'both', 'clear', 'blur'"),
        (["--preset", "release", "--crop", "512"], "crops.crop: 512 is larger than the photos (256)"),
        (["--process_id", "1"], "coordinator, num_processes, process_id: give all three, or none"),
    ],
)
def test_a_bad_value_is_refused_by_its_field(argv, words):
    with pytest.raises(UserError) as error:
        parsed(*argv)
    assert str(error.value).startswith(words)


@pytest.mark.parametrize("argv", [["--stepz", "3"], ["--preset", "best"], ["--steps"], ["photos"]])
def test_what_is_no_option_is_refused_as_argparse_does(argv, capsys):
    with pytest.raises(SystemExit) as end:
        parsed(*argv)
    assert end.value.code == 2
    assert "usage: python -m experiments.train" in capsys.readouterr().err


def test_a_source_is_a_folder_unless_the_data_are_said_to_be_others():
    assert parsed()[1].sets.data == "scenes"
    assert parsed("--source", "photos")[1].sets.data == "folders"
    assert parsed("--source", "photos", "--data", "tfds:cuhk")[1].sets.data == "tfds:cuhk"


def python(*argv):
    return subprocess.run([sys.executable, *argv], cwd=ROOT, capture_output=True, text=True)


def test_help_names_presets_and_fields_and_loads_nothing_heavy():
    script = (
        "import sys\nfrom experiments.train import main\n"
        "try: main(['--help'])\nexcept SystemExit: print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = python("-c", script)
    *told, modules = done.stdout.splitlines()
    assert not {"jax", "numpy", "flax", "orbax", "tensorflow_datasets", "matplotlib", "torch"} & set(modules.split())
    assert {line.split()[0] for line in told if line.startswith("  ")} >= {*PRESETS, "--workdir", "--eta", "--source"}


def test_bad_input_ends_with_one_line_and_code_2():
    done = python("-m", "experiments.train", "--source", "no/such/folder", "--clear", "x", "--workdir", "/dev/null/w")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: no/such/folder")


# Refusals, in this process but as the command ends.


@pytest.fixture
def refused(capsys, monkeypatch, tmp_path):
    """Runs the tiny demo with changes; gives the one line on standard error with which it must end."""
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # which a command sets

    def run(workdir=tmp_path / "run", **changes):
        with pytest.raises(SystemExit) as end:
            command.run(lambda: main(arguments(workdir, **changes)))
        said, told = capsys.readouterr()
        assert (end.value.code, said) == (2, "")
        line = told.split("\r")[-1].splitlines()[-1]
        assert line.startswith("error: ") and "Traceback" not in told
        return line.removeprefix("error: ")

    return run


def write_photos(folder, count, *, size=SIZE, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    photos = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)
    for i, photo in enumerate(photos):
        Image.fromarray(photo).save(folder / f"{i}.png")
    return folder


def test_folders_without_photos_are_refused(refused, tmp_path):
    photos = write_photos(tmp_path / "photos", 4)
    empty, text = tmp_path / "empty", tmp_path / "text"
    empty.mkdir()
    text.mkdir()
    (text / "notes.txt").write_text("no photo")
    for folder in (empty, text):
        assert refused(source=folder, clear=photos, scenes=None).startswith(f"{folder}: ")
        assert refused(source=photos, clear=folder, scenes=None).startswith(f"{folder}: ")
    assert refused(source=photos, scenes=None).startswith("clear: needs a folder of photos")
    assert not (tmp_path / "run").exists()


def test_too_few_and_too_small_photos_are_refused(refused, tmp_path):
    four, three = write_photos(tmp_path / "4", 4), write_photos(tmp_path / "3", 3)
    assert refused(source=four, clear=three).startswith("clear: 3 photos are fewer than a batch of 4")
    small = write_photos(tmp_path / "small", 4, size=SIZE - 1)
    line = refused(source=small, clear=four, photo_size=0)
    assert line.startswith("source: 0.png is 15x15, smaller than a crop of 16")


def test_some_photos_too_small_are_left_out_and_said(refused, tmp_path, monkeypatch, capsys):
    """The run itself is not made: it would begin with the photos that are left."""
    photos = write_photos(tmp_path / "photos", 5)
    Image.new("RGB", (SIZE, SIZE - 1)).save(photos / "0.png")
    trained = []
    monkeypatch.setattr("sgdbd_jax.training.recipe.train", trained.append)
    with pytest.warns(UserWarning, match=r": left out 1 photos smaller than a crop of 16: 0\.png is 16x15$") as told:
        main(arguments(tmp_path / "run", source=photos, clear=photos, scenes=None, photo_size=0))
    assert {str(warning.message).partition(":")[0] for warning in told} == {"source", "clear"}
    (run,) = trained
    assert run.photos.training.source.names == run.photos.training.clear.names == ("1.png", "2.png", "3.png", "4.png")


@pytest.mark.parametrize("place", ["file", "file/run", "run/config.json"])
def test_a_work_folder_that_cannot_be_is_refused_before_photos_are_read(refused, tmp_path, monkeypatch, place):
    photos = write_photos(tmp_path / "photos", 4)
    monkeypatch.setattr(training_sets, "load_folder", None)
    workdir = tmp_path / place
    (tmp_path / "file").touch()
    if place.endswith("json"):
        workdir.mkdir(parents=True)
        workdir = workdir.parent
    line = refused(workdir, source=photos, clear=photos, scenes=None)
    assert line.startswith(f"{workdir / 'config.json'}: cannot be written (") and "folder)" in line


def test_a_missing_vgg16_file_is_refused_with_three_ways_on(refused, tmp_path):
    line = refused(preset="paper", vgg16=tmp_path / "none.safetensors")
    assert line.startswith(f"{tmp_path / 'none.safetensors'}: no VGG16 weights")
    for way in ("python -m experiments.port_vgg16 --source torchvision", "--vgg16 FILE", "--vgg16 random"):
        assert way in line


def test_a_game_from_given_weights_wants_a_vgg16_only_for_what_begins_there(refused, demo, tmp_path):
    start = {"generator_weights": demo / "generator.safetensors", "warm_steps": 0, "vgg16": tmp_path / "none"}
    for number, asks in enumerate(({"bilateral_weight": 1}, {"bilateral_weight": 0, "discriminator__init": "vgg16"})):
        assert "no VGG16 weights" in refused(tmp_path / str(number), **start, **asks)


def test_random_initialisation_comes_only_by_asking():
    assert {name for name, preset in PRESETS.items() if preset.start.vgg16 == "random"} == {"release", "demo", "game"}
    assert parsed("--preset", "paper", "--vgg16", "random")[1].start.vgg16 == "random"


def test_files_that_hold_no_vgg16_are_refused(refused, tmp_path):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(b"\x10\0\0\0\0\0\0\0{")
    other = save_weights(tmp_path / "other.safetensors", {"a": np.ones(1)}, {"kind": "generator"})
    for path in (cut, other):
        assert refused(vgg16=path).startswith(f"{path}: ")


def test_a_vgg16_that_does_not_fit_the_networks_is_refused():
    _, config = parsed(*arguments(Path("w")))
    trunk = {"conv1_1": {"kernel": np.zeros((3, 3, 3, 64), np.float32), "bias": np.zeros(64, np.float32)}}
    classifier, optimiser = Networks.of(config).classifier, make_optimiser(config.pretraining.classifier_optimiser)
    with pytest.raises(UserError, match=r"vgg16, .*widths: .*conv1_1/kernel \(3, 3, 3, 64\)"):
        init_net(classifier, optimiser, jax.random.key(0), config.crops.crop, trunk)


def test_a_work_folder_that_cannot_be_is_refused(refused, tmp_path):
    (tmp_path / "file").write_text("")
    assert refused(tmp_path / "file" / "run").startswith(f"{tmp_path / 'file' / 'run' / 'config.json'}: cannot be")


# The tiny demo, once; then what a second command makes of its folder.


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("demo")
    assert main(arguments(workdir, tensorboard=has_tensorboard())) == 0
    return workdir


def has_tensorboard():
    return importlib.util.find_spec("tensorboardX") is not None


@pytest.fixture
def copy(demo, tmp_path):
    """The finished run, to be spoiled."""
    return shutil.copytree(demo, tmp_path / "copy")


def config_of(**changes):
    return parsed(*arguments(Path("w"), **changes))[1]


def test_a_run_leaves_its_config_log_and_results_in_its_folder(demo):
    assert {path.name for path in demo.iterdir()} - {"events"} == {
        "config.json",
        "metrics.jsonl",
        "checkpoints",
        "grids",
        "classifier.safetensors",
        "generator.safetensors",
        "result.json",
        "samples.png",
        "learning_curve.png",
    }
    assert json.loads((demo / "config.json").read_text())["config"]["generator.width"] == 0.05
    # The pretrained classifier is in its file; its checkpoints are gone.
    assert {path.name for path in (demo / "checkpoints").iterdir()} == {"warm", "game"}


def test_the_log_has_a_row_a_step_with_what_the_watchdog_sees(demo):
    rows = read_log(demo)
    assert [(row["stage"], row["step"]) for row in rows] == [
        (stage, step) for stage, count in STEPS.items() for step in range(1, count + 1)
    ]
    game = [row for row in rows if row["stage"] == "game"]
    seen = {"coverage", "coverage_spread", "mask_entropy"}
    seen |= {f"{disc}_{what}" for disc in ("disc_clear", "disc_blur") for what in ("accuracy", "grad_norm")}
    seen |= {"d_loss_clear", "d_loss_blur", "g_loss"}
    assert all(seen <= row.keys() for row in game)
    assert [row["step"] for row in game if "validation_f_measure" in row] == [8, 16, 24]
    assert {row["stage"] for row in rows if "accuracy" in row} == {"classifier"}


def test_the_delivered_generator_is_the_best_on_validation(demo):
    rows = [row for row in read_log(demo, "game") if "validation_f_measure" in row]
    best = max(rows, key=lambda row: (row["validation_f_measure"], row["step"]))
    _, metadata = load_weights(demo / "generator.safetensors", kind="generator")
    assert (metadata["step"], metadata["seed"]) == (best["step"], 0)


def test_its_score_on_held_out_scenes_is_in_the_agreed_shape_and_can_be_had_again(demo):
    result = json.loads((demo / "result.json").read_text())
    measures = {"f_measure", "mae", "precision", "recall"}
    assert set(result) == measures | {"protocol", "images", "floors"}
    assert (result["protocol"], result["images"]) == ("paper", 64)
    assert {name: set(floor) for name, floor in result["floors"].items()} == {"zeros": measures, "ones": measures}
    assert result["floors"]["zeros"]["mae"] + result["floors"]["ones"]["mae"] == pytest.approx(1)
    detector = Detector.load(demo / "generator.safetensors", work_size=SIZE)
    assert score_detector(detector, load_photos(config_of()).held_out).result == result


def test_the_classifier_file_says_how_good_it_is(demo):
    variables, metadata = load_weights(demo / "classifier.safetensors", kind="classifier")
    assert 0 <= metadata["held_out_accuracy"] <= 1
    assert "trunk" in variables["params"]


def png_size(path):
    with Image.open(io.BytesIO(path.read_bytes())) as picture:
        picture.load()
        assert picture.format == "PNG"
        return picture.size


def test_the_pictures_are_pngs_one_can_look_at(demo):
    assert png_size(demo / "learning_curve.png") == (1000, 650)
    names = sorted(path.name for path in (demo / "grids").iterdir())
    # The generator is shown in both stages that train it, at their ends and every 12 steps.
    assert names == ["game_000012.png", "game_000024.png", "warm_000004.png"]
    sizes = {png_size(path) for path in (demo / "samples.png", *(demo / "grids").iterdir())}
    assert sizes == {(5 * 132 + 4, 6 * 132 + 20)}  # source, mask, truth, two composites; 6 scenes of 16 pixels, x8


@pytest.mark.skipif(not has_tensorboard(), reason="tensorboardX is not installed")
def test_event_files_are_written_when_asked_for(demo):
    assert {path.name for path in (demo / "events").iterdir()} == set(STEPS)
    assert all(any(folder.iterdir()) for folder in (demo / "events").iterdir())


def test_a_finished_run_started_again_changes_nothing_not_even_what_signals_do(copy, demo, capsys):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert main(arguments(copy, tensorboard=has_tensorboard())) == 0
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    said = capsys.readouterr().out
    assert said.startswith("protocol paper, 64 images") and f"in {copy}: generator.safetensors" in said
    for name in ("generator.safetensors", "classifier.safetensors", "result.json", "metrics.jsonl", "samples.png"):
        assert (copy / name).read_bytes() == (demo / name).read_bytes(), name


def test_a_folder_of_another_config_is_refused_with_the_fields(refused, copy):
    line = refused(copy, eta=0.25, batch=2, steps=99)
    assert line.startswith(f"{copy}: holds a run of another config (game.batch was 4, is 2; game.eta was ")
    assert (copy / "generator.safetensors").exists()


def test_a_truncated_checkpoint_is_refused_with_the_remedy_which_works(refused, copy, capsys):
    array = max((copy / "checkpoints" / "game" / "24" / "default").rglob("d/*"), key=lambda path: path.stat().st_size)
    array.write_bytes(array.read_bytes()[:-40])
    result = (copy / "generator.safetensors").read_bytes()
    line = refused(copy)
    assert line.startswith(f"{copy / 'checkpoints' / 'game' / '24'}: the checkpoint cannot be read")
    assert (copy / "generator.safetensors").read_bytes() == result
    shutil.rmtree(copy / "checkpoints" / "game" / "24")
    assert main(arguments(copy)) == 0
    assert (copy / "generator.safetensors").read_bytes() == result
    assert [row["step"] for row in read_log(copy, "game")] == list(range(1, 25))


def test_a_truncated_classifier_is_refused(refused, copy):
    path = copy / "classifier.safetensors"
    path.write_bytes(path.read_bytes()[:-40])
    assert refused(copy).startswith(f"{path}: not a readable safetensors file")


def test_a_longer_run_goes_on_from_a_finished_one(copy):
    assert main(arguments(copy, steps=26)) == 0
    assert [row["step"] for row in read_log(copy, "game")] == list(range(1, 27))


def test_fewer_steps_than_are_done_are_refused(copy):
    before = (copy / "generator.safetensors").read_bytes()
    with pytest.raises(UserError, match="stage game has done 24 steps, 20 are asked for"):
        main(arguments(copy, steps=20))
    assert (copy / "generator.safetensors").read_bytes() == before


# Other games.


def test_a_finished_classifier_may_be_given(demo, tmp_path):
    given = demo / "classifier.safetensors"
    assert main(arguments(tmp_path, classifier_weights=given, warm_steps=0, steps=2)) == 0
    assert {row["stage"] for row in read_log(tmp_path)} == {"game"}
    assert not (tmp_path / "classifier.safetensors").exists()


def test_a_classifier_of_another_kind_or_config_is_refused(refused, demo, tmp_path):
    generator = demo / "generator.safetensors"
    assert refused(classifier_weights=generator).startswith(f"{generator}: holds weights of kind 'generator'")
    classifier = demo / "classifier.safetensors"
    line = refused(tmp_path / "b", classifier_weights=classifier, classifier__hidden=64)
    assert line.startswith(f"{classifier}: a classifier of another config than this run's")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(classifier.read_bytes()[:1000])
    assert refused(tmp_path / "c", classifier_weights=cut).startswith(f"{cut}: not a readable safetensors file")


def test_training_goes_on_from_given_weights_which_bring_their_own_input_normalisation(demo, tmp_path):
    """From the file's, less the first step: a rate of nearly 0 gives them back, its BatchNorms aside."""
    tree, metadata = load_weights(demo / "generator.safetensors")
    metadata["config"]["input"] = {"mean": [0.25] * 3, "std": [0.5] * 3}
    given = save_weights(tmp_path / "given.safetensors", tree, metadata)
    rates = {"generator_optimiser__learning_rate": 1e-12, "ema_decay": 0}
    changes = {"generator_weights": given, "warm_steps": 0, "steps": 1, "bilateral_weight": 0}
    assert main(arguments(tmp_path / "run", **changes, **rates)) == 0
    found, metadata = load_weights(tmp_path / "run" / "generator.safetensors")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, atol=1e-9), tree["params"], found["params"])
    assert metadata["given generator"] == file_sha256(given)[:12]
    assert metadata["config"]["input"] == {"mean": [0.25] * 3, "std": [0.5] * 3}


def test_weights_of_another_kind_or_config_are_no_start(refused, demo, tmp_path, monkeypatch):
    monkeypatch.setattr(training_sets, "load_photos", None)  # refused before photos are read
    classifier, generator = demo / "classifier.safetensors", demo / "generator.safetensors"
    assert refused(generator_weights=classifier).startswith(f"{classifier}: holds weights of kind 'classifier'")
    line = refused(tmp_path / "b", generator_weights=generator, generator__align_corners=True)
    assert line.startswith(f"{generator}: a generator of another config than this run's (align_corners is False there")
    line = refused(tmp_path / "c", generator_weights=generator, generator__input__mean=(0.1, 0.1, 0.1))
    assert line.startswith(f"generator.input.mean: {generator} asks for (0.5, 0.5, 0.5)")
    missing = tmp_path / "missing"
    assert refused(tmp_path / "d", generator_weights=missing) == f"{missing}: no such weight file"


def test_a_run_goes_on_from_the_same_given_weights_wherever_they_lie(refused, demo, tmp_path, capsys):
    given = shutil.copy(demo / "generator.safetensors", tmp_path / "given.safetensors")
    changes = {"generator_weights": given, "warm_steps": 0, "steps": 1, "bilateral_weight": 0}
    assert main(arguments(tmp_path / "run", **changes)) == 0
    moved = Path(given).rename(tmp_path / "moved.safetensors")
    assert main(arguments(tmp_path / "run", **changes | {"generator_weights": moved})) == 0
    tree, metadata = load_weights(moved)
    save_weights(moved, jax.tree.map(lambda leaf: leaf + 1, tree), metadata)
    capsys.readouterr()
    line = refused(tmp_path / "run", **changes | {"generator_weights": moved})
    assert line.startswith(f"{tmp_path / 'run'}: holds a run of another config (given generator was '")


def test_discriminators_that_the_vgg16_does_not_fit_are_refused_before_the_warm_start(
    refused, demo, tmp_path, monkeypatch
):
    tree, _ = load_weights(demo / "generator.safetensors")
    monkeypatch.setattr("sgdbd_jax.training.start.load_start", lambda config: (config, tree["params"]["trunk"]))
    channels = {"discriminator__init": "vgg16", "discriminator__channels": (7, 7), "discriminator__strides": (1, 2)}
    line = refused(tmp_path, bilateral_weight=0, warm_steps=2, discriminator__width=1.0, **channels)
    assert line.startswith("vgg16, which needs networks of its own widths: ") and "instead of (7,)" in line
    assert not (tmp_path / "checkpoints").exists()


def test_the_game_begins_with_what_the_discriminators_learned_and_at_step_0(tmp_path, monkeypatch):
    seen = {}

    def spy(run, stage, state, *rest):
        begun = jax.tree.map(np.array, state)
        ended = run_stage(run, stage, state, *rest)
        seen[stage.name] = begun, jax.tree.map(np.array, ended)
        return ended

    monkeypatch.setattr("sgdbd_jax.training.recipe.run_stage", spy)
    assert main(arguments(tmp_path, warm_steps=0, disc_warm_steps=2, steps=1, bilateral_weight=0, ema_decay=0)) == 0
    (before, learned), (begun, _) = seen["discriminators"], seen["game"]
    assert (learned.step, begun.step) == (2, 0)
    for name in ("disc_clear", "disc_blur"):
        jax.tree.map(np.testing.assert_array_equal, getattr(begun, name), getattr(learned, name))
        moved = jax.tree.map(
            lambda a, b: np.abs(a - b).max(), getattr(before, name).params, getattr(begun, name).params
        )
        assert min(jax.tree.leaves(moved["logit"])) > 0
    jax.tree.map(np.testing.assert_array_equal, before.generator, begun.generator)


def test_supervised_training_needs_no_classifier_and_no_discriminators(tmp_path):
    """Also: crops smaller than the scenes can be shown."""
    assert main(arguments(tmp_path, supervised=True, steps=8, photo_size=2 * SIZE)) == 0
    assert png_size(tmp_path / "samples.png") == (5 * 132 + 4, 6 * 132 + 20)
    rows = read_log(tmp_path)
    assert [(row["stage"], row["step"]) for row in rows] == [("supervised", step) for step in range(1, 9)]
    assert all({"loss", "coverage", "mask_entropy"} <= row.keys() for row in rows)
    assert not any("disc" in name for row in rows for name in row)
    assert not (tmp_path / "classifier.safetensors").exists()
    Detector.load(tmp_path / "generator.safetensors")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of photos, and masks for the validation ones."""
    root = tmp_path_factory.mktemp("photos")
    for seed, name in enumerate(("source", "clear", "blur", "validation")):
        write_photos(root / name, 6, size=2 * SIZE, seed=seed)
    (root / "masks").mkdir()
    mask = np.zeros((2 * SIZE, 2 * SIZE), np.uint8)
    mask[:, : SIZE // 2] = 255
    for i in range(6):
        Image.fromarray(mask).save(root / "masks" / f"{i}.png")
    return root


@pytest.mark.filterwarnings("ignore:.*is it right")  # noise is as sharp everywhere
def test_one_discriminator_learns_from_folders_without_the_bilateral_loss(folders, tmp_path):
    """Also: photos of their own sizes, smaller crops, scores from the validation photos, a folder that moved."""
    (folders / "source" / "broken.jpg").write_bytes(b"no photo")
    given = {name: folders / name for name in ("source", "clear", "blur")}
    given |= {"validation_images": folders / "validation", "validation_masks": folders / "masks"}
    changes = {"discriminators": "clear", "bilateral_weight": 0, "warm_steps": 0, "steps": 2, "photo_size": 0}
    with pytest.warns(UserWarning, match=r"broken\.jpg"):
        assert main(arguments(tmp_path, **given, **changes, validation_white="focused", scenes=None)) == 0
    rows = read_log(tmp_path)
    assert [(row["stage"], row["step"]) for row in rows] == [("game", 1), ("game", 2)]
    assert all("d_loss_clear" in row and "d_loss_blur" not in row and "bilateral" not in row for row in rows)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["images"] == 6
    assert result["mae"] == pytest.approx(rows[-1]["validation_mae"])
    assert result["floors"]["zeros"]["mae"] == pytest.approx(0.25, abs=0.02)
    assert png_size(tmp_path / "samples.png") == (4 * 132 + 4, 6 * 132 + 20)  # no truth of source photos

    moved = given | {"source": (folders / "source").rename(folders / "moved")}
    with pytest.warns(UserWarning, match=r"broken\.jpg"):
        assert (
            main(arguments(tmp_path, **moved, **changes | {"steps": 3}, validation_white="focused", scenes=None)) == 0
        )
    assert [row["step"] for row in read_log(tmp_path)] == [1, 2, 3]


def test_an_absurd_learning_rate_ends_the_run_with_the_name_of_what_is_not_finite(refused, tmp_path):
    line = refused(classifier_optimiser__learning_rate=1e30, classifier_steps=8, steps=2)
    assert line.startswith("step 2: ") and "is nan; the run stops, and its last checkpoint is from before" in line
    assert not (tmp_path / "run" / "checkpoints" / "classifier" / "4").exists()
