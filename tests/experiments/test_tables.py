"""The paper's ablation tables, of trainings that are over at once: what is trained, written and refused."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny_generators import constant_variables, save_generator

from experiments import tables
from experiments._tables import SCHEMES, TABLES
from sgdbd_jax.data.training_sets import fingerprints, load_photos
from sgdbd_jax.errors import UserError
from sgdbd_jax.fields import replace
from sgdbd_jax.presets import DEMO, GAME
from sgdbd_jax.training.start import digests
from sgdbd_jax.training.trials import Trials
from sgdbd_jax.training.workdir import claim_workdir

ETAS = (0.005, 0.01, 0.05, 0.5)
SMALL = {"scenes": 4, "photo_size": 16, "crop": 16, "batch": 4}
LEVELS = {"clear": 0.0, "blur": 1.0}  # of the masks that a scheme ends with; a half


@pytest.fixture
def trained(monkeypatch):
    """The config and folder of every training, of which each is over at once and leaves its files."""
    calls = []

    def fake(config, workdir):
        calls.append((config, workdir))
        level = LEVELS.get(workdir.parent.name, 0.5)
        save_generator(workdir / "generator.safetensors", constant_variables(min(max(level, 1e-6), 1 - 1e-6)))
        floors = {"zeros": {"f_measure": 0.3, "mae": 0.25}, "ones": {"f_measure": 0.3, "mae": 0.75}}
        result = {"f_measure": 0.5 + 0.1 * config.seed, "mae": level, "protocol": "paper", "images": 64}
        (workdir / "result.json").write_text(json.dumps(result | {"floors": floors}))
        rows = [
            {"stage": "game", "step": step, "coverage": share} for step, share in ((500, 0.9), (510, 0), (600, level))
        ]
        rows.insert(0, {"stage": "classifier", "step": 600})
        (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        inputs = {} if config.sets.data == "scenes" else fingerprints(load_photos(config))
        claim_workdir(workdir, config, digests(config) | inputs)
        return 0

    monkeypatch.setattr("sgdbd_jax.cli.training.run_training", fake)
    monkeypatch.setattr(tables, "DEMO", replace(DEMO, SMALL))
    monkeypatch.setattr("sgdbd_jax.data.training_sets.HELD_OUT_SCENES", 3)
    monkeypatch.setattr("sgdbd_jax.data.training_sets.VALIDATION_SCENES", 1)
    return calls


@pytest.fixture
def undrawn(monkeypatch):
    """No picture is made, which takes seconds a scheme."""
    monkeypatch.setattr(tables, "_picture", lambda *arguments, **options: b"")


def test_a_table_of_scenes_is_trained_and_scored(trained, undrawn, tmp_path, capsys):
    arguments = ["--table", "1", "--out", str(tmp_path), "--seeds", "0,2"]
    assert tables.main(arguments) == 0
    assert [workdir for _, workdir in trained] == [
        tmp_path / "runs" / scheme / seed for seed in ("0", "2") for scheme in ("clear", "blur", "both")
    ]
    assert [config.game.discriminators for config, _ in trained[:3]] == ["clear", "blur", "both"]
    assert {config.game.bilateral_weight for config, _ in trained} == {0}
    content = json.loads((tmp_path / "table1.json").read_text())
    assert (content["table"], content["protocol"], content["data"], content["images"]) == (1, "paper", "scenes", 64)
    clear = content["rows"][0]
    assert clear["seeds"] == [
        {"seed": 0, "f_measure": 0.5, "mae": 0.0, "coverage": 0.0},
        {"seed": 2, "f_measure": pytest.approx(0.7), "mae": 0.0, "coverage": 0.0},
    ]
    assert clear["paper"]["CUHK"] == {"f_measure": 0.360, "mae": 0.264}
    assert content["rows"][1]["seeds"][0]["coverage"] == 0.5  # of two rows in the last 100 rounds
    text = (tmp_path / "table1.md").read_text()
    assert "| D_c alone | 0.00 ± 0.00 | 0.600 ± 0.141 / 0.000 ± 0.000 | 0.360 / 0.264 | 0.372 / 0.282 |\n" in text
    assert "| a mask of ones | 1 | 0.300 / 0.750 | | |\n" in text and text in capsys.readouterr().out

    assert tables.main(arguments) == 0
    assert len(trained) == 6  # nothing is trained twice


def test_composites_are_below_the_masks_that_made_them(trained, tmp_path):
    """An empty mask leaves D_c the clear photo, and D_b the source; a full one D_c the source, and D_b the blurred."""
    tables.main(["--table", "1", "--out", str(tmp_path)])
    picture = np.asarray(Image.open(tmp_path / "table1.png")).astype(int)
    side, gap, title = 128, 4, 16  # of 16 pixels, enlarged

    def cell(row, column):
        top, left = title + gap + row * (side + gap), gap + column * (side + gap)
        return picture[top : top + side, left : left + side]

    assert picture.shape[:2] == (title + gap + 9 * (side + gap), gap + 5 * (side + gap))
    for first in (0, 3, 6):
        source, clear, blur = (cell(first + row, 0) for row in range(3))
        empty, full = ([cell(first + row, column) for row in range(3)] for column in (2, 3))
        assert empty[0].max() == 0 and full[0].min() == 255
        for seen, photo in ((empty[1], clear), (empty[2], source), (full[1], source), (full[2], blur)):
            assert abs(seen - photo).max() <= 1


def test_rows_that_tables_share_are_trained_once(trained, undrawn, tmp_path):
    tables.main(["--table", "1", "--out", str(tmp_path)])
    tables.main(["--table", "2", "--out", str(tmp_path)])
    assert len(trained) == 3 + 6
    games = [(config.game.bilateral_weight, config.game.eta) for config, _ in trained]
    assert games == [(0, 1), (0, 1), (0, 1), (0, DEMO.game.eta), *((1, eta) for eta in (DEMO.game.eta, *ETAS))]


def test_blurred_sets_are_made_as_each_scheme_says(trained, undrawn, tmp_path):
    tables.main(["--table", "4", "--out", str(tmp_path)])
    sets = [(config.sets.blur, config.blurring.blur_kernel) for config, _ in trained]
    assert sets == [*(("made", f"fcsb:{times}") for times in range(1, 6)), ("made", "disk"), ("", "disk")]


def photos(tmp_path):
    """Folders of three photos, and the options that name them."""
    rng = np.random.default_rng(0)
    truth = np.zeros((32, 40), np.uint8)
    truth[:, :24] = 255
    for name in "abc":
        for folder in ("source", "clear", "images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
            sharp = np.where(truth[..., None], rng.integers(0, 256, (32, 40, 3)), 128).astype(np.uint8)
            pixels = truth if folder == "masks" else sharp
            Image.fromarray(pixels).save(tmp_path / folder / f"{name}.png")
    folders = [text for name in ("source", "clear", "images", "masks") for text in (f"--{name}", str(tmp_path / name))]
    return [*folders, "--masks_white", "focused"]


def test_photos_are_trained_on_as_preset_game_does_but_for_eta(trained, undrawn, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tables, "GAME", replace(GAME, {"crop": 32, "batch": 1}))
    assert tables.main(["--table", "4", "--out", str(tmp_path / "out"), *photos(tmp_path)]) == 0
    config = trained[0][0]
    assert config.sets.source == str(tmp_path / "source") and config.validation.validation_white == "focused"
    assert (config.sets.blur, config.blurring.blur_kernel) == ("", "fcsb:1")
    assert config.game.bilateral_weight == 1 and config.validation.validate_every > config.game.steps
    content = json.loads((tmp_path / "out" / "table4.json").read_text())
    assert config.game.eta == DEMO.game.eta and not config.prediction.refine
    *run, left_out = content["rows"]
    assert left_out["left_out"] == "not run: needs --blur DIR" and left_out["paper"]["CUHK"]["mae"] == 0.119
    assert [len(row["seeds"]) for row in content["rows"]] == [1, 1, 1, 1, 1, 1, 0] and not run[0]["left_out"]
    assert "(the paper's FCFB) |  | not run: needs --blur DIR | 0.769 / 0.119 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--source", "photos"], "--clear, --images, --masks, --masks_white: needed beside the other photos"),
        (["--blur", "photos"], "--source, --clear, --images, --masks, --masks_white: needed beside"),
        (["--names", "cuhk:validation"], "--source, --clear, --images, --masks, --masks_white: needed beside"),
        (["--data", "scenes", "--source_names", "cuhk:train"], "data: scenes have no --source_names"),
    ],
)
def test_photos_that_are_named_in_part_are_refused(trained, tmp_path, given, says):
    with pytest.raises(UserError, match=says):
        tables.main(["--table", "1", "--out", str(tmp_path), *given])
    assert not trained


def test_photos_that_are_scored_are_not_learned_from(trained, tmp_path):
    given = photos(tmp_path)
    given[given.index("--source") + 1] = str(tmp_path / "images")
    with pytest.raises(UserError, match=r"source: 3 of its photos are to be scored, a among them"):
        tables.main(["--table", "1", "--out", str(tmp_path / "out"), *given])
    assert not trained


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"--masks_white": "blurred"}, r"photos of validation \S+ \(\w+\), not"),
        ({"--source": "clear"}, r"photos of source \S+ \(\w+\), not"),
        ({"--blur": "clear"}, r"sets.blur '', not "),
    ],
)
@pytest.mark.filterwarnings("ignore:.*is it right")  # of masks that are inverted
def test_trainings_of_other_photos_are_not_taken_for_these(trained, undrawn, tmp_path, monkeypatch, change, says):
    monkeypatch.setattr(tables, "GAME", replace(GAME, {"crop": 32, "batch": 1}))
    given = ["--table", "1", "--out", str(tmp_path / "out"), *photos(tmp_path)]
    tables.main(given)
    for option, value in change.items():
        value = value if option == "--masks_white" else str(tmp_path / value)
        given = [*given, option, value]  # the last one counts
    with pytest.raises(UserError, match=f"holds another training than this trial's .*{says}"):
        tables.main(given)
    assert len(trained) == 3


def test_two_photos_are_enough_for_a_picture(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "GAME", replace(GAME, {"crop": 32, "batch": 1}))
    (tmp_path / "names").write_text("a\nb\n")
    tables.main(["--table", "1", "--out", str(tmp_path / "out"), *photos(tmp_path), "--names", str(tmp_path / "names")])
    picture = np.asarray(Image.open(tmp_path / "out" / "table1.png"))
    assert picture.shape[0] == 16 + 4 + 6 * (320 + 4)


@pytest.mark.parametrize("given", [lambda folder: [], photos], ids=["scenes", "photos"])
def test_rounds_may_be_fewer_or_more(trained, undrawn, tmp_path, monkeypatch, given):
    monkeypatch.setattr(tables, "GAME", replace(GAME, {"crop": 32, "batch": 1}))
    arguments = ["--table", "2", "--out", str(tmp_path / "out"), *given(tmp_path)]
    assert tables.main([*arguments, "--steps", "7"]) == 0
    assert {config.game.steps for config, _ in trained} == {7} and len(trained) == len(TABLES[2].rows)
    assert len({repr(config) for config, _ in trained}) == len(trained)
    assert ", 7 rounds," in (tmp_path / "out" / "table2.md").read_text()
    with pytest.raises(UserError, match="game.steps 7, not 8"):
        tables.main([*arguments, "--steps", "8"])


@pytest.mark.parametrize(
    "given", ["--seeds=0,0", "--seeds=-1", "--seeds=x", "--seeds=", "--steps=0", "--steps=-1", "--steps=x"]
)
def test_seeds_and_rounds_that_are_none_are_refused(trained, tmp_path, given):
    with pytest.raises(SystemExit):
        tables.main(["--table", "1", "--out", str(tmp_path), given])
    assert not trained


def test_a_training_that_is_stopped_stops_the_table(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("sgdbd_jax.cli.training.run_training", lambda config, workdir: 143)
    assert tables.main(["--table", "1", "--out", str(tmp_path)]) == 143
    assert not (tmp_path / "table1.md").exists()


def test_every_row_of_every_table_is_a_run_that_can_be(tmp_path):
    """Each is a config that is not refused, and none is the same as another."""
    trials = Trials(SCHEMES, DEMO, tmp_path, {}, {})
    configs = [trials.config(name, 0) for name in SCHEMES]
    assert len({repr(config) for config in configs}) == len(SCHEMES)
    assert {name for table in TABLES.values() for name in table.rows} == set(SCHEMES)
    assert all(set(table.paper) <= set(table.rows) for table in TABLES.values())
