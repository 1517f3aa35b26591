"""The table of results, of generators that say one level of every pixel: scores by hand, seeds, training, refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_generators import constant_variables, save_generator

from experiments import results
from sgdbd_jax.errors import UserError
from sgdbd_jax.evaluation import score_cache
from sgdbd_jax.evaluation.trial_table import SHIPPED_ROWS
from sgdbd_jax.fields import replace
from sgdbd_jax.presets import SELF_TRAINED
from sgdbd_jax.training.start import digests
from sgdbd_jax.training.trials import Trials
from sgdbd_jax.training.workdir import claim_workdir

# In focus of each truth: 24 columns of 32, made 320, and 4 of the ramp between that the enlarging leaves above 0.1.
SHARE = (240 + 4) / 320


@pytest.fixture
def scored(tmp_path, monkeypatch):
    """Calls the command on three photos, in focus on the left; gives its JSON."""
    rng = np.random.default_rng(0)
    truth = np.zeros((24, 32), np.uint8)
    truth[:, :24] = 255
    for name in "abc":
        for folder, pixels in (("images", rng.integers(0, 256, (24, 32, 3), np.uint8)), ("masks", truth)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / f"{name}.png")
    weights = save_generator(tmp_path / "shipped.safetensors", constant_variables(0.75))
    monkeypatch.setattr("sgdbd_jax.detection.shipped.weight_file", lambda name: weights)

    def call(*arguments, code=0):
        fixed = {"images": tmp_path / "images", "masks": tmp_path / "masks", "masks_white": "focused"}
        fixed |= {"runs": tmp_path / "runs", "out": tmp_path / "out"}
        given = [text for name, value in fixed.items() for text in (f"--{name}", str(value))]
        assert results.main([*given, *arguments]) == code
        if code not in (0, 1):
            return None
        return json.loads((tmp_path / "out" / "results.json").read_text())

    return call


@pytest.fixture
def trained(monkeypatch):
    """The config and folder of every training, of which each is over at once and leaves its files."""
    calls = []

    def fake(config, workdir):
        calls.append((config, workdir))
        save_generator(workdir / "generator.safetensors", constant_variables(0.5))
        claim_workdir(workdir, config, digests(config))
        return 0

    monkeypatch.setattr("sgdbd_jax.cli.training.run_training", fake)
    return calls


def change(workdir, **fields):
    """Rewrites some fields of a run's config.json, by their dotted names with `__` for a dot."""
    path = workdir / "config.json"
    stored = json.loads(path.read_text())
    stored["config"] |= {name.replace("__", "."): value for name, value in fields.items()}
    path.write_text(json.dumps(stored))


needs_no_config = pytest.mark.filterwarnings("ignore:.*holds no config.json")  # of a weight file alone


def by_key(result):
    return {(row["row"], row["size"], row["refinement"]): row for row in result["rows"]}


def test_the_shipped_weights_and_the_constant_masks_are_scored_at_both_sizes(scored, capsys):
    """A mask of 0.75 errs by 0.25 where in focus and by 0.75 elsewhere; refined it is 1, and errs elsewhere."""
    result = scored()
    rows = by_key(result)
    hows = [(size, how) for size in ("own", "320") for how in ("none", "edges", "cut")]
    assert list(rows) == [(row, *how) for row in SHIPPED_ROWS.values() for how in hows]
    for size in ("own", "320"):
        for how, mae in (("none", 0.25 * SHARE + 0.75 * (1 - SHARE)), ("edges", 1 - SHARE), ("cut", 1 - SHARE)):
            for row in SHIPPED_ROWS.values():
                assert rows[row, size, how]["mae"] == [pytest.approx(mae, abs=0.002)]
    assert rows[SHIPPED_ROWS["accurate"], "own", "cut"]["correlation"] == [None]
    assert result["floors"]["zeros"]["mae"] == pytest.approx(SHARE)
    assert (result["protocol"], result["images"]) == ("paper", 3)
    out, err = capsys.readouterr()
    assert "| the shipped weights, accurate | 320x320 | " in out and "| a mask of zeros | |" in out
    assert f"not trained: {', '.join(results.TRIALS)}; --train {','.join(results.TRIALS)}\n" in err


@needs_no_config
def test_runs_of_several_seeds_are_a_mean_and_a_spread(scored, tmp_path, capsys):
    """Of 0.369 and 0.631: 0.5, and 0.185 by n - 1."""
    for seed, level in enumerate((0.75, 0.25)):
        save_generator(tmp_path / "runs" / "warm" / str(seed) / "generator.safetensors", constant_variables(level))
    maes = by_key(scored())["warm", "own", "none"]["mae"]
    assert maes == [pytest.approx(0.369, abs=0.002), pytest.approx(0.631, abs=0.002)]
    line = next(line for line in capsys.readouterr().out.splitlines() if "pastes alone" in line)
    assert ", seeds 0, 1 | own size | " in line and " / 0.500 ± 0.18" in line


@needs_no_config
def test_a_table_that_is_stopped_keeps_what_was_scored(scored, tmp_path, monkeypatch):
    warm = save_generator(tmp_path / "runs" / "warm" / "0" / "generator.safetensors", constant_variables(0.25))
    score_weights, files = score_cache.score_weights, []

    def stop_at_second(path, *args, **options):
        files.append(path)
        if len(files) == 2:
            raise KeyboardInterrupt
        return score_weights(path, *args, **options)

    monkeypatch.setattr(score_cache, "score_weights", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        scored()
    first = scored()
    assert files == [tmp_path / "shipped.safetensors", warm, warm]
    assert scored() == first and len(files) == 3


@pytest.mark.parametrize(("option", "place"), [("--out", "file"), ("--out", "file/out"), ("--runs", "file")])
def test_a_folder_that_cannot_be_written_is_refused_before_photos_are_read(
    scored, tmp_path, monkeypatch, option, place
):
    monkeypatch.setattr("sgdbd_jax.data.sources.load_pairs", None)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file.*: cannot be written \(.*file is no folder\)"):
        scored("--train", "warm", "--source", "photos", "--clear", "sharp", option, str(tmp_path / place))


@needs_no_config
def test_folders_that_name_no_seed_are_passed_over(scored, tmp_path):
    for folder in ("10", "2", "0-old"):
        save_generator(tmp_path / "runs" / "warm" / folder / "generator.safetensors", constant_variables(0.25))
    with pytest.warns(UserWarning, match="warm/0-old: passed over, its name is no seed"):
        result = scored()
    assert by_key(result)["warm", "own", "cut"]["seeds"] == [2, 10]


def test_what_is_asked_for_is_trained_unless_it_is_there(scored, trained, tmp_path):
    arguments = ("--train", "warm,supervised", "--seeds", "0,3", "--source", "photos", "--clear", "sharp")
    scored(*arguments)
    assert len(trained) == 4
    (warm, workdir), (supervised, _) = trained[1], trained[2]
    assert workdir == tmp_path / "runs" / "warm" / "3"
    photos = {"source": "photos", "clear": "sharp"}
    assert warm == replace(SELF_TRAINED, {"seed": 3, "taught_steps": 0, **photos})
    assert supervised.sets.masks == str(tmp_path / "masks") and supervised.sets.masks_white == "focused"
    scored(*arguments)
    assert len(trained) == 4


def test_a_trial_that_was_trained_by_another_recipe_is_refused(scored, trained, tmp_path):
    arguments = ("--train", "warm", "--source", "photos", "--clear", "sharp")
    scored(*arguments)
    workdir = tmp_path / "runs" / "warm" / "0"
    change(workdir, sets__source="moved")  # a place tells nothing
    scored(*arguments)
    change(workdir, pastes__warm_steps=7)
    with pytest.raises(UserError, match=r"another training than this trial's \(pastes\.warm_steps 7, not 800\)"):
        scored(*arguments)
    path = workdir / "config.json"
    path.unlink()  # nothing to compare
    with pytest.warns(UserWarning, match="nothing tells whether it is this trial's"):
        scored(*arguments)
    path.write_text("{")
    with pytest.raises(UserError, match=r"config\.json: not a readable config"):
        scored(*arguments)
    path.write_text('{"warm_steps": 800}')
    with pytest.raises(UserError, match=r"holds a training of a version of sgdbd_jax before 0\.2; move it away"):
        scored(*arguments)


def test_a_trial_that_started_from_another_generator_than_today_is_refused(scored, trained, tmp_path, capsys):
    arguments = ("--train", "warm_game", "--source", "photos", "--clear", "sharp")
    scored(*arguments)
    path = tmp_path / "runs" / "warm_game" / "0" / "config.json"
    parent = tmp_path / "runs" / "warm" / "0" / "generator.safetensors"
    known = json.loads(path.read_text())
    scored(*arguments)
    save_generator(parent, constant_variables(0.25))
    with pytest.raises(
        UserError, match=r"warm_game/0: holds another training .*\(given generator \w{12}, not \w{12}\)"
    ):
        scored(*arguments)
    path.write_text(json.dumps(known | {"inputs": {}}))
    with pytest.warns(UserWarning, match="warm_game/0: nothing tells from which generator it started"):
        scored(*arguments)  # nothing to compare
    parent.unlink()  # nothing to compare
    result = scored(code=0)
    assert {row["row"] for row in result["rows"]} == {*SHIPPED_ROWS.values(), "warm_game"}


def test_a_run_that_is_not_the_trials_is_not_scored_as_it(scored, trained, tmp_path, capsys):
    scored("--train", "warm,game", "--source", "photos", "--clear", "sharp")
    change(tmp_path / "runs" / "game" / "0", game__eta=0.25)
    assert {row["row"] for row in scored(code=1)["rows"]} == {*SHIPPED_ROWS.values(), "warm"}
    assert "holds another training than this trial's (game.eta 0.25, not 0.5)" in capsys.readouterr().err
    names = tmp_path / "names.txt"
    names.write_text("a.png\n")
    change(tmp_path / "runs" / "warm" / "0", sets__names=str(names))
    assert {row["row"] for row in scored("--names", str(names), code=1)["rows"]} == set(SHIPPED_ROWS.values())
    assert "names.txt, which are scored" in capsys.readouterr().err


def test_a_trial_that_starts_from_another_has_that_trained_first(scored, trained):
    scored("--train", "warm_game", "--seeds", "3", "--source", "photos", "--clear", "sharp")
    (first, workdir), (second, _) = trained
    assert (workdir.parent.name, workdir.name) == ("warm", "3") and first.start.generator_weights == ""
    assert second.start.generator_weights == str(workdir / "generator.safetensors")
    assert second.pastes.warm_steps == 0


@pytest.mark.parametrize("name", results.TRIALS)
def test_every_trial_is_a_config_and_only_the_bound_may_see_masks(name):
    masks = {"masks": "m", "masks_white": "focused"}
    config = Trials(results.TRIALS, SELF_TRAINED, Path("runs"), {"source": "a", "clear": "b"}, masks).config(name, 0)
    assert config.supervised == results.TRIALS[name].needs_masks == bool(config.sets.masks)


def test_a_training_that_stops_ends_the_command(scored, tmp_path, monkeypatch):
    monkeypatch.setattr("sgdbd_jax.cli.training.run_training", lambda config, workdir: 143)
    assert scored("--train", "warm", "--source", "photos", "--clear", "sharp", code=143) is None
    assert not (tmp_path / "out" / "results.md").exists()


def test_no_training_sees_what_is_scored(scored, tmp_path, monkeypatch):
    monkeypatch.setattr("sgdbd_jax.cli.training.run_training", lambda config, workdir: pytest.fail("it trains"))
    (tmp_path / "names.txt").write_text("b.png\n")
    refusal = "source: [13] of its photos are to be scored, [ab] among them; choose others"
    for more in ((), ("--source_names", str(tmp_path / "names.txt"))):
        with pytest.raises(UserError, match=refusal):
            scored("--train", "supervised", "--source", str(tmp_path / "images"), "--clear", "sharp", *more)


def test_photos_are_looked_at_before_hours_of_training(scored, tmp_path, monkeypatch):
    monkeypatch.setattr("sgdbd_jax.cli.training.run_training", lambda config, workdir: pytest.fail("it trains"))
    (tmp_path / "masks" / "b.png").unlink()
    with pytest.raises(UserError, match="b"):
        scored("--train", "warm", "--source", "photos", "--clear", "sharp")


@needs_no_config
def test_a_damaged_run_costs_the_others_nothing(scored, tmp_path, capsys):
    path = save_generator(tmp_path / "runs" / "warm" / "0" / "generator.safetensors", constant_variables(0.5))
    path.write_bytes(path.read_bytes()[:100])
    assert {row["row"] for row in scored(code=1)["rows"]} == set(SHIPPED_ROWS.values())
    assert f"error: {path}: not a readable safetensors file" in capsys.readouterr().err


def test_a_trial_that_there_is_not_is_refused(scored):
    with pytest.raises(UserError, match="train: cold: no such trial; there are game, game_control, "):
        scored("--train", "cold")


def test_scenes_photographed_twice_are_scored_too_and_kept(scored, tmp_path, monkeypatch, capsys):
    """A mask of 0.75 everywhere is right where its photo is in focus: of A in a quarter, of B in the others."""
    scene = tmp_path / "pairs" / "input" / "cup"
    scene.mkdir(parents=True)
    (tmp_path / "pairs" / "vote").mkdir()
    vote = np.zeros((32, 32), np.uint8)
    vote[:8] = 255
    Image.fromarray(vote).save(tmp_path / "pairs" / "vote" / "cup.png")
    for letter in "AB":
        Image.new("RGB", (32, 32), "red").save(scene / f"cup_{letter}.png")
    result = scored("--pairs", str(tmp_path / "pairs"))
    assert result["pairs"]["scenes"] == 1
    rows = by_key(result["pairs"])
    assert list(rows) == [(row, "own", how) for row in SHIPPED_ROWS.values() for how in ("none", "edges", "cut")]
    for row in rows.values():
        assert (row["right"], row["lowest_tenth"], row["lost"]) == ([0.5], [0.25], [0.0])
    out = capsys.readouterr().out
    assert "Of scenes photographed twice, focused at two depths, 1;" in out
    assert "| the shipped weights, lite | 0.500 / 0.250 / 0 | 0.500 / 0.250 / 0 | 0.500 / 0.250 / 0 |" in out
    assert (tmp_path / "out" / "results.md").read_text() == out
    monkeypatch.setattr("sgdbd_jax.evaluation.two_focus.score_two_focus", lambda *_, **__: pytest.fail("scored twice"))
    assert scored("--pairs", str(tmp_path / "pairs")) == result
    assert "pairs" not in scored()
